"""A subscription in the real books, decided about by the real rules; no workflow."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from db.rows import SUBSCRIPTION_COLUMNS, to_subscription
from db.subscription_bills import BillTimes, SubscriptionBills
from db.subscriptions import SubscriptionLedger
from domain.billing_calendar import BillingPeriod, Plan
from domain.ids import SUBSCRIPTION, new_id
from domain.invoice import OpenInvoice, State
from domain.subscription import ChargeRef, Decision, Dunning, Happening, TimeReached
from domain.subscription_record import (
    BookDecision,
    BookedDecision,
    NewTerms,
    OpenSubscription,
    Subscription,
)
from domain.subscription_rules import decide
from tests.db.books import PHONE, Shop, issued

START = datetime(2026, 1, 15, 5, tzinfo=UTC)
AMOUNT = 500_000
_tokens = itertools.count()


class BookedSubscription:
    """One merchant's subscription; live, unless `is_sandbox`."""

    def __init__(self, shop: Shop, **changes: Any) -> None:
        self.shop, self.books = shop, shop.books
        self.ledger = SubscriptionLedger(self.books.app, self.books.renderer)
        self.bills = SubscriptionBills(self.books.app, BillTimes())
        fields: dict[str, Any] = {
            "subscription_id": new_id(SUBSCRIPTION),
            "merchant_id": shop.id,
            "is_sandbox": False,
            "phone": PHONE,
            "terms": NewTerms(amount=AMOUNT),
            "open_before": datetime.now(UTC) + timedelta(seconds=60),
            "fingerprint": "f1",
            "operation": "subscriptions",
            "request_id": "req_1",
            "plan": Plan(period=BillingPeriod.MONTHLY),
            "dunning": Dunning(),
            "started_at": START,
            "asked_by": "key_1",
        }
        self.order = OpenSubscription(**(fields | changes))

    @property
    def id(self) -> str:
        return self.order.subscription_id

    async def opened(self) -> "BookedSubscription":
        await self.ledger.open(self.order)
        return self

    async def row(self) -> Subscription:
        found = await self.books.fetch(f"select {SUBSCRIPTION_COLUMNS} from subscriptions where id = :id", id=self.id)
        return to_subscription(found[0])

    async def ask(self, happening: Happening, now: datetime, **more: Any) -> tuple[Decision, BookDecision]:
        stands = await self.row()
        decision = decide(stands.standing, happening, now)
        ask = BookDecision(
            subscription_id=self.id,
            merchant_id=self.shop.id,
            version=stands.version,
            token=f"t{next(_tokens)}",
            action="tested",
            standing=decision.standing,
            booked=decision.booked,
            told=decision.told,
            at=now,
        )
        return decision, msgspec.structs.replace(ask, **more)

    async def hear(self, happening: Happening, now: datetime, **more: Any) -> BookedDecision:
        _, ask = await self.ask(happening, now, **more)
        return await self.ledger.book(ask)

    async def due(self, days: float = 0) -> BookedDecision:
        return await self.hear(TimeReached(), START + timedelta(days=days))

    async def periods(self) -> list[dict[str, Any]]:
        return await self.books.fetch(
            "select * from subscription_periods where subscription_id = :id order by number", id=self.id
        )

    async def charge(self, number: int = 1, charge: int = 1, revision: int = 1) -> OpenInvoice:
        """The order of a bill."""
        made = await self.bills.bill(self.shop.id, self.id, ChargeRef(number=number, charge=charge), revision)
        assert made.order is not None
        return made.order

    async def out(self, number: int = 1, charge: int = 1) -> str:
        """The bill is with its payer; its invoice's id."""
        order = await self.charge(number, charge)
        assert (await self.books.ledger.open_invoice(order)).claimed
        await self.shop.book(order.invoice_id, "issued", State.PENDING, issued=issued(), announce=False)
        return order.invoice_id
