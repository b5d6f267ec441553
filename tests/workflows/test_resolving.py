"""An operator settles what machines cannot know."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from activities import failures
from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.invoice import Attention, Kind, Reason, State
from tests.workflows.bill import Bill, NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import away, final
from workflows.invoice_messages import Resolution

UNKNOWN = Entry("outcome_unknown", State.PROCESSING, Attention.OUTCOME_UNKNOWN)
ADOPTED = Entry("adopted", State.PENDING)
FOUND = 9_001


async def unknown(new_bill: NewBill) -> Bill:
    bill = new_bill()
    bill.scene.issue_answers.append(Attention.OUTCOME_UNKNOWN)
    await bill.issue()
    assert bill.entries == [UNKNOWN]
    return bill


async def refusal(bill: Bill, action: Resolution, payment_id: int | None = None) -> TolemError:
    with pytest.raises(TolemError) as caught:
        await bill.resolve(action, payment_id)
    return caught.value


async def test_a_bill_the_bank_never_made_is_declared_absent(new_bill: NewBill) -> None:
    bill = await unknown(new_bill)
    await bill.resolve(Resolution.ABSENT)
    assert await bill.result() is State.FAILED
    assert bill.entries == [UNKNOWN, Entry("declared_absent", State.FAILED, None, Reason.DECLARED_ABSENT)]
    assert await bill.shown() == ("failed", None)


async def test_a_payment_found_at_the_bank_is_adopted_then_paid(new_bill: NewBill) -> None:
    bill = await unknown(new_bill)
    await bill.resolve(Resolution.BANK_PAYMENT, FOUND)
    assert bill.entries == [UNKNOWN, ADOPTED]
    assert bill.scene.book.payment_id == FOUND
    # An operator who searches for attention finds open cases only.
    assert await bill.shown() == ("pending", None)
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_an_adopted_payment_has_a_deadline_and_a_last_look(new_bill: NewBill) -> None:
    bill = await unknown(new_bill)
    await bill.resolve(Resolution.BANK_PAYMENT, FOUND)
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    assert bill.scene.asked[-3:] == ["look", "cancel", "book expired"]
    await bill.bank_says(Verdict.PAID)
    await bill.scene.until_booked("paid")
    assert await bill.acknowledged() is State.PAID


@pytest.mark.parametrize("answer", [failures.BANK_NOT_FOUND, failures.BANK_REFUSED])
async def test_a_payment_that_is_not_ours_is_not_adopted(new_bill: NewBill, answer: str) -> None:
    bill = await unknown(new_bill)
    bill.scene.adoptions.append(final(answer))
    error = await refusal(bill, Resolution.BANK_PAYMENT, FOUND)
    assert error.code is Code.NOT_FOUND
    assert error.details == {"bank_payment_id": str(FOUND)}
    assert bill.entries == [UNKNOWN]
    await bill.resolve(Resolution.ABSENT)
    assert await bill.result() is State.FAILED


async def test_a_bank_that_does_not_answer_has_not_said_no(new_bill: NewBill) -> None:
    bill = await unknown(new_bill)
    bill.scene.adoptions += [away()] * 100
    asked = asyncio.create_task(refusal(bill, Resolution.BANK_PAYMENT, FOUND))
    await bill.scene.until_asked("adopt", 2)
    await bill.skip(timedelta(seconds=25))
    assert (await asked).code is Code.KASPI_UNAVAILABLE
    bill.scene.adoptions.clear()
    await bill.resolve(Resolution.BANK_PAYMENT, FOUND)
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


@pytest.mark.parametrize("action", list(Resolution))
async def test_without_a_case_there_is_nothing_to_resolve(new_bill: NewBill, action: Resolution) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    error = await refusal(bill, action, FOUND)
    assert error.code is Code.ILLEGAL_TRANSITION
    assert error.details == {"attention": "none"}
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_an_unknown_outcome_cannot_be_accepted_as_paid(new_bill: NewBill) -> None:
    bill = await unknown(new_bill)
    assert (await refusal(bill, Resolution.ACCEPT_PAID)).code is Code.ILLEGAL_TRANSITION
    assert (await refusal(bill, Resolution.BANK_PAYMENT)).code is Code.ILLEGAL_TRANSITION
    assert bill.entries == [UNKNOWN]
    await bill.resolve(Resolution.ABSENT)
    assert await bill.result() is State.FAILED


async def test_of_two_operators_the_second_is_told_that_it_is_settled(new_bill: NewBill) -> None:
    bill = await unknown(new_bill)
    bill.scene.bank_reads_open.clear()
    first = asyncio.create_task(bill.resolve(Resolution.BANK_PAYMENT, FOUND))
    await bill.scene.until_asked("adopt")
    second = asyncio.create_task(refusal(bill, Resolution.ABSENT))
    await bill.until_event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, times=3)
    bill.scene.bank_reads_open.set()
    await first
    assert (await second).code is Code.ILLEGAL_TRANSITION
    assert bill.entries == [UNKNOWN, ADOPTED]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID
