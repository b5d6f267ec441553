"""Places for attempts: per endpoint, in all, and what a slow endpoint may take."""

import asyncio
import itertools
from random import Random

import pytest

from webhooks.errors import LaneBusy
from webhooks.lanes import GIVEN_UP_AFTER, LINE_PER_PLACE, LONGEST_WAIT, SHORTEST_WAIT, SLOW_PLACES, SLOW_SECONDS, Lanes


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Receivers:
    """Attempts that end when the test says so."""

    def __init__(self, lanes: Lanes, clock: Clock) -> None:
        self._lanes = lanes
        self.clock = clock
        self._names = itertools.count(1)
        self.running: dict[str, list[asyncio.Event]] = {}
        self.busy: list[LaneBusy] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def post(self, endpoint: str, who: str) -> None:
        try:
            async with self._lanes.place(endpoint, who):
                done = asyncio.Event()
                self.running.setdefault(endpoint, []).append(done)
                await done.wait()
                self.running[endpoint].remove(done)
        except LaneBusy as busy:
            self.busy.append(busy)

    async def send(self, endpoint: str, times: int = 1) -> None:
        """Starts attempts and lets them get as far as they come."""
        self.tasks += [asyncio.create_task(self.post(endpoint, f"whd_{next(self._names)}")) for _ in range(times)]
        await self.settle()

    async def prove(self, *endpoints: str, seconds: float = 0.01) -> None:
        """One attempt each, that took so long."""
        for endpoint in endpoints:
            await self.send(endpoint, 1)
            assert self.count(endpoint) == 1
            self.clock.now += seconds
            await self.answer(endpoint)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def answer(self, endpoint: str, times: int = 1) -> None:
        for done in self.running[endpoint][:times]:
            done.set()
        await self.settle()

    def count(self, endpoint: str) -> int:
        return len(self.running.get(endpoint, []))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def receivers(clock: Clock, *, per_endpoint: int = 4, places: int = 100) -> Receivers:
    return Receivers(Lanes(per_endpoint=per_endpoint, places=places, now=clock, chance=Random(1)), clock)


async def finish(*all_: Receivers) -> None:
    for one in all_:
        for task in one.tasks:
            task.cancel()
        await asyncio.gather(*one.tasks, return_exceptions=True)


async def test_an_endpoint_gets_its_places_and_the_next_in_line_follow_at_once(clock: Clock) -> None:
    town = receivers(clock)
    await town.prove("a")
    await town.send("a", 6)
    assert town.count("a") == 4
    await town.answer("a", 2)
    assert town.count("a") == 4
    await town.answer("a", 4)
    assert town.count("a") == 0
    assert town.busy == []
    await finish(town)


async def test_a_full_lane_takes_nothing_from_another(clock: Clock) -> None:
    town = receivers(clock)
    await town.prove("a", "b")
    await town.send("a", 10)
    await town.send("b", 4)
    assert (town.count("a"), town.count("b")) == (4, 4)
    await finish(town)


async def test_of_whom_nothing_is_known_has_two_places_until_its_first_answer(clock: Clock) -> None:
    town = receivers(clock)
    await town.send("a", 6)
    assert town.count("a") == SLOW_PLACES
    await town.answer("a", 1)
    assert town.count("a") == 4
    assert town.busy == []
    await finish(town)


async def test_a_host_with_all_its_endpoints_that_begins_to_hang_leaves_room_for_the_others(clock: Clock) -> None:
    """Before anybody can know that they are slow."""
    town = receivers(clock, per_endpoint=10, places=100)
    for name in range(50):
        await town.send(f"hangs{name}", 10)
    assert sum(town.count(f"hangs{name}") for name in range(50)) == 25
    await finish(town)
    town = receivers(clock, per_endpoint=10, places=100)
    await town.prove("well")
    for name in range(50):
        await town.send(f"hangs{name}", 10)
    await town.send("well", 10)
    assert town.count("well") == 10
    await finish(town)


async def test_the_line_of_a_lane_has_an_end(clock: Clock) -> None:
    town = receivers(clock)
    await town.prove("a")
    await town.send("a", 4 + 4 * LINE_PER_PLACE + 3)
    assert len(town.busy) == 3
    assert all(SHORTEST_WAIT * 0.9 <= one.wait <= LONGEST_WAIT * 1.1 for one in town.busy)
    await finish(town)


