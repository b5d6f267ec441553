"""Subscriptions put into the books by themselves, as their workflow would: for what the API reads."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from db.subscription_reads import SubscriptionReads
from db.subscriptions import SubscriptionLedger
from domain.billing_calendar import Plan
from domain.ids import SUBSCRIPTION, new_id
from domain.invoice import Invoice, State, SubscriptionCharge
from domain.subscription import Bill, ChargePaid, ChargeRef, Decision, Happening, TimeReached
from domain.subscription_record import BookDecision, NewTerms, OpenSubscription, Subscription
from domain.subscription_rules import decide
from tests.db.books import PHONE, Shop

START = datetime(2026, 1, 31, 5, tzinfo=UTC)


class Subscriber:
    """One merchant's subscriptions; `happen` books a decision, `bill` the invoice that it asks for."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.ledger = SubscriptionLedger(shop.books.app, shop.books.renderer)
        self.reads = SubscriptionReads(shop.books.app)

    async def open(self, *, sandbox: bool = False, **fields: Any) -> Subscription:
        given: dict[str, Any] = {
            "subscription_id": new_id(SUBSCRIPTION),
            "merchant_id": self.shop.id,
            "is_sandbox": sandbox,
            "phone": PHONE,
            "terms": NewTerms(amount=500_000, description="Абонплата"),
            "open_before": datetime.now(UTC) + timedelta(seconds=60),
            "fingerprint": "f1",
            "operation": "subscriptions",
            "request_id": "req_1",
            "plan": Plan(),
            "started_at": START,
        }
        order = OpenSubscription(**(given | fields))
        await self.ledger.open(order)
        return await self.read(order.subscription_id)

    async def read(self, subscription_id: str) -> Subscription:
        found = await self.reads.subscription(self.shop.id, subscription_id)
        assert found is not None
        return found

    async def happen(self, subscription_id: str, happening: Happening, at: datetime = START) -> Decision:
        loaded = await self.ledger.load(self.shop.id, subscription_id)
        assert loaded is not None
        decision = decide(loaded.standing, happening, at)
        booked = await self.ledger.book(
            BookDecision(
                subscription_id=subscription_id,
                merchant_id=self.shop.id,
                version=loaded.version,
                token=uuid4().hex,
                action=type(happening).__name__.lower(),
                standing=decision.standing,
                booked=decision.booked,
                told=decision.told,
                at=at,
            )
        )
        assert booked.version == loaded.version + 1
        return decision

    async def billed(self, subscription_id: str, at: datetime) -> Invoice:
        """Time has come to make a bill, and its invoice is out."""
        decision = await self.happen(subscription_id, TimeReached(), at)
        assert isinstance(decision.next, Bill)
        one = await self.read(subscription_id)
        assert one.invoice_id is not None
        ref = decision.next.ref
        charge = SubscriptionCharge(subscription_id=subscription_id, number=ref.number, charge=ref.charge)
        return await self.shop.pending(
            invoice_id=one.invoice_id, amount=decision.next.terms.amount, subscription=charge, sandbox=one.is_sandbox
        )

    async def paid(self, subscription_id: str, invoice: Invoice, at: datetime) -> None:
        """The payer paid the bill."""
        assert invoice.subscription_period is not None
        assert invoice.subscription_charge is not None
        await self.shop.book(invoice.id, "paid", State.PAID)
        ref = ChargeRef(number=invoice.subscription_period, charge=invoice.subscription_charge)
        await self.happen(subscription_id, ChargePaid(ref=ref), at)
