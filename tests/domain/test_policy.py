from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from domain.invoice import Kind
from domain.policy import (
    LATE_GAPS,
    LATE_STEADY_GAP,
    delivery_delay,
    late_check,
    next_check,
    phone_gap,
    rejected_backoff,
)

MADE = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
CHANCE = st.integers(0, 2**32).map(Random)
DAY = 24 * 3600
MINUTE = 60


def walk() -> list[float]:
    """Ages in seconds at which a phone invoice is looked at, without jitter."""
    ages, age = [], 0.0
    while (gap := phone_gap(age)) is not None:
        age += gap
        ages.append(age)
    return ages


def test_a_phone_invoice_is_looked_at_ever_more_seldom_for_a_day() -> None:
    ages = walk()
    assert ages[:4] == [10, 30, 60, 90]
    assert [age for age in ages if 30 <= age <= 5 * MINUTE] == list(range(30, 5 * MINUTE + 1, 30))
    assert [age for age in ages if 5 * MINUTE < age <= 31 * MINUTE] == list(range(7 * MINUTE, 31 * MINUTE + 1, 120))
    later = [age for age in ages if age > 31 * MINUTE]
    assert {after - before for before, after in zip([31 * MINUTE, *later], later, strict=False)} == {600}
    # The guide gives the payer 24 hours: a look comes after them, and then no more.
    assert DAY < ages[-1] <= DAY + 300 + 600
    assert len(ages) < 200


@given(st.floats(0, 2 * DAY, allow_nan=False))
def test_the_gap_of_every_age_is_one_of_the_plan(age: float) -> None:
    expected = (
        10
        if age < 10
        else 20
        if age < 30
        else 30
        if age < 300
        else 120
        if age < 1800
        else 600
        if age < DAY + 300
        else None
    )
    assert phone_gap(age) == expected


@given(st.floats(0, DAY, allow_nan=False), CHANCE)
def test_phone_checks_are_jittered_by_a_tenth_and_no_more(age: float, chance: Random) -> None:
    now = MADE + timedelta(seconds=age)
    due = next_check(Kind.PHONE, created_at=MADE, now=now, poll_interval=5.0, phone_polling=True, chance=chance)
    gap = phone_gap((now - MADE).total_seconds())
    assert due is not None
    assert gap is not None
    assert 0.9 * gap - 1e-6 <= (due - now).total_seconds() <= 1.1 * gap + 1e-6


def test_jitter_does_spread_the_checks() -> None:
    chance = Random(7)
    gaps = {late_check(0, now=MADE, chance=chance, late_watch=900) for _ in range(20)}
    assert len(gaps) == 20


@given(st.floats(0, 3 * DAY, allow_nan=False), CHANCE)
def test_without_phone_polling_a_phone_invoice_is_looked_at_only_when_asked(age: float, chance: Random) -> None:
    now = MADE + timedelta(seconds=age)
    assert (
        next_check(Kind.PHONE, created_at=MADE, now=now, poll_interval=5.0, phone_polling=False, chance=chance) is None
    )


@given(st.sampled_from([Kind.QR, Kind.LINK]), st.floats(0, DAY), st.floats(0.5, 60), st.booleans(), CHANCE)
def test_qr_and_link_follow_the_banks_own_interval(
    kind: Kind, age: float, interval: float, phone_polling: bool, chance: Random
) -> None:
    now = MADE + timedelta(seconds=age)
    due = next_check(kind, created_at=MADE, now=now, poll_interval=interval, phone_polling=phone_polling, chance=chance)
    assert due == now + timedelta(seconds=interval)


def late_ages(late_watch: float, chance: Random) -> list[float]:
    """Seconds after the close at which a bill is looked at again."""
    now, ages = MADE, list[float]()
    while (due := late_check(len(ages), now=now, chance=chance, late_watch=late_watch)) is not None:
        now = due
        ages.append((now - MADE).total_seconds())
    return ages


@given(st.floats(0, 2 * DAY), CHANCE)
def test_late_checks_are_dense_at_first_and_end_with_the_late_watch(late_watch: float, chance: Random) -> None:
    plan, age = [], 0.0
    for gap in (*LATE_GAPS, *[LATE_STEADY_GAP] * 100):
        age += gap
        if age <= late_watch:
            plan.append(age)
    ages = late_ages(late_watch, chance)
    assert len(ages) == len(plan)
    for wanted, got in zip(plan, ages, strict=True):
        assert 0.9 * wanted - 1e-3 <= got <= 1.1 * wanted + 1e-3


def test_the_usual_late_watch_looks_after_twenty_seconds_and_three_times_more() -> None:
    ages = late_ages(900, Random(1))
    assert all(abs(age - plan) <= 0.1 * plan for age, plan in zip(ages, (20, 80, 260, 860), strict=True))
    assert late_check(50, now=MADE, chance=Random(1), late_watch=900) is None


@given(st.integers(0, 10_000), CHANCE)
def test_a_rejecting_bank_is_left_alone_for_thirty_seconds_doubling_to_half_an_hour(
    rejections: int, chance: Random
) -> None:
    plan = min(30 * 2**rejections, 1800) if rejections < 12 else 1800
    assert 0.9 * plan <= rejected_backoff(rejections, chance=chance).total_seconds() <= 1.1 * plan


SCHEDULE = st.lists(st.floats(1, 100_000, allow_nan=False), min_size=1, max_size=12)


@given(SCHEDULE, CHANCE)
def test_a_webhook_is_tried_again_after_each_pause_of_the_schedule_and_is_then_dead(
    schedule: list[float], chance: Random
) -> None:
    for attempts, pause in enumerate(schedule, start=1):
        wait = delivery_delay(schedule, attempts, chance=chance)
        assert wait is not None
        assert 0.8 * pause <= wait <= 1.2 * pause
    assert delivery_delay(schedule, len(schedule) + 1, chance=chance) is None


def test_nothing_waits_before_the_first_attempt() -> None:
    assert delivery_delay([1.0], 0, chance=Random(1)) is None