async def test_who_stands_in_line_for_long_is_turned_away(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.lanes.PATIENCE_SECONDS", 0.5)
    town = receivers(clock)
    await town.prove("a")
    await town.send("a", 5)
    assert town.busy == []
    async with asyncio.timeout(60):
        await asyncio.wait([one for one in town.tasks if not one.done()], return_when=asyncio.FIRST_COMPLETED)
    assert len(town.busy) == 1
    assert town.count("a") == 4
    await finish(town)


async def test_nobody_stands_in_line_at_an_endpoint_whose_attempts_hang(clock: Clock) -> None:
    town = receivers(clock)
    await town.prove("a")
    await town.send("a", 4)
    clock.now += SLOW_SECONDS + 1
    await town.send("a", 10)
    assert len(town.busy) == 10
    await finish(town)


async def test_a_slow_endpoint_alone_keeps_its_places(clock: Clock) -> None:
    town = receivers(clock)
    await town.prove("a", seconds=30.0)
    await town.send("a", 5)
    assert town.count("a") == 4  # it takes nothing from anybody
    await finish(town)


async def test_a_slow_endpoint_is_left_two_places_where_its_like_take_a_quarter_of_all(clock: Clock) -> None:
    town = receivers(clock, places=16)
    await town.prove("a", "b", "c", seconds=30.0)
    for name in ("a", "b", "c"):
        await town.send(name, 4)
    assert [town.count(name) for name in ("a", "b", "c")] == [4, SLOW_PLACES, SLOW_PLACES]
    await finish(town)


async def test_what_is_turned_away_comes_back_one_after_another(clock: Clock) -> None:
    town = receivers(clock)
    await town.prove("a")
    await town.send("a", 4)
    clock.now += 10.0
    await town.send("a", 500)
    waits = [one.wait for one in town.busy]
    # 10 s an attempt, four at once: one more each 2.5 s, up to the longest wait; jitter ±10 %.
    expected = [min(2.5 * (index + 1), LONGEST_WAIT) for index in range(500)]
    assert all(0.9 * want <= wait <= 1.1 * want for want, wait in zip(expected, waits, strict=True))
    await finish(town)


async def test_who_comes_back_too_early_keeps_its_turn_and_newcomers_come_behind_it(clock: Clock) -> None:
    town = receivers(clock)
    await town.prove("a")
    await town.send("a", 4)
    clock.now += 10.0
    for who in ("first", "second", "third"):
        await town.post("a", who)
    waits = [one.wait for one in town.busy]
    town.busy.clear()
    for who in ("third", "first", "fourth"):
        await town.post("a", who)
    third, first, fourth = (one.wait for one in town.busy)
    assert third == pytest.approx(waits[2], rel=0.25)
    assert first == pytest.approx(waits[0], rel=0.25)
    assert first < third < fourth
    await town.answer("a", 4)
    town.busy.clear()
    await town.send("a", 1)  # places are free, and they are for those who were there before
    assert len(town.busy) == 1
    town.tasks.append(asyncio.create_task(town.post("a", "first")))
    await town.settle()
    assert town.count("a") == 1
    await finish(town)


async def test_who_never_comes_back_keeps_nobody_waiting_for_ever(clock: Clock) -> None:
    town = receivers(clock)
    await town.prove("a")
    await town.send("a", 4)
    clock.now += 10.0
    for number in range(20):
        await town.post("a", f"gone{number}")
    clock.now += 20 * 2.5 * 4 + GIVEN_UP_AFTER
    town.busy.clear()
    await town.post("a", "here")
    assert town.busy[0].wait <= 1.1 * (10.0 + 20 * 2.5 * 4 + GIVEN_UP_AFTER) / 4
    await finish(town)


async def test_a_receiver_that_is_well_again_gets_all_its_places_after_a_few_quick_answers(clock: Clock) -> None:
    town = receivers(clock)
    await town.prove("a", seconds=30.0)
    await town.prove("a", "a", "a", "a")
    await town.send("a", 4)
    assert town.count("a") == 4
    await finish(town)


async def test_slow_endpoints_together_take_half_of_the_places_and_the_others_go_on(clock: Clock) -> None:
    town = receivers(clock, places=20)
    await town.prove(*(f"slow{name}" for name in range(30)), seconds=30.0)
    await town.prove("well")
    for name in range(30):
        await town.send(f"slow{name}", 2)
    assert sum(town.count(f"slow{name}") for name in range(30)) == 10
    await town.send("well", 4)
    await town.send("new", 2)
    assert (town.count("well"), town.count("new")) == (4, 2)
    await finish(town)


async def test_all_places_are_a_limit_for_everybody_and_a_free_one_is_found_by_whoever_waits(clock: Clock) -> None:
    town = receivers(clock, places=5)
    await town.prove("a", "b")
    await town.send("a", 4)
    await town.send("b", 4)
    assert (town.count("a"), town.count("b")) == (4, 1)
    await town.answer("a", 2)
    assert (town.count("a"), town.count("b")) == (2, 3)
    await finish(town)


async def test_a_cancelled_attempt_gives_its_place_back(clock: Clock) -> None:
    town = receivers(clock, per_endpoint=1)
    await town.send("a", 2)
    town.tasks[0].cancel()
    await town.settle()
    assert town.count("a") == 2  # the cancelled one could not say that it is gone
    await town.send("a", 1)
    town.tasks[1].cancel()
    await town.settle()
    assert town.busy == []
    await finish(town)


async def test_who_failed_last_lets_the_others_go_first_until_it_is_well_again() -> None:
    lanes, began = Lanes(), list[str]()

    async def attempt(endpoint: str, *, well: bool) -> None:
        async with lanes.place(endpoint, f"whd_{endpoint}_{len(began)}") as place:
            began.append(endpoint)
            place.went(well=well)

    async def both(*, ill_is_well: bool) -> list[str]:
        began.clear()
        await asyncio.gather(attempt("ill", well=ill_is_well), attempt("well", well=True))
        return list(began)

    assert await both(ill_is_well=False) == ["ill", "well"]  # nothing is known yet
    assert await both(ill_is_well=True) == ["well", "ill"]
    assert await both(ill_is_well=True) == ["ill", "well"]


async def test_those_who_failed_last_come_one_by_one_and_not_all_at_one_moment() -> None:
    lanes, began = Lanes(chance=Random(1)), list[str]()

    async def attempt(endpoint: str) -> None:
        async with lanes.place(endpoint, f"whd_{endpoint}") as place:
            began.append(endpoint)
            place.went(well=False)

    async def all_at_once() -> list[str]:
        began.clear()
        await asyncio.gather(*map(attempt, "abcd"))
        return list(began)

    same = Random(1)
    waits = {endpoint: same.random() for endpoint in "abcd"}
    assert await all_at_once() == list("abcd")  # nothing is known yet
    assert await all_at_once() == sorted("abcd", key=waits.__getitem__) != list("abcd")
