from datetime import UTC, datetime

import msgspec
import pytest

from domain.billing_calendar import BillingPeriod, Plan
from domain.subscription import (
    BillNow,
    Cancel,
    Change,
    ChargeRef,
    Dunning,
    Over,
    Pause,
    PeriodState,
    Refusal,
    Resume,
    SkipPeriod,
    SkipReason,
    State,
    Tell,
    Terms,
    TimeReached,
    Told,
    Wait,
    Withdraw,
)
from domain.subscription_rules import begin, refusal
from tests.domain.subscriber import Subscriber
from tests.domain.subscriptions import DAY, HOUR, START, TERMS, due, fresh, next_of, state_of, words

# Actions.


def test_a_pause_skips_what_falls_due_and_resuming_waits_for_the_next_date() -> None:
    one = fresh(BillingPeriod.DAILY)
    one.outcome("paid")
    assert one.wish(Pause())
    assert one.next == Wait()
    one.now += 10 * DAY + HOUR
    assert one.wish(Resume())
    assert one.told[-3:] == [
        Told(what=Tell.PAUSED),
        Told(what=Tell.PERIOD_SKIPPED, number=2, last=11, reason=SkipReason.PAUSED),
        Told(what=Tell.RESUMED, until=START + 11 * DAY),
    ]
    assert one.next == Wait(until=START + 11 * DAY)
    assert len(one.bills) == 1


def test_a_pause_gives_up_an_unpaid_period() -> None:
    one = fresh()
    one.outcome("expired")
    assert one.wish(Pause())
    assert one.why == {1: SkipReason.PAUSED}
    assert one.standing.open is None


@pytest.mark.parametrize(("kind", "state"), [("paid", PeriodState.PAID), ("expired", PeriodState.SKIPPED)])
def test_a_bill_that_is_out_when_it_is_paused_stays_payable(kind: str, state: PeriodState) -> None:
    one = fresh()
    one.wish(Pause())
    assert one.next == Wait()
    one.outcome(kind)
    assert (state_of(one), one.books[1], one.standing.open) == (State.PAUSED, state, None)


def test_resumed_before_its_bill_ended_dunning_goes_on() -> None:
    one = fresh()
    one.outcome("expired")
    one.wake()
    one.wish(Pause())
    assert one.wish(Resume())
    assert state_of(one) is State.PAST_DUE
    assert words(one.outcome("expired")) == ["payment_failed"]
    assert one.standing.open is not None
    assert one.standing.open.attempts == 2


def test_a_paused_subscription_whose_last_date_passes_is_completed() -> None:
    one = fresh(cycles=3)
    one.outcome("paid")
    one.wish(Pause())
    told = one.wake()
    assert words(told) == ["period_skipped", "completed"]
    assert one.now == datetime(2026, 3, 31, 5, 0, tzinfo=UTC)


def test_canceled_now_its_bill_is_withdrawn_but_may_still_be_paid() -> None:
    for kind, state in (("canceled", PeriodState.SKIPPED), ("paid", PeriodState.PAID)):
        one = fresh()
        one.wish(Cancel())
        assert one.next == Withdraw(ref=ChargeRef(number=1, charge=1))
        one.outcome(kind)
        assert (state_of(one), one.books[1], next_of(one)) == (State.CANCELED, state, Over())


def test_canceled_at_the_periods_end_it_bills_no_more_and_ends_there() -> None:
    one = fresh()
    one.outcome("paid")
    assert one.wish(Cancel(at_period_end=True))
    assert one.told[-1].what is Tell.PAYMENT_SUCCEEDED
    assert due(one) == []
    assert one.wake() == [Told(what=Tell.CANCELED)]
    assert one.now == datetime(2026, 2, 28, 5, 0, tzinfo=UTC)
    assert list(one.books) == [1]


def test_a_pause_does_not_outlast_a_cancellation_at_the_periods_end() -> None:
    one = fresh()
    one.outcome("paid")
    one.wish(Cancel(at_period_end=True))
    one.wish(Pause())
    assert one.wake() == [Told(what=Tell.CANCELED)]
    assert one.now == datetime(2026, 2, 28, 5, 0, tzinfo=UTC)
    assert (state_of(one), list(one.books)) == (State.CANCELED, [1])


