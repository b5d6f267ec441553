"""How many attempts run at once: in all, to one endpoint, and to all those that are slow together."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from webhooks.errors import LaneBusy

# Who takes longer than this is slow. While its like take less than a quarter of all places it keeps its own; then each
# has two, and never more than half of all together.
SLOW_SECONDS = 5.0
SLOW_PLACES = 2
# How long an attempt may stand in line in a worker's slot, and how many may, per place of its lane.
PATIENCE_SECONDS = 2.0
LINE_PER_PLACE = 4
# What is turned away comes back about when the line before it is through; not sooner, and not much later, because the
# receiver may be well again.
SHORTEST_WAIT = 1.0
LONGEST_WAIT = 120.0
# How much the newest attempt counts in what an endpoint usually takes.
NEWEST_COUNTS = 0.5


class Lane:
    """The attempts to one endpoint: those that run, those in line, and how long one takes."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._next = 0
        self.running: dict[int, float] = {}
        self.waiting = 0
        self.usual = 0.0
        # Until when those that were turned away have been told to wait, so that they come back one after another.
        self.promised = 0.0

    @property
    def takes(self) -> float:
        """Seconds an attempt takes by what is known now: one that still runs has taken at least as long as it has."""
        oldest = min(self.running.values(), default=None)
        return self.usual if oldest is None else max(self.usual, self._now() - oldest)

    @property
    def slow(self) -> bool:
        return self.takes > SLOW_SECONDS

    def begin(self) -> int:
        self._next += 1
        self.running[self._next] = self._now()
        return self._next

    def end(self, ticket: int) -> None:
        took = self._now() - self.running.pop(ticket)
        self.usual += (took - self.usual) * (NEWEST_COUNTS if self.usual else 1.0)


class Lanes:
    """Places for attempts in this process.

    `per_endpoint` at once to one endpoint, `places` in all. Slow lanes together take half of the places at most, and
    where they take more than a quarter each is left two, so that any number of hanging receivers leaves room for the
    others. Who would have to stand in line for long is turned away with a moment to come back at: it must not hold a
    worker's slot.
    """

    def __init__(
        self,
        *,
        per_endpoint: int = 10,
        places: int = 500,
        now: Callable[[], float] = time.monotonic,
        chance: Random | None = None,
    ) -> None:
        self._per_endpoint = per_endpoint
        self._places = places
        self._now = now
        self._chance = chance or Random()  # noqa: S311 -- jitter
        self._lanes: dict[str, Lane] = {}
        self._running = 0
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def place(self, endpoint_id: str) -> AsyncIterator[None]:
        """Held during an attempt. Raises `LaneBusy` where it is not soon to be had."""
        lane = self._lanes.setdefault(endpoint_id, Lane(self._now))
        try:
            if not self._free(lane):
                await self._stand_in_line(lane)
            ticket = lane.begin()
            self._running += 1
            try:
                yield
            finally:
                lane.end(ticket)
                self._running -= 1
                async with self._freed:
                    self._freed.notify_all()
        finally:
            self._forget(endpoint_id, lane)

    async def _stand_in_line(self, lane: Lane) -> None:
        if lane.slow or lane.waiting >= LINE_PER_PLACE * self._per_endpoint:
            raise self._busy(lane)
        lane.waiting += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._freed:
                await self._freed.wait_for(lambda: self._free(lane))
        except TimeoutError:
            raise self._busy(lane) from None
        finally:
            lane.waiting -= 1

    def _free(self, lane: Lane) -> bool:
        if self._running >= self._places:
            return False
        if not lane.slow:
            return len(lane.running) < self._per_endpoint
        return len(lane.running) < self._slow_places() and self._slow_running() < self._places // 2

    def _slow_running(self) -> int:
        return sum(len(one.running) for one in self._lanes.values() if one.slow)

    def _slow_places(self) -> int:
        crowded = self._slow_running() >= self._places // 4
        return min(SLOW_PLACES, self._per_endpoint) if crowded else self._per_endpoint

    def _busy(self, lane: Lane) -> LaneBusy:
        places = self._slow_places() if lane.slow else self._per_endpoint
        lane.promised = max(lane.promised, self._now()) + lane.takes / places
        wait = min(max(lane.promised - self._now(), SHORTEST_WAIT), LONGEST_WAIT)
        # So that those who were told the longest wait don't all come back at one moment.
        return LaneBusy(wait * (0.8 + 0.4 * self._chance.random()))

    def _forget(self, endpoint_id: str, lane: Lane) -> None:
        """Endpoints come and go; what is known of a quick one is nothing worth keeping."""
        if not lane.running and not lane.waiting and not lane.slow:
            self._lanes.pop(endpoint_id, None)
