"""Subscriptions in the books. One call = one transaction = standing + periods + events + deliveries + audit row."""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import announcing, audit, subscription_bills, subscription_opening
from db.engine import as_merchant
from db.kept_answers import KeyedAnswer, keep_answer
from db.rows import SUBSCRIPTION_COLUMNS, to_subscription
from db.subscription_opening import SUBSCRIPTION, columns_of, write_terms
from domain.audit import Actor, ActorKind, AuditEntry
from domain.event import EventType
from domain.invoice import DeliveryRef
from domain.merchant import Mode
from domain.rendering import Renderer
from domain.subscription import CLOSED, ChargeRef, PaidHow, PeriodChange, PeriodState, Tell, Told
from domain.subscription_record import (
    BookDecision,
    BookedDecision,
    Loaded,
    OpenSubscription,
    Subscription,
    SubscriptionNews,
    charge_invoice_id,
    open_charge,
    period_due,
)

_LOCKED = text(
    f"select {SUBSCRIPTION_COLUMNS}, decided, clock_timestamp() as clock, m.id_salt from subscriptions"
    " join merchants m on m.id = subscriptions.merchant_id"
    " where subscriptions.merchant_id = :merchant and subscriptions.id = :id for update of subscriptions"
)
_WRITE = text(
    "update subscriptions set state = :state, amount = :amount, description = :description, revision = :revision,"
    " metadata = cast(:metadata as jsonb), external_order_id = :external_order_id, period = :period,"
    " billing_day = :billing_day, billing_time = :billing_time, ends_at = :ends_at, total_cycles = :total_cycles,"
    " max_retry_attempts = :max_retry_attempts, retry_interval_hours = :retry_interval_hours,"
    " grace_period_days = :grace_period_days, missed = :missed, next_billing_at = :next_billing_at,"
    " cancel_at_period_end = :cancel_at_period_end, invoice_id = :invoice_id, clock_at = :clock_at,"
    " billed_at = :billed_at,"
    " standing = cast(:standing as jsonb), version = :version, decided = :decided, sequence = :sequence,"
    " updated_at = :now, ended_at = :ended_at where merchant_id = :merchant and id = :id"
)
# A long outage is one statement, however many periods it skipped; one that was being billed has its row already.
_NEW_PERIODS = text(
    "insert into subscription_periods (subscription_id, number, merchant_id, due_at, state, reason, revision,"
    " updated_at) select :id, n.number, :merchant, n.due_at, :state, :reason, :revision, :now"
    " from unnest(cast(:numbers as int[]), cast(:dues as timestamptz[])) as n (number, due_at)"
    " on conflict (subscription_id, number) do update set state = excluded.state, reason = excluded.reason,"
    "   updated_at = excluded.updated_at"
)
_PERIOD = text(
    "update subscription_periods set state = :state, reason = :reason, updated_at = :now"
    " where merchant_id = :merchant and subscription_id = :id and number = :number"
)
_BILLED = text(
    "update subscription_periods set revision = :revision where merchant_id = :merchant and subscription_id = :id"
    " and number = :number and revision <> :revision"
)
_CLOCK_AT = text("select now_at from test_clocks where merchant_id = :merchant and id = :id")
_PAYMENT_TOLD = text(
    "select exists (select 1 from events where merchant_id = :merchant and object_id = :id"
    " and (cause = :cause or cause like :causes))"
)