def test_a_cancellation_at_the_periods_end_can_be_taken_back() -> None:
    one = fresh()
    one.outcome("paid")
    one.wish(Cancel(at_period_end=True))
    assert one.wish(Resume())
    one.wake()
    assert one.live == ChargeRef(number=2, charge=1)


def test_dunning_goes_on_until_the_periods_end() -> None:
    one = fresh(dunning=Dunning(retry_interval_hours=24 * 20))
    one.outcome("expired")
    one.wish(Cancel(at_period_end=True))
    one.wake()
    one.outcome("expired")
    assert words(one.wake()) == ["canceled", "period_skipped"]
    assert one.why == {1: SkipReason.CANCELED}


def test_billed_now_the_next_period_is_not_billed_again_at_its_date() -> None:
    one = fresh()
    one.outcome("paid")
    assert one.wish(BillNow())
    assert one.live == ChargeRef(number=2, charge=1)
    one.outcome("paid")
    assert one.next == Wait(until=datetime(2026, 3, 31, 5, 0, tzinfo=UTC))
    assert not one.wish(BillNow())
    assert refusal(one.standing, BillNow(), one.now) is Refusal.BILLED_AHEAD
    one.now = datetime(2026, 2, 28, 5, 0, tzinfo=UTC)
    assert one.wish(BillNow())


def test_billed_now_an_open_period_gets_its_retry_at_once() -> None:
    one = fresh()
    one.outcome("expired")
    assert one.wish(BillNow())
    assert one.live == ChargeRef(number=1, charge=2)
    assert refusal(one.standing, BillNow(), one.now) is Refusal.CHARGE_IN_FLIGHT


def test_a_skipped_period_is_told_and_the_one_after_it_is_next() -> None:
    one = fresh()
    one.outcome("paid")
    assert one.wish(SkipPeriod())
    assert one.told[-1] == Told(what=Tell.PERIOD_SKIPPED, number=2, last=2, reason=SkipReason.MERCHANT)
    assert due(one, 2) == [datetime(2026, 3, 31, 5, 0, tzinfo=UTC), datetime(2026, 4, 30, 5, 0, tzinfo=UTC)]
    assert one.next == Wait(until=due(one)[0])


def test_skipping_an_open_period_withdraws_its_bill_and_forgives_it() -> None:
    one = fresh()
    one.outcome("expired")
    one.wake()
    assert one.wish(SkipPeriod())
    assert one.next == Withdraw(ref=ChargeRef(number=1, charge=2))
    one.outcome("canceled")
    assert (state_of(one), one.why) == (State.ACTIVE, {1: SkipReason.MERCHANT})


@pytest.mark.parametrize("kind", ["expired", "canceled", "faulted"])
def test_a_skipped_period_stays_skipped_through_a_pause(kind: str) -> None:
    one = fresh()
    one.wish(SkipPeriod())
    one.wish(Pause())
    one.wish(Resume())
    one.outcome(kind)
    assert (state_of(one), one.why, one.standing.open) == (State.ACTIVE, {1: SkipReason.MERCHANT}, None)
    assert len(one.bills) == 1


def test_a_merchant_who_cancels_the_bill_skips_its_period() -> None:
    one = fresh()
    assert words(one.outcome("canceled")) == ["period_skipped"]
    assert one.why == {1: SkipReason.MERCHANT}


def test_an_amount_holds_from_the_next_period_or_from_the_next_bill() -> None:
    dearer, cheaper = Terms(amount=2), Terms(amount=1)
    one = fresh()
    one.outcome("expired")
    one.wish(Change(terms=dearer))
    one.wake()
    one.outcome("expired")
    one.wish(Change(terms=cheaper, at_once=True))
    one.wake()
    one.outcome("paid")
    one.wish(Change(terms=dearer))
    one.wake()
    assert [bill.terms for bill in one.bills] == [TERMS, TERMS, cheaper, dearer]


def test_less_patience_holds_at_once() -> None:
    one = fresh(dunning=Dunning(max_retry_attempts=5))
    one.outcome("expired")
    one.wake()
    one.outcome("expired")
    assert one.wish(Change(dunning=Dunning(max_retry_attempts=1, grace_period_days=2)))
    assert one.told[-1] == Told(what=Tell.GRACE_PERIOD_STARTED, number=1, until=one.now + 2 * DAY)
    assert len(one.bills) == 2


