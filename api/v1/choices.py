"""Query parameters that take several words of a list, repeated or separated by commas."""

from enum import StrEnum
from typing import TypeVar

from api.v1 import fields

E = TypeVar("E", bound=StrEnum)


def chosen(given: list[str] | None, words: type[E], field: str) -> list[E] | None:
    """What was chosen, None for nothing; `TolemError` names `field` and the words there are."""
    names = [name.strip() for part in given or [] for name in part.split(",") if name.strip()]
    if not set(names) <= set(words):
        raise fields.wrong(field, f"Must be of {', '.join(words)}.")
    return [words(name) for name in dict.fromkeys(names)] or None
