"""How many attempts run at once: in all, to one endpoint, and to all those that are slow together."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import msgspec

from webhooks.errors import LaneBusy

# Who takes longer than this is slow. While its like take less than a quarter of all places it keeps its own; then each
# has two, and never more than half of all together. Of whom nothing is known has two, a quarter of all with its like.
SLOW_SECONDS = 5.0
SLOW_PLACES = 2
# What is known of quick ones is forgotten only where there are very many.
KEPT_LANES = 10_000
# How long an attempt may stand in line in a worker's slot, and how many may, per place of its lane.
PATIENCE_SECONDS = 2.0
LINE_PER_PLACE = 4
# Who failed the last time lets those go first who are well: the receivers of one event are all told at one moment, by
# one processor, and an attempt that will most likely fail costs as much as theirs, its hand-over more. How much longer
# each waits is left to chance: all at one moment, a quarter of a second later, they would be in the next event's way.
POLITE_SECONDS = 0.25
POLITE_SPREAD_SECONDS = 1.0
# What is turned away comes back when those before it should be through; not later than this, because the receiver may
# be well again.
SHORTEST_WAIT = 1.0
LONGEST_WAIT = 900.0
# Who does not come back so long after its time has gone elsewhere, and keeps nobody behind it waiting.
GIVEN_UP_AFTER = 120.0
# How much the newest attempt counts in what an endpoint usually takes.
NEWEST_COUNTS = 0.5


class _TurnedAway(msgspec.Struct):
    """A number in the line, and when its holder was told to come back."""

    number: int
    due: float


class Lane:
    """The attempts to one endpoint: those that run, those that wait here or elsewhere, and how long one takes."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._next = 0
        self.running: dict[int, float] = {}
        self.waiting = 0
        self.usual = 0.0
        self.failed = False
        # In the order in which they were turned away first: coming back too early costs nobody its turn.
        self.line: dict[str, _TurnedAway] = {}

    @property
    def takes(self) -> float:
        """Seconds an attempt takes by what is known now: one that still runs has taken at least as long as it has."""
        oldest = min(self.running.values(), default=None)
        return self.usual if oldest is None else max(self.usual, self._now() - oldest)

    @property
    def slow(self) -> bool:
        return self.takes > SLOW_SECONDS

    @property
    def unproven(self) -> bool:
        """Nothing is known: it may be quick, and it may be one of many that have just begun to hang."""
        return self.usual == 0.0 and not self.slow

    def begin(self, who: str) -> int:
        self.line.pop(who, None)
        self._next += 1
        self.running[self._next] = self._now()
        return self._next

    def end(self, ticket: int) -> None:
        took = max(self._now() - self.running.pop(ticket), 0.001)
        self.usual += (took - self.usual) * (NEWEST_COUNTS if self.usual else 1.0)

    def went(self, *, well: bool) -> None:
        """How the newest attempt ended."""
        self.failed = not well

    def turn_away(self, who: str, places: int) -> float:
        """Seconds until the place in the line that `who` holds, or gets now, should be through."""
        now = self._now()
        while self.line and self.line[first := next(iter(self.line))].due + GIVEN_UP_AFTER < now:
            del self.line[first]
        held = self.line.get(who)
        if held is None:
            self._next += 1
            held = self.line[who] = _TurnedAway(self._next, now)
        before = held.number - next(iter(self.line.values())).number
        wait = min(max((before + 1) * self.takes / places, SHORTEST_WAIT), LONGEST_WAIT)
        held.due = now + wait
        return wait


class Lanes:
    """Places for attempts in this process.

    `per_endpoint` at once to one endpoint, `places` in all. Slow lanes together take half of the places at most, and
    where they take more than a quarter each is left two, so that any number of hanging receivers leaves room for the
    others. Who would have to stand in line for long is turned away with a moment to come back at, in the order of
    their coming: it must not hold a worker's slot.
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
    async def place(self, endpoint_id: str, who: str) -> AsyncIterator[Lane]:
        """Held during an attempt of `who`. Raises `LaneBusy` where it is not soon to be had."""
        lane = self._lanes.setdefault(endpoint_id, Lane(self._now))
        try:
            if lane.failed:
                await asyncio.sleep(POLITE_SECONDS + POLITE_SPREAD_SECONDS * self._chance.random())
            if lane.slow and lane.line and who not in lane.line:
                raise self._busy(lane, who)  # those who were here before have the next places
            if not self._free(lane):
                await self._stand_in_line(lane, who)
            ticket = lane.begin(who)
            self._running += 1
            try:
                yield lane
            finally:
                lane.end(ticket)
                self._running -= 1
                async with self._freed:
                    self._freed.notify_all()
        finally:
            self._forget(endpoint_id, lane)

    async def _stand_in_line(self, lane: Lane, who: str) -> None:
        if lane.slow or lane.waiting >= LINE_PER_PLACE * self._per_endpoint:
            raise self._busy(lane, who)
        lane.waiting += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._freed:
                await self._freed.wait_for(lambda: self._free(lane))
        except TimeoutError:
            raise self._busy(lane, who) from None
        finally:
            lane.waiting -= 1

    def _free(self, lane: Lane) -> bool:
        if self._running >= self._places:
            return False
        if len(lane.running) >= self._places_of(lane):
            return False
        if lane.slow:
            return self._slow_ones() < self._places // 2
        return not lane.unproven or self._unproven_ones() < self._places // 4

    def _slow_ones(self) -> int:
        return sum(len(one.running) for one in self._lanes.values() if one.slow)

    def _unproven_ones(self) -> int:
        return sum(len(one.running) for one in self._lanes.values() if one.unproven)

    def _places_of(self, lane: Lane) -> int:
        if lane.unproven or (lane.slow and self._slow_ones() >= self._places // 4):
            return min(SLOW_PLACES, self._per_endpoint)
        return self._per_endpoint

    def _busy(self, lane: Lane, who: str) -> LaneBusy:
        wait = lane.turn_away(who, self._places_of(lane))
        # So that those who were told the longest wait don't all come back at one moment.
        return LaneBusy(wait * (0.9 + 0.2 * self._chance.random()))

    def _forget(self, endpoint_id: str, lane: Lane) -> None:
        idle = not lane.running and not lane.waiting and not lane.slow and not lane.line
        if idle and len(self._lanes) > KEPT_LANES:
            self._lanes.pop(endpoint_id, None)
