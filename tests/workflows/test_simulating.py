"""The sandbox: the payer is a call."""

from datetime import timedelta

import pytest

from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.invoice import Kind, Reason, State
from tests.workflows.bill import Bill, NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import LATE_WATCH

ISSUED = Entry("issued", State.PENDING)


async def refusal(bill: Bill, verdict: Verdict) -> TolemError:
    with pytest.raises(TolemError) as caught:
        await bill.simulate(verdict)
    return caught.value


@pytest.mark.parametrize(
    ("verdict", "entry"),
    [
        (Verdict.PAID, Entry("paid", State.PAID, None, Reason.SIMULATED)),
        (Verdict.CANCELED, Entry("canceled", State.CANCELED, None, Reason.SIMULATED)),
        (Verdict.FAILED, Entry("failed", State.FAILED, None, Reason.SIMULATED)),
        (Verdict.EXPIRED, Entry("expired", State.EXPIRED, None, Reason.SIMULATED)),
    ],
)
async def test_the_simulated_payer_ends_the_story(new_bill: NewBill, verdict: Verdict, entry: Entry) -> None:
    bill = new_bill(is_sandbox=True, endpoints=("a",))
    await bill.issue()
    await bill.simulate(verdict)
    assert bill.entries == [ISSUED, entry]
    if entry.state is not State.PAID:
        await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is entry.state
    assert bill.scene.asked == ["issue", f"book {entry.cause}", f"post {bill.delivery_id(2, 'a')}"]


async def test_pending_keeps_an_open_bill_open(new_bill: NewBill) -> None:
    bill = new_bill(is_sandbox=True)
    await bill.issue()
    await bill.simulate(Verdict.WAITING)
    await bill.simulate(Verdict.SCANNED)
    await bill.simulate(Verdict.WAITING)
    assert bill.scene.causes == ["issued", "processing"]
    await bill.simulate(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_what_the_state_machine_forbids_is_refused(new_bill: NewBill) -> None:
    bill = new_bill(is_sandbox=True)
    await bill.issue()
    await bill.simulate(Verdict.CANCELED)
    for verdict in (Verdict.WAITING, Verdict.FAILED, Verdict.SCANNED):
        error = await refusal(bill, verdict)
        assert error.code is Code.ILLEGAL_TRANSITION
        assert error.details == {"state": "canceled"}
    await bill.simulate(Verdict.PAID)  # late money, as at the bank
    assert await bill.acknowledged() is State.PAID
    assert (await refusal(bill, Verdict.CANCELED)).code is Code.INVOICE_CLOSED


async def test_a_live_bill_has_no_simulated_payer(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    assert (await refusal(bill, Verdict.PAID)).code is Code.NOT_SANDBOX
    assert bill.entries == [ISSUED]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_a_sandbox_bill_is_canceled_and_expires_without_a_bank(new_bill: NewBill) -> None:
    bill = new_bill(is_sandbox=True)
    await bill.issue()
    await bill.cancel()
    assert bill.entries[-1] == Entry("canceled", State.CANCELED, None, Reason.CANCELED_BY_MERCHANT)
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is State.CANCELED
    assert bill.scene.asked == ["issue", "book canceled"]


async def test_a_sandbox_bill_expires_by_the_clock_alone(new_bill: NewBill) -> None:
    bill = new_bill(is_sandbox=True)
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    assert bill.entries[-1] == Entry("expired", State.EXPIRED, None, Reason.EXPIRED)
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is State.EXPIRED
    assert bill.scene.asked == ["issue", "book expired"]
