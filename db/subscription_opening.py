"""Recording a subscription: its row, its first terms and the answer to keep, in one transaction."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db import audit
from db.errors import IssueWindowMissed, SubscriptionRefused
from db.kept_answers import KeyedAnswer, keep_answer
from db.rows import SUBSCRIPTION_COLUMNS, to_subscription
from domain.audit import Actor, ActorKind, AuditEntry
from domain.errors import Code
from domain.merchant import Mode
from domain.rendering import Renderer
from domain.subscription import Standing
from domain.subscription_record import (
    SUBSCRIPTIONS_PER_CLOCK,
    NewTerms,
    OpenSubscription,
    Subscription,
    next_billing,
    terms_of,
)
from domain.subscription_rules import begin

SUBSCRIPTION = text(f"select {SUBSCRIPTION_COLUMNS} from subscriptions where merchant_id = :merchant and id = :id")
_CLOCK = text("select clock_timestamp()")
# The lock keeps a clock from being advanced, or filled by others, until this one stands on it.
_TEST_CLOCK = text(
    "select state, now_at, (select count(*) from subscriptions s where s.test_clock_id = c.id) as carried"
    " from test_clocks c where merchant_id = :merchant and id = :id and deleted_at is null for update of c"
)
_OPEN = text(
    """
    with numbered as (
        update merchants set last_subscription_number = last_subscription_number + 1 where id = :merchant
        returning last_subscription_number as number
    )
    insert into subscriptions (id, merchant_id, number, is_sandbox, state, phone, amount, description, revision,
        metadata, external_order_id, period, billing_day, billing_time, started_at, ends_at, total_cycles,
        bill_immediately, max_retry_attempts, retry_interval_hours, grace_period_days, missed, next_billing_at,
        test_clock_id, clock_at, payer, standing, request_id, endpoint_id, created_at, updated_at)
    select :id, :merchant, number, :sandbox, 'active', :phone, :amount, :description, 1, cast(:metadata as jsonb),
        :external_order_id, :period, :billing_day, :billing_time, :started_at, :ends_at, :total_cycles,
        :bill_immediately, :max_retry_attempts, :retry_interval_hours, :grace_period_days, :missed, :next_billing_at,
        :test_clock_id, :clock_at, :payer, cast(:standing as jsonb), :request_id, :endpoint_id, :now,
        :now
    from numbered
    """
)
_TERMS = text(
    "insert into subscription_terms (subscription_id, revision, merchant_id, amount, description, discount_percentage,"
    " items) values (:id, :revision, :merchant, :amount, :description, :discount, cast(:items as jsonb))"
)


async def record(connection: AsyncConnection, renderer: Renderer, order: OpenSubscription) -> Subscription:
    """The new subscription. The caller holds the lock on its id.

    `IssueWindowMissed` when it was asked for too late, `SubscriptionRefused` where its test clock has no place for it.
    """
    now: datetime = (await connection.execute(_CLOCK)).scalar_one()
    if now >= order.open_before:
        raise IssueWindowMissed("open_before has passed")
    clock_at = await _place(connection, order)
    started_at = order.started_at or clock_at or now
    # Seconds are what the calendar counts in.
    standing = begin(
        started_at.replace(microsecond=0),
        order.plan,
        terms_of(order.terms, 1),
        order.dunning,
        bill_immediately=order.bill_immediately,
    )
    await connection.execute(_OPEN, _values(order, standing, now, clock_at))
    await write_terms(connection, order.merchant_id, order.subscription_id, 1, order.terms)
    named = {"merchant": order.merchant_id, "id": order.subscription_id}
    subscription = to_subscription((await connection.execute(SUBSCRIPTION, named)).mappings().one())
    if order.idempotency_key is not None:
        keyed = KeyedAnswer(
            mode=Mode.TEST if order.is_sandbox else Mode.LIVE,
            operation=order.operation,
            key=order.idempotency_key,
            fingerprint=order.fingerprint,
            status=201,
            body=renderer.subscription_answer(subscription, order.request_id),
        )
        await keep_answer(connection, order.merchant_id, subscription.id, keyed)
    await audit.append(connection, _entry(order, subscription))
    return subscription


async def write_terms(
    connection: AsyncConnection, merchant_id: str, subscription_id: str, revision: int, terms: NewTerms
) -> None:
    """What bills say from this revision on."""
    values = {
        "id": subscription_id,
        "merchant": merchant_id,
        "revision": revision,
        "amount": terms.amount,
        "description": terms.description,
        "discount": terms.discount_percentage,
        "items": msgspec.json.encode(terms.items).decode(),
    }
    await connection.execute(_TERMS, values)


async def _place(connection: AsyncConnection, order: OpenSubscription) -> datetime | None:
    """Where its test clock stands."""
    if order.test_clock_id is None:
        return None
    found = await connection.execute(_TEST_CLOCK, {"merchant": order.merchant_id, "id": order.test_clock_id})
    row = found.one_or_none()
    if row is None or not order.is_sandbox:
        raise SubscriptionRefused(Code.NOT_FOUND)
    if row.state != "ready":
        raise SubscriptionRefused(Code.TEST_CLOCK_ADVANCING)
    if row.carried >= SUBSCRIPTIONS_PER_CLOCK:
        raise SubscriptionRefused(Code.LIMIT_REACHED)
    now_at: datetime = row.now_at
    return now_at


def _values(order: OpenSubscription, standing: Standing, now: datetime, clock_at: datetime | None) -> dict[str, object]:
    return columns_of(standing) | {
        "id": order.subscription_id,
        "merchant": order.merchant_id,
        "sandbox": order.is_sandbox,
        "phone": order.phone,
        "metadata": msgspec.json.encode(order.metadata).decode(),
        "external_order_id": order.external_order_id,
        "started_at": standing.started_at,
        "bill_immediately": order.bill_immediately,
        "test_clock_id": order.test_clock_id,
        "clock_at": clock_at,
        "payer": list(order.payer),
        "request_id": order.request_id,
        "endpoint_id": order.endpoint_id,
        "now": now,
    }


def columns_of(standing: Standing) -> dict[str, object]:
    """What of the standing people search and list by, in columns of its own."""
    calendar, dunning = standing.calendar, standing.dunning
    return {
        "amount": standing.terms.amount,
        "description": standing.terms.description,
        "period": calendar.period,
        "billing_day": calendar.day or None,
        "billing_time": calendar.at,
        "ends_at": calendar.ends_at,
        "total_cycles": calendar.total_cycles,
        "max_retry_attempts": dunning.max_retry_attempts,
        "retry_interval_hours": dunning.retry_interval_hours,
        "grace_period_days": dunning.grace_period_days,
        "missed": dunning.missed,
        "next_billing_at": next_billing(standing),
        "standing": msgspec.json.encode(standing).decode(),
    }


def _entry(order: OpenSubscription, subscription: Subscription) -> AuditEntry:
    actor = Actor(kind=ActorKind.KEY, id=order.asked_by)
    return AuditEntry(
        merchant_id=subscription.merchant_id,
        actor=actor if order.asked_by else Actor(kind=ActorKind.WORKFLOW, id=f"subscription-{subscription.id}"),
        action="subscription.created",
        object_type="subscription",
        object_id=subscription.id,
        is_sandbox=subscription.is_sandbox,
        after=subscription.state,
        request_id=order.request_id,
        note=f"{subscription.amount} tiyn {subscription.period}",
    )
