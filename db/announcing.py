"""Events and the deliveries due for them, written in the caller's transaction."""

from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.event import API_VERSION, DeliveryState, Dialect, Endpoint, EventType, wanted
from domain.ids import DELIVERY, EVENT, new_id
from domain.invoice import DeliveryRef, Invoice
from domain.merchant import Connection
from domain.refund import Refund
from domain.rendering import Event, Renderer
from domain.subscription_record import SubscriptionNews

_ENDPOINTS = text(
    "select id, events, dialect from webhook_endpoints where merchant_id = :merchant and enabled"
    " and deleted_at is null and is_sandbox = :sandbox and id is distinct from :except"
    # A bill may be told to one endpoint only, and its refunds with it; a subscription likewise.
    " and id = coalesce((select i.endpoint_id from invoices i where i.merchant_id = :merchant and i.id = :invoice),"
    "   (select s.endpoint_id from subscriptions s where s.merchant_id = :merchant and s.id = :object), id)"
    " order by id"
)
_EVENT = text(
    "insert into events"
    " (id, merchant_id, type, object_id, sequence, cause, is_sandbox, api_version, object, previous_state, created_at)"
    " values (:id, :merchant, :type, :object_id, :sequence, :cause, :sandbox, :version, :object, :previous, :now)"
)
_DELIVERY = text(
    "insert into deliveries (id, merchant_id, event_id, endpoint_id, is_sandbox, body, next_attempt_at)"
    " values (:id, :merchant, :event, :endpoint, :sandbox, :body, :now)"
)
_DIALECT = text("select dialect from webhook_endpoints where id = :id")
_SEQUENCE = text("update webhook_endpoints set sequence = sequence + 1 where id = :id returning sequence")
_DUE_OF_CAUSE = text(
    "select d.id, d.endpoint_id from events e join deliveries d on d.event_id = e.id"
    " where e.object_id = :object_id and e.cause = :cause and e.merchant_id = :merchant and d.state = :pending"
    " order by d.endpoint_id"
)

_DUE_OF_OBJECT = text(
    "select d.id, d.endpoint_id from events e join deliveries d on d.event_id = e.id"
    " where e.object_id = :object_id and e.merchant_id = :merchant and d.state = :pending"
    " and (:attempted or d.attempts = 0) order by e.sequence, d.endpoint_id"
)


class Addressee(NamedTuple):
    """An endpoint that gets an event, and in whose words."""

    id: str
    dialect: Dialect


async def announce(
    connection: AsyncConnection,
    renderer: Renderer,
    thing: Invoice | Refund | Connection | Endpoint | SubscriptionNews,
    *,
    type_: EventType,
    sequence: int,
    cause: str,
    is_sandbox: bool,
    now: datetime,
    previous_state: str | None = None,
    except_endpoint: str | None = None,
) -> list[DeliveryRef]:
    """Writes the event and one delivery per endpoint that wants it and whose dialect tells it; gives the deliveries.

    `except_endpoint` never gets one. A bill with an endpoint of its own, and its refunds, are told to that one only.
    """
    event = Event(
        id=new_id(EVENT),
        merchant_id=thing.merchant_id,
        type=type_,
        object_id=thing.id,
        sequence=sequence,
        cause=cause,
        is_sandbox=is_sandbox,
        created_at=now,
        object=thing,
        previous_state=previous_state,
    )
    await _write_event(connection, event)
    values = {"merchant": thing.merchant_id, "sandbox": is_sandbox, "except": except_endpoint, "object": thing.id}
    values["invoice"] = thing.id if isinstance(thing, Invoice) else getattr(thing, "invoice_id", None)
    found = await connection.execute(_ENDPOINTS, values)
    endpoints = [Addressee(row.id, Dialect(row.dialect)) for row in found if wanted(type_, row.events)]
    told = [one for one in endpoints if renderer.tells(event, one.dialect)]
    return await deliver_to(connection, renderer, event, told)


async def _write_event(connection: AsyncConnection, event: Event) -> None:
    await connection.execute(
        _EVENT,
        {
            "id": event.id,
            "merchant": event.merchant_id,
            "type": event.type,
            "object_id": event.object_id,
            "sequence": event.sequence,
            "cause": event.cause,
            "sandbox": event.is_sandbox,
            "version": API_VERSION,
            "object": msgspec.json.encode(event.object),
            "previous": event.previous_state,
            "now": event.created_at,
        },
    )


async def announce_test(
    connection: AsyncConnection,
    renderer: Renderer,
    *,
    merchant_id: str,
    endpoint_id: str,
    is_sandbox: bool,
    cause: str,
    now: datetime,
) -> list[DeliveryRef]:
    """A `webhook.test` event for one endpoint, whatever it subscribes to."""
    event = Event(
        id=new_id(EVENT),
        merchant_id=merchant_id,
        type=EventType.WEBHOOK_TEST,
        object_id=endpoint_id,
        sequence=await next_sequence(connection, endpoint_id),
        cause=cause,
        is_sandbox=is_sandbox,
        created_at=now,
        object=None,
    )
    await _write_event(connection, event)
    dialect = (await connection.execute(_DIALECT, {"id": endpoint_id})).scalar_one()
    return await deliver_to(connection, renderer, event, [Addressee(endpoint_id, Dialect(dialect))])


async def next_sequence(connection: AsyncConnection, endpoint_id: str) -> int:
    """The number of an endpoint's next own event; holds the endpoint's row until the transaction ends."""
    number: int = (await connection.execute(_SEQUENCE, {"id": endpoint_id})).scalar_one()
    return number


async def deliver_to(
    connection: AsyncConnection, renderer: Renderer, event: Event, endpoints: list[Addressee]
) -> list[DeliveryRef]:
    """One delivery row for each endpoint, its body serialised here and never again."""
    refs = [DeliveryRef(id=new_id(DELIVERY), endpoint_id=one.id) for one in endpoints]
    if refs:
        await connection.execute(
            _DELIVERY,
            [
                {
                    "id": ref.id,
                    "merchant": event.merchant_id,
                    "event": event.id,
                    "endpoint": ref.endpoint_id,
                    "sandbox": event.is_sandbox,
                    "body": renderer.webhook(event, one.id, one.dialect),
                    "now": event.created_at,
                }
                for ref, one in zip(refs, endpoints, strict=True)
            ],
        )
    return refs


async def due_of_cause(
    connection: AsyncConnection, *, merchant_id: str, object_id: str, cause: str
) -> list[DeliveryRef]:
    """The deliveries of an already booked step that still wait for their first success."""
    found = await connection.execute(
        _DUE_OF_CAUSE,
        {"merchant": merchant_id, "object_id": object_id, "cause": cause, "pending": DeliveryState.PENDING},
    )
    return [DeliveryRef(id=row.id, endpoint_id=row.endpoint_id) for row in found]


async def due_of_object(
    connection: AsyncConnection, *, merchant_id: str, object_id: str, attempted: bool = True
) -> list[DeliveryRef]:
    """Every delivery about an object that still waits for its first success, oldest event first.

    Without those `attempted`: what nobody has tried yet.
    """
    values = {"merchant": merchant_id, "object_id": object_id, "pending": DeliveryState.PENDING}
    found = await connection.execute(_DUE_OF_OBJECT, values | {"attempted": attempted})
    return [DeliveryRef(id=row.id, endpoint_id=row.endpoint_id) for row in found]
