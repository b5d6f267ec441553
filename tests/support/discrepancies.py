"""Planting payments whose two records differ: bills at the real emulator, steps in the real ledger, no workflow."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from activities.gateways import Bank
from db.ledger import Ledger
from db.refunds import RefundLedger
from db.watches import Watches
from domain.ids import INVOICE, REFUND, new_id
from domain.invoice import Change, Issued, Kind, OpenInvoice, Reason, State
from domain.money import format_amount
from domain.reconciliation import Detail, LineVerdict
from domain.reconciliation_run import Action, Line
from domain.refund import OpenRefund, RefundChange, RefundState
from tests.support.emulator import EmulatorAdmin

AT_ONCE = 12
HEADER = "date_time,operation,payment_id,amount,comment"
_nobody = itertools.count(9_000_000_000_000 + random.randrange(10**9) * 1000)
_phones = itertools.count(7_020_000_000)


@dataclass(frozen=True)
class Planted:
    """One payment, and the line that a reconciliation must have for it; no verdict: it must have none."""

    kind: str
    invoice_id: str
    payment_id: int
    amount: int
    verdict: LineVerdict | None = None
    detail: Detail | None = None
    action: Action | None = None


@dataclass
class Planter:
    """Plants for one merchant; `bank` is its real link."""

    merchant_id: str
    connection_id: str
    ledger: Ledger
    refunds: RefundLedger
    watches: Watches
    bank: Bank
    admin: EmulatorAdmin
    planted: list[Planted] = field(default_factory=list)

    async def issued(self, kind: Kind, amount: int, *, at_bank: int | None = None) -> Planted:
        """A bill of `amount` here and of `at_bank` there; 0 there is a payment that the bank never had."""
        order = self._order(kind, amount)
        assert (await self.ledger.open_invoice(order)).claimed
        if at_bank == 0:
            made = Issued(
                bank_payment_id=next(_nobody),
                expires_at=order.issue_before,
                deadline=order.issue_before + timedelta(days=1),
                poll_interval=5.0,
            )
        else:
            made = await self.bank.create(msgspec.structs.replace(order, amount=at_bank or amount))
        await self.book(order.invoice_id, "issued", State.PENDING, issued=made, announce=False)
        return Planted("issued", order.invoice_id, made.bank_payment_id, amount)

    def _order(self, kind: Kind, amount: int) -> OpenInvoice:
        now = datetime.now(UTC)
        return OpenInvoice(
            invoice_id=new_id(INVOICE),
            merchant_id=self.merchant_id,
            kind=kind,
            is_sandbox=False,
            amount=amount,
            issue_before=now + timedelta(minutes=5),
            answer_by=now,
            fingerprint="planted",
            operation="planted",
            request_id="req_planted",
            late_watch=1.0,
            connection_id=self.connection_id,
            phone=f"7{next(_phones)}" if kind is Kind.PHONE else None,
        )

    async def book(self, invoice_id: str, cause: str, state: State, **fields: Any) -> None:
        change = Change(invoice_id=invoice_id, merchant_id=self.merchant_id, cause=cause, state=state, **fields)
        await self.ledger.book(change)

    async def paid(self, kind: Kind, amount: int, *, at_bank: int | None = None) -> Planted:
        """Paid on both sides."""
        one = await self.issued(kind, amount, at_bank=at_bank)
        if at_bank != 0:
            await self.admin.act(one.payment_id, "pay")
        await self.book(one.invoice_id, "paid", State.PAID, announce=False)
        return one

    async def refunded_here(self, one: Planted, amount: int) -> None:
        """A refund that our books call completed, and the bank never saw."""
        refund_id, now = new_id(REFUND), datetime.now(UTC)
        await self.refunds.open(
            OpenRefund(
                refund_id=refund_id,
                merchant_id=self.merchant_id,
                invoice_id=one.invoice_id,
                is_sandbox=False,
                open_before=now + timedelta(minutes=5),
                fingerprint="planted",
                operation="planted",
                request_id="req_planted",
                amount=amount,
            )
        )
        await self.refunds.turn(self.merchant_id, refund_id)
        done = RefundChange(
            refund_id=refund_id, merchant_id=self.merchant_id, cause="completed", state=RefundState.COMPLETED
        )
        await self.refunds.book(done)

    async def plant(self, clean: int, discrepancies: int) -> list[Planted]:
        """Clean payments of every sort and discrepancies of every kind, in a random order; the poller sees none."""
        wanted = [_CLEAN[place % len(_CLEAN)] for place in range(clean)]
        wanted += [_WRONG[place % len(_WRONG)] for place in range(discrepancies)]
        random.shuffle(wanted)
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(make: Recipe) -> Planted:
            async with slots:
                return await make(self, random.randrange(10_000, 5_000_000))

        hiding = asyncio.create_task(self._go_on_hiding())
        made = list(await asyncio.gather(*(one(make) for make in wanted)))
        hiding.cancel()
        await self.hide()
        self.planted += made
        return made

    async def _go_on_hiding(self) -> None:
        while True:
            await self.hide()
            await asyncio.sleep(3)

    async def hide(self) -> None:
        """What there is, from the poller, which would find late money first: its first look comes after 10 s."""
        far = datetime.now(UTC) + timedelta(days=30)
        await self.watches.postpone(self.merchant_id, self.connection_id, kinds=list(Kind), until=far)


Recipe = Callable[[Planter, int], Awaitable[Planted]]


def _wrong(one: Planted, kind: str, verdict: LineVerdict, detail: Detail, action: Action) -> Planted:
    return Planted(kind, one.invoice_id, one.payment_id, one.amount, verdict, detail, action)


def _clean(one: Planted, kind: str) -> Planted:
    return Planted(kind, one.invoice_id, one.payment_id, one.amount)


async def _paid_qr(planter: Planter, amount: int) -> Planted:
    return _clean(await planter.paid(Kind.QR, amount), "paid_qr")


async def _paid_link(planter: Planter, amount: int) -> Planted:
    return _clean(await planter.paid(Kind.LINK, amount), "paid_link")


async def _paid_phone(planter: Planter, amount: int) -> Planted:
    return _clean(await planter.paid(Kind.PHONE, amount), "paid_phone")


async def _rejected(planter: Planter, amount: int) -> Planted:
    one = await planter.issued(Kind.PHONE, amount)
    await planter.admin.act(one.payment_id, "reject")
    await planter.book(one.invoice_id, "canceled", State.CANCELED, reason=Reason.REJECTED_BY_PAYER, announce=False)
    return _clean(one, "rejected_phone")


async def _waiting(planter: Planter, amount: int) -> Planted:
    return _clean(await planter.issued(Kind.PHONE, amount), "waiting_phone")


async def _late_money(planter: Planter, amount: int) -> Planted:
    one = await planter.issued(Kind.PHONE, amount)
    await planter.admin.act(one.payment_id, "expire")
    await planter.book(one.invoice_id, "expired", State.EXPIRED, reason=Reason.EXPIRED, announce=False)
    await planter.admin.call("POST", f"purchases/{one.payment_id}/pay", late="true")
    return _wrong(one, "late_money", LineVerdict.PAID_AFTER_CLOSE, Detail.LATE_MONEY, Action.BOOKED)


async def _late_other_amount(planter: Planter, amount: int) -> Planted:
    one = await planter.issued(Kind.QR, amount, at_bank=amount + 700)
    await planter.book(one.invoice_id, "failed", State.FAILED, reason=Reason.DECLINED_OR_ERROR, announce=False)
    await planter.admin.act(one.payment_id, "pay")
    return _wrong(one, "late_other_amount", LineVerdict.AMOUNT_DIFFERS, Detail.OTHER_AMOUNT, Action.ATTENTION)


async def _paid_here_only(planter: Planter, amount: int) -> Planted:
    one = await planter.issued(Kind.PHONE, amount)
    await planter.book(one.invoice_id, "paid", State.PAID, announce=False)
    return _wrong(one, "paid_here_only", LineVerdict.STATUS_DIFFERS, Detail.NOT_PAID_THERE, Action.ATTENTION)


async def _still_payable(planter: Planter, amount: int) -> Planted:
    one = await planter.issued(Kind.PHONE, amount)
    await planter.book(one.invoice_id, "canceled", State.CANCELED, reason=Reason.CANCELED_AT_BANK, announce=False)
    return _wrong(one, "still_payable", LineVerdict.STATUS_DIFFERS, Detail.STILL_PAYABLE, Action.ATTENTION)


async def _other_amount(planter: Planter, amount: int) -> Planted:
    one = await planter.paid(Kind.LINK, amount, at_bank=amount - 1)
    return _wrong(one, "other_amount", LineVerdict.AMOUNT_DIFFERS, Detail.OTHER_AMOUNT, Action.ATTENTION)


async def _unknown_there(planter: Planter, amount: int) -> Planted:
    one = await planter.paid(Kind.QR, amount, at_bank=0)
    return _wrong(one, "unknown_there", LineVerdict.MISSING_AT_BANK, Detail.UNKNOWN_PAYMENT, Action.ATTENTION)


async def _cashier(planter: Planter, amount: int) -> Planted:
    one = await planter.paid(Kind.QR, amount)
    await planter.admin.call("POST", f"purchases/{one.payment_id}/refund", {"amount": format_amount(amount // 2)})
    return _wrong(one, "cashier", LineVerdict.REFUNDED_OUTSIDE, Detail.REFUNDED_ELSEWHERE, Action.ATTENTION)


async def _refund_not_there(planter: Planter, amount: int) -> Planted:
    one = await planter.paid(Kind.PHONE, amount)
    await planter.refunded_here(one, amount // 3)
    return _wrong(one, "refund_not_there", LineVerdict.STATUS_DIFFERS, Detail.REFUND_NOT_AT_BANK, Action.ATTENTION)


_CLEAN: Sequence[Recipe] = (_paid_qr, _paid_phone, _paid_link, _rejected, _paid_qr, _waiting)
_WRONG: Sequence[Recipe] = (
    _late_money,
    _late_other_amount,
    _paid_here_only,
    _still_payable,
    _other_amount,
    _unknown_there,
    _cashier,
    _refund_not_there,
)


def wrong_conclusions(planted: Sequence[Planted], lines: Sequence[Line]) -> list[str]:
    """What the lines have too many, too few, or otherwise; empty when each discrepancy is found, and nothing else."""
    wanted = {one.payment_id: one for one in planted}
    found = {line.bank_payment_id: line for line in lines}
    faults = []
    for payment_id, one in wanted.items():
        line = found.pop(payment_id, None)
        said = None if line is None else (line.verdict, line.detail, line.action)
        meant = None if one.verdict is None else (one.verdict, one.detail, one.action)
        if said != meant:
            faults.append(f"{one.kind} {one.invoice_id}: {said}, not {meant}")
    return faults + [f"{line.verdict} for the unplanted payment {id_}" for id_, line in found.items()]


def kinds(planted: Sequence[Planted]) -> dict[str, int]:
    """How many of each."""
    return dict(Counter(one.kind for one in planted))


async def statement_of(admin: EmulatorAdmin, payments: Sequence[int]) -> list[str]:
    """The bank's own rows of these payments, as a statement has them."""
    books, wanted = await admin.ledger(), set(payments)
    rows = [
        f"{one['paid_at']},payment,{one['id']},{one['amount']},{one['comment'] or ''}"
        for one in books["purchases"]
        if one["id"] in wanted and one["payments"]
    ]
    return rows + [
        f"{one['created_at']},refund,{one['purchase_id']},{one['amount']},"
        for one in books["refunds"]
        if one["purchase_id"] in wanted
    ]
