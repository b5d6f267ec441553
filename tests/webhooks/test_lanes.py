"""Places for attempts: per endpoint, in all, and what a slow endpoint may take."""

import asyncio
from random import Random

import pytest

from webhooks.errors import LaneBusy
from webhooks.lanes import LINE_PER_PLACE, LONGEST_WAIT, SHORTEST_WAIT, SLOW_PLACES, SLOW_SECONDS, Lanes


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Receivers:
    """Attempts that end when the test says so."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.running: dict[str, list[asyncio.Event]] = {}
        self.busy: list[LaneBusy] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def post(self, endpoint: str) -> None:
        try:
            async with self._lanes.place(endpoint):
                done = asyncio.Event()
                self.running.setdefault(endpoint, []).append(done)
                await done.wait()
                self.running[endpoint].remove(done)
        except LaneBusy as busy:
            self.busy.append(busy)

    async def send(self, endpoint: str, times: int = 1) -> None:
        """Starts attempts and lets them get as far as they come."""
        self.tasks += [asyncio.create_task(self.post(endpoint)) for _ in range(times)]
        await self.settle()

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
    return Receivers(Lanes(per_endpoint=per_endpoint, places=places, now=clock, chance=Random(1)))


async def finish(*all_: Receivers) -> None:
    for one in all_:
        for task in one.tasks:
            task.cancel()
        await asyncio.gather(*one.tasks, return_exceptions=True)


async def test_an_endpoint_gets_its_places_and_the_next_in_line_follow_at_once(clock: Clock) -> None:
    town = receivers(clock)
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
    await town.send("a", 10)
    await town.send("b", 4)
    assert (town.count("a"), town.count("b")) == (4, 4)
    await finish(town)


async def test_the_line_of_a_lane_has_an_end(clock: Clock) -> None:
    town = receivers(clock)
    await town.send("a", 4 + 4 * LINE_PER_PLACE + 3)
    assert len(town.busy) == 3
    assert all(SHORTEST_WAIT * 0.8 <= one.wait <= LONGEST_WAIT * 1.2 for one in town.busy)
    await finish(town)


async def test_who_stands_in_line_for_long_is_turned_away(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.lanes.PATIENCE_SECONDS", 0.05)
    town = receivers(clock)
    await town.send("a", 5)
    assert town.busy == []
    await asyncio.sleep(0.2)
    assert len(town.busy) == 1
    assert town.count("a") == 4
    await finish(town)


async def test_nobody_stands_in_line_at_an_endpoint_whose_attempts_hang(clock: Clock) -> None:
    town = receivers(clock)
    await town.send("a", 4)
    clock.now += SLOW_SECONDS + 1
    await town.send("a", 10)
    assert len(town.busy) == 10
    await town.answer("a", 4)
    await town.send("a", 5)
    assert town.count("a") == 4  # alone it takes nothing from anybody
    await finish(town)


async def test_a_slow_endpoint_is_left_two_places_where_its_like_take_a_quarter_of_all(clock: Clock) -> None:
    town = receivers(clock, places=16)
    for name in ("a", "b", "c"):
        await town.send(name, 1)
        clock.now += 30.0
        await town.answer(name)
    for name in ("a", "b", "c"):
        await town.send(name, 4)
    assert [town.count(name) for name in ("a", "b", "c")] == [4, SLOW_PLACES, SLOW_PLACES]
    await finish(town)


async def test_what_is_turned_away_comes_back_one_after_another(clock: Clock) -> None:
    town = receivers(clock)
    await town.send("a", 4)
    clock.now += 10.0
    await town.send("a", 60)
    waits = [one.wait for one in town.busy]
    # 10 s an attempt, four at once: one more each 2.5 s, up to the longest wait; jitter ±20 %.
    expected = [min(max(2.5 * (index + 1), SHORTEST_WAIT), LONGEST_WAIT) for index in range(60)]
    assert all(0.8 * want <= wait <= 1.2 * want for want, wait in zip(expected, waits, strict=True))
    await finish(town)


async def test_a_receiver_that_is_well_again_gets_all_its_places_after_a_few_quick_answers(clock: Clock) -> None:
    town = receivers(clock)
    await town.send("a", 1)
    clock.now += 30.0
    await town.answer("a")
    for _ in range(4):
        await town.send("a", 1)
        assert town.count("a") == 1
        clock.now += 0.01
        await town.answer("a")
    await town.send("a", 4)
    assert town.count("a") == 4
    await finish(town)


async def test_slow_endpoints_together_take_half_of_the_places_and_the_others_go_on(clock: Clock) -> None:
    town = receivers(clock, places=20)
    for name in range(30):  # each shows once that it hangs
        await town.send(f"slow{name}", 1)
        clock.now += 30.0
        await town.answer(f"slow{name}")
    for name in range(30):
        await town.send(f"slow{name}", 2)
    assert sum(town.count(f"slow{name}") for name in range(30)) == 10
    await town.send("well", 4)
    assert town.count("well") == 4
    await finish(town)


async def test_all_places_are_a_limit_for_everybody_and_a_free_one_is_found_by_whoever_waits(clock: Clock) -> None:
    town = receivers(clock, places=5)
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
