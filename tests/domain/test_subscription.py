from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from domain import invoice
from domain.billing_calendar import BillingPeriod
from domain.subscription import (
    CLOSED,
    REMEMBERED,
    TRANSITIONS,
    BillNow,
    Cancel,
    Change,
    ChargeCanceled,
    ChargeFailed,
    ChargeFaulted,
    ChargeIssued,
    ChargePaid,
    ChargeRef,
    Dunning,
    MissedPolicy,
    Over,
    PaidHow,
    Pause,
    PeriodState,
    Resume,
    SkipPeriod,
    SkipReason,
    State,
    Tell,
    Told,
    Wait,
    Withdraw,
    fault_gap,
)
from domain.subscription_rules import outcome_of, refusal
from tests.domain.subscriptions import DAY, HOUR, START, fresh, state_of, words

# Dunning.


def test_a_paid_period_is_told_and_the_next_one_is_waited_for() -> None:
    one = fresh()
    assert one.outcome("paid") == [Told(what=Tell.PAYMENT_SUCCEEDED, number=1, charge=1)]
    assert one.next == Wait(until=datetime(2026, 2, 28, 5, 0, tzinfo=UTC))
    assert (state_of(one), one.books) == (State.ACTIVE, {1: PeriodState.PAID})


def test_an_unpaid_period_is_billed_again_then_has_grace_then_expires() -> None:
    one = fresh(dunning=Dunning(max_retry_attempts=2, retry_interval_hours=36, grace_period_days=2))
    assert one.outcome("expired") == [
        Told(what=Tell.PAYMENT_FAILED, number=1, charge=1, attempt=1, until=START + 36 * HOUR)
    ]
    assert state_of(one) is State.PAST_DUE
    assert one.wake() == []
    assert one.now == START + 36 * HOUR
    told = one.outcome("declined")
    assert told == [
        Told(what=Tell.PAYMENT_FAILED, number=1, charge=2, attempt=2, declined=True, until=START + 72 * HOUR)
    ]
    one.wake()
    told = one.outcome("expired")
    end = one.now + 2 * DAY
    assert told == [
        Told(what=Tell.PAYMENT_FAILED, number=1, charge=3, attempt=3),
        Told(what=Tell.GRACE_PERIOD_STARTED, number=1, until=end),
    ]
    assert state_of(one) is State.PAST_DUE
    assert one.wake() == [Told(what=Tell.EXPIRED, number=1)]
    assert one.now == end
    assert one.next == Over()
    assert (state_of(one), one.books[1]) == (State.EXPIRED, PeriodState.FAILED)
    assert len(one.bills) == 3


def test_without_retries_and_grace_the_first_failure_expires_it() -> None:
    one = fresh(dunning=Dunning(max_retry_attempts=0, grace_period_days=0))
    assert words(one.outcome("declined")) == ["payment_failed", "expired"]
    assert state_of(one) is State.EXPIRED


def test_payment_of_a_retry_brings_it_back() -> None:
    one = fresh()
    one.outcome("expired")
    one.wake()
    assert one.outcome("paid") == [Told(what=Tell.PAYMENT_SUCCEEDED, number=1, charge=2)]
    assert state_of(one) is State.ACTIVE
    assert one.next == Wait(until=datetime(2026, 2, 28, 5, 0, tzinfo=UTC))


def test_faults_burn_nothing_and_change_no_state_however_many() -> None:
    one = fresh(dunning=Dunning(max_retry_attempts=0))
    gaps = []
    for _ in range(12):
        assert one.outcome("faulted") == []
        assert state_of(one) is State.ACTIVE
        before = one.now
        one.wake()
        gaps.append((one.now - before).total_seconds() / 60)
    assert gaps == [5, 10, 20, 40, 80, 160, 320, 360, 360, 360, 360, 360]
    assert one.live == ChargeRef(number=1, charge=13)
    one.outcome("paid")
    assert one.books == {1: PeriodState.PAID}
    assert fault_gap(10_000) == timedelta(hours=6)


