"""Neither a database that is away nor a click in the Temporal UI makes a story lose its money."""

import asyncio

from temporalio.api.enums.v1 import EventType

from domain.bank import Verdict
from domain.invoice import Attention, Kind, State
from tests.workflows.bill import Bill, NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import AMOUNT, away, fact

ISSUED = Entry("issued", State.PENDING)


async def clicked_cancel(bill: Bill) -> None:
    await bill.handle.cancel()
    await bill.until_event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED)


async def test_a_payment_is_booked_when_the_database_is_back(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    bill.scene.write_failures.extend([away("DatabaseUnavailable")] * 3)
    await bill.issue()
    await bill.bank_says(Verdict.PAID, amount=AMOUNT)
    assert await bill.result() is State.PAID
    assert bill.scene.asked.count("book paid") == 4
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]


async def test_a_click_on_cancel_while_the_payer_thinks_changes_nothing(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await clicked_cancel(bill)
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_a_click_on_cancel_while_the_bill_is_issued_changes_nothing(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.bank_open.clear()
    issuing = asyncio.create_task(bill.issue())
    await bill.scene.until_asked("issue")
    await clicked_cancel(bill)
    bill.scene.bank_open.set()
    await issuing
    assert bill.scene.asked == ["issue"]
    assert bill.entries == [ISSUED]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_a_click_on_cancel_while_a_payment_is_booked_changes_nothing(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    bill.scene.database_open.clear()
    await bill.issue()
    await bill.bank_says(Verdict.PAID)
    await bill.scene.until_asked("book paid")
    await clicked_cancel(bill)
    bill.scene.database_open.set()
    assert await bill.result() is State.PAID
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]


async def test_a_click_on_cancel_during_the_last_look_is_not_the_banks_answer(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    bill.scene.bank_reads_open.clear()
    bill.scene.looks.append(fact(Verdict.PAID))
    await bill.issue()
    passing = asyncio.create_task(bill.pass_deadline())
    await bill.scene.until_asked("look")
    await clicked_cancel(bill)
    bill.scene.bank_reads_open.set()
    await passing
    assert await bill.result() is State.PAID
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]
    assert bill.scene.book.attention is not Attention.PAYMENT_NOT_FOUND
