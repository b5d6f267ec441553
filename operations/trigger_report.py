"""What `tolem trigger` says of what it does."""

from collections.abc import Callable

import msgspec


class CannotTrigger(Exception):
    """The text says why, and what to do instead."""


class Happened(msgspec.Struct, frozen=True):
    """One line of what was done: what it is, and its id."""

    what: str
    id: str


Report = Callable[[Happened], None]
