"""The delivery log: every event on its way to an endpoint, newest first, and all that is known of one."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import as_merchant
from domain.event import Delivery, DeliveryAttempt, DeliveryState, EventType

# A delivery that was replayed for weeks has more; `attempts` of the delivery counts them all.
ATTEMPTS_SHOWN = 100

DELIVERY_COLUMNS = (
    "d.id, d.merchant_id, d.event_id, e.type as event_type, e.object_id, d.endpoint_id, e.is_sandbox, d.state,"
    " d.attempts, d.last_status, d.last_error, d.next_attempt_at, d.delivered_at, d.replayed_at, d.created_at"
)
_FROM = "from deliveries d join events e on e.id = d.event_id"
_DELIVERY = text(f"select {DELIVERY_COLUMNS} {_FROM} where d.merchant_id = :merchant and d.id = :id")
_SOME = text(f"select {DELIVERY_COLUMNS} {_FROM} where d.merchant_id = :merchant and d.id = any(:ids) order by d.id")
_BODY = text("select body from deliveries where merchant_id = :merchant and id = :id")
_ATTEMPTS = text(
    "select number, url, request_headers, status, error, latency_ms, response_excerpt, created_at"
    " from delivery_attempts where merchant_id = :merchant and delivery_id = :id order by number desc limit :limit"
)


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list asks for; `after` is the last row of the page before (created_at, id)."""

    states: list[DeliveryState] | None = None
    endpoint_id: str | None = None
    types: list[EventType] | None = None
    object_id: str | None = None
    event_id: str | None = None
    is_sandbox: bool | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None
    after: tuple[datetime, str] | None = None
    offset: int = 0
    limit: int = 20


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first; `has_more` is exact."""

    items: list[Delivery]
    has_more: bool


class DeliveryDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery, the bytes that are sent, and the last `ATTEMPTS_SHOWN` attempts, the oldest first."""

    delivery: Delivery
    body: bytes
    attempts: list[DeliveryAttempt]


class DeliveryReads:
    """Queries as the application's role; each raises `DatabaseUnavailable` when the database is."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def delivery(self, merchant_id: str, delivery_id: str) -> Delivery | None:
        """One delivery of this merchant, also to an endpoint that is deleted by now."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_DELIVERY, {"merchant": merchant_id, "id": delivery_id})
            row = found.mappings().one_or_none()
        return None if row is None else msgspec.convert(row, Delivery)

    async def deliveries(self, merchant_id: str, ids: list[str]) -> list[Delivery]:
        """Those of the ids that exist."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_SOME, {"merchant": merchant_id, "ids": ids})
            return [msgspec.convert(row, Delivery) for row in found.mappings()]

    async def detail(self, merchant_id: str, delivery_id: str) -> DeliveryDetail | None:
        """One delivery with its bytes and attempts."""
        values = {"merchant": merchant_id, "id": delivery_id}
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_DELIVERY, values)).mappings().one_or_none()
            if row is None:
                return None
            body = (await connection.execute(_BODY, values)).scalar_one()
            tried = await connection.execute(_ATTEMPTS, values | {"limit": ATTEMPTS_SHOWN})
            attempts = [msgspec.convert(one, DeliveryAttempt) for one in tried.mappings()]
        return DeliveryDetail(delivery=msgspec.convert(row, Delivery), body=body, attempts=attempts[::-1])

    async def page(self, merchant_id: str, wanted: DeliveryFilter) -> DeliveryPage:
        """One page, by keyset when `after` is given, by a bounded offset otherwise."""
        listed, values = _listed(wanted)
        async with as_merchant(self._engine, merchant_id) as connection:
            rows = (await connection.execute(text(listed), values | {"merchant": merchant_id})).mappings().all()
        items = [msgspec.convert(row, Delivery) for row in rows[: wanted.limit]]
        return DeliveryPage(items=items, has_more=len(rows) > wanted.limit)


def _listed(wanted: DeliveryFilter) -> tuple[str, dict[str, Any]]:
    where, values = _conditions(wanted)
    order = "order by d.created_at desc, d.id desc"
    place = {"limit": wanted.limit + 1, "offset": wanted.offset}
    return f"select {DELIVERY_COLUMNS} {_FROM} where {where} {order} limit :limit offset :offset", values | place


def _conditions(wanted: DeliveryFilter) -> tuple[str, dict[str, Any]]:
    parts, values = ["d.merchant_id = :merchant"], dict[str, Any]()

    def add(condition: str, **bound: Any) -> None:
        parts.append(condition)
        values.update(bound)

    if wanted.states is not None:
        add("d.state = any(:states)", states=list(wanted.states))
        if DeliveryState.DELIVERED not in wanted.states:
            add("d.state <> 'delivered'")  # in so many words, for the index of those
    if wanted.endpoint_id is not None:
        add("d.endpoint_id = :endpoint_id", endpoint_id=wanted.endpoint_id)
    if wanted.types is not None:
        add("e.type = any(:types)", types=list(wanted.types))
    if wanted.object_id is not None:
        add("e.object_id = :object_id", object_id=wanted.object_id)
    if wanted.is_sandbox is not None:
        add("d.is_sandbox = :is_sandbox", is_sandbox=wanted.is_sandbox)
    if wanted.event_id is not None:
        add("d.event_id = :event_id", event_id=wanted.event_id)
    if wanted.date_from is not None:
        add("d.created_at >= :date_from", date_from=wanted.date_from)
    if wanted.date_to is not None:
        add("d.created_at < :date_to", date_to=wanted.date_to)
    if wanted.after is not None:
        add("(d.created_at, d.id) < (:after_time, :after_id)", after_time=wanted.after[0], after_id=wanted.after[1])
    return " and ".join(parts), values
