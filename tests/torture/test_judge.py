"""The judge lets a clean run pass and finds each crime by itself."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from domain.invoice import Kind, bank_reference
from tests.torture.trial import BEGAN, LINK, PHONE, REFUND, asked, bank_bill, clean, event, invoice, refund
from torture.evidence import BankCall, BankRefund, Done, Evidence, Heard, Killed
from torture.judge import judge
from torture.verdict import Crime

REFERENCE = f"· {bank_reference(PHONE)}"
OTHER = f"inv_{'d' * 26}"
SPOILT_CREATE = BankCall(at=BEGAN, call="remote/create", fault="empty", executed=True, purchase_id=None)


def crimes(evidence: Evidence) -> set[Crime]:
    return {one.crime for one in judge(evidence).violations}


def second_bill(evidence: Evidence) -> None:
    evidence.bank_bills.append(bank_bill(3, "remote", 1000, comment=REFERENCE, open=True))
    evidence.invoices[0] = replace(evidence.invoices[0], attention="kaspi_outcome_unknown")
    evidence.events[1] = replace(evidence.events[1], attention="kaspi_outcome_unknown")
    evidence.bank_calls.append(SPOILT_CREATE)


def paid_twice(evidence: Evidence) -> None:
    evidence.bank_bills[0] = replace(evidence.bank_bills[0], payments=2)


def two_invoices_for_one_key(evidence: Evidence) -> None:
    evidence.asked.append(asked("bill", "invoices", PHONE, (201, None)))
    evidence.asked[-1].exchanges.append(replace(evidence.asked[1].exchanges[0], made=LINK))


def issued_although_refused(evidence: Evidence) -> None:
    evidence.asked[0] = asked("bill", "invoices", PHONE, (None, None), (503, "engine_unavailable"))


def orphan_of_a_refused_link_was_paid(evidence: Evidence) -> None:
    evidence.asked[1] = asked("link", "qr", LINK, (502, "kaspi_unavailable"))
    evidence.bank_bills[1] = replace(evidence.bank_bills[1], payments=1)


def refunded_twice(evidence: Evidence) -> None:
    evidence.bank_refunds.append(BankRefund(id=8, purchase_id=1, amount_tiyn=300, source="api"))


def failed_refund_was_executed(evidence: Evidence) -> None:
    evidence.refunds.append(refund(f"ref_{'e' * 26}", 55, state="failed"))
    evidence.bank_refunds.append(BankRefund(id=8, purchase_id=1, amount_tiyn=55, source="api"))


def refused_refund_exists(evidence: Evidence) -> None:
    evidence.asked[2] = asked("back", "refunds", REFUND, (409, "refund_exceeds_available"))


def payment_unknown_here(evidence: Evidence) -> None:
    evidence.bank_bills.append(bank_bill(3, "remote", 1, comment="· T-zzzzzzzzzz", payments=1))


def payment_not_booked(evidence: Evidence) -> None:
    evidence.bank_bills[1] = replace(evidence.bank_bills[1], payments=1)


def bill_forgotten(evidence: Evidence) -> None:
    evidence.invoices[0] = replace(evidence.invoices[0], state="failed", bank_payment_id=None)


def answer_without_a_row(evidence: Evidence) -> None:
    evidence.asked.append(asked("gone", "invoices", OTHER, (201, None)))


def nobody_was_told(evidence: Evidence) -> None:
    evidence.heard = [one for one in evidence.heard if one.event_id != "evt_3"]


def end_without_an_event(evidence: Evidence) -> None:
    evidence.events = [one for one in evidence.events if one.id != "evt_3"]


def refund_without_an_event(evidence: Evidence) -> None:
    evidence.events = [one for one in evidence.events if one.object_id != REFUND]


def forged(evidence: Evidence) -> None:
    evidence.heard[0] = replace(evidence.heard[0], wrong="no signature by this secret matches")


def other_bytes(evidence: Evidence) -> None:
    evidence.heard.append(Heard(event_id="evt_1", body=b"1 again", wrong=None))


def dead_delivery(evidence: Evidence) -> None:
    evidence.deliveries[0] = replace(evidence.deliveries[0], state="dead")


def backwards(evidence: Evidence) -> None:
    evidence.events[0] = replace(evidence.events[0], state="refunded")


def other_amount(evidence: Evidence) -> None:
    evidence.bank_bills[0] = replace(evidence.bank_bills[0], amount_tiyn=1001)


def paid_only_here(evidence: Evidence) -> None:
    evidence.bank_bills[0] = replace(evidence.bank_bills[0], payments=0)


def expired_and_payable(evidence: Evidence) -> None:
    evidence.bank_bills[1] = replace(evidence.bank_bills[1], open=True)


def completed_only_here(evidence: Evidence) -> None:
    evidence.bank_refunds.clear()


def sum_of_refunds_is_wrong(evidence: Evidence) -> None:
    evidence.invoices[0] = replace(evidence.invoices[0], refunded=299)


def left_open(evidence: Evidence) -> None:
    evidence.invoices[1] = replace(evidence.invoices[1], state="pending")


def refund_left_open(evidence: Evidence) -> None:
    evidence.refunds[0] = replace(evidence.refunds[0], state="processing")
    evidence.invoices[0] = replace(evidence.invoices[0], refunded=0, refund_pending=300)


def doubt_without_a_cause(evidence: Evidence) -> None:
    evidence.invoices[0] = replace(evidence.invoices[0], attention="kaspi_outcome_unknown")
    evidence.events[1] = replace(evidence.events[1], attention="kaspi_outcome_unknown")


def server_error(evidence: Evidence) -> None:
    evidence.asked.append(asked("oops", "invoices", OTHER, (500, "internal_error")))


def defect_in_a_log(evidence: Evidence) -> None:
    evidence.defects.append("worker │ Failed activation on workflow")


CASES: list[tuple[Callable[[Evidence], None], set[Crime]]] = [
    (second_bill, {Crime.DOUBLE_CHARGE}),
    (paid_twice, {Crime.DOUBLE_CHARGE}),
    (two_invoices_for_one_key, {Crime.DOUBLE_CHARGE}),
    (issued_although_refused, {Crime.DOUBLE_CHARGE}),
    (orphan_of_a_refused_link_was_paid, {Crime.DOUBLE_CHARGE, Crime.LOST_PAYMENT}),
    (refunded_twice, {Crime.DOUBLE_REFUND}),
    (failed_refund_was_executed, {Crime.DOUBLE_REFUND, Crime.MISSING_EVENT}),
    (refused_refund_exists, {Crime.DOUBLE_REFUND}),
    (payment_unknown_here, {Crime.LOST_PAYMENT}),
    (payment_not_booked, {Crime.LOST_PAYMENT}),
    (bill_forgotten, {Crime.LOST_PAYMENT, Crime.BOOKS_DIFFER, Crime.MISSING_EVENT}),
    (answer_without_a_row, {Crime.LOST_PAYMENT}),
    (nobody_was_told, {Crime.MISSING_EVENT}),
    (end_without_an_event, {Crime.MISSING_EVENT}),
    (refund_without_an_event, {Crime.MISSING_EVENT}),
    (forged, {Crime.MISSING_EVENT}),
    (other_bytes, {Crime.MISSING_EVENT}),
    (dead_delivery, {Crime.MISSING_EVENT}),
    (backwards, {Crime.MISSING_EVENT}),
    (other_amount, {Crime.BOOKS_DIFFER}),
    (paid_only_here, {Crime.BOOKS_DIFFER, Crime.DOUBLE_REFUND}),
    (expired_and_payable, {Crime.BOOKS_DIFFER}),
    (completed_only_here, {Crime.BOOKS_DIFFER}),
    (sum_of_refunds_is_wrong, {Crime.BOOKS_DIFFER}),
    (left_open, {Crime.UNSETTLED}),
    (refund_left_open, {Crime.UNSETTLED}),
    (doubt_without_a_cause, {Crime.UNEXPLAINED}),
    (server_error, {Crime.DEFECT}),
    (defect_in_a_log, {Crime.DEFECT}),
]


def test_a_clean_run_passes() -> None:
    verdict = judge(clean())
    assert verdict.violations == []
    assert verdict.figures["paid at the bank, tiyn"] == verdict.figures["paid here, tiyn"] == "1,000"
    assert set(verdict.counts.values()) == {0}


@pytest.mark.parametrize(("spoil", "found"), CASES, ids=[spoil.__name__ for spoil, _ in CASES])
def test_each_crime_is_found(spoil: Callable[[Evidence], None], found: set[Crime]) -> None:
    evidence = clean()
    spoil(evidence)
    assert crimes(evidence) == found


def in_doubt() -> Evidence:
    """The answer to a create was lost, and the payer has paid the bill that we can't see."""
    evidence = clean()
    evidence.invoices[0] = invoice(PHONE, Kind.PHONE, 1000, state="processing", attention="kaspi_outcome_unknown")
    evidence.bank_bills[0] = replace(evidence.bank_bills[0], refunded_tiyn=0)
    evidence.events = [event(1, PHONE, 1, state="processing", attention="kaspi_outcome_unknown"), evidence.events[2]]
    evidence.deliveries = [one for one in evidence.deliveries if one.event_id in {"evt_1", "evt_3"}]
    evidence.heard = [one for one in evidence.heard if one.event_id in {"evt_1", "evt_3"}]
    evidence.bank_refunds.clear()
    evidence.refunds.clear()
    del evidence.asked[2]
    return evidence


