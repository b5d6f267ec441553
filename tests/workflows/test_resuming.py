"""A story whose workflow is gone (ended by hand, older than its retention) is taken up again with the next news."""

from datetime import timedelta

from domain.bank import Verdict
from domain.invoice import Attention, Kind, Reason, State
from tests.workflows.bill import Bill, NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import LATE_WATCH, fact

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
    assert await bill.result() is State.PAID
    assert bill.entries[-1] == Entry("paid", State.PAID, Attention.PAID_LATE, Reason.PAID_LATE)


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