class SubscriptionLedger:
    """Writes subscriptions as the application's role; every method raises `DatabaseUnavailable`."""

    def __init__(self, engine: AsyncEngine, renderer: Renderer) -> None:
        self._engine = engine
        self._renderer = renderer

    async def open(self, order: OpenSubscription) -> None:
        """Records it, once. `SubscriptionRefused`, `IssueWindowMissed`: nothing written."""
        named = {"merchant": order.merchant_id, "id": order.subscription_id}
        async with as_merchant(self._engine, order.merchant_id, lock=order.subscription_id) as connection:
            if (await connection.execute(SUBSCRIPTION, named)).one_or_none() is None:
                await subscription_opening.record(connection, self._renderer, order)

    async def load(self, merchant_id: str, subscription_id: str) -> Loaded | None:
        """All a workflow needs to go on from here; None where the books know no such subscription."""
        named = {"merchant": merchant_id, "id": subscription_id}
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(SUBSCRIPTION, named)).mappings().one_or_none()
            if row is None:
                return None
            stands = to_subscription(row)
            return Loaded(
                standing=stands.standing,
                version=stands.version,
                clock_at=await _clock(connection, stands),
                billed_at=stands.billed_at,
                bills=await subscription_bills.unheard(connection, stands),
                deliveries=await announcing.due_of_object(
                    connection, merchant_id=merchant_id, object_id=subscription_id, attempted=False
                ),
            )

    async def book(self, ask: BookDecision) -> BookedDecision:
        """Books one decision; see `BookedDecision` for one that was booked before, or that the books have overtaken."""
        named = {"merchant": ask.merchant_id, "id": ask.subscription_id}
        async with as_merchant(self._engine, ask.merchant_id) as connection:
            row = dict((await connection.execute(_LOCKED, named)).mappings().one())
            decided, now, salt = row.pop("decided"), row.pop("clock"), row.pop("id_salt")
            before = to_subscription(row)
            if before.version != ask.version:
                due = await announcing.due_of_object(
                    connection, merchant_id=ask.merchant_id, object_id=ask.subscription_id
                )
                return BookedDecision(
                    version=before.version,
                    standing=before.standing,
                    repeated=decided == ask.token,
                    deliveries=due,
                )
            ask = _with_its_cart(ask, before)
            told = [one for one in ask.told if await self._is_news(connection, ask, one)]
            after = _after(before, ask, told, now, salt)
            if not await self._keep_answer(connection, ask, after):
                return BookedDecision(version=before.version, key_taken=True)
            await _write(connection, after, ask.token, now)
            if ask.terms is not None:
                await write_terms(
                    connection, ask.merchant_id, ask.subscription_id, ask.standing.terms.revision, ask.terms
                )
            for change in ask.booked:
                await _book_periods(connection, before, after, change, now)
            await _bill_terms(connection, before, after)
            due = await self._announce(connection, before, after, told, now, salt)
            await audit.append(connection, _entry(before, after, ask))
        return BookedDecision(version=after.version, deliveries=due)

    async def _is_news(self, connection: AsyncConnection, ask: BookDecision, told: Told) -> bool:
        """False for a payment so old that nobody remembers it, and that was told already."""
        if told.paid is not PaidHow.UNCLEAR:
            return True
        cause = _payment(told)
        values = {"merchant": ask.merchant_id, "id": ask.subscription_id, "cause": cause, "causes": f"{cause}:%"}
        return not (await connection.execute(_PAYMENT_TOLD, values)).scalar_one()

    async def _keep_answer(self, connection: AsyncConnection, ask: BookDecision, after: Subscription) -> bool:
        asked = ask.asked
        if asked is None or asked.idempotency_key is None:
            return True
        keyed = KeyedAnswer(
            mode=Mode.TEST if after.is_sandbox else Mode.LIVE,
            operation=asked.operation,
            key=asked.idempotency_key,
            fingerprint=asked.fingerprint,
            status=200,
            body=self._renderer.subscription_answer(after, asked.request_id),
        )
        return await keep_answer(connection, ask.merchant_id, after.id, keyed)

    async def _announce(
        self,
        connection: AsyncConnection,
        before: Subscription,
        after: Subscription,
        told: list[Told],
        now: datetime,
        salt: bytes,
    ) -> list[DeliveryRef]:
        due = []
        for place, one in enumerate(told):
            invoice_id = None
            if one.number is not None and one.charge is not None:
                invoice_id = charge_invoice_id(salt, after.id, ChargeRef(number=one.number, charge=one.charge))
            paid = one.what is Tell.PAYMENT_SUCCEEDED
            due += await announcing.announce(
                connection,
                self._renderer,
                SubscriptionNews(subscription=after, told=one, invoice_id=invoice_id),
                type_=EventType(one.what.value),
                sequence=before.sequence + 1 + place,
                cause=f"{_payment(one)}:{after.version}" if paid else f"v{after.version}:{place}",
                is_sandbox=after.is_sandbox,
                # The feed is in the order of time, and these are one after another.
                now=now + timedelta(microseconds=place),
                previous_state=None if before.state is after.state else before.state,
            )
        return due


async def _clock(connection: AsyncConnection, stands: Subscription) -> datetime | None:
    """Its own time: what was over while its clock went on has come along."""
    if stands.clock_at is None:
        return None
    values = {"merchant": stands.merchant_id, "id": stands.test_clock_id}
    now_at: datetime = (await connection.execute(_CLOCK_AT, values)).scalar_one()
    return max(stands.clock_at, now_at)


def _payment(told: Told) -> str:
    return f"paid:{told.number}:{told.charge}"


def _with_its_cart(ask: BookDecision, before: Subscription) -> BookDecision:
    """Only the books know the lines of a cart that is kept."""
    if ask.terms is None or not ask.keeps_cart:
        return ask
    cart = {"items": before.items, "discount_percentage": before.discount_percentage}
    return msgspec.structs.replace(ask, terms=msgspec.structs.replace(ask.terms, **cart))


