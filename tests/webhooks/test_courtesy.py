"""Repeats give way to first attempts, one after another, and never for longer than their patience."""

import asyncio

import pytest

from webhooks.courtesy import FIRST_SECONDS, NEWS_SECONDS, PACE_SECONDS, Courtesy

# Longer than any pause that is slept through here: what has not gone on by then does not.
A_WHILE = NEWS_SECONDS + 0.1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def courtesy(clock: Clock) -> Courtesy:
    return Courtesy(patience=2.0, now=clock)


async def _waits(task: "asyncio.Task[None]") -> bool:
    done, _ = await asyncio.wait({task}, timeout=A_WHILE)
    return not done


async def _goes_on(task: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(10):
        await task


async def test_where_nothing_is_expected_nobody_waits(courtesy: Courtesy) -> None:
    await _goes_on(asyncio.create_task(courtesy.give_way()))


async def test_a_repeat_lets_the_news_out_first(courtesy: Courtesy, clock: Clock) -> None:
    courtesy.news()
    repeat = asyncio.create_task(courtesy.give_way())
    assert await _waits(repeat)

    clock.now += NEWS_SECONDS
    await _goes_on(repeat)


async def test_first_attempts_that_go_on_coming_are_let_go(courtesy: Courtesy, clock: Clock) -> None:
    courtesy.news()
    repeat = asyncio.create_task(courtesy.give_way())
    clock.now += NEWS_SECONDS
    courtesy.first_attempt()
    assert await _waits(repeat)

    clock.now += FIRST_SECONDS
    await _goes_on(repeat)


async def test_patience_ends(courtesy: Courtesy, clock: Clock) -> None:
    courtesy.first_attempt()
    repeat = asyncio.create_task(courtesy.give_way())
    assert await _waits(repeat)

    clock.now += 2.0
    courtesy.first_attempt()
    await _goes_on(repeat)


async def test_those_who_waited_go_one_after_another(courtesy: Courtesy, clock: Clock) -> None:
    courtesy.news()
    repeats = [asyncio.create_task(courtesy.give_way()) for _ in range(3)]
    assert await _waits(repeats[0])

    clock.now += NEWS_SECONDS
    for gone in (1, 2, 3):
        await asyncio.wait(repeats, timeout=A_WHILE)
        assert sum(repeat.done() for repeat in repeats) == gone
        clock.now += PACE_SECONDS


async def test_without_patience_nobody_waits(clock: Clock) -> None:
    courtesy = Courtesy(patience=0, now=clock)
    courtesy.news()
    await _goes_on(asyncio.create_task(courtesy.give_way()))
