"""One merchant's connection to Kaspi in the system's own words: invoices in, verdicts out."""

from datetime import UTC, datetime, timedelta
from itertools import cycle

from domain.bank import BankFact, Verdict
from domain.invoice import Issued, Kind, OpenInvoice, bank_reference
from domain.policy import DEADLINE_GRACE, PHONE_DEADLINE_GRACE
from domain.refund import Sums
from kaspi.client import KaspiClient
from kaspi.config import KaspiConfig
from kaspi.errors import KaspiRefused
from kaspi.results import LinkCreated, QrCreated
from kaspi.status import meaning
from kaspi.tls import tls_context

COMMENT_LENGTH = 100


class KaspiBank:
    """Each method is one call, tried once; raises the tree of `kaspi.errors`."""

    def __init__(self, config: KaspiConfig, device_token: str, *, phone_lifetime: timedelta, concurrency: int) -> None:
        context = tls_context(config)
        clients = [KaspiClient(config, tls=context) for _ in range(max(1, -(-concurrency // config.max_connections)))]
        self._clients = clients
        self._next = cycle(clients)
        self._device_token = device_token
        self._phone_lifetime = phone_lifetime

    async def aclose(self) -> None:
        """Closes every connection."""
        for client in self._clients:
            await client.aclose()

    async def create(self, order: OpenInvoice) -> Issued:
        """Issues the bill. The comment carries our reference, the only way to find a bill whose answer was lost."""
        client = next(self._next)
        started = datetime.now(UTC)
        if order.kind is Kind.PHONE:
            if order.phone is None:
                raise KaspiRefused("remote/create", "no_phone")
            payment_id = await client.create_remote(self._device_token, order.amount, order.phone, _comment(order))
            expires = started + self._phone_lifetime
            # remote/create tells no expiry: 24 hours by the guide (§2.4), counted from before the call.
            return Issued(
                bank_payment_id=payment_id,
                expires_at=expires,
                deadline=expires + PHONE_DEADLINE_GRACE,
                poll_interval=0.0,
            )
        if order.kind is Kind.QR:
            qr = await client.create_qr(self._device_token, order.amount, order.invoice_id)
            return _issued(qr, started, qr_token=qr.token, payment_link=None)
        link = await client.create_link(self._device_token, order.amount, order.invoice_id)
        return _issued(link, started, qr_token=None, payment_link=link.link)

    async def status(self, payment_id: int, kind: Kind) -> BankFact:
        """Reads a payment; an unknown word comes back as `Verdict.UNKNOWN`."""
        read = await next(self._next).payment_status(payment_id)
        return BankFact(word=read.word, verdict=meaning(read.word, kind), seen_at=datetime.now(UTC), amount=read.amount)

    async def cancel(self, payment_id: int) -> Verdict:
        """Asks the bank to withdraw a phone invoice; trusts its word, not its zero (fact sheet §5)."""
        word = await next(self._next).cancel_remote(self._device_token, payment_id)
        return meaning(word, Kind.PHONE)

    async def sums(self, payment_id: int) -> Sums:
        """Paid and still refundable tiyn; refunds made elsewhere lower the second too (§2.4)."""
        read = await next(self._next).payment_details(self._device_token, payment_id)
        return Sums(total=read.total, available=read.available)

    async def give_back(self, payment_id: int, amount: int) -> int:
        """Refunds without the customer (§2.4, r3 only); after `KaspiOutcomeUnknown` only `sums` can tell."""
        return await next(self._next).return_payment(self._device_token, payment_id, amount)

    async def ping(self) -> None:
        """Returns when the bank answers and knows us."""
        await next(self._next).ping()


def _comment(order: OpenInvoice) -> str:
    text = " ".join((order.description or "").split())[:COMMENT_LENGTH]
    reference = bank_reference(order.invoice_id)
    return f"{text} · {reference}" if text else reference


def _issued(
    created: QrCreated | LinkCreated, started: datetime, *, qr_token: str | None, payment_link: str | None
) -> Issued:
    scan_ends = started + timedelta(seconds=created.scan_timeout)
    all_ends = scan_ends + timedelta(seconds=created.confirm_timeout)
    return Issued(
        bank_payment_id=created.payment_id,
        expires_at=created.expires_at or scan_ends,
        # The payer may scan in the last second and then has the time to confirm (§3.1).
        deadline=max(all_ends, created.expires_at or all_ends) + DEADLINE_GRACE,
        poll_interval=float(created.poll_interval),
        qr_token=qr_token,
        payment_link=payment_link,
    )
