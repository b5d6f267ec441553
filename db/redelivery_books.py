"""Walking through a redelivery's events in their order; no transaction here lasts as long as a post."""

from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.engine import as_merchant
from db.event_reads import EVENT_COLUMNS, HORIZON, to_event
from db.redeliveries import end, find
from db.replaying import ensure_delivery
from domain.event import Dialect, EventType, wanted
from domain.redelivery import (
    OVERDUE_SECONDS,
    Passed,
    Redelivery,
    RedeliveryKind,
    RedeliveryState,
    Taken,
    Turn,
)
from domain.rendering import Renderer

# Events that one statement looks at, and those of them that fit and are read whole.
SEEN_AT_ONCE = 1000
READ_AT_ONCE = 20
# An attempt ends within 30 s by default; whose own workflow was to try it less than this ago may be trying it now.
ATTEMPT_LASTS = 60.0
ATTEMPT_IS_NEAR = 2.0
UNDER_WAY_WAIT = 5.0
# Until the transactions that may still write an older event have ended.
NOT_FINAL_WAIT = 0.5

_LOCKED = text(
    "select id from redeliveries where merchant_id = :merchant and id = :id and state = 'running' for update"
)
_ENDPOINT = text(
    "select enabled, deleted_at is not null as deleted, events, dialect from webhook_endpoints"
    " where merchant_id = :merchant and id = :endpoint"
)
# An endpoint is not told about itself, as when those events were made. No id is before the empty one.
_SEEN = (
    "select id, created_at from events where merchant_id = :merchant and (created_at, id) > (:after_at, :after_id)"
    " and created_at < :until and created_at < :horizon"
    " and is_sandbox = :sandbox and type = any(:types) and object_id <> :endpoint"
    # Nor of bills and subscriptions that another endpoint alone is told of, and of their refunds.
    " and not exists (select 1 from subscriptions s where s.merchant_id = :merchant and s.id = events.object_id"
    "   and s.endpoint_id <> :endpoint)"
    " and not exists (select 1 from invoices i where i.merchant_id = :merchant and i.endpoint_id <> :endpoint"
    "   and i.id = coalesce((select r.invoice_id from refunds r where r.merchant_id = :merchant"
    "   and r.id = events.object_id), events.object_id))"
    " order by created_at, id limit :seen"
)
_FAILED = (
    "(d.state = 'dead' or d.state = 'pending' and (d.failures > 0"
    " or d.next_attempt_at < now() - make_interval(secs => cast(:overdue as double precision))))"
)
_FITS = {
    RedeliveryKind.FAILED: _FAILED,
    RedeliveryKind.MISSING: "d.id is null",
    RedeliveryKind.UNDELIVERED: f"(d.id is null or {_FAILED})",
    RedeliveryKind.ALL: f"(d.id is null or d.state = 'delivered' or {_FAILED})",
}
# What this redelivery has taken stays its own, whatever became of it: after a crash it is found again.
_FITTING = {
    kind: text(
        f"with seen as ({_SEEN})"
        " select s.id, s.created_at, d.id as delivery_id, coalesce(d.attempts, 0) as attempts,"
        " coalesce(d.replay = :id, false) as mine,"
        " coalesce(d.state = 'pending' and d.replay is distinct from :id and d.next_attempt_at between"
        "   now() - make_interval(secs => cast(:lasts as double precision))"
        "   and now() + make_interval(secs => cast(:near as double precision)), false) as under_way"
        # One look at the unique index for each event, whatever the planner thinks of the table.
        " from seen s left join lateral (select * from deliveries o where o.event_id = s.id"
        "   and o.endpoint_id = :endpoint offset 0) d on true"
        f" where {fits} or d.replay = :id order by s.created_at, s.id limit :read"
    )
    for kind, fits in _FITS.items()
}
_LAST_SEEN = text(f"select id, created_at from ({_SEEN}) s order by created_at desc, id desc limit 1")
_EVENT = text(f"select {EVENT_COLUMNS} from events where merchant_id = :merchant and id = :event")
# As `db.deliveries` replays: the whole schedule is before it again. What was delivered since it was looked at, is over.
_TAKE = text(
    "update deliveries set state = 'pending', failures = 0, next_attempt_at = now(), replay = :id, replayed_at = now()"
    " where merchant_id = :merchant and id = :delivery and (state <> 'delivered' or :again) returning attempts"
)
_SEEN_THROUGH = text(
    "update redeliveries set place_at = :at, place_id = :event where merchant_id = :merchant and id = :id"
)
_PASSED = text(
    "update redeliveries set place_at = :at, place_id = :event, found = found + 1,"
    " delivered = delivered + cast(:delivered as int), handed_over = handed_over + cast(:handed_over as int)"
    " where merchant_id = :merchant and id = :id and (place_at is null or (place_at, place_id) < (:at, :event))"
)
_RUNS = text("select 1 from redeliveries where merchant_id = :merchant and id = :id and state = 'running'")
_POSTPONE = text(
    "update deliveries set next_attempt_at = now() + make_interval(secs => cast(:wait as double precision))"
    " where merchant_id = :merchant and id = :delivery and state = 'pending'"
)