@pytest.mark.parametrize("cause", ["fault", "kill"])
def test_a_real_doubt_is_allowed(cause: str) -> None:
    evidence = in_doubt()
    if cause == "fault":
        evidence.bank_calls.append(SPOILT_CREATE)
    else:
        evidence.killed.append(Killed(part="worker", at=BEGAN, back_at=BEGAN + timedelta(seconds=3)))
    assert crimes(evidence) == set()
    assert judge(evidence).figures["paid at the bank, in doubt here, tiyn"] == "1,000"


def test_a_doubt_of_another_time_explains_nothing() -> None:
    evidence = in_doubt()
    evidence.bank_calls.append(replace(SPOILT_CREATE, at=BEGAN + timedelta(minutes=5)))
    assert crimes(evidence) == {Crime.UNEXPLAINED}


def test_an_orphan_of_a_link_is_no_second_charge() -> None:
    evidence = clean()
    evidence.bank_bills.append(bank_bill(3, "link", 500, external_id=LINK, open=True))
    assert crimes(evidence) == set()


def test_a_refund_in_doubt_may_have_been_executed() -> None:
    evidence = clean()
    evidence.invoices[0] = replace(evidence.invoices[0], state="paid", refunded=0, refund_pending=300)
    evidence.refunds[0] = replace(evidence.refunds[0], state="processing", attention="kaspi_outcome_unknown")
    evidence.events[1] = replace(evidence.events[1], state="paid")
    evidence.bank_calls.append(replace(SPOILT_CREATE, call="payment/return"))
    assert crimes(evidence) == set()


def test_money_back_at_the_till_is_nobodys_double_refund() -> None:
    evidence = clean()
    evidence.bank_refunds.append(BankRefund(id=9, purchase_id=1, amount_tiyn=50, source="cashier"))
    evidence.done.append(Done(purchase_id=1, deed="cashier", at=BEGAN))
    assert crimes(evidence) == set()