def _after(before: Subscription, ask: BookDecision, told: list[Told], now: datetime, salt: bytes) -> Subscription:
    standing = ask.standing
    bill = open_charge(standing)
    columns = {name: value for name, value in columns_of(standing).items() if name != "standing"}
    terms = ask.terms
    return msgspec.structs.replace(
        before,
        **columns,
        state=standing.state,
        standing=standing,
        cancel_at_period_end=standing.cancel_at_period_end,
        items=before.items if terms is None else terms.items,
        discount_percentage=before.discount_percentage if terms is None else terms.discount_percentage,
        metadata=before.metadata if ask.metadata is None else ask.metadata,
        external_order_id=before.external_order_id if ask.external_order_id is None else ask.external_order_id or None,
        invoice_id=None if bill is None else charge_invoice_id(salt, before.id, bill),
        clock_at=None if before.clock_at is None else max(before.clock_at, ask.at or before.clock_at),
        billed_at=before.billed_at if bill == open_charge(before.standing) else (ask.at or now),
        version=before.version + 1,
        sequence=before.sequence + len(told),
        updated_at=now,
        ended_at=(before.ended_at or now) if standing.state in CLOSED else None,
    )


async def _write(connection: AsyncConnection, after: Subscription, token: str, now: datetime) -> None:
    values = columns_of(after.standing) | {
        "id": after.id,
        "merchant": after.merchant_id,
        "state": after.state,
        "revision": after.standing.terms.revision,
        "metadata": msgspec.json.encode(after.metadata).decode(),
        "external_order_id": after.external_order_id,
        "cancel_at_period_end": after.cancel_at_period_end,
        "invoice_id": after.invoice_id,
        "clock_at": after.clock_at,
        "billed_at": after.billed_at,
        "version": after.version,
        "decided": token,
        "sequence": after.sequence,
        "ended_at": after.ended_at,
        "now": now,
    }
    await connection.execute(_WRITE, values)


async def _book_periods(
    connection: AsyncConnection, before: Subscription, after: Subscription, change: PeriodChange, now: datetime
) -> None:
    values: dict[str, object] = {
        "id": after.id,
        "merchant": after.merchant_id,
        "state": change.state,
        "reason": change.reason,
        "now": now,
    }
    if change.state in {PeriodState.PAID, PeriodState.FAILED}:
        for number in range(change.first, change.last + 1):
            await connection.execute(_PERIOD, values | {"number": number})
        return
    numbers = list(range(change.first, change.last + 1))
    values |= {
        "revision": _revision(before, after, change),
        "numbers": numbers,
        "dues": [period_due(before.standing, after.standing, number) for number in numbers],
    }
    await connection.execute(_NEW_PERIODS, values)


def _revision(before: Subscription, after: Subscription, change: PeriodChange) -> int:
    open_ = after.standing.open
    opened = open_ if open_ is not None and open_.number == change.first else None
    return before.standing.terms.revision if opened is None else opened.terms.revision


async def _bill_terms(connection: AsyncConnection, before: Subscription, after: Subscription) -> None:
    """A period shows the terms of its newest bill."""
    was, open_ = before.standing.open, after.standing.open
    if open_ is None or (was is not None and (was.number, was.charge) == (open_.number, open_.charge)):
        return
    values = {"merchant": after.merchant_id, "id": after.id, "number": open_.number}
    await connection.execute(_BILLED, values | {"revision": open_.terms.revision})


def _entry(before: Subscription, after: Subscription, ask: BookDecision) -> AuditEntry:
    asked = ask.asked
    if asked is None:
        actor = Actor(kind=ActorKind.WORKFLOW, id=f"subscription-{after.id}")
    elif asked.asked_by:
        actor = Actor(kind=ActorKind.KEY, id=asked.asked_by)
    else:
        actor = Actor(kind=ActorKind.OPERATOR, id="temporal-ui")
    return AuditEntry(
        merchant_id=after.merchant_id,
        actor=actor,
        action=f"subscription.{ask.action}",
        object_type="subscription",
        object_id=after.id,
        is_sandbox=after.is_sandbox,
        before=before.state,
        after=after.state,
        request_id=None if asked is None else asked.request_id or None,
        note=_note(ask),
    )


def _note(ask: BookDecision) -> str | None:
    """The periods that moved, in words."""
    moved = [f"{one.first}" + (f"-{one.last}" if one.last != one.first else "") + f" {one.state}" for one in ask.booked]
    return ", ".join(moved) or None
