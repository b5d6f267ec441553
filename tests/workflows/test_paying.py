"""What the bank's words do to an open bill."""

from datetime import timedelta

import pytest

from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.invoice import Attention, Kind, Reason, State
from tests.workflows.bill import NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import AMOUNT, LATE_WATCH
from workflows.invoice_messages import Resolution

ISSUED = Entry("issued", State.PENDING)


async def test_scanned_then_paid_goes_through_processing(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR, endpoints=("a",))
    await bill.issue()
    await bill.bank_says(Verdict.SCANNED)
    await bill.scene.until_booked("processing")
    await bill.bank_says(Verdict.PAID, amount=AMOUNT)
    assert await bill.result() is State.PAID
    assert bill.entries == [
        ISSUED,
        Entry("processing", State.PROCESSING, None, Reason.PAYER_CONFIRMING),
        Entry("paid", State.PAID),
    ]
    assert {f"post {bill.delivery_id(number, 'a')}" for number in (2, 3)} <= set(bill.scene.asked)


async def test_words_that_mean_nothing_new_are_not_booked(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    for verdict in (Verdict.WAITING, Verdict.SCANNED, Verdict.SCANNED, Verdict.WAITING, Verdict.PAID, Verdict.PAID):
        await bill.bank_says(verdict)
    assert await bill.result() is State.PAID
    assert bill.scene.causes == ["issued", "processing", "paid"]
    # A set: news that comes while a story ends makes the engine run its last local activity again.
    assert set(bill.scene.asked) == {"issue", "book processing", "book paid"}


@pytest.mark.parametrize(
    ("verdict", "entry"),
    [
        (Verdict.FAILED, Entry("failed", State.FAILED, None, Reason.DECLINED_OR_ERROR)),
        (Verdict.REJECTED, Entry("canceled", State.CANCELED, None, Reason.REJECTED_BY_PAYER)),
        (Verdict.CANCELED, Entry("canceled", State.CANCELED, None, Reason.CANCELED_AT_BANK)),
        (Verdict.EXPIRED, Entry("expired", State.EXPIRED, None, Reason.EXPIRED)),
    ],
)
async def test_an_unpaid_end_at_the_bank_is_an_end_here(new_bill: NewBill, verdict: Verdict, entry: Entry) -> None:
    bill = new_bill()
    await bill.issue()
    await bill.bank_says(verdict)
    await bill.scene.until_booked(entry.cause)
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is entry.state
    assert bill.entries == [ISSUED, entry]
    assert await bill.shown() == (entry.state.value, None)


async def test_another_amount_is_not_booked_as_paid_until_an_operator_accepts_it(new_bill: NewBill) -> None:
    bill = new_bill(endpoints=("a",))
    await bill.issue()
    await bill.bank_says(Verdict.PAID, amount=AMOUNT - 1)
    await bill.scene.until_booked("amount_mismatch")
    assert bill.state is State.PENDING
    with pytest.raises(TolemError) as caught:
        await bill.resolve(Resolution.ABSENT)
    assert caught.value.code is Code.ILLEGAL_TRANSITION
    assert await bill.shown() == ("pending", "kaspi_amount_mismatch")
    await bill.resolve(Resolution.ACCEPT_PAID)
    assert await bill.result() is State.PAID
    assert bill.entries == [
        ISSUED,
        Entry("amount_mismatch", State.PENDING, Attention.AMOUNT_MISMATCH),
        Entry("accepted_paid", State.PAID),
    ]
    # An operator who searches for attention finds open cases only.
    assert await bill.shown() == ("paid", None)


async def test_a_word_we_do_not_know_is_attention_and_no_end(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR, endpoints=("a",))
    await bill.issue()
    await bill.bank_says(Verdict.UNKNOWN, word="Zzz")
    await bill.bank_says(Verdict.UNKNOWN, word="Zzz2")
    await bill.scene.until_asked(f"post {bill.delivery_id(2, 'a')}")
    assert bill.entries == [ISSUED, Entry("unknown_word", State.PENDING, Attention.UNKNOWN_WORD)]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID
    assert bill.entries[-1] == Entry("paid", State.PAID)
