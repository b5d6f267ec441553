"""Changes of a subscription, asked for at once: each is made of what stood before both, as the API reads it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from domain.billing_calendar import BillingPeriod, Plan
from domain.cart import InvoiceItem
from domain.catalog import Unit
from domain.subscription import Dunning
from domain.subscription_record import NewTerms
from tests.workflows.subscription_stage import AMOUNT, NewSubscription
from workflows.subscription_messages import ChangeSubscription

TWO_OF_THEM = InvoiceItem(
    position=1, name="Тай-бокс", unit=Unit.PIECE, count_milli=2000, price=AMOUNT, sum=2 * AMOUNT, amount=2 * AMOUNT
)


async def test_of_two_changes_at_once_neither_undoes_the_other(new_subscription: NewSubscription) -> None:
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    one = await new_subscription(real_time=True, started_at=later, external_order_id="o-1")
    old = NewTerms(amount=AMOUNT, description="Абонемент")
    await one.act(
        ChangeSubscription(
            terms=NewTerms(amount=2 * AMOUNT, description=old.description),
            plan=Plan(total_cycles=5),
            dunning=Dunning(grace_period_days=9),
            kept=["description", "period", "ends_at", "max_retry_attempts", "retry_interval_hours", "missed"],
        )
    )
    ends_at = later + timedelta(days=400)
    await one.act(
        ChangeSubscription(
            terms=NewTerms(amount=old.amount, description="Абонплата"),
            plan=Plan(period=BillingPeriod.WEEKLY, ends_at=ends_at),
            dunning=Dunning(max_retry_attempts=1),
            external_order_id="",
            kept=["amount", "total_cycles", "retry_interval_hours", "grace_period_days", "missed"],
        )
    )
    row = await one.row()
    assert (row.amount, row.description, row.external_order_id) == (2 * AMOUNT, "Абонплата", None)
    assert (row.period, row.total_cycles, row.ends_at) == ("weekly", 5, ends_at)
    assert (row.grace_period_days, row.max_retry_attempts) == (9, 1)


async def test_a_description_alone_keeps_the_cart_that_stands(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True, started_at=datetime.now(UTC) + timedelta(days=3))
    cart = NewTerms(amount=2 * AMOUNT, items=[TWO_OF_THEM], discount_percentage=Decimal(5))
    await one.act(ChangeSubscription(terms=cart, kept=["description"]))
    await one.act(ChangeSubscription(terms=NewTerms(amount=AMOUNT, description="new"), kept=["amount"]))
    row = await one.row()
    assert (row.amount, row.description, row.items, row.discount_percentage) == (
        2 * AMOUNT,
        "new",
        [TWO_OF_THEM],
        Decimal(5),
    )