def test_an_unknown_outcome_is_waited_for_without_a_second_bill() -> None:
    one = fresh(BillingPeriod.DAILY)
    out = one.standing.open
    assert out is not None
    assert one.outcome("unknown") == []
    assert one.sleep(10 * DAY) == []
    assert one.standing.open == msgspec.structs.replace(out, unknown=True)
    one.happen(ChargeIssued(ref=out.ref))
    assert one.standing.open == out
    assert one.next == Wait()
    assert len(one.bills) == 1
    told = one.outcome("paid")
    assert words(told) == ["payment_succeeded", "period_skipped"]
    assert told[1] == Told(what=Tell.PERIOD_SKIPPED, number=2, last=10, reason=SkipReason.EARLIER_OPEN)
    assert one.live == ChargeRef(number=11, charge=1)


def test_a_bill_that_is_found_after_all_is_waited_for_as_any_other() -> None:
    one = fresh(BillingPeriod.DAILY)
    one.outcome("unknown")
    doubted = one.standing.open
    assert one.outcome("issued") == []
    found = one.standing.open
    assert doubted is not None
    assert found is not None
    assert (doubted.unknown, found.unknown) == (True, False)
    assert one.next == Wait()
    assert words(one.outcome("expired")) == ["payment_failed"]
    assert len(one.bills) == 1


def test_a_bank_that_is_away_for_days_is_an_outage_to_the_payer() -> None:
    one = fresh(BillingPeriod.DAILY)
    one.outcome("faulted")
    while one.now < START + 3 * DAY:
        one.wake()
        one.outcome("faulted")
    assert {one.why[number] for number in (1, 2, 3)} == {SkipReason.OUTAGE}
    assert one.books[4] is PeriodState.BILLING


def test_a_fault_of_the_bill_in_the_grace_leaves_the_grace() -> None:
    one = fresh(dunning=Dunning(max_retry_attempts=0, grace_period_days=5))
    one.outcome("declined")
    assert one.wish(BillNow())
    assert one.outcome("faulted") == []
    assert one.next == Wait(until=START + 5 * DAY)


def test_the_merchants_extra_bill_in_the_grace_burns_nothing_and_can_save_it() -> None:
    one = fresh(dunning=Dunning(max_retry_attempts=0, grace_period_days=5))
    one.outcome("declined")
    assert one.wish(BillNow())
    told = one.outcome("expired")
    assert told == [Told(what=Tell.PAYMENT_FAILED, number=1, charge=2, attempt=1, until=START + 5 * DAY)]
    assert one.next == Wait(until=START + 5 * DAY)
    assert one.wish(BillNow())
    assert words(one.outcome("paid")) == ["payment_succeeded"]
    assert state_of(one) is State.ACTIVE


def test_a_grace_that_ends_while_an_extra_bill_is_out_waits_for_it() -> None:
    one = fresh(dunning=Dunning(max_retry_attempts=0, grace_period_days=1))
    one.outcome("declined")
    one.wish(BillNow())
    assert one.sleep(2 * DAY) == []
    assert words(one.outcome("expired")) == ["payment_failed", "expired"]


def test_while_a_period_is_open_newer_ones_wait_and_only_the_newest_is_billed_then() -> None:
    one = fresh(BillingPeriod.DAILY, Dunning(retry_interval_hours=72))
    one.outcome("expired")
    one.wake()
    assert one.now == START + 3 * DAY
    told = one.outcome("paid")
    assert told[1:] == [Told(what=Tell.PERIOD_SKIPPED, number=2, last=3, reason=SkipReason.EARLIER_OPEN)]
    assert one.live == ChargeRef(number=4, charge=1)


# Missed periods.


@pytest.mark.parametrize(("policy", "billed"), [(MissedPolicy.NEWEST, 5), (MissedPolicy.NONE, None)])
def test_an_outage_over_three_periods(policy: MissedPolicy, billed: int | None) -> None:
    one = fresh(BillingPeriod.DAILY, Dunning(missed=policy))
    one.outcome("paid")
    told = one.sleep(4 * DAY + HOUR)
    last = 4 if billed else 5
    assert told == [Told(what=Tell.PERIOD_SKIPPED, number=2, last=last, reason=SkipReason.OUTAGE)]
    assert (one.live and one.live.number) == billed
    if billed is None:
        assert one.next == Wait(until=START + 5 * DAY)


def test_an_outage_shorter_than_a_period_skips_nothing_under_either_policy() -> None:
    for policy in MissedPolicy:
        one = fresh(dunning=Dunning(missed=policy))
        one.outcome("paid")
        assert one.sleep(40 * DAY) == []
        assert one.live == ChargeRef(number=2, charge=1)