def test_another_day_begins_after_the_paid_time() -> None:
    one = fresh()
    one.outcome("paid")
    assert one.wish(Change(plan=Plan(day=15)))
    assert due(one, 2) == [datetime(2026, 3, 15, 5, 0, tzinfo=UTC), datetime(2026, 4, 15, 5, 0, tzinfo=UTC)]
    one.wake()
    assert one.live == ChargeRef(number=2, charge=1)


def test_another_day_before_anything_was_billed_counts_from_the_start() -> None:
    one = Subscriber(begin(START + 40 * DAY, Plan(), TERMS), START)
    one.happen(TimeReached())
    one.wish(Change(plan=Plan(day=12)))
    assert due(one) == [datetime(2026, 3, 12, 5, 0, tzinfo=UTC)]


def test_a_faulted_period_and_another_rhythm_meet_without_harm() -> None:
    one = fresh(BillingPeriod.DAILY)
    one.outcome("faulted")
    one.wish(Change(plan=Plan(period=BillingPeriod.WEEKLY)))
    one.sleep(1 * DAY + HOUR)
    assert one.why == {1: SkipReason.OUTAGE}
    assert one.live == ChargeRef(number=2, charge=1)
    one.settle()


def test_fewer_cycles_than_were_billed_complete_it() -> None:
    one = fresh()
    one.outcome("paid")
    one.wish(Change(plan=Plan(total_cycles=1)))
    assert state_of(one) is State.COMPLETED


def test_the_last_period_completes_it() -> None:
    one = fresh(cycles=2)
    one.outcome("paid")
    one.wake()
    assert words(one.outcome("paid")) == ["payment_succeeded", "completed"]
    assert one.next == Over()


def test_a_bill_is_withdrawn_once() -> None:
    one = fresh()
    one.wish(Cancel())
    assert one.sleep(HOUR) == []
    assert one.next == Wait()


def test_canceled_now_what_waited_behind_an_open_period_is_skipped() -> None:
    one = fresh(BillingPeriod.DAILY)
    one.sleep(3 * DAY)
    one.wish(Cancel())
    assert one.why == dict.fromkeys((2, 3, 4), SkipReason.CANCELED)


def test_another_rhythm_skips_what_waited_behind_an_open_period() -> None:
    one = fresh(BillingPeriod.DAILY)
    one.sleep(3 * DAY)
    one.wish(Change(plan=Plan(period=BillingPeriod.WEEKLY)))
    assert one.why == dict.fromkeys((2, 3, 4), SkipReason.EARLIER_OPEN)
    assert due(one) == [START + 4 * DAY]


@pytest.mark.parametrize(
    "plan", [Plan(total_cycles=9), Plan(ends_at=START + 9 * DAY), Plan()], ids=["cycles", "end", "none"]
)
def test_other_limits_alone_skip_nothing_that_waited_behind_an_open_period(plan: Plan) -> None:
    one = fresh(BillingPeriod.DAILY, cycles=30)
    one.sleep(3 * DAY)
    one.wish(Change(plan=msgspec.structs.replace(plan, period=BillingPeriod.DAILY)))
    one.outcome("paid")
    assert one.why == dict.fromkeys((2, 3), SkipReason.EARLIER_OPEN)
    assert one.live == ChargeRef(number=4, charge=1)


def test_another_day_before_the_first_bill_never_lies_in_the_past() -> None:
    one = Subscriber(begin(START, Plan(day=15), TERMS), START)
    one.happen(TimeReached())
    one.now += 10 * DAY
    one.wish(Change(plan=Plan(day=5)))
    assert due(one) == [datetime(2026, 3, 5, 5, 0, tzinfo=UTC)]
    assert one.live is None


def test_the_preview_of_a_paused_one_begins_now() -> None:
    one = fresh(BillingPeriod.DAILY)
    one.outcome("paid")
    one.wish(Pause())
    one.now += 10 * DAY + HOUR
    assert due(one) == [START + 11 * DAY]
