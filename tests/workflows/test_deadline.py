"""When the payer's time is over: one more look, and no guess."""

import asyncio
from datetime import timedelta

import pytest

from activities import failures
from domain.bank import Verdict
from domain.invoice import Attention, Kind, Reason, State
from tests.workflows.bill import NewBill
from tests.workflows.book import Entry
from tests.workflows.scene import AMOUNT, LATE_WATCH, away, fact, final
from workflows.invoice import LOOK_AGAIN, LOOK_AGAIN_AT_MOST, LOOK_AGAIN_SOON

ISSUED = Entry("issued", State.PENDING)


@pytest.mark.parametrize(
    ("verdict", "entry"),
    [
        (Verdict.WAITING, Entry("expired", State.EXPIRED, None, Reason.EXPIRED)),
        (Verdict.SCANNED, Entry("expired", State.EXPIRED, None, Reason.CONFIRMATION_TIMEOUT)),
        (Verdict.EXPIRED, Entry("expired", State.EXPIRED, None, Reason.EXPIRED)),
        (Verdict.REJECTED, Entry("canceled", State.CANCELED, None, Reason.REJECTED_BY_PAYER)),
    ],
)
async def test_the_last_look_closes_what_is_not_paid(new_bill: NewBill, verdict: Verdict, entry: Entry) -> None:
    bill = new_bill(Kind.QR, endpoints=("a",))
    bill.scene.looks.append(fact(verdict))
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked(entry.cause)
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is entry.state
    assert bill.entries == [ISSUED, entry]
    assert bill.scene.asked.count("look") == 1


async def test_nobody_looks_before_the_deadline(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    await bill.issue()
    await bill.skip(timedelta(seconds=100))
    assert bill.scene.asked == ["issue"]
    await bill.bank_says(Verdict.PAID)
    assert await bill.result() is State.PAID


async def test_the_last_look_finds_the_payment(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.looks.append(fact(Verdict.PAID, amount=AMOUNT))
    await bill.issue()
    await bill.pass_deadline()
    assert await bill.result() is State.PAID
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]


async def test_the_last_look_finds_another_amount(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.looks.append(fact(Verdict.PAID, amount=AMOUNT + 1))
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("amount_mismatch")
    bill.scene.looks.append(fact(Verdict.PAID, amount=AMOUNT))
    await bill.skip(LOOK_AGAIN + timedelta(seconds=5))
    assert await bill.result() is State.PAID


async def test_a_word_we_do_not_know_is_attention_and_another_look_not_an_end(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.looks += [fact(Verdict.UNKNOWN, word="Zzz"), fact(Verdict.UNKNOWN, word="Zzz"), fact(Verdict.PAID)]
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("unknown_word")
    assert bill.state is State.PENDING
    await bill.skip(LOOK_AGAIN_SOON + timedelta(seconds=5))
    await bill.scene.until_asked("look", 2)
    await bill.skip(LOOK_AGAIN_SOON + timedelta(seconds=5))
    assert await bill.result() is State.PAID
    assert bill.entries == [
        ISSUED,
        Entry("unknown_word", State.PENDING, Attention.UNKNOWN_WORD),
        Entry("paid", State.PAID),
    ]
    assert bill.scene.asked.count("look") == 3
    assert await bill.shown() == ("paid", None)


@pytest.mark.parametrize("answer", [failures.BANK_NOT_FOUND, failures.BANK_REFUSED])
async def test_a_payment_the_bank_denies_is_attention_and_another_look(new_bill: NewBill, answer: str) -> None:
    bill = new_bill()
    bill.scene.looks += [final(answer), fact(Verdict.WAITING)]
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("not_found")
    assert bill.entries[-1] == Entry("not_found", State.PENDING, Attention.PAYMENT_NOT_FOUND)
    await bill.skip(LOOK_AGAIN + timedelta(seconds=5))
    await bill.scene.until_booked("expired")
    assert bill.entries[-1] == Entry("expired", State.EXPIRED, None, Reason.EXPIRED)
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is State.EXPIRED


async def test_an_open_bill_is_looked_at_for_ever_and_less_and_less_often(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    bill.scene.looks += [fact(Verdict.UNKNOWN)] * 100
    await bill.issue()
    await bill.pass_deadline()
    await bill.skip(timedelta(hours=5))
    first = bill.scene.asked.count("look")
    await bill.skip(timedelta(hours=5))
    second = bill.scene.asked.count("look") - first
    assert first > second > 0
    assert bill.state is State.PENDING
    bill.scene.looks.clear()
    bill.scene.looks.append(fact(Verdict.PAID))
    await bill.skip(LOOK_AGAIN_AT_MOST)
    assert await bill.result() is State.PAID


async def test_an_overdue_phone_bill_is_withdrawn_so_that_nobody_pays_it_later(new_bill: NewBill) -> None:
    bill = new_bill()
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_booked("expired")
    assert bill.scene.asked == ["issue", "look", "cancel", "book expired"]
    assert bill.entries[-1] == Entry("expired", State.EXPIRED, None, Reason.EXPIRED)
    await bill.skip(LATE_WATCH + timedelta(seconds=5))
    assert await bill.result() is State.EXPIRED


async def test_an_overdue_phone_bill_that_is_paid_meanwhile_is_paid(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.looks += [fact(Verdict.WAITING), fact(Verdict.PAID)]
    bill.scene.cancels.append(final(failures.BANK_REFUSED))
    await bill.issue()
    await bill.pass_deadline()
    assert await bill.result() is State.PAID
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]


async def test_an_overdue_phone_bill_that_cannot_be_withdrawn_stays_open_for_its_day(new_bill: NewBill) -> None:
    bill = new_bill()
    bill.scene.cancels.extend([final(failures.BANK_UNKNOWN)] * 50)
    bill.scene.looks += [fact(Verdict.WAITING), final(failures.BANK_NOT_FOUND)] * 50
    await bill.issue()
    await bill.pass_deadline()
    await bill.scene.until_asked("cancel")
    await bill.skip(timedelta(hours=20))
    assert bill.state is State.PENDING
    await bill.skip(timedelta(hours=12))
    assert await bill.result() is State.EXPIRED
    assert bill.entries == [ISSUED, Entry("expired", State.EXPIRED, None, Reason.EXPIRED)]


async def test_nothing_expires_while_the_bank_does_not_answer(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    silent = [away() for _ in range(40)]
    bill.scene.looks += [*silent, fact(Verdict.PAID)]
    await bill.issue()
    await bill.pass_deadline()
    await bill.skip(timedelta(hours=2))
    assert await bill.result() is State.PAID
    assert bill.scene.asked.count("look") == len(silent) + 1
    assert bill.entries == [ISSUED, Entry("paid", State.PAID)]


async def test_a_payment_told_during_the_last_look_is_booked(new_bill: NewBill) -> None:
    bill = new_bill(Kind.QR)
    bill.scene.bank_reads_open.clear()
    await bill.issue()
    passing = asyncio.create_task(bill.pass_deadline())
    await bill.scene.until_asked("look")
    await bill.bank_says(Verdict.PAID)
    bill.scene.bank_reads_open.set()
    await passing
    await bill.scene.until_booked("paid")
    assert await bill.acknowledged() is State.PAID
    assert bill.scene.causes == ["issued", "expired", "paid", "acknowledged"]
