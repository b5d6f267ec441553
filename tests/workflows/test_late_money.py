"""An unpaid close is soft for a while: money that comes late is booked, and flagged."""

from datetime import timedelta

import msgspec

from domain.bank import Verdict
from domain.invoice import Attention, Kind, Reason, State
from tests.workflows.bill import NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import AMOUNT, LATE_WATCH, fact
from workflows.invoice_messages import Resolution

PAID_LATE = Entry("paid", State.PAID, Attention.PAID_LATE, Reason.PAID_LATE)


async def test_money_after_a_cancel_is_booked_and_flagged(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    await bill.issue()
    await bill.cancel()
    await bill.bank_says(Verdict.PAID)
    await bill.scene.until_booked("paid")
    assert bill.entries[-1] == PAID_LATE
    await bill.scene.until_asked(f"post {bill.delivery_id(3, 'a')}")
    await bill.until_shown("paid", "paid_after_close")
    assert await bill.acknowledged() is State.PAID
    assert bill.entries[-1] == Entry("acknowledged", State.PAID, None, Reason.PAID_LATE)


async def test_money_after_expiry_is_booked_and_flagged(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    await bill.skip(LATE_WATCH - timedelta(minutes=5))
    await bill.bank_says(Verdict.PAID)
    await bill.scene.until_booked("paid")
    assert bill.entries[-1] == PAID_LATE
    assert await bill.acknowledged() is State.PAID


async def test_the_watch_for_late_money_ends(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    await bill.skip(LATE_WATCH - timedelta(minutes=5))
    await bill.bank_says(Verdict.WAITING)  # no money: the watch goes on
    await bill.skip(timedelta(minutes=6))
    assert await bill.result() is State.EXPIRED
    assert not await bill.stage.engine.bank_said(bill.order.invoice_id, fact(Verdict.PAID))


async def test_money_told_while_the_last_webhook_goes_out_is_not_lost(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR, endpoints=("a",))
    bill.order = msgspec.structs.replace(bill.order, late_watch=0.0)
    bill.scene.receivers_open.clear()
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_asked(f"post {bill.delivery_id(2, 'a')}")
    # The watch is over, the story only waits for the receiver.
    await bill.bank_says(Verdict.PAID)
    bill.scene.receivers_open.set()
    await bill.scene.until_booked("paid")
    assert bill.entries[-1] == PAID_LATE
    assert await bill.acknowledged() is State.PAID


async def test_late_money_of_another_amount_waits_for_an_operator(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    await bill.bank_says(Verdict.PAID, amount=AMOUNT + 5)
    await bill.scene.until_booked("amount_mismatch")
    await bill.skip(LATE_WATCH * 3)
    await bill.resolve(Resolution.ACCEPT_PAID)
    assert bill.entries[-1] == Entry("accepted_paid", State.PAID, Attention.PAID_LATE, Reason.PAID_LATE)
    assert await bill.acknowledged() is State.PAID
