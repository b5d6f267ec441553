"""A story whose workflow is gone (ended by hand, older than its retention) is taken up again with the next news."""

import asyncio
from datetime import timedelta

import msgspec
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError

from activities import failures
from domain.bank import Verdict
from domain.invoice import Attention, Kind, Reason, State
from tests.workflows.bill import Bill, NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import AMOUNT, LATE_WATCH, MISSED, fact, final
from workflows.invoice_messages import Resolution

ISSUED = Entry("issued", State.PENDING)


async def resume(bill: Bill, verdict: Verdict) -> None:
    await bill.stage.engine.resume(bill.order, fact(verdict))


async def lost(bill: Bill) -> None:
    await bill.handle.terminate()
    assert not await bill.stage.engine.bank_said(bill.order.invoice_id, fact(Verdict.PAID))


async def test_money_finds_the_story_of_an_open_bill_again(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR, endpoints=("a",))
    await bill.issue()
    await lost(bill)
    await resume(bill, Verdict.PAID)
    assert await bill.result() is State.PAID
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]
    assert f"post {bill.delivery_id(2, 'a')}" in bill.scene.asked


async def test_a_resumed_story_has_its_deadline(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await lost(bill)
    await resume(bill, Verdict.SCANNED)
    await bill.scene.until_booked("processing")
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is State.EXPIRED


async def test_late_money_finds_the_story_of_a_closed_bill_again(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is State.EXPIRED
    await resume(bill, Verdict.PAID)
    await bill.scene.until_booked("paid")
    assert bill.entries[-1] == Entry("paid", State.PAID, Attention.PAID_LATE, Reason.PAID_LATE)
    assert await bill.acknowledged() is State.PAID


async def test_news_of_a_story_that_runs_starts_no_second_one(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await resume(bill, Verdict.PAID)
    assert await bill.result() is State.PAID
    assert bill.scene.asked == ["issue", "book paid"]


async def test_a_word_that_changes_nothing_does_not_wake_a_finished_story_for_long(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID
    await resume(bill, Verdict.PAID)
    assert await bill.result() is State.PAID
    assert bill.scene.causes == ["issued", "paid"]


async def test_a_resumed_story_reads_the_bank_before_anything_else(new_bill: NewBill) -> None:
    bill = new_bill()
    await bill.issue()
    await lost(bill)
    bill.scene.bank_reads_open.clear()
    await bill.stage.engine.resume_invoice(bill.order)
    await bill.scene.until_asked("look")
    asked = asyncio.create_task(bill.cancel())  # a bank write has to wait for the read
    await bill.until_event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
    assert bill.scene.asked == ["issue", "issue", "look"]
    bill.scene.bank_reads_open.set()
    await asked
    assert bill.scene.asked[3:5] == ["cancel", "book canceled"]
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is State.CANCELED


async def test_what_was_paid_while_nobody_told_the_story_is_found_at_once(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    await bill.issue()
    await lost(bill)
    bill.scene.looks.append(fact(Verdict.PAID, amount=AMOUNT))
    await bill.stage.engine.resume_invoice(bill.order)
    assert await bill.result() is State.PAID
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]
    assert f"post {bill.delivery_id(2, 'a')}" in bill.scene.asked
    assert "cancel" not in bill.scene.asked


async def test_a_resumed_story_whose_payment_the_bank_denies_is_a_case_again(new_bill: NewBill) -> None:
    bill = new_bill()
    await bill.issue()
    for _ in range(2):
        await lost(bill)
        bill.scene.looks.append(final(failures.BANK_NOT_FOUND))
        await bill.stage.engine.resume_invoice(bill.order)
        await bill.until_shown("pending", "kaspi_payment_not_found")
        await bill.resolve(Resolution.RECHECK)
        assert await bill.shown() == ("pending", None)
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_a_sandbox_story_has_no_bank_to_read(new_bill: NewBill) -> None:
    bill = new_bill(is_sandbox=True)
    await bill.issue()
    await lost(bill)
    await bill.stage.engine.resume_invoice(bill.order)
    await bill.simulate(Verdict.PAID)
    assert await bill.result() is State.PAID
    assert bill.scene.asked == ["issue", "issue", "book paid"]


async def test_an_unknown_outcome_stays_a_case_when_its_story_was_lost(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.issue_answers.append(Attention.OUTCOME_UNKNOWN)
    await bill.issue()
    await lost(bill)
    await bill.stage.engine.resume_invoice(bill.order)
    await bill.until_shown("processing", "kaspi_outcome_unknown")
    assert "look" not in bill.scene.asked
    await bill.resolve(Resolution.ABSENT, by="aigul")
    assert await bill.result() is State.FAILED


async def test_an_invoice_that_the_books_do_not_have_ends_failed(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.issue_answers.append(MISSED)
    await bill.stage.engine.resume_invoice(bill.order)
    with pytest.raises(WorkflowFailureError):
        await bill.result()
    assert bill.entries == []


async def test_a_repeated_creation_joins_a_resumed_story(new_bill: NewBill) -> None:
    bill = new_bill()
    await bill.issue()
    await lost(bill)
    await bill.stage.engine.resume_invoice(msgspec.structs.replace(bill.order, fingerprint=""))
    await bill.issue()
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]
