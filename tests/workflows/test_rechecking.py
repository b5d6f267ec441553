"""An operator has another look at what the bank said oddly."""

from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError

from activities import failures
from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.invoice import Attention, Kind, Reason, State
from tests.workflows.bill import Bill, NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import LATE_WATCH, fact, final
from workflows.invoice import LOOK_AGAIN
from workflows.invoice_messages import Resolution


async def denied(new_bill: NewBill) -> Bill:
    """The bank does not know the payment that it gave us."""
    bill = new_bill(Kind.QR)
    bill.scene.looks.append(final(failures.BANK_NOT_FOUND))
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("not_found")
    return bill


async def test_a_clear_word_settles_the_case_and_the_bill_goes_on(new_bill: NewBill) -> None:
    bill = await denied(new_bill)
    await bill.resolve(Resolution.RECHECK)
    assert bill.scene.book.attention is None
    assert bill.state is State.PENDING
    assert await bill.shown() == ("pending", None)
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_a_case_that_comes_back_is_a_case_again(new_bill: NewBill) -> None:
    bill = await denied(new_bill)
    for _ in range(2):
        await bill.resolve(Resolution.RECHECK)
        assert await bill.shown() == ("pending", None)
        asked = bill.scene.asked.count("look")
        bill.scene.looks.append(final(failures.BANK_NOT_FOUND))
        await bill.skip(LOOK_AGAIN + timedelta(seconds=5))
        await bill.scene.until_asked("look", asked + 1)
        await bill.until_shown("pending", "kaspi_payment_not_found")
    assert bill.scene.book.attention is Attention.PAYMENT_NOT_FOUND
    await bill.resolve(Resolution.ABSENT)
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is State.FAILED


async def test_the_payment_is_found(new_bill: NewBill) -> None:
    bill = await denied(new_bill)
    bill.scene.looks.append(fact(Verdict.PAID))
    await bill.resolve(Resolution.RECHECK)
    assert await bill.result() is State.PAID
    assert bill.entries[-1] == Entry("paid", State.PAID)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (final(failures.BANK_NOT_FOUND), Code.NOT_FOUND),
        (final("SomethingElse"), Code.KASPI_UNAVAILABLE),
    ],
    ids=["denied", "silent"],
)
async def test_a_look_without_an_answer_settles_nothing(
    new_bill: NewBill, answer: ApplicationError, code: Code
) -> None:
    bill = await denied(new_bill)
    bill.scene.looks.append(answer)
    with pytest.raises(TolemError) as caught:
        await bill.resolve(Resolution.RECHECK)
    assert caught.value.code is code
    assert bill.scene.book.attention is Attention.PAYMENT_NOT_FOUND
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_a_payment_that_certainly_does_not_exist_is_declared_absent(new_bill: NewBill) -> None:
    bill = await denied(new_bill)
    await bill.resolve(Resolution.ABSENT)
    assert bill.entries[-1] == Entry("declared_absent", State.FAILED, None, Reason.DECLARED_ABSENT)
    await bill.bank_says(Verdict.PAID)  # so much for "certainly"
    await bill.scene.until_booked("paid")
    assert bill.entries[-1] == Entry("paid", State.PAID, Attention.PAID_LATE, Reason.PAID_LATE)
    assert await bill.acknowledged() is State.PAID
