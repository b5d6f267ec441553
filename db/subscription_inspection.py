"""What operators look at of subscriptions, over every merchant; needs the operator role's engine. Read only."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import transaction
from db.inspection import Told
from db.rows import PERIOD_COLUMNS, SUBSCRIPTION_COLUMNS, to_period, to_subscription
from domain.invoice import Attention
from domain.invoice import State as InvoiceState
from domain.subscription import State
from domain.subscription_record import Subscription, SubscriptionPeriod

_ONE = text(f"select {SUBSCRIPTION_COLUMNS} from subscriptions where id = :id")
_FOUND = (
    f"select {SUBSCRIPTION_COLUMNS} from subscriptions"
    " where (cast(:merchant as text) is null or merchant_id = :merchant)"
    " and (cast(:state as text) is null or state = :state)"
)
_NEWEST = text(f"{_FOUND} order by created_at desc, id limit :limit")
_DUE = text(f"{_FOUND} and next_billing_at < :due_before order by next_billing_at, id limit :limit")
_PERIODS = text(
    f"select {PERIOD_COLUMNS} from subscription_periods p join subscription_terms t"
    "   on t.subscription_id = p.subscription_id and t.revision = p.revision"
    " where p.subscription_id = :id order by p.number desc limit :limit"
)
_BILLS = text(
    "select id, subscription_period as number, subscription_charge as charge, state, attention, bank_payment_id"
    " from invoices where merchant_id = :merchant and subscription_id = :id and subscription_period >= :oldest"
    " order by number, charge"
)
_TOLD = text(
    "select e.id as event_id, e.type, e.cause, e.sequence, e.created_at, d.id as delivery_id, d.endpoint_id, d.state,"
    " d.attempts, d.last_status, d.last_error, d.next_attempt_at"
    " from (select * from events where object_id = :id order by sequence desc limit :limit) e"
    " left join deliveries d on d.event_id = e.id order by e.sequence desc, d.endpoint_id"
)


class SubscriptionBill(msgspec.Struct, frozen=True, kw_only=True):
    """One bill: the `charge`-th of period `number`."""

    id: str
    number: int
    charge: int
    state: InvoiceState
    attention: Attention | None
    bank_payment_id: int | None


class InspectedSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription with its newest periods, all bills of those, and the newest of what was told, newest first."""

    subscription: Subscription
    periods: list[SubscriptionPeriod]
    bills: list[SubscriptionBill]
    told: list[Told]


class SubscriptionInspection:
    """Every method raises `DatabaseUnavailable` when the database is."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def subscriptions(
        self, merchant_id: str | None, state: State | None, due_before: datetime | None, *, limit: int
    ) -> list[Subscription]:
        """Newest first; with `due_before` those whose next bill is due before that moment, soonest first."""
        values: dict[str, object] = {"merchant": merchant_id, "state": state, "limit": limit}
        asked = _NEWEST
        if due_before is not None:
            asked, values["due_before"] = _DUE, due_before
        async with transaction(self._engine) as connection:
            return [to_subscription(row) for row in (await connection.execute(asked, values)).mappings()]

    async def one(self, subscription_id: str) -> Subscription | None:
        """One subscription of any merchant."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_ONE, {"id": subscription_id})).mappings().one_or_none()
        return None if row is None else to_subscription(row)

    async def whole(self, subscription_id: str, *, limit: int) -> InspectedSubscription | None:
        """One with its last `limit` periods and what was told last, as many events."""
        named = {"id": subscription_id}
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_ONE, named)).mappings().one_or_none()
            if row is None:
                return None
            periods = (await connection.execute(_PERIODS, named | {"limit": limit})).mappings().all()
            oldest = periods[-1]["number"] if periods else 1
            shown = named | {"merchant": row["merchant_id"], "oldest": oldest}
            bills = (await connection.execute(_BILLS, shown)).mappings().all()
            told = (await connection.execute(_TOLD, named | {"limit": limit})).mappings().all()
        return InspectedSubscription(
            subscription=to_subscription(row),
            periods=[to_period(one) for one in periods],
            bills=[msgspec.convert(dict(one), SubscriptionBill) for one in bills],
            told=[msgspec.convert(dict(one), Told) for one in told],
        )
