"""A plan is a function of its seed, and holds what a run is to show."""

from collections import Counter

import pytest
from msgspec.structs import replace

from domain.invoice import Kind
from torture.deed import Deed
from torture.plan import make_plan
from torture.plan_subscriptions import Act
from torture.settings import LONGEST_DELAY, LONGEST_LAG, REFUND_WINDOW
from torture.size import LONG, SIZES, SMALL, Size
from torture.stack import PARTS


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_the_same_seed_gives_the_same_plan(size: Size) -> None:
    assert make_plan(7, size) == make_plan(7, size)
    assert make_plan(7, size) != make_plan(8, size)


def test_the_long_run_is_as_big_as_it_must_be() -> None:
    plan = make_plan(1, LONG)
    assert len(plan.bills) >= 300
    assert sum(len(bill.refunds) for bill in plan.bills) >= 100
    assert len(plan.kills) == 100
    assert {kill.part for kill in plan.kills} == set(PARTS)
    assert {bill.kind for bill in plan.bills} == set(Kind)
    assert {bill.deed for bill in plan.bills} == set(Deed)
    assert {fault.spec["call"] for fault in plan.faults} >= {"remote/create", "remote/cancel", "payment/return"}


def test_everything_happens_while_parts_are_killed() -> None:
    plan = make_plan(3, SMALL)
    steps = [bill.when.step for bill in plan.bills] + [fault.when.step for fault in plan.faults]
    assert set(steps) == set(range(len(plan.kills) + 1))


@pytest.mark.parametrize("seed", range(20))
def test_refunds_of_one_bill_can_be_told_apart(seed: int) -> None:
    plan = make_plan(seed, LONG)
    for bill in plan.bills:
        amounts = Counter(one.amount for one in bill.refunds)
        assert set(amounts.values()) <= {1}
        assert all(amount is None or 0 < amount <= bill.amount + 100 for amount in amounts)


def test_no_refunds_without_anybody_who_pays() -> None:
    plan = make_plan(1, replace(SMALL, invoices=1, refunds=5))
    assert sum(len(bill.refunds) for bill in plan.bills) in {0, 5}


def test_a_return_is_executed_or_shown_within_the_window_in_which_it_is_read_back() -> None:
    assert LONGEST_DELAY + LONGEST_LAG < REFUND_WINDOW
    for seed in range(20):
        plan = make_plan(seed, LONG)
        assert all(lag.seconds <= LONGEST_LAG for lag in plan.lags)
        delays = [fault.spec.get("delay_ms", 0) for fault in plan.faults]
        assert all(isinstance(delay, int) and delay <= LONGEST_DELAY * 1000 for delay in delays)


@pytest.mark.parametrize("seed", range(5))
def test_subscriptions_are_billed_again_skipped_paused_and_not_paid(seed: int) -> None:
    planned = make_plan(seed, LONG).subscriptions
    assert len(planned) == LONG.subscriptions
    assert len({one.phone for one in planned}) == len(planned)
    assert {wish.act for one in planned for wish in one.wishes} == set(Act)
    assert {deed for one in planned for deed in one.deeds} == {Deed.PAY, Deed.REJECT, Deed.IGNORE, Deed.LATE}
    assert {one.days_ago > 0 for one in planned} == {True, False}
    for one in planned:
        acts = [wish.act for wish in one.wishes]
        assert acts.count(Act.PAUSE) == acts.count(Act.RESUME)
