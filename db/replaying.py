"""Sending again what was sent or given up: wishes of merchants, booked before anybody acts on them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import audit
from db.delivery_reads import DELIVERY_COLUMNS
from db.engine import as_merchant
from db.errors import KeyTaken
from db.kept_answers import KeyedAnswer, keep_answer
from domain.audit import Actor, ActorKind, AuditEntry
from domain.event import Delivery, Dialect
from domain.ids import DELIVERY, new_id
from domain.merchant import Mode
from domain.rendering import Event, Renderer

_FOUND = text(
    "select id from deliveries where merchant_id = :merchant and event_id = :event and endpoint_id = :endpoint"
)
# Somebody who makes the same row at the same time is waited for, and has the word.
_MADE = text(
    "insert into deliveries (id, merchant_id, event_id, endpoint_id, is_sandbox, body, next_attempt_at)"
    " values (:id, :merchant, :event, :endpoint, :sandbox, :body, now())"
    " on conflict (event_id, endpoint_id) do nothing returning id"
)

# What waits keeps its place in the schedule and only loses its wait; what is settled begins a schedule anew.
_AGAIN = text(
    "update deliveries set next_attempt_at = now(), replay = :cause,"
    " failures = case when state = 'pending' then failures else 0 end,"
    " replayed_at = case when state = 'pending' then replayed_at else now() end, state = 'pending'"
    " where merchant_id = :merchant and id = any(:ids)"
)
_SHOWN = text(
    f"select {DELIVERY_COLUMNS} from deliveries d join events e on e.id = d.event_id"
    " where d.merchant_id = :merchant and d.id = any(:ids) order by d.endpoint_id"
)


class Receiver(NamedTuple):
    """An endpoint that gets an event again, and in whose words it would be told for the first time."""

    id: str
    dialect: Dialect


class ReplayKey(msgspec.Struct, frozen=True, kw_only=True):
    """The idempotency key of a wish, and the answer to keep for it, made of the deliveries as they stand then."""

    mode: Mode
    operation: str
    key: str
    fingerprint: str
    status: int
    answer: Callable[[list[Delivery]], bytes]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants it: `asked_by` is the API key's id, `cause` stands at the deliveries (`deliveries.replay`)."""

    merchant_id: str
    cause: str
    asked_by: str
    request_id: str
    key: ReplayKey | None = None


class Replaying:
    """Books wishes as the application's role; what is booked is due at once and found by the watchdog at the latest.

    Each raises `DatabaseUnavailable`, and `KeyTaken` where the wish has a key.
    """

    def __init__(self, engine: AsyncEngine, renderer: Renderer) -> None:
        self._engine = engine
        self._renderer = renderer

    def tells(self, event: Event, dialect: Dialect) -> bool:
        """Whether endpoints of this dialect are told of the event by themselves (`Renderer.tells`)."""
        return self._renderer.tells(event, dialect)

    async def retry(self, wish: Wish, delivery: Delivery) -> Delivery:
        """One delivery, whatever its state: pending now, and due."""
        async with as_merchant(self._engine, wish.merchant_id) as connection:
            (again,) = await self._again(connection, wish, [delivery.id], delivery.id)
            told = _told(wish, "webhook_delivery.retried", "webhook_delivery", delivery.id, delivery.is_sandbox)
            await audit.append(connection, msgspec.structs.replace(told, before=delivery.state, after=again.state))
        return again

    async def resend(self, wish: Wish, event: Event, receivers: list[Receiver]) -> list[Delivery]:
        """The event to each of them, in the order of their ids; a delivery that is missing is made."""
        async with as_merchant(self._engine, wish.merchant_id) as connection:
            ids = [
                await ensure_delivery(connection, self._renderer, event, one.id, one.dialect)
                for one in sorted(receivers)
            ]
            again = await self._again(connection, wish, ids, event.id)
            await audit.append(connection, _told(wish, "event.resent", "event", event.id, event.is_sandbox))
        return again

    async def _again(self, connection: AsyncConnection, wish: Wish, ids: list[str], resource_id: str) -> list[Delivery]:
        values: dict[str, Any] = {"merchant": wish.merchant_id, "ids": ids}
        await connection.execute(_AGAIN, values | {"cause": wish.cause})
        found = await connection.execute(_SHOWN, values)
        again = [msgspec.convert(row, Delivery) for row in found.mappings()]
        if wish.key is not None:
            key = wish.key
            answer = KeyedAnswer(
                mode=key.mode,
                operation=key.operation,
                key=key.key,
                fingerprint=key.fingerprint,
                status=key.status,
                body=key.answer(again),
            )
            if not await keep_answer(connection, wish.merchant_id, resource_id, answer):
                raise KeyTaken("another request with this key was faster")
        return again


def _told(wish: Wish, action: str, object_type: str, object_id: str, is_sandbox: bool) -> AuditEntry:
    return AuditEntry(
        merchant_id=wish.merchant_id,
        actor=Actor(kind=ActorKind.KEY, id=wish.asked_by),
        action=action,
        object_type=object_type,
        object_id=object_id,
        is_sandbox=is_sandbox,
        request_id=wish.request_id,
    )


async def ensure_delivery(
    connection: AsyncConnection, renderer: Renderer, event: Event, endpoint_id: str, dialect: Dialect
) -> str:
    """The id of the event's delivery to this endpoint, made here where there is none, whatever it subscribes to.

    One that exists is left as it is, whatever its state; a new one is pending, its body rendered here and never again.
    Whether the endpoint is the event's merchant's, of its mode and enabled is the caller's affair.
    """
    values = {"merchant": event.merchant_id, "event": event.id, "endpoint": endpoint_id}
    found: str | None = (await connection.execute(_FOUND, values)).scalar_one_or_none()
    if found is not None:
        return found
    body = renderer.webhook(event, endpoint_id, dialect)
    made = await connection.execute(_MADE, values | {"id": new_id(DELIVERY), "sandbox": event.is_sandbox, "body": body})
    id_: str = made.scalar_one_or_none() or (await connection.execute(_FOUND, values)).scalar_one()
    return id_
