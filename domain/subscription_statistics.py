"""What came of a subscription, counted from its periods and bills."""

from datetime import datetime

import msgspec


class LastPayment(msgspec.Struct, frozen=True, kw_only=True):
    """The newest payment; amount in tiyn, as it was billed."""

    invoice_id: str
    period: int
    amount: int
    paid_at: datetime


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Periods by what became of them, bills made, and tiyn that came and went back.

    `periods_billed` were not skipped: paid, failed, or still being billed.
    """

    periods_billed: int
    periods_paid: int
    periods_failed: int
    periods_skipped: int
    bills: int
    paid: int
    refunded: int
    last_payment: LastPayment | None = None
