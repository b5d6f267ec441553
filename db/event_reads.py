"""The events feed: what webhooks were made of, read again in the order of (created_at, id)."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import as_merchant
from domain.event import Endpoint, EventType
from domain.ids import CONNECTION, ENDPOINT, INVOICE, REFUND, SUBSCRIPTION
from domain.invoice import Invoice
from domain.merchant import Connection
from domain.refund import Refund
from domain.rendering import Event
from domain.subscription_record import SubscriptionNews

# What stands in `events.object`, by the prefix of `object_id`; a test event has no object.
_SHAPES: dict[str, Any] = {
    INVOICE: Invoice,
    REFUND: Refund,
    CONNECTION: Connection,
    ENDPOINT: Endpoint | None,
    SUBSCRIPTION: SubscriptionNews,
}
EVENT_COLUMNS = (
    "id, merchant_id, type, object_id, sequence, cause, is_sandbox, created_at, object as object_json, previous_state"
)
_EVENT = text(f"select {EVENT_COLUMNS} from events where merchant_id = :merchant and id = :id and created_at >= :since")
# Everything older than the oldest transaction that may still write an event is final: an event's moment is read from
# the database's clock inside its transaction, so it is never before that transaction's start. Only tolem_app writes
# events, and a role sees its own sessions here.
HORIZON = text(
    "select least(statement_timestamp(), min(xact_start)) from pg_stat_activity"
    " where datname = current_database() and usename = current_user and pid <> pg_backend_pid()"
)


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a page of the feed asks for. `since` is the oldest readable moment; `after` the last row of the page before.

    `ascending` shows only what is final: no event with an older (created_at, id) can appear any more, so a reader who
    goes on from the last row misses none. Newest first shows everything that is committed.
    """

    since: datetime
    types: list[EventType] | None = None
    object_id: str | None = None
    is_sandbox: bool | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None
    after: tuple[datetime, str] | None = None
    ascending: bool = False
    limit: int = 20


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """In the order that was asked for; `has_more` is exact at that moment."""

    items: list[Event]
    has_more: bool


class EventReads:
    """Queries as the application's role; each raises `DatabaseUnavailable` when the database is."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def event(self, merchant_id: str, event_id: str, since: datetime) -> Event | None:
        """One event of this merchant, None when there is none or it is older than `since`."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_EVENT, {"merchant": merchant_id, "id": event_id, "since": since})
            row = found.mappings().one_or_none()
        return None if row is None else to_event(row)

    async def page(self, merchant_id: str, wanted: EventFilter) -> EventPage:
        """One page by keyset."""
        where, values = _conditions(wanted)
        direction = "asc" if wanted.ascending else "desc"
        async with as_merchant(self._engine, merchant_id) as connection:
            if wanted.ascending:
                # A statement of its own, before: the next one's snapshot then sees all that had ended by this look.
                values["horizon"] = (await connection.execute(HORIZON)).scalar_one()
                where += " and created_at < :horizon"
            listed = text(
                f"select {EVENT_COLUMNS} from events where {where}"
                f" order by created_at {direction}, id {direction} limit :limit"
            )
            paging = {"merchant": merchant_id, "limit": wanted.limit + 1}
            rows = (await connection.execute(listed, values | paging)).mappings().all()
        return EventPage(items=[to_event(row) for row in rows[: wanted.limit]], has_more=len(rows) > wanted.limit)


def _conditions(wanted: EventFilter) -> tuple[str, dict[str, Any]]:
    parts, values = ["merchant_id = :merchant", "created_at >= :since"], dict[str, Any]()
    values["since"] = wanted.since if wanted.date_from is None else max(wanted.since, wanted.date_from)

    def add(condition: str, **bound: Any) -> None:
        parts.append(condition)
        values.update(bound)

    if wanted.types is not None:
        add("type = any(:types)", types=list(wanted.types))
    if wanted.object_id is not None:
        add("object_id = :object_id", object_id=wanted.object_id)
    if wanted.is_sandbox is not None:
        add("is_sandbox = :is_sandbox", is_sandbox=wanted.is_sandbox)
    if wanted.date_to is not None:
        add("created_at < :date_to", date_to=wanted.date_to)
    if wanted.after is not None:
        comparison = ">" if wanted.ascending else "<"
        add(
            f"(created_at, id) {comparison} (:after_time, :after_id)",
            after_time=wanted.after[0],
            after_id=wanted.after[1],
        )
    return " and ".join(parts), values


def to_event(row: RowMapping) -> Event:
    """A row of `EVENT_COLUMNS`."""
    prefix = str(row["object_id"]).partition("_")[0]
    thing = msgspec.json.decode(row["object_json"], type=_SHAPES[prefix])
    given = {name: row[name] for name in Event.__struct_fields__ if name != "object"}
    return Event(**given | {"object": thing, "type": EventType(row["type"])})
