"""The judge lets subscriptions that are right pass, and finds each crime against one by itself."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from domain.invoice import Kind, bank_reference
from tests.torture.trial import BEGAN, asked, bank_bill, clean, event, invoice
from torture.evidence import (
    ActRow,
    BankBill,
    DeliveryRow,
    Done,
    Evidence,
    Heard,
    InvoiceRow,
    OpenRow,
    PeriodRow,
    SubscriptionRow,
)
from torture.judge import judge
from torture.verdict import Crime

SUB = f"sub_{'s' * 26}"
FIRST, LATE, SECOND = (f"inv_{letter * 26}" for letter in "klm")
ACTIONS = "subscriptions."


def subscribed() -> Evidence:
    """Period 1 was missed; 2 expired, was billed again at once, and paid; 3 expired and waits for its next bill."""
    evidence = clean()
    evidence.subscriptions = [
        SubscriptionRow(
            id=SUB,
            state="past_due",
            next=4,
            sequence=4,
            open=OpenRow(number=3, charge=1, phase="waiting", unknown=False, overdue=False),
        )
    ]
    states = {1: "skipped", 2: "paid", 3: "billing"}
    evidence.periods = [PeriodRow(subscription_id=SUB, number=number, state=state) for number, state in states.items()]
    evidence.invoices += [
        bill(FIRST, 2, 1, state="expired", bank_payment_id=11),
        bill(LATE, 2, 2, state="paid", bank_payment_id=12),
        bill(SECOND, 3, 1, state="expired", bank_payment_id=13),
    ]
    evidence.bank_bills += [
        at_bank(11, FIRST, 0),
        at_bank(12, LATE, 10, payments=1, paid_at=BEGAN + timedelta(seconds=20)),
        at_bank(13, SECOND, 30),
    ]
    evidence.events += [
        event(10, SUB, 1, type="subscription.period_skipped", state="active", number=1, last=1),
        event(11, SUB, 2, type="subscription.payment_failed", state="past_due", number=2, charge=1),
        event(12, SUB, 3, type="subscription.payment_succeeded", state="active", number=2, charge=2),
        event(13, SUB, 4, type="subscription.payment_failed", state="past_due", number=3, charge=1),
        event(14, FIRST, 1, state="expired"),
        event(15, LATE, 1, state="paid"),
        event(16, SECOND, 1, state="expired"),
    ]
    for number in range(10, 17):
        evidence.deliveries.append(DeliveryRow(event_id=f"evt_{number}", state="delivered", body=b"%d" % number))
        evidence.heard.append(Heard(event_id=f"evt_{number}", body=b"%d" % number, wrong=None))
    evidence.asked += [
        asked("sub", "subscriptions", SUB, (503, "engine_unavailable"), (201, None)),
        asked("now-1", f"{ACTIONS}bill-now", SUB, (409, "charge_in_flight")),
        asked("now-2", f"{ACTIONS}bill-now", SUB, (None, None), (200, None)),
        asked("now-3", f"{ACTIONS}bill-now", SUB, (200, None)),
    ]
    evidence.acts = [ActRow(subscription_id=SUB, action="subscription.bill_now", times=2)]
    return evidence


def bill(invoice_id: str, number: int, charge: int, **fields: object) -> InvoiceRow:
    of = {"subscription_id": SUB, "subscription_period": number, "subscription_charge": charge}
    return invoice(invoice_id, Kind.PHONE, 700, **of, **fields)


def at_bank(number: int, invoice_id: str, after: int, **fields: object) -> BankBill:
    made = BEGAN + timedelta(seconds=after)
    return bank_bill(
        number, "remote", 700, comment=f"· {bank_reference(invoice_id)}", **({"created_at": made} | fields)
    )


def crimes(evidence: Evidence) -> set[Crime]:
    return {one.crime for one in judge(evidence).violations}


def subscription(evidence: Evidence, **changes: object) -> None:
    evidence.subscriptions[0] = replace(evidence.subscriptions[0], **changes)


def spoil_event(evidence: Evidence, number: int, /, **changes: object) -> None:
    place = next(place for place, one in enumerate(evidence.events) if one.id == f"evt_{number}")
    evidence.events[place] = replace(evidence.events[place], **changes)


def period(evidence: Evidence, number: int, state: str) -> None:
    evidence.periods[number - 1] = replace(evidence.periods[number - 1], state=state)


def paid_twice_silently(evidence: Evidence) -> None:
    paid_twice_and_told(evidence)
    spoil_event(evidence, 17, paid=None)


def billed_though_it_was_paid(evidence: Evidence) -> None:
    paid_twice_and_told(evidence)
    evidence.done.clear()


def two_bills_that_can_be_paid(evidence: Evidence) -> None:
    evidence.invoices[2] = replace(evidence.invoices[2], state="processing", attention="kaspi_unknown_status")
    evidence.invoices[3] = replace(evidence.invoices[3], state="pending", attention="kaspi_unknown_status")
    for place in (2, 3):
        evidence.bank_bills[place] = replace(evidence.bank_bills[place], open=True, payments=0, paid_at=None)


def period_without_a_decision(evidence: Evidence) -> None:
    del evidence.periods[0]


def period_before_its_turn(evidence: Evidence) -> None:
    evidence.periods.append(PeriodRow(subscription_id=SUB, number=4, state="upcoming"))


def skipped_silently(evidence: Evidence) -> None:
    spoil_event(evidence, 10, type="subscription.paused")


def skipped_twice(evidence: Evidence) -> None:
    spoil_event(evidence, 10, last=2)
    spoil_event(evidence, 11, type="subscription.period_skipped", number=1, last=1)


def paid_only_in_the_period(evidence: Evidence) -> None:
    period(evidence, 3, "paid")
    subscription(evidence, open=None, state="active")


def money_the_period_does_not_know(evidence: Evidence) -> None:
    period(evidence, 2, "skipped")


def nobody_sees_to_it(evidence: Evidence) -> None:
    subscription(evidence, open=None)


def waits_too_long(evidence: Evidence) -> None:
    assert evidence.subscriptions[0].open is not None
    subscription(evidence, open=replace(evidence.subscriptions[0].open, overdue=True))


def follows_a_bill_that_has_ended(evidence: Evidence) -> None:
    assert evidence.subscriptions[0].open is not None
    subscription(evidence, open=replace(evidence.subscriptions[0].open, phase="live"))


def payment_told_twice(evidence: Evidence) -> None:
    spoil_event(evidence, 13, type="subscription.payment_succeeded", number=2, charge=2)


def payment_not_told(evidence: Evidence) -> None:
    spoil_event(evidence, 12, type="subscription.resumed")


def failure_of_a_bill_that_never_was(evidence: Evidence) -> None:
    spoil_event(evidence, 13, charge=2)


def gap_in_the_sequence(evidence: Evidence) -> None:
    subscription(evidence, sequence=5)


def back_from_the_end(evidence: Evidence) -> None:
    spoil_event(evidence, 11, state="completed")


def nobody_heard_of_the_end(evidence: Evidence) -> None:
    subscription(evidence, state="canceled")


def skipped_though_refused(evidence: Evidence) -> None:
    evidence.acts.append(ActRow(subscription_id=SUB, action="subscription.skip_period", times=1))


def answered_and_not_done(evidence: Evidence) -> None:
    evidence.acts[0] = replace(evidence.acts[0], times=1)


def two_for_one_key(evidence: Evidence) -> None:
    made = evidence.asked[-4]
    made.exchanges.append(replace(made.exchanges[-1], made=f"sub_{'t' * 26}"))


CASES: list[tuple[Callable[[Evidence], None], set[Crime]]] = [
    (paid_twice_silently, {Crime.DOUBLE_CHARGE}),
    (billed_though_it_was_paid, {Crime.DOUBLE_CHARGE}),
    (period_without_a_decision, {Crime.LOST_PERIOD}),
    (period_before_its_turn, {Crime.LOST_PERIOD}),
    (skipped_silently, {Crime.LOST_PERIOD}),
    (skipped_twice, {Crime.MISSING_EVENT}),
    (paid_only_in_the_period, {Crime.LOST_PERIOD}),
    (money_the_period_does_not_know, {Crime.LOST_PERIOD}),
    (nobody_sees_to_it, {Crime.LOST_PERIOD}),
    (waits_too_long, {Crime.UNSETTLED}),
    (follows_a_bill_that_has_ended, {Crime.UNSETTLED}),
    (payment_told_twice, {Crime.MISSING_EVENT}),
    (payment_not_told, {Crime.MISSING_EVENT}),
    (failure_of_a_bill_that_never_was, {Crime.MISSING_EVENT}),
    (gap_in_the_sequence, {Crime.MISSING_EVENT}),
    (back_from_the_end, {Crime.MISSING_EVENT}),
    (nobody_heard_of_the_end, {Crime.MISSING_EVENT}),
    (skipped_though_refused, {Crime.BOOKS_DIFFER}),
    (answered_and_not_done, {Crime.BOOKS_DIFFER}),
    (two_for_one_key, {Crime.DOUBLE_CHARGE, Crime.LOST_PERIOD}),
]


def test_subscriptions_that_are_right_pass() -> None:
    verdict = judge(subscribed())
    assert verdict.violations == []
    assert verdict.figures["periods"] == "3 (billing 1, paid 1, skipped 1)"
    assert verdict.figures["bills of subscriptions"] == "3"


@pytest.mark.parametrize(("spoil", "found"), CASES, ids=[spoil.__name__ for spoil, _ in CASES])
def test_each_crime_is_found(spoil: Callable[[Evidence], None], found: set[Crime]) -> None:
    evidence = subscribed()
    spoil(evidence)
    assert crimes(evidence) == found


def test_two_bills_of_a_period_that_can_be_paid_are_found() -> None:
    evidence = subscribed()
    two_bills_that_can_be_paid(evidence)
    assert any("several bills that can be paid" in one.what for one in judge(evidence).violations)


def paid_twice_and_told(evidence: Evidence) -> None:
    """The payer paid the first bill of period 2 late, and the second all the same."""
    evidence.invoices[2] = replace(evidence.invoices[2], state="paid")
    evidence.bank_bills[2] = replace(evidence.bank_bills[2], payments=1, paid_at=BEGAN + timedelta(seconds=5))
    evidence.done.append(Done(purchase_id=11, deed="late", at=BEGAN + timedelta(seconds=5)))
    spoil_event(evidence, 14, state="paid")
    subscription(evidence, sequence=5)
    evidence.events.append(
        event(17, SUB, 5, type="subscription.payment_succeeded", state="past_due", number=2, charge=1, paid="twice")
    )
    evidence.deliveries.append(DeliveryRow(event_id="evt_17", state="delivered", body=b"17"))
    evidence.heard.append(Heard(event_id="evt_17", body=b"17", wrong=None))


def test_a_period_that_is_paid_twice_and_told_so_is_no_crime() -> None:
    evidence = subscribed()
    paid_twice_and_told(evidence)
    assert crimes(evidence) == set()


def test_an_unknown_outcome_is_allowed_where_the_subscription_knows_of_it() -> None:
    evidence = subscribed()
    doubt = replace(evidence.invoices[4], state="processing", attention="kaspi_outcome_unknown", bank_payment_id=None)
    evidence.invoices[4] = doubt
    subscription(evidence, open=OpenRow(number=3, charge=1, phase="live", unknown=True, overdue=False), state="active")
    evidence.events = [one for one in evidence.events if one.id not in {"evt_13", "evt_16"}]
    for event_id in ("evt_13", "evt_16"):
        evidence.deliveries = [one for one in evidence.deliveries if one.event_id != event_id]
        evidence.heard = [one for one in evidence.heard if one.event_id != event_id]
    subscription(evidence, sequence=3)
    allowed = {one.what for one in judge(evidence).violations}
    assert not any(SUB in what for what in allowed)
    subscription(evidence, open=OpenRow(number=3, charge=1, phase="live", unknown=False, overdue=False))
    assert any(SUB in one.what and one.crime is Crime.BOOKS_DIFFER for one in judge(evidence).violations)
