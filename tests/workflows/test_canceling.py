"""Withdrawing a bill: only the bank's word makes it canceled."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from activities import failures
from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.invoice import Kind, Reason, State
from tests.workflows.bill import Bill, NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import LATE_WATCH, MISSED, fact, final
from workflows.asking_bank import CANCEL_TRIES
from workflows.client import NotIssued

ISSUED = Entry("issued", State.PENDING)
CANCELED = Entry("canceled", State.CANCELED, None, Reason.CANCELED_BY_MERCHANT)
UNCLEAR = failures.BANK_UNKNOWN


async def end_of_watch(bill: Bill) -> State:
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    return await bill.result()


async def refusal(bill: Bill) -> TolemError:
    with pytest.raises(TolemError) as caught:
        await bill.cancel()
    return caught.value


async def test_the_bank_withdraws_the_bill(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    await bill.issue()
    await bill.cancel()
    assert bill.entries == [ISSUED, CANCELED]
    await bill.cancel()  # a repeat is told the same and asks nobody
    assert bill.scene.asked.count("cancel") == 1
    assert await end_of_watch(bill) is State.CANCELED
    assert await bill.shown() == ("canceled", None)


async def test_the_temporal_ui_withdraws_it_without_an_argument(new_bill: NewBill) -> None:
    bill = new_bill()
    await bill.issue()
    assert await bill.handle.execute_update("cancel") == State.CANCELED
    assert bill.entries == [ISSUED, CANCELED]


async def test_the_payer_wins_the_race(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.cancels.append(final(failures.BANK_REFUSED))
    bill.scene.looks.append(fact(Verdict.PAID))
    await bill.issue()
    assert (await refusal(bill)).code is Code.INVOICE_ALREADY_PAID
    assert await bill.result() is State.PAID
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]


async def test_a_lost_answer_is_settled_by_reading(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.cancels.append(final(UNCLEAR))
    bill.scene.looks.append(fact(Verdict.CANCELED))
    await bill.issue()
    await bill.cancel()
    assert bill.entries == [ISSUED, CANCELED]
    assert bill.scene.asked == ["issue", "cancel", "look", "book canceled"]
    assert await end_of_watch(bill) is State.CANCELED


async def test_a_plain_error_after_our_cancel_reads_as_canceled(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.cancels.append(final(UNCLEAR))
    bill.scene.looks.append(fact(Verdict.FAILED, word="Error"))
    await bill.issue()
    await bill.cancel()
    assert bill.entries == [ISSUED, CANCELED]
    assert await end_of_watch(bill) is State.CANCELED


async def test_three_lost_answers_leave_the_outcome_unknown(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.cancels += [final(UNCLEAR)] * CANCEL_TRIES
    await bill.issue()
    assert (await refusal(bill)).code is Code.KASPI_OUTCOME_UNKNOWN
    assert bill.scene.asked.count("cancel") == CANCEL_TRIES
    assert bill.state is State.PENDING
    # The last request may still arrive at the bank; its word comes with the poller.
    await bill.bank_says(Verdict.CANCELED)
    await bill.scene.until_booked("canceled")
    assert bill.entries == [ISSUED, CANCELED]
    assert await end_of_watch(bill) is State.CANCELED


async def test_a_lost_answer_that_cannot_be_read_either_is_unknown(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.cancels.append(final(UNCLEAR))
    bill.scene.looks += [final(failures.BANK_NOT_FOUND)]
    await bill.issue()
    assert (await refusal(bill)).code is Code.KASPI_OUTCOME_UNKNOWN
    assert bill.state is State.PENDING
    await bill.cancel()  # asking again is right, and works
    assert bill.entries == [ISSUED, CANCELED]
    assert await end_of_watch(bill) is State.CANCELED


async def test_a_bill_the_bank_refuses_to_withdraw_stays_open(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.cancels += [final(failures.BANK_REFUSED)] * CANCEL_TRIES
    bill.scene.looks += [fact(Verdict.WAITING, word="Wait")] * CANCEL_TRIES
    await bill.issue()
    error = await refusal(bill)
    assert error.code is Code.INVOICE_NOT_CANCELABLE
    assert error.details == {"bank_status": "Wait"}
    assert bill.entries == [ISSUED]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


@pytest.mark.parametrize("kind", [Kind.QR, Kind.LINK])
async def test_qr_and_links_have_no_cancel(new_bill: NewBill, kind: Kind) -> None:
    bill = new_bill(kind)
    await bill.issue()
    error = await refusal(bill)
    assert error.code is Code.INVOICE_NOT_CANCELABLE
    assert error.details == {"reason": "kaspi_has_no_cancel_for_qr_and_link"}
    assert "cancel" not in bill.scene.asked
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_a_paid_bill_is_not_withdrawn(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    bill.scene.receivers_open.clear()  # the story goes on until its webhook had an attempt
    await bill.issue()
    await bill.bank_says(Verdict.PAID)
    await bill.scene.until_asked(f"post {bill.delivery_id(2, 'a')}")
    assert (await refusal(bill)).code is Code.INVOICE_ALREADY_PAID
    bill.scene.receivers_open.set()
    assert await bill.result() is State.PAID
    assert (await refusal(bill)).code is Code.INVOICE_CLOSED
    assert "cancel" not in bill.scene.asked


async def test_an_expired_bill_is_not_withdrawn(new_bill: NewBill) -> None:
    bill = new_bill()
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    asked = list(bill.scene.asked)
    assert (await refusal(bill)).code is Code.INVOICE_NOT_CANCELABLE
    assert bill.scene.asked == asked
    assert await end_of_watch(bill) is State.EXPIRED


async def test_a_cancel_waits_for_the_answer_to_the_create(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.bank_open.clear()
    issuing = asyncio.create_task(bill.issue())
    await bill.scene.until_asked("issue")
    canceling = asyncio.create_task(bill.cancel())
    await bill.until_event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, times=2)
    assert bill.scene.asked == ["issue"]
    bill.scene.bank_open.set()
    await asyncio.gather(issuing, canceling)
    assert bill.entries == [ISSUED, CANCELED]
    assert await end_of_watch(bill) is State.CANCELED


async def test_of_a_bill_that_was_never_issued_there_is_nothing_to_cancel_or_to_pay(new_bill: NewBill) -> None:
    bill = new_bill(is_sandbox=True)
    bill.scene.bank_open.clear()
    bill.scene.issue_answers.append(MISSED)
    issuing = asyncio.create_task(bill.issue())
    await bill.scene.until_asked("issue")
    asking = [asyncio.create_task(bill.cancel()), asyncio.create_task(bill.simulate(Verdict.PAID))]
    await bill.until_event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, times=3)
    bill.scene.bank_open.set()
    with pytest.raises(NotIssued):
        await issuing
    for asked in asking:
        with pytest.raises(TolemError) as caught:
            await asked
        assert caught.value.code is Code.NOT_FOUND
    assert bill.entries == []
    assert bill.scene.asked == ["issue"]
