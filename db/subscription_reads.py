"""What the API reads of subscriptions: queries to domain structs, one merchant at a time."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import as_merchant
from db.reads import COUNT_CAP
from db.rows import PERIOD_COLUMNS, SUBSCRIPTION_COLUMNS, to_period, to_subscription
from domain.billing_calendar import BillingPeriod
from domain.subscription import PeriodState, State
from domain.subscription_record import Subscription, SubscriptionPeriod
from domain.subscription_statistics import LastPayment, Statistics

_ONE = text(f"select {SUBSCRIPTION_COLUMNS} from subscriptions where merchant_id = :merchant and id = :id")
_BY_NUMBER = text(
    f"select {SUBSCRIPTION_COLUMNS} from subscriptions where merchant_id = :merchant and number = :number"
)
_CREATED = text(
    f"select {SUBSCRIPTION_COLUMNS}, k.answer_status, k.answer_body, k.fingerprint from subscriptions"
    " left join lateral (select answer_status, answer_body, fingerprint from idempotency_keys"
    "   where idempotency_keys.merchant_id = subscriptions.merchant_id and resource_id = subscriptions.id"
    "   and operation = :operation limit 1) k on true"
    " where subscriptions.merchant_id = :merchant and subscriptions.id = :id"
)
_PERIODS = text(
    f"select {PERIOD_COLUMNS} from subscription_periods p join subscription_terms t"
    "   on t.subscription_id = p.subscription_id and t.revision = p.revision"
    " where p.merchant_id = :merchant and p.subscription_id = :id"
    " and (cast(:states as text[]) is null or p.state = any(:states))"
    " and (cast(:before as integer) is null or p.number < :before)"
    " order by p.number desc limit :limit"
)
# What came in and went back is what the bills' own books say: also of a bill that was paid beside its period.
_STATISTICS = text(
    """
    with periods as (
        select count(*) filter (where state <> 'skipped') as periods_billed,
            count(*) filter (where state = 'paid') as periods_paid,
            count(*) filter (where state = 'failed') as periods_failed,
            count(*) filter (where state = 'skipped') as periods_skipped
        from subscription_periods where merchant_id = :merchant and subscription_id = :id
    ), bills as (
        select count(*) filter (where bank_payment_id is not null) as bills,
            cast(coalesce(sum(amount) filter (where paid_at is not null), 0) as bigint) as paid,
            cast(coalesce(sum(refunded + refunded_outside), 0) as bigint) as refunded
        from invoices where merchant_id = :merchant and subscription_id = :id
    ), last as (
        select id as last_id, subscription_period as last_period, amount as last_amount, paid_at as last_paid_at
        from invoices where merchant_id = :merchant and subscription_id = :id and paid_at is not null
        order by paid_at desc, id desc limit 1
    )
    select * from periods, bills left join last on true
    """
)


class CreatedSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription with the answer kept for the key that made it, if any."""

    subscription: Subscription
    status: int | None
    body: bytes | None
    fingerprint: str | None


class SubscriptionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list asks for; `after` is the last row of the page before (created_at, id)."""

    states: list[State] | None = None
    periods: list[BillingPeriod] | None = None
    is_sandbox: bool | None = None
    phone: str | None = None
    external_order_id: str | None = None
    test_clock_id: str | None = None
    search: str | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None
    after: tuple[datetime, str] | None = None
    offset: int = 0
    limit: int = 20


class SubscriptionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `total` counts up to `COUNT_CAP`; `has_more` is always exact."""

    items: list[Subscription]
    total: int
    has_more: bool


class PeriodFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of periods asks for; `before` is the number of the last row of the page before."""

    states: list[PeriodState] | None = None
    before: int | None = None
    limit: int = 20


class PeriodPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first; `has_more` is exact."""

    items: list[SubscriptionPeriod]
    has_more: bool


