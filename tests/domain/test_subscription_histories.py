"""Random lives of subscriptions; what must never be is checked after every step (tests/domain/subscriber.py)."""

from datetime import UTC, datetime, time, timedelta
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.billing_calendar import BillingPeriod, Plan
from domain.subscription import (
    CLOSED,
    BillNow,
    Cancel,
    Change,
    Dunning,
    Happening,
    MissedPolicy,
    Pause,
    PeriodState,
    Resume,
    SkipPeriod,
    State,
    Terms,
    TimeReached,
)
from domain.subscription_rules import begin
from tests.domain.billing_days import utc, walk, yearly_on_29_february
from tests.domain.subscriber import Subscriber

START = datetime(2027, 1, 31, 5, 0, tzinfo=UTC)
TEN = time(10, 0)
DAYS = {BillingPeriod.DAILY: 0, BillingPeriod.WEEKLY: 7, BillingPeriod.BIWEEKLY: 7}
OUTCOMES = ["paid", "paid", "paid", "expired", "expired", "declined", "faulted", "unknown", "issued", "canceled"]
ACTIONS: list[Happening] = [
    Pause(),
    Resume(),
    Resume(),
    Cancel(),
    Cancel(at_period_end=True),
    BillNow(),
    SkipPeriod(),
    Change(terms=Terms(amount=7)),
    Change(terms=Terms(amount=9), at_once=True),
    Change(dunning=Dunning(max_retry_attempts=5, retry_interval_hours=1)),
]
DUNNINGS = st.builds(
    Dunning,
    max_retry_attempts=st.integers(0, 4),
    retry_interval_hours=st.sampled_from([1, 24, 100]),
    grace_period_days=st.sampled_from([0, 1, 10]),
    missed=st.sampled_from(MissedPolicy),
)


def subscriber(period: BillingPeriod, dunning: Dunning, limit: int | None = None) -> Subscriber:
    plan = Plan(period=period, at=TEN, total_cycles=limit)
    one = Subscriber(begin(START, plan, Terms(amount=5), dunning), START - timedelta(hours=1))
    one.happen(TimeReached())
    return one


def step(one: Subscriber, chance: Random, actions: list[Happening]) -> None:
    """One thing that can happen now."""
    closed = [ref for ref in one.billed_at if ref != one.live]
    roll = chance.random()
    if closed and roll < 0.04:
        one.late(chance.choice(closed))
    elif roll < 0.25:
        one.now += timedelta(hours=chance.choice([0, 0, 1, 50]))
        one.wish(chance.choice(actions))
    elif one.live is not None:
        one.now += timedelta(hours=chance.choice([0, 1, 24]))
        one.outcome(chance.choice(OUTCOMES))
    elif roll < 0.35:
        one.sleep(timedelta(days=chance.choice([0, 1, 3, 40, 800])))
    elif one._waits_before(datetime(2200, 1, 1, tzinfo=UTC)):
        one.wake()
    else:
        one.sleep(timedelta(days=1))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(BillingPeriod), DUNNINGS, st.none() | st.integers(1, 20), st.integers(0, 2**32))
def test_whatever_happens_each_period_is_billed_or_skipped_once(
    period: BillingPeriod, dunning: Dunning, limit: int | None, seed: int
) -> None:
    chance, one = Random(seed), subscriber(period, dunning, limit)
    for _ in range(80):
        step(one, chance, ACTIONS)
        one.settle()
    if limit is not None:
        assert len(one.books) <= limit
    one.settle_dates(islice(walk(period, DAYS.get(period, 31), TEN, START), limit))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(BillingPeriod), DUNNINGS, st.integers(0, 2**32))
def test_changes_of_the_rhythm_break_none_of_it(period: BillingPeriod, dunning: Dunning, seed: int) -> None:
    chance, one = Random(seed), subscriber(period, dunning)
    plans = [
        Plan(period=other, day=day, at=at)
        for other in BillingPeriod
        for day in ((None,) if other is BillingPeriod.DAILY else (None, 1, 7) if other in DAYS else (None, 1, 31))
        for at in (None, time(3, 0))
    ]
    actions = [*ACTIONS, *(Change(plan=plan) for plan in plans)]
    for _ in range(80):
        step(one, chance, actions)
        one.settle()


@pytest.mark.parametrize(
    ("period", "day", "start", "years"),
    [
        (BillingPeriod.DAILY, 0, START, 10),
        (BillingPeriod.MONTHLY, 31, START, 10),
        (BillingPeriod.YEARLY, 29, utc(datetime(2028, 2, 29, tzinfo=UTC).date(), TEN), 60),
    ],
)
def test_years_of_payment_with_pauses_and_failures(
    period: BillingPeriod, day: int, start: datetime, years: int
) -> None:
    chance = Random(years)
    dunning = Dunning(retry_interval_hours=1, grace_period_days=1)
    one = Subscriber(begin(start, Plan(period=period, at=TEN), Terms(amount=5), dunning), start)
    one.happen(TimeReached())
    end, pauses = start + timedelta(days=365 * years), 0.001 if period is BillingPeriod.DAILY else 0.05
    while one.now < end:
        if one.live is not None:
            # The third bill is always paid, so that nothing expires.
            one.outcome(chance.choice(["paid", "declined", "faulted"]) if one.bills[-1].ref.charge < 3 else "paid")
        elif chance.random() < pauses:
            assert one.wish(Pause())
            one.now += timedelta(days=chance.randrange(100))
            assert one.wish(Resume())
        else:
            one.wake()
    one.settle()
    one.settle_dates(yearly_on_29_february(2028, TEN) if day == 29 else walk(period, day, TEN, start))
    assert one.standing.state in {State.ACTIVE, State.PAST_DUE}
    paid = sum(state is PeriodState.PAID for state in one.books.values())
    assert paid > 0.7 * len(one.books)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(BillingPeriod), DUNNINGS, st.integers(1, 6), st.integers(0, 3700))
def test_an_outage_of_any_length_brings_at_most_one_bill(
    period: BillingPeriod, dunning: Dunning, lived: int, away: int
) -> None:
    one = subscriber(period, dunning)
    for _ in range(lived):
        one.wake()
        one.outcome("paid")
    before = len(one.bills)
    told = one.sleep(timedelta(days=away))
    one.settle()
    one.settle_dates(walk(period, DAYS.get(period, 31), TEN, START))
    assert len(one.bills) - before <= 1
    assert len(told) <= 1
    missed = len(one.books) - lived
    wanted = 0 if missed == 0 or (missed > 1 and dunning.missed is MissedPolicy.NONE) else 1
    assert len(one.bills) - before == wanted
    assert one.standing.state not in CLOSED