def test_ten_years_away_are_one_event_and_one_bill() -> None:
    one = fresh(BillingPeriod.DAILY)
    one.outcome("paid")
    assert len(one.sleep(3650 * DAY)) == 1
    assert len(one.bills) == 2


def test_a_retry_that_faults_stays_with_the_period_the_payer_knows() -> None:
    one = fresh(BillingPeriod.DAILY, Dunning(retry_interval_hours=1))
    one.outcome("expired")
    while one.now < START + 2 * DAY:
        one.wake()
        one.outcome("faulted")
    one.wake()
    assert one.live is not None
    assert one.live.number == 1


def test_what_fell_due_behind_a_period_that_expired_is_skipped() -> None:
    one = fresh(BillingPeriod.DAILY, Dunning(max_retry_attempts=0, grace_period_days=3))
    one.outcome("expired")
    assert one.wake() == [
        Told(what=Tell.EXPIRED, number=1),
        Told(what=Tell.PERIOD_SKIPPED, number=2, last=4, reason=SkipReason.EARLIER_OPEN),
    ]


def test_under_the_policy_none_a_period_that_faults_kept_back_is_missed_too() -> None:
    one = fresh(BillingPeriod.DAILY, Dunning(missed=MissedPolicy.NONE))
    one.outcome("faulted")
    one.sleep(DAY)
    assert one.why == {1: SkipReason.OUTAGE, 2: SkipReason.OUTAGE}
    assert one.next == Wait(until=START + 2 * DAY)


# Late money.


def test_money_for_an_expired_bill_pays_the_period_and_withdraws_the_bill_that_is_out() -> None:
    one = fresh()
    one.outcome("expired")
    one.wake()
    told = one.late(ChargeRef(number=1, charge=1))
    assert told == [Told(what=Tell.PAYMENT_SUCCEEDED, number=1, charge=1, paid=PaidHow.LATE)]
    assert state_of(one) is State.ACTIVE
    assert one.next == Withdraw(ref=ChargeRef(number=1, charge=2))
    assert one.outcome("canceled") == []
    assert one.standing.open is None
    one.settle()


def test_where_both_bills_were_paid_the_merchant_is_told_so() -> None:
    one = fresh()
    one.outcome("expired")
    one.wake()
    one.late(ChargeRef(number=1, charge=1))
    told = one.outcome("paid")
    assert told == [Told(what=Tell.PAYMENT_SUCCEEDED, number=1, charge=2, paid=PaidHow.TWICE)]
    assert one.standing.open is None
    one.settle()


def test_hearing_of_a_payment_twice_is_hearing_of_it_once() -> None:
    one = fresh()
    one.outcome("paid")
    assert one.happen(ChargePaid(ref=ChargeRef(number=1, charge=1))) == []


def test_of_payments_older_than_its_memory_it_says_that_it_cannot_tell() -> None:
    one = fresh(BillingPeriod.DAILY)
    for _ in range(REMEMBERED):
        one.outcome("paid")
        one.wake()
    assert one.happen(ChargePaid(ref=ChargeRef(number=1, charge=1))) == []
    one.outcome("paid")
    told = one.happen(ChargePaid(ref=ChargeRef(number=1, charge=1)))
    assert told == [Told(what=Tell.PAYMENT_SUCCEEDED, number=1, charge=1, paid=PaidHow.UNCLEAR)]
    one.settle()


def test_late_money_brings_an_expired_subscription_back_without_a_burst() -> None:
    one = fresh(BillingPeriod.DAILY, Dunning(max_retry_attempts=0, grace_period_days=0))
    one.outcome("expired")
    assert state_of(one) is State.EXPIRED
    one.now += 3 * DAY + HOUR
    told = one.late(ChargeRef(number=1, charge=1))
    assert told == [
        Told(what=Tell.PAYMENT_SUCCEEDED, number=1, charge=1, paid=PaidHow.LATE),
        Told(what=Tell.PERIOD_SKIPPED, number=2, last=4, reason=SkipReason.EXPIRED),
    ]
    assert state_of(one) is State.ACTIVE
    assert one.next == Wait(until=START + 4 * DAY)
    one.settle()