class SubscriptionReads:
    """Queries; each raises `DatabaseUnavailable` when the database is."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def subscription(self, merchant_id: str, subscription_id: str) -> Subscription | None:
        """One subscription of this merchant."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_ONE, {"merchant": merchant_id, "id": subscription_id})
            row = found.mappings().one_or_none()
        return None if row is None else to_subscription(row)

    async def subscription_by_number(self, merchant_id: str, number: int) -> Subscription | None:
        """One subscription of this merchant by its number."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_BY_NUMBER, {"merchant": merchant_id, "number": number})
            row = found.mappings().one_or_none()
        return None if row is None else to_subscription(row)

    async def created(
        self, merchant_id: str, subscription_id: str, operation: str, *, final: bool = False
    ) -> CreatedSubscription | None:
        """The subscription and the answer kept for its creation, which is `operation`. `final` asks under the lock of
        recording it: after `open_before` None then means that it can never be recorded.
        """
        values = {"merchant": merchant_id, "id": subscription_id, "operation": operation}
        async with as_merchant(self._engine, merchant_id, lock=subscription_id if final else None) as connection:
            row = (await connection.execute(_CREATED, values)).mappings().one_or_none()
        if row is None:
            return None
        return CreatedSubscription(
            subscription=to_subscription({name: row[name] for name in Subscription.__struct_fields__}),
            status=row["answer_status"],
            body=row["answer_body"],
            fingerprint=row["fingerprint"],
        )

    async def page(self, merchant_id: str, wanted: SubscriptionFilter) -> SubscriptionPage:
        """One page, by keyset when `after` is given, by a bounded offset otherwise."""
        where, values = _conditions(wanted)
        values["merchant"] = merchant_id
        keyset = ""
        if wanted.after is not None:
            keyset = " and (created_at, id) < (:after_time, :after_id)"
            values |= {"after_time": wanted.after[0], "after_id": wanted.after[1]}
        listed = text(
            f"select {SUBSCRIPTION_COLUMNS} from subscriptions where {where}{keyset}"
            " order by created_at desc, id desc limit :limit offset :offset"
        )
        counted = text(f"select count(*) from (select 1 from subscriptions where {where} limit {COUNT_CAP}) c")
        async with as_merchant(self._engine, merchant_id) as connection:
            paging = {"limit": wanted.limit + 1, "offset": wanted.offset}
            rows = (await connection.execute(listed, values | paging)).mappings().all()
            total = (await connection.execute(counted, values)).scalar_one()
        return SubscriptionPage(
            items=[to_subscription(row) for row in rows[: wanted.limit]], total=total, has_more=len(rows) > wanted.limit
        )

    async def periods(self, merchant_id: str, subscription_id: str, wanted: PeriodFilter) -> PeriodPage:
        """One page of a subscription's periods."""
        values = {
            "merchant": merchant_id,
            "id": subscription_id,
            "states": wanted.states,
            "before": wanted.before,
            "limit": wanted.limit + 1,
        }
        async with as_merchant(self._engine, merchant_id) as connection:
            rows = (await connection.execute(_PERIODS, values)).mappings().all()
        items = [to_period(row) for row in rows[: wanted.limit]]
        return PeriodPage(items=items, has_more=len(rows) > wanted.limit)

    async def statistics(self, merchant_id: str, subscription_id: str) -> Statistics:
        """What came of it so far."""
        async with as_merchant(self._engine, merchant_id) as connection:
            values = {"merchant": merchant_id, "id": subscription_id}
            row = (await connection.execute(_STATISTICS, values)).mappings().one()
        last = None
        if row["last_id"] is not None:
            last = LastPayment(
                invoice_id=row["last_id"],
                period=row["last_period"],
                amount=row["last_amount"],
                paid_at=row["last_paid_at"],
            )
        counted = {name: row[name] for name in Statistics.__struct_fields__ if name != "last_payment"}
        return Statistics(**counted, last_payment=last)


def _conditions(wanted: SubscriptionFilter) -> tuple[str, dict[str, Any]]:
    conditions = {
        "states": "state = any(:states)",
        "periods": "period = any(:periods)",
        "is_sandbox": "is_sandbox = :is_sandbox",
        "phone": "phone = :phone",
        "external_order_id": "external_order_id = :external_order_id",
        "test_clock_id": "test_clock_id = :test_clock_id",
        "date_from": "created_at >= :date_from",
        "date_to": "created_at < :date_to",
    }
    given: dict[str, Any] = {name: getattr(wanted, name) for name in conditions if getattr(wanted, name) is not None}
    parts = ["merchant_id = :merchant", *(conditions[name] for name in given)]
    if wanted.search:
        pattern = wanted.search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        parts.append(
            "(id = :search or external_order_id ilike :pattern or description ilike :pattern"
            " or phone like :pattern or number::text = :search)"
        )
        given |= {"search": wanted.search, "pattern": f"%{pattern}%"}
    return " and ".join(parts), given