class RedeliveryBooks:
    """As the application's role; each method raises `DatabaseUnavailable`, and may be repeated."""

    def __init__(self, engine: AsyncEngine, renderer: Renderer) -> None:
        self._engine = engine
        self._renderer = renderer

    async def next(self, merchant_id: str, redelivery_id: str) -> Turn:
        """Takes the first event behind the place that fits, with its delivery, which is made where there is none.

        Ends the redelivery behind the last event, and where its endpoint is disabled or deleted. Shows only events
        that are final (`db.event_reads`), so that none is left out between two others.
        """
        async with as_merchant(self._engine, merchant_id) as connection:
            values = {"merchant": merchant_id, "id": redelivery_id}
            if (await connection.execute(_LOCKED, values)).one_or_none() is None:
                return Turn(over=True)
            stands = await find(connection, merchant_id, redelivery_id)
            if stands is None:
                return Turn(over=True)
            values |= {"endpoint": stands.endpoint_id}
            endpoint = (await connection.execute(_ENDPOINT, values)).mappings().one()
            if endpoint["deleted"] or not endpoint["enabled"]:
                await end(connection, stands, RedeliveryState.CANCELED)
                return Turn(over=True)
            return await self._turn(connection, stands, endpoint)

    async def passed(self, merchant_id: str, redelivery_id: str, taken: Taken, how: Passed) -> None:
        """Leaves the event behind, counted once."""
        values = {
            "merchant": merchant_id,
            "id": redelivery_id,
            "at": taken.event_at,
            "event": taken.event_id,
            "delivered": int(how is Passed.DELIVERED),
            "handed_over": int(how is Passed.HANDED_OVER),
        }
        async with as_merchant(self._engine, merchant_id) as connection:
            await connection.execute(_PASSED, values)

    async def runs(self, merchant_id: str, redelivery_id: str) -> bool:
        """False once it is canceled, or over."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_RUNS, {"merchant": merchant_id, "id": redelivery_id})
            return found.one_or_none() is not None

    async def postpone(self, merchant_id: str, delivery_id: str, wait: float) -> None:
        """Tells when the redelivery tries it next, so that nobody takes it for forgotten."""
        values = {"merchant": merchant_id, "delivery": delivery_id, "wait": wait}
        async with as_merchant(self._engine, merchant_id) as connection:
            await connection.execute(_POSTPONE, values)

    async def _turn(self, connection: AsyncConnection, stands: Redelivery, endpoint: RowMapping) -> Turn:
        # A statement of its own, before the events are read: see `db.event_reads`.
        horizon = (await connection.execute(HORIZON)).scalar_one()
        values = _range(stands, endpoint["events"], horizon)
        found = (await connection.execute(_FITTING[stands.kind], values)).mappings().all()
        for row in found:
            if row["under_way"]:
                return Turn(wait=UNDER_WAY_WAIT)
            taken = await self._take(connection, stands, row, Dialect(endpoint["dialect"]))
            if taken is not None:
                return Turn(taken=taken)
        if len(found) == READ_AT_ONCE:
            await _seen_through(connection, stands, found[-1])
            return Turn()
        last = (await connection.execute(_LAST_SEEN, values)).mappings().one_or_none()
        if last is not None:
            await _seen_through(connection, stands, last)
            return Turn()
        if horizon < stands.until:
            return Turn(wait=NOT_FINAL_WAIT)
        await end(connection, stands, RedeliveryState.COMPLETED)
        return Turn(over=True)

    async def _take(
        self, connection: AsyncConnection, stands: Redelivery, row: RowMapping, dialect: Dialect
    ) -> Taken | None:
        if row["mine"]:
            return _taken(row, row["delivery_id"], row["attempts"])
        values: dict[str, object] = {"merchant": stands.merchant_id, "id": stands.id}
        delivery_id = row["delivery_id"]
        if delivery_id is None:
            event = to_event((await connection.execute(_EVENT, values | {"event": row["id"]})).mappings().one())
            if not self._renderer.tells(event, dialect):
                return None
            delivery_id = await ensure_delivery(connection, self._renderer, event, stands.endpoint_id, dialect)
        values |= {"delivery": delivery_id, "again": stands.kind is RedeliveryKind.ALL}
        attempts = (await connection.execute(_TAKE, values)).scalar_one_or_none()
        return None if attempts is None else _taken(row, delivery_id, attempts)


def _taken(row: RowMapping, delivery_id: str, attempts: int) -> Taken:
    return Taken(event_at=row["created_at"], event_id=row["id"], delivery_id=delivery_id, attempts=attempts)


def _range(stands: Redelivery, patterns: list[str], horizon: datetime) -> dict[str, Any]:
    return {
        "merchant": stands.merchant_id,
        "id": stands.id,
        "endpoint": stands.endpoint_id,
        "sandbox": stands.is_sandbox,
        "types": [one for one in EventType if one is not EventType.WEBHOOK_TEST and wanted(one, patterns)],
        "until": stands.until,
        "horizon": horizon,
        "after_at": stands.place_at or stands.since,
        "after_id": stands.place_id or "",
        "overdue": OVERDUE_SECONDS,
        "lasts": ATTEMPT_LASTS,
        "near": ATTEMPT_IS_NEAR,
        "seen": SEEN_AT_ONCE,
        "read": READ_AT_ONCE,
    }


async def _seen_through(connection: AsyncConnection, stands: Redelivery, row: RowMapping) -> None:
    values = {"merchant": stands.merchant_id, "id": stands.id, "at": row["created_at"], "event": row["id"]}
    await connection.execute(_SEEN_THROUGH, values)
