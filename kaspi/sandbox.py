"""The bank of sandbox invoices: issues at once, then waits for the simulated payer."""

import hashlib
from datetime import UTC, datetime, timedelta

from domain.bank import BankFact, Verdict
from domain.invoice import Issued, Kind, OpenInvoice
from domain.policy import DEADLINE_GRACE, DEFAULT_POLL_INTERVAL, PHONE_DEADLINE_GRACE
from domain.refund import Sums
from kaspi.errors import KaspiRefused

SCAN_AND_CONFIRM = timedelta(seconds=245)  # Kaspi guide §3.1: 180 s to scan, 65 s to confirm


class SandboxBank:
    """Same shapes as the real one, no I/O. The payer is the `simulate` call, so a status is always "waiting"."""

    def __init__(self, *, phone_lifetime: timedelta) -> None:
        self._phone_lifetime = phone_lifetime

    async def create(self, order: OpenInvoice) -> Issued:
        """Ids, tokens and links are made from the invoice's id: the same order gives the same bill."""
        number = int.from_bytes(hashlib.sha256(order.invoice_id.encode()).digest()[:6]) % 10**11
        now = datetime.now(UTC)
        phone = order.kind is Kind.PHONE
        lasts = self._phone_lifetime if phone else SCAN_AND_CONFIRM
        return Issued(
            bank_payment_id=number,
            expires_at=now + lasts,
            deadline=now + lasts + (PHONE_DEADLINE_GRACE if phone else DEADLINE_GRACE),
            poll_interval=DEFAULT_POLL_INTERVAL,
            qr_token=f"{number:041d}" if order.kind is Kind.QR else None,
            payment_link=f"https://pay.kaspi.kz/pay/sandbox{number}" if order.kind is Kind.LINK else None,
        )

    async def status(self, payment_id: int, kind: Kind) -> BankFact:
        """Waiting, always."""
        return BankFact(word="sandbox", verdict=Verdict.WAITING, seen_at=datetime.now(UTC))

    async def cancel(self, payment_id: int) -> Verdict:
        """Canceled, always."""
        return Verdict.CANCELED

    async def sums(self, payment_id: int) -> Sums:
        """Never asked: the simulator decides sandbox refunds (workflows.refund)."""
        raise KaspiRefused("payment/details", "sandbox_has_no_bank")

    async def give_back(self, payment_id: int, amount: int) -> int:
        """Never asked, as `sums`."""
        raise KaspiRefused("payment/return", "sandbox_has_no_bank")

    async def ping(self) -> None:
        """There is nothing to ask."""