def test_late_money_does_not_bring_a_canceled_one_back() -> None:
    one = fresh(dunning=Dunning(max_retry_attempts=0, grace_period_days=0))
    one.outcome("expired")
    assert one.wish(Cancel())
    assert words(one.late(ChargeRef(number=1, charge=1))) == ["payment_succeeded"]
    assert state_of(one) is State.CANCELED
    assert one.books[1] is PeriodState.PAID


def test_late_money_for_another_period_does_not_bring_an_expired_one_back() -> None:
    one = fresh(dunning=Dunning(max_retry_attempts=0, grace_period_days=0))
    one.outcome("canceled")
    one.wake()
    one.outcome("expired")
    assert words(one.late(ChargeRef(number=1, charge=1))) == ["payment_succeeded"]
    assert state_of(one) is State.EXPIRED
    assert one.books == {1: PeriodState.PAID, 2: PeriodState.FAILED}


def test_money_for_a_bill_that_never_was_is_no_payment() -> None:
    with pytest.raises(ValueError, match="never billed"):
        fresh().happen(ChargePaid(ref=ChargeRef(number=2, charge=1)))


@pytest.mark.parametrize("kind", [ChargeFailed, ChargeFaulted, ChargeCanceled])
def test_news_of_an_older_bill_change_nothing(
    kind: type[ChargeFailed] | type[ChargeFaulted] | type[ChargeCanceled],
) -> None:
    one = fresh()
    one.outcome("expired")
    one.wake()
    before = one.standing
    assert one.happen(kind(ref=ChargeRef(number=1, charge=1))) == []
    assert one.standing == before


ALL = [Pause(), Resume(), Cancel(), Change(), BillNow(), SkipPeriod()]


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        (State.ACTIVE, {Pause, Cancel, Change, BillNow, SkipPeriod}),
        (State.PAST_DUE, {Pause, Cancel, Change, BillNow, SkipPeriod}),
        (State.PAUSED, {Resume, Cancel, Change}),
        (State.EXPIRED, {Cancel}),
        (State.CANCELED, set()),
        (State.COMPLETED, set()),
    ],
)
def test_what_may_be_asked_for_in_which_state(state: State, allowed: set[type]) -> None:
    one = fresh(dunning=Dunning(max_retry_attempts=0, grace_period_days=9))
    if state is State.PAST_DUE:
        one.outcome("declined")
    else:
        one.outcome("paid")
    standing = msgspec.structs.replace(one.standing, state=state)
    assert {type(action) for action in ALL if refusal(standing, action, one.now) is None} == allowed


def test_only_an_expired_subscription_comes_back_from_the_closed_ones() -> None:
    assert set(TRANSITIONS) == set(State)
    assert [state for state in CLOSED if State.ACTIVE in TRANSITIONS[state]] == [State.EXPIRED]


# What an invoice says.


@pytest.mark.parametrize(
    ("state", "reason", "outcome"),
    [
        (invoice.State.PENDING, None, None),
        (invoice.State.PROCESSING, invoice.Reason.PAYER_CONFIRMING, None),
        (invoice.State.PAID, None, ChargePaid),
        (invoice.State.REFUNDED, None, ChargePaid),
        (invoice.State.EXPIRED, invoice.Reason.EXPIRED, ChargeFailed),
        (invoice.State.CANCELED, invoice.Reason.REJECTED_BY_PAYER, ChargeFailed),
        (invoice.State.CANCELED, invoice.Reason.CANCELED_AT_BANK, ChargeFailed),
        (invoice.State.CANCELED, invoice.Reason.CANCELED_BY_MERCHANT, ChargeCanceled),
        (invoice.State.FAILED, invoice.Reason.REFUSED, ChargeFailed),
        (invoice.State.FAILED, invoice.Reason.UNAVAILABLE, ChargeFaulted),
        (invoice.State.FAILED, invoice.Reason.MISCONFIGURED, ChargeFaulted),
        (invoice.State.FAILED, invoice.Reason.DECLARED_ABSENT, ChargeFaulted),
        (invoice.State.FAILED, None, ChargeFaulted),
    ],
)
def test_what_an_invoice_says_of_its_bill(
    state: invoice.State, reason: invoice.Reason | None, outcome: type | None
) -> None:
    said = outcome_of(ChargeRef(number=1, charge=1), state, reason)
    assert (None if said is None else type(said)) is outcome
    if isinstance(said, ChargeFailed):
        assert said.declined is (state is not invoice.State.EXPIRED)
