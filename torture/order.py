"""The life of one planned bill: what the merchant and the payer do about it, each on their own."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from domain.errors import Code
from domain.ids import INVOICE, REFUND, derived_id
from domain.invoice import Attention, Kind
from domain.merchant import Mode
from torture.bank import TorturedBank
from torture.deed import do
from torture.evidence import REFUNDS, Asked
from torture.merchant import MerchantApi, tenge
from torture.plan import Bill
from torture.plan_refunds import AskedRefund

Enough = Callable[[dict[str, Any]], Any]

_STEP = 0.7
_BY_HAND = 90.0
_OVER = frozenset({"canceled", "expired", "failed", "paid", "partially_refunded", "refunded"})
# After this no creation is under way any more, and no bill can still come to the payer.
_LAST_BILL = 10.0


class Identity(msgspec.Struct, frozen=True):
    """Who asks, and what ids are derived with."""

    merchant_id: str
    salt: bytes


class Order:
    """One bill of the plan, lived through. `await run()` ends when nobody will do anything more."""

    def __init__(self, bill: Bill, api: MerchantApi, bank: TorturedBank, who: Identity, run_name: str) -> None:
        self._bill = bill
        self._api = api
        self._bank = bank
        self._who = who
        self._name = run_name
        self._operation = "invoices" if bill.kind is Kind.PHONE else "qr"
        self._path = "/invoices" if bill.kind is Kind.PHONE else "/qr"
        self._created = asyncio.Event()
        self._seen: set[int] = set()
        self._fingers: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """From the moment the bill is opened (`when` is the caller's) to the last thing anybody does."""
        phone = asyncio.create_task(self._phone_rings()) if self._bill.kind is Kind.PHONE else None
        try:
            invoice_id = await self._create()
            if invoice_id is not None:
                await self._live(invoice_id)
        finally:
            self._created.set()
        if phone is not None:
            await phone
        await asyncio.gather(*self._fingers)

    # --- the merchant

    async def _create(self) -> str | None:
        bill = self._bill
        if bill.patience is not None:
            await self._api.hang_up(self._path, self._body(), self._asked(""), patience=bill.patience)
            return None
        asked = self._asked("")
        answer = await self._api.create(self._path, self._body(), asked, twins=bill.twins)
        if answer is not None and answer.code == Code.KASPI_UNAVAILABLE:
            # What the error says: nothing was issued, try again with a new key.
            asked = self._asked("-again")
            answer = await self._api.create(self._path, self._body(), asked, twins=1)
        if answer is None or answer.status != 201:
            return None
        if bill.misuses_key:
            await self._api.misuse(self._path, self._body(extra=1), asked)
        return str(answer.body["id"])

    async def _live(self, invoice_id: str) -> None:
        await self._until(invoice_id, lambda seen: seen["kaspi_invoice_id"] or seen["attention"])
        bill = self._bill
        paid = None
        async with asyncio.TaskGroup() as both:
            if bill.cancel_after is not None:
                both.create_task(self._cancel(invoice_id, bill.cancel_after))
            if bill.checks:
                both.create_task(self._api.insist("POST", "/invoices/status/check", {"ids": [invoice_id]}))
            if bill.refunds:
                paid = both.create_task(self._refund_when_paid(invoice_id))
        if paid is not None:
            paid.result()

    async def _cancel(self, invoice_id: str, after: float) -> None:
        await asyncio.sleep(after)
        await self._api.insist("POST", f"/invoices/{invoice_id}/cancel")

    async def _refund_when_paid(self, invoice_id: str) -> None:
        seen = await self._until(invoice_id, lambda seen: seen["attention"] == Attention.OUTCOME_UNKNOWN)
        if seen is None or seen["state"] != "paid":
            return
        async with asyncio.TaskGroup() as all_refunds:
            for refund in self._bill.refunds:
                all_refunds.create_task(self._refund(invoice_id, refund))
            if self._bill.cashier is not None and seen["kaspi_invoice_id"]:
                all_refunds.create_task(self._cashier(int(seen["kaspi_invoice_id"]), self._bill.cashier))

    async def _refund(self, invoice_id: str, refund: AskedRefund) -> None:
        await asyncio.sleep(refund.after)
        body: dict[str, object] = {"reason": f"torture {refund.number}"}
        if refund.amount is not None:
            body["amount"] = tenge(refund.amount)
        path = f"/invoices/{invoice_id}/refund" if refund.by_path else "/refunds"
        if not refund.by_path:
            body["invoice_id"] = invoice_id
        key = f"{self._name}-refund-{refund.number}"
        asked = Asked(
            key=key,
            operation=REFUNDS,
            bill=self._bill.number,
            amount=refund.amount,
            expected_id=self._derived(REFUND, REFUNDS, key),
        )
        await self._api.create(path, body, asked, twins=refund.twins)

    async def _cashier(self, purchase_id: int, amount: int) -> None:
        await asyncio.sleep(self._bill.deed_after)
        await self._bank.till(purchase_id, amount)

    async def _until(self, invoice_id: str, enough: Enough) -> dict[str, Any] | None:
        """The invoice once it is as wanted, or as it is when patience ends; hands a QR or link to its payer."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + _BY_HAND
        while True:
            answer = await self._api.send("GET", f"/invoices/{invoice_id}")
            if answer.status == 200:
                number = answer.body["kaspi_invoice_id"]
                if number and self._bill.kind is not Kind.PHONE:
                    self._show(int(number))
                if enough(answer.body) or answer.body["state"] in _OVER:
                    return answer.body
            if loop.time() > ends:
                return None
            await asyncio.sleep(_STEP)

    def _body(self, extra: int = 0) -> Mapping[str, object]:
        bill, text = self._bill, f"Torture {self._bill.number}"
        body: dict[str, object] = {"amount": tenge(bill.amount + extra), "external_order_id": f"t-{bill.number}"}
        if bill.kind is Kind.PHONE:
            return body | {"phone_number": bill.phone, "description": text}
        return body | {"kind": bill.kind.value, "comment": text}

    def _asked(self, suffix: str) -> Asked:
        key = f"{self._name}-bill-{self._bill.number}{suffix}"
        return Asked(
            key=key,
            operation=self._operation,
            bill=self._bill.number,
            amount=self._bill.amount,
            expected_id=self._derived(INVOICE, self._operation, key),
        )

    def _derived(self, prefix: str, operation: str, key: str) -> str:
        return derived_id(prefix, self._who.salt, self._who.merchant_id, Mode.LIVE, operation, key)

    # --- the payer

    async def _phone_rings(self) -> None:
        """The payer acts on every bill that reaches the phone, also on one that nobody else knows of."""
        loop = asyncio.get_running_loop()
        ends = None
        while ends is None or loop.time() < ends:
            if ends is None and self._created.is_set():
                ends = loop.time() + _LAST_BILL
            for bill in await self._bank.bills_to(self._bill.phone):
                self._show(bill.id)
            await asyncio.sleep(_STEP)

    def _show(self, purchase_id: int) -> None:
        if purchase_id not in self._seen:
            self._seen.add(purchase_id)
            self._fingers.append(asyncio.create_task(self._act(purchase_id)))

    async def _act(self, purchase_id: int) -> None:
        await asyncio.sleep(self._bill.deed_after)
        await do(self._bank, purchase_id, self._bill.deed, self._bill.kind)
