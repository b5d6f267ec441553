"""Waiting for what another process does and sends no event about."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Only ends what would never end: a busy machine may take much longer than ours, a test's own limit is longer still.
PATIENCE = 120.0


async def until(look: Callable[[], Awaitable[T]], what: str, *, seconds: float = PATIENCE) -> T:
    """The first truthy result of `look`; AssertionError naming `what` if there is none in time."""
    ends = time.monotonic() + seconds
    while not (found := await look()):
        assert time.monotonic() < ends, f"waited {seconds:.0f} s for {what}; the last look gave {found!r}"
        await asyncio.sleep(0.05)
    return found
