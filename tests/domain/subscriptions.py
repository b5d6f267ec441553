"""Subscriptions for tests, and words about them."""

from datetime import UTC, datetime, timedelta

from domain.billing_calendar import BillingPeriod, Plan
from domain.subscription import (
    ChargeRef,
    Dunning,
    State,
    Terms,
    TimeReached,
    Told,
)
from domain.subscription_rules import begin, upcoming
from tests.domain.subscriber import Subscriber

START = datetime(2026, 1, 31, 5, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TERMS = Terms(amount=500_000, description="Абонплата")


def fresh(period: BillingPeriod = BillingPeriod.MONTHLY, dunning: Dunning | None = None, **limits: int) -> Subscriber:
    """Begun at its start; its first bill is out."""
    plan = Plan(period=period, total_cycles=limits.get("cycles"))
    one = Subscriber(begin(START, plan, TERMS, dunning), START)
    one.happen(TimeReached())
    assert one.live == ChargeRef(number=1, charge=1)
    return one


def words(told: list[Told]) -> list[str]:
    return [one.what.removeprefix("subscription.") for one in told]


def state_of(one: Subscriber) -> State:
    # mypy takes an attribute's value for what it last compared equal to; a call's result changes.
    return one.standing.state


def next_of(one: Subscriber) -> object:
    return one.next


def due(one: Subscriber, count: int = 1) -> list[datetime]:
    return [moment for _, moment in upcoming(one.standing, count, one.now)]
