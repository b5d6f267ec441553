"""What needs a human keeps its workflow until a human has settled it."""

from datetime import timedelta

import pytest

from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.invoice import Attention, Change, Kind, Reason, State
from tests.workflows.bill import Bill, NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import AMOUNT, LATE_WATCH, PAYMENT, fact
from tests.workflows.test_resolving import refusal
from workflows.invoice_messages import Resolution

BESIDE = (Attention.REFUNDED_OUTSIDE, Attention.STATUS_DIFFERS, Attention.AMOUNT_MISMATCH, Attention.PAYMENT_NOT_FOUND)


async def paid(new_bill: NewBill, kind: Kind = Kind.QR) -> Bill:
    bill = new_bill(kind)
    await bill.issue()
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID
    return bill


async def found_by_reconciliation(bill: Bill, attention: Attention) -> None:
    """As reconciliation does it: it books, then makes sure that a story runs."""
    order = bill.order
    cause = f"reconciled:{attention}"
    change = Change(invoice_id=order.invoice_id, merchant_id=order.merchant_id, cause=cause, attention=attention)
    bill.scene.book.book(change)
    await bill.stage.engine.resume_invoice(order)
    await bill.until_shown(bill.state.value, attention.value)


@pytest.mark.parametrize("attention", BESIDE)
async def test_what_reconciliation_found_starts_the_story_again_and_is_acknowledged(
    new_bill: NewBill, attention: Attention
) -> None:
    bill = await paid(new_bill)
    await found_by_reconciliation(bill, attention)
    assert await bill.acknowledged() is State.PAID
    assert bill.scene.book.attention is None
    assert (bill.entries[-1].state, bill.entries[-1].attention) == (State.PAID, None)
    assert bill.scene.decisions == [("aigul", None)]


async def test_the_same_finding_can_come_back_and_be_settled_again(new_bill: NewBill) -> None:
    bill = await paid(new_bill)
    for _ in range(2):
        bill.scene.book.attention = Attention.STATUS_DIFFERS
        await bill.stage.engine.resume_invoice(bill.order)
        assert await bill.acknowledged() is State.PAID
    causes = [cause for cause in bill.scene.causes if cause.startswith("acknowledged")]
    assert len(causes) == len(set(causes)) == 2


async def test_a_story_that_runs_hears_what_was_booked_beside_it(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await found_by_reconciliation(bill, Attention.STATUS_DIFFERS)
    assert "read books" in bill.scene.asked
    await bill.resolve(Resolution.ACKNOWLEDGE, by="aigul", note="asked the bank")
    assert bill.scene.decisions == [("aigul", "asked the bank")]
    assert await bill.shown() == ("pending", None)
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_money_is_booked_while_an_operator_is_waited_for(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    await found_by_reconciliation(bill, Attention.STATUS_DIFFERS)
    await bill.skip(LATE_WATCH * 30)
    await bill.bank_says(Verdict.PAID)
    await bill.until_shown("paid", "paid_after_close")
    assert bill.entries[-1] == Entry("paid", State.PAID, Attention.PAID_LATE, Reason.PAID_LATE)
    assert await bill.acknowledged() is State.PAID


async def test_the_status_of_a_paid_bill_settles_no_difference_of_its_sums(new_bill: NewBill) -> None:
    bill = await paid(new_bill)
    await found_by_reconciliation(bill, Attention.STATUS_DIFFERS)
    assert (await refusal(bill, Resolution.RECHECK)).code is Code.ILLEGAL_TRANSITION
    assert await bill.acknowledged() is State.PAID


async def test_another_look_settles_only_what_bank_and_books_agree_on(new_bill: NewBill) -> None:
    bill = await paid(new_bill)
    await found_by_reconciliation(bill, Attention.AMOUNT_MISMATCH)
    for odd in (
        fact(Verdict.FAILED),
        fact(Verdict.PAID, amount=AMOUNT - 1),
        fact(Verdict.PAID),
        fact(Verdict.UNKNOWN, word="Zzz"),
    ):
        bill.scene.looks.append(odd)
        await bill.resolve(Resolution.RECHECK)
        assert await bill.shown() == ("paid", Attention.AMOUNT_MISMATCH.value)
    bill.scene.looks.append(fact(Verdict.PAID, amount=AMOUNT))
    await bill.resolve(Resolution.RECHECK, by="aigul")
    assert await bill.result() is State.PAID
    assert await bill.shown() == ("paid", None)


async def test_a_closed_phone_bill_that_can_still_be_paid_does_not_agree_with_the_bank_for_a_day(
    new_bill: NewBill,
) -> None:
    bill = new_bill()
    await bill.issue()
    await bill.cancel()
    await found_by_reconciliation(bill, Attention.STATUS_DIFFERS)
    bill.scene.looks += [fact(Verdict.WAITING), fact(Verdict.WAITING)]
    await bill.resolve(Resolution.RECHECK)
    assert await bill.shown() == ("canceled", "kaspi_status_differs")
    await bill.skip(timedelta(hours=25))
    await bill.resolve(Resolution.RECHECK)
    assert await bill.result() is State.CANCELED
    assert await bill.shown() == ("canceled", None)


@pytest.mark.parametrize(
    ("attention", "choices"),
    [
        (Attention.REFUNDED_OUTSIDE, "acknowledge"),
        (Attention.AMOUNT_MISMATCH, "recheck, acknowledge"),
        (Attention.PAYMENT_NOT_FOUND, "recheck, acknowledge"),
    ],
)
async def test_a_choice_that_does_not_fit_is_refused_and_the_safe_ones_are_told(
    new_bill: NewBill, attention: Attention, choices: str
) -> None:
    bill = await paid(new_bill)
    await found_by_reconciliation(bill, attention)
    for action in (Resolution.ABSENT, Resolution.ACCEPT_PAID, Resolution.BANK_PAYMENT):
        with pytest.raises(TolemError) as caught:
            await bill.resolve(action, PAYMENT)
        assert caught.value.code is Code.ILLEGAL_TRANSITION
        assert caught.value.details == {"attention": attention.value, "choices": choices}
    assert await bill.acknowledged() is State.PAID


async def test_an_open_bill_s_doubt_cannot_be_waved_through(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.issue_answers.append(Attention.OUTCOME_UNKNOWN)
    await bill.issue()
    with pytest.raises(TolemError) as caught:
        await bill.resolve(Resolution.ACKNOWLEDGE)
    assert caught.value.details == {"attention": "kaspi_outcome_unknown", "choices": "bank_payment, absent"}
    await bill.resolve(Resolution.ABSENT)
    assert await bill.result() is State.FAILED


async def test_an_operator_looks_at_the_bank_and_nothing_changes(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    view = await bill.stage.engine.look_at_invoice(bill.order.invoice_id, wait=20)
    assert (view.word, view.total, view.available) == ("Processed", AMOUNT, AMOUNT)
    assert bill.state is State.PENDING
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_a_bill_without_a_payment_at_the_bank_has_nothing_to_look_at(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.issue_answers.append(Attention.OUTCOME_UNKNOWN)
    await bill.issue()
    with pytest.raises(TolemError) as caught:
        await bill.stage.engine.look_at_invoice(bill.order.invoice_id, wait=20)
    assert caught.value.code is Code.NOT_FOUND
    await bill.resolve(Resolution.ABSENT)
    assert await bill.result() is State.FAILED
