"""Repeats give way to first attempts: who has waited five seconds for an ill receiver can wait for the well ones."""

import asyncio
import time
from collections.abc import Callable

# From news being booked to its receivers being called: the engine has two steps to make.
NEWS_SECONDS = 0.25
# What a first attempt costs this process and the engine before its request is out.
FIRST_SECONDS = 0.08
# Those who gave way go on one after another, so that a gap is not filled with all of them at once.
PACE_SECONDS = 0.02
PATIENCE_SECONDS = 2.0


class Courtesy:
    """Tells what can wait when it may go on, for one process.

    A repeated attempt costs the engine and this process as much as a first one, and with many ill receivers there are
    more of them: without an order the well ones wait behind the ill. `patience` is how long giving way may take, in
    seconds (0: not at all), so that under steady load the repeats are late and never starve.
    """

    def __init__(self, *, patience: float = PATIENCE_SECONDS, now: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._now = now
        self._busy_until = 0.0
        self._next = 0.0

    def news(self) -> None:
        """Something was booked that receivers are about to be told."""
        self._busy(NEWS_SECONDS)

    def first_attempt(self) -> None:
        """A first attempt begins."""
        self._busy(FIRST_SECONDS)

    def _busy(self, seconds: float) -> None:
        self._busy_until = max(self._busy_until, self._now() + seconds)

    async def give_way(self) -> None:
        """Returns when no first attempt is expected, or after `patience` seconds."""
        if not self._patience:
            return
        ends = self._now() + self._patience
        while (wait := min(max(self._busy_until, self._next), ends) - self._now()) > 0:  # noqa: ASYNC110 -- it is pushed back
            await asyncio.sleep(wait)
        self._next = max(self._now(), self._next) + PACE_SECONDS
