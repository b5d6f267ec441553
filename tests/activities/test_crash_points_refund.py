"""Processes that die at every step of payment/return, under every fault of the bank, whose ledger is the judge."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from activities.bank_calls import PaymentRef
from activities.refunding import GiveBack, PaymentSums, Refunding
from db.refunds import RefundLedger
from domain.ids import REFUND, new_id
from domain.invoice import State
from domain.refund import (
    OpenRefund,
    ReadBack,
    RefundAttempt,
    RefundChange,
    RefundReason,
    RefundState,
    Returned,
    ReturnOutcome,
    read_back,
)
from tests.activities.crashes import FAULTS, Struck, struck
from tests.activities.mortal import Ended, Process
from tests.activities.town import Town
from tests.db.books import Shop

PAID = 10_000
AMOUNT = 4_000


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.refunding.NOT_SENT_PAUSES", (0.01, 0.01, 0.01))


@pytest.fixture(scope="module")
async def shop(town_of_run: Town) -> Shop:
    return await town_of_run.merchant()


@dataclass
class Payment:
    """A paid bill of which AMOUNT is to go back, and everybody who worked on that."""

    ref: PaymentRef
    refund_id: str
    order: GiveBack
    processes: list[Process]

    @property
    def sent(self) -> int:
        return sum(one.calls["give_back"] for one in self.processes)


def ledger_of(town: Town) -> RefundLedger:
    return RefundLedger(town.books.app, town.books.renderer)


async def paid(town: Town, shop: Shop) -> Payment:
    """The refund has its turn; nobody has called payment/return yet."""
    ref = await town.issued(shop, amount=PAID)
    await town.admin.act(ref.payment_id, "pay")
    await shop.book(ref.invoice_id, "paid", State.PAID)
    refund_id = new_id(REFUND)
    order = OpenRefund(
        refund_id=refund_id,
        merchant_id=shop.id,
        invoice_id=ref.invoice_id,
        is_sandbox=False,
        open_before=datetime.now(UTC) + timedelta(seconds=60),
        fingerprint="f1",
        operation="refunds",
        request_id="req_1",
        asked_by="key_1",
        amount=AMOUNT,
    )
    ledger = ledger_of(town)
    await ledger.open(order)
    assert (await ledger.turn(shop.id, refund_id)).state is RefundState.PROCESSING
    first = GiveBack(
        refund_id=refund_id,
        merchant_id=shop.id,
        connection_id=shop.connection_id,
        payment_id=ref.payment_id,
        amount=AMOUNT,
        number=1,
        available=PAID,
        outside=0,
    )
    return Payment(ref, refund_id, first, [])


async def give_back(bank: Struck, payment: Payment, order: GiveBack, dies_at: int | None = None) -> Ended[Returned]:
    process = bank.process(dies_at)
    payment.processes.append(process)
    refunding = Refunding(process.ledger(ledger_of(bank.town)), process.banks(bank.banks))
    return await process.run(refunding.give_back, order)


async def returned(bank: Struck, payment: Payment, dies_at: int | None) -> Returned:
    """One process that dies at this moment, and another one with the same order, as a queue would run it again."""
    if dies_at is not None:
        await give_back(bank, payment, payment.order, dies_at)
    return (await give_back(bank, payment, payment.order)).outcome()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_process_that_dies_at_any_step_of_a_refund_gives_money_back_at_most_once_and_is_found_out(
    town: Town, shop: Shop, fault: str
) -> None:
    async with struck(town, "payment/return", fault) as bank:
        # Undisturbed; of, intend, give_back, answered.
        payments = await asyncio.gather(*(paid(town, shop) for _ in range(1 + 4 * 3)))
        await bank.strike()
        moments = [None, *range(1, len(payments))]
        answers = await asyncio.gather(*(returned(bank, one, at) for one, at in zip(payments, moments, strict=True)))
        await bank.quiet("give_back")
        assert payments[0].processes[0].moments == len(payments) - 1
        attempts = await asyncio.gather(*(judged(bank, *one) for one in zip(payments, answers, strict=True)))
        await asyncio.gather(*(settle(bank, *one) for one in zip(payments, attempts, strict=True)))
        in_order = {"none": ReturnOutcome.DONE, "refusal": ReturnOutcome.REFUSED}
        assert answers[0].outcome is in_order.get(fault, ReturnOutcome.UNKNOWN)
        assert ReturnOutcome.UNKNOWN in {answer.outcome for answer in answers}


async def at_bank(town: Town, payment: Payment) -> dict[str, Any]:
    found: dict[str, Any] = await town.admin.call("GET", f"purchases/{payment.ref.payment_id}")
    return found


async def judged(bank: Struck, payment: Payment, answer: Returned) -> RefundAttempt:
    """What the books say of the one attempt is what the bank did, or that nobody knows."""
    refunds = (await at_bank(bank.town, payment))["refunds"]
    assert payment.sent <= 1
    assert [one["amount_tiyn"] for one in refunds] == ([AMOUNT] if payment.sent and bank.executes else [])
    standing = await ledger_of(bank.town).standing(payment.order.merchant_id, payment.refund_id)
    assert standing.state is RefundState.PROCESSING
    (attempt,) = standing.attempts
    if ReturnOutcome.DONE in {attempt.outcome, answer.outcome}:
        assert [one["id"] for one in refunds] == [attempt.bank_return_id]
    elif attempt.outcome in {ReturnOutcome.REFUSED, ReturnOutcome.NOT_SENT}:
        assert refunds == []
    return attempt


async def settle(bank: Struck, payment: Payment, attempt: RefundAttempt) -> None:
    """As the story does once the bank is quiet: by its word, or its sums, with one more attempt where they stand."""
    before = len((await at_bank(bank.town, payment))["refunds"])
    if attempt.outcome is ReturnOutcome.REFUSED:
        await book(bank, payment, RefundState.FAILED, reason=attempt.reason)
    elif attempt.outcome is ReturnOutcome.DONE:
        await book(bank, payment, RefundState.COMPLETED, bank_return_id=attempt.bank_return_id)
    else:
        verdict = read_back(attempt.available_before, await available(bank, payment), AMOUNT)
        assert verdict is (ReadBack.EXECUTED if before else ReadBack.NOT_EXECUTED)
        if verdict is ReadBack.NOT_EXECUTED:
            second = msgspec.structs.replace(payment.order, number=2)
            assert (await give_back(bank, payment, second)).outcome().outcome is ReturnOutcome.DONE
        await book(bank, payment, RefundState.COMPLETED, reason=RefundReason.READ_BACK)
    # A first attempt that somebody runs once more, late, finds that its number is taken.
    again = await give_back(bank, payment, payment.order)
    assert again.outcome().outcome is ReturnOutcome.UNKNOWN
    assert payment.processes[-1].calls["give_back"] == 0
    bill = await at_bank(bank.town, payment)
    invoice = await bank.town.books.reads.invoice(payment.order.merchant_id, payment.ref.invoice_id)
    assert invoice is not None
    assert len(bill["refunds"]) <= 1
    assert (bill["refunded_tiyn"], bill["payments"]) == (invoice.refunded, 1)
    assert invoice.refund_pending == 0
    assert invoice.state is (State.PARTIALLY_REFUNDED if bill["refunds"] else State.PAID)


async def available(bank: Struck, payment: Payment) -> int:
    sums = PaymentSums(
        merchant_id=payment.order.merchant_id,
        connection_id=payment.order.connection_id,
        payment_id=payment.order.payment_id,
    )
    refunding = Refunding(ledger_of(bank.town), bank.banks)
    return (await bank.process().run(refunding.read_sums, sums)).outcome().available


async def book(bank: Struck, payment: Payment, state: RefundState, **fields: Any) -> None:
    change = RefundChange(
        refund_id=payment.refund_id, merchant_id=payment.order.merchant_id, cause="settled", state=state, **fields
    )
    assert (await ledger_of(bank.town).book(change)).created


async def test_a_cashier_between_death_and_second_run_does_not_make_it_send_again(town: Town, shop: Shop) -> None:
    async with struck(town, "payment/return", "none") as bank:
        payments = await asyncio.gather(*(paid(town, shop) for _ in range(4 * 3)))
        await bank.strike()

        async def meanwhile(payment: Payment, moment: int) -> None:
            await give_back(bank, payment, payment.order, moment)
            await town.admin.call("POST", f"purchases/{payment.ref.payment_id}/refund", {"amount": "10.00"})
            await give_back(bank, payment, payment.order)

        await asyncio.gather(*(meanwhile(payment, at) for at, payment in enumerate(payments, start=1)))
        await bank.quiet("give_back")
        for payment in payments:
            ours = [one for one in (await at_bank(town, payment))["refunds"] if one["source"] != "cashier"]
            assert len(ours) == payment.sent <= 1
            standing = await ledger_of(town).standing(shop.id, payment.refund_id)
            (attempt,) = standing.attempts
            if attempt.outcome is None:
                # Neither the sums of our refund nor those of none: nothing is sent again, a person decides.
                verdict = read_back(attempt.available_before, await available(bank, payment), AMOUNT)
                assert verdict is ReadBack.SOMEBODY_ELSE
