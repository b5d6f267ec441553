"""Query parameters: those that take several words of a list, and every wrong one of a request named at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import ParamSpec, TypeVar

from api.v1 import fields
from domain.errors import Code, FieldError, TolemError, invalid

E = TypeVar("E", bound=StrEnum)
P = ParamSpec("P")
T = TypeVar("T")


def chosen(given: list[str] | None, words: type[E], field: str) -> list[E] | None:
    """What was chosen, repeated or separated by commas, None for nothing.

    `TolemError` names `field` and the words there are.
    """
    names = [name.strip() for part in given or [] for name in part.split(",") if name.strip()]
    if not set(names) <= set(words):
        raise fields.wrong(field, f"Must be of {', '.join(words)}.")
    return [words(name) for name in dict.fromkeys(names)] or None


class Reader:
    """Calls what reads one parameter; a wrong one is noted, and None."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def __call__(self, reads: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What it reads; failures other than invalid_request come through."""
        try:
            return reads(*args, **kwargs)
        except TolemError as error:
            if error.code is not Code.INVALID_REQUEST:
                raise
            self.errors += error.errors
            return None


@contextmanager
def every_wrong() -> Iterator[Reader]:
    """At its end `TolemError` (invalid_request) lists every parameter that was wrong."""
    reader = Reader()
    yield reader
    if reader.errors:
        raise invalid(*reader.errors)
