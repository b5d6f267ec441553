"""What the client gives back: amounts in tiyn, times aware UTC, waits in seconds."""

from datetime import datetime

import msgspec


class TradePoint(msgspec.Struct, frozen=True):
    """A shop or till point of the organisation, made in the Kaspi Pay app (§2.1)."""

    id: int
    name: str


class QrCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase waiting to be scanned (§2.2).

    `token` is the QR image's content, verbatim. The payer has `scan_timeout` seconds to scan and then
    `confirm_timeout` seconds to confirm; ask for the status every `poll_interval` seconds. `expires_at` is the
    bank's own date, None where it gave none that can be read. `methods`: Gold, Red, Loan, BusinessAccount.
    """

    token: str
    payment_id: int
    expires_at: datetime | None
    poll_interval: int
    scan_timeout: int
    confirm_timeout: int
    methods: tuple[str, ...]


class LinkCreated(msgspec.Struct, frozen=True, kw_only=True):
    """As `QrCreated`, with a link to open on the payer's phone; `scan_timeout` is the wait for opening it."""

    link: str
    payment_id: int
    expires_at: datetime | None
    poll_interval: int
    scan_timeout: int
    confirm_timeout: int
    methods: tuple[str, ...]


class PaymentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The bank's own status word (see `kaspi.status`) and, from v02, what was paid.

    Every field but `word` may be missing: v01 gives none, and v02 fills them at its own pleasure (§1).
    """

    word: str
    amount: int | None = None
    transaction_id: str | None = None
    product_type: str | None = None


class PaymentDetails(msgspec.Struct, frozen=True, kw_only=True):
    """`available` is what can still be refunded: refunds made elsewhere lower it too (§2.4, §5)."""

    total: int
    available: int
    at: datetime | None
