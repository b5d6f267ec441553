"""From the first ask to a bill that stands, or the reason why none does."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.invoice import Attention, Kind, Reason, State
from tests.workflows.bill import NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import MISSED
from workflows.client import NotIssued
from workflows.invoice_messages import Resolution


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=60)


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_bill_is_issued_then_paid(new_bill: NewBill, kind: Kind) -> None:
    bill = new_bill(kind, endpoints=("a",))
    await bill.issue()
    assert bill.entries == [Entry("issued", State.PENDING)]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID
    assert bill.entries == [Entry("issued", State.PENDING), Entry("paid", State.PAID)]
    # The HTTP answer tells the first line, so only the payment goes to the receiver.
    assert bill.scene.asked == ["issue", "book paid", f"post {bill.delivery_id(2, 'a')}"]
    assert await bill.shown() == (None, None)


@pytest.mark.parametrize("reason", [Reason.REFUSED, Reason.MISCONFIGURED, Reason.UNAVAILABLE])
async def test_a_bill_the_bank_did_not_issue_is_failed(new_bill: NewBill, reason: Reason) -> None:
    bill = new_bill()
    bill.scene.issue_answers.append(reason)
    await bill.issue()
    assert await bill.result() is State.FAILED
    assert bill.entries == [Entry("not_issued", State.FAILED, None, reason)]
    assert bill.scene.asked == ["issue"]
    assert await bill.shown() == ("failed", None)


async def test_an_ask_after_the_story_ended_leaves_the_answer_to_the_books(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.issue_answers.append(Reason.REFUSED)
    await bill.issue()
    await bill.result()
    await bill.issue(issue_before=soon())
    assert bill.scene.asked == ["issue"]


async def test_a_missed_window_fails_and_a_new_window_issues(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.issue_answers.append(MISSED)
    with pytest.raises(NotIssued):
        await bill.issue()
    assert bill.entries == []
    later = soon()
    with pytest.raises(NotIssued):
        await bill.issue(issue_before=later)  # the server's memory of the first answer: nobody is asked
    assert bill.scene.asked == ["issue"]
    await bill.issue(issue_before=later, again=True)
    assert bill.scene.windows == [bill.order.issue_before, later]
    assert bill.entries == [Entry("issued", State.PENDING)]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_a_second_ask_keeps_the_window_open_for_both(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.bank_open.clear()
    bill.scene.issue_answers.append(MISSED)
    first = asyncio.create_task(bill.issue())
    await bill.scene.until_asked("issue")
    later = soon()
    second = asyncio.create_task(bill.ask_again(issue_before=later))
    await bill.until_event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, times=2)
    bill.scene.bank_open.set()
    await asyncio.gather(first, second)
    assert bill.scene.windows == [bill.order.issue_before, later]
    assert bill.entries == [Entry("issued", State.PENDING)]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_another_body_under_the_same_key_is_refused(new_bill: NewBill) -> None:
    bill = new_bill()
    await bill.issue()
    with pytest.raises(TolemError) as caught:
        await bill.issue(fingerprint="e" * 64)
    assert caught.value.code is Code.IDEMPOTENCY_KEY_REUSED
    assert bill.scene.asked == ["issue"]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_an_answer_that_could_not_be_written_is_written_later(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.issue_answers.append("unwritten")
    await bill.issue()
    assert bill.scene.asked == ["issue", "book issued"]
    assert bill.entries == [Entry("issued", State.PENDING)]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_an_unknown_outcome_waits_for_an_operator_and_not_for_a_clock(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.issue_answers.append(Attention.OUTCOME_UNKNOWN)
    await bill.issue()
    assert await bill.shown() == ("processing", "kaspi_outcome_unknown")
    await bill.skip(timedelta(days=30))
    assert bill.state is State.PROCESSING
    assert bill.scene.asked == ["issue"]
    with pytest.raises(TolemError) as caught:
        await bill.cancel()
    assert caught.value.code is Code.INVOICE_NOT_CANCELABLE
    assert caught.value.details == {"reason": "kaspi_outcome_unknown"}
    await bill.resolve(Resolution.ABSENT)
    assert await bill.result() is State.FAILED
