"""Events: what webhooks are made of, readable again."""

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec
from litestar import Controller, get
from litestar.params import Parameter, QueryParameter

from api.auth import sees_sandbox_only
from api.services import Services
from api.v1 import days, fields, paging
from api.v1.choices import chosen, every_wrong
from api.v1.responses import errors
from contracts.v1_json import EventJson
from db.event_reads import EventFilter
from domain.errors import Code, TolemError
from domain.event import EventType
from domain.merchant import Principal
from domain.rendering import Event


class EventOrder(StrEnum):
    """`desc` shows the newest first, `asc` is for reading on from where one was."""

    ASC = "asc"
    DESC = "desc"


class EventPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """In `order=asc`, `next_cursor` stays usable at the end: ask again with it for what comes later."""

    items: list[EventJson]
    page_size: int
    has_more: bool
    next_cursor: str | None


class EventController(Controller):
    """`/api/v1/events`."""

    path = "/events"
    tags = ["Events"]  # noqa: RUF012 -- Litestar's way

    @get(
        summary="List events",
        description="What webhooks are made of, whether or not an endpoint wanted it. `order=asc` shows an event once "
        "every older one is certain, so a reader who keeps `next_cursor` misses none.",
        operation_id="listEvents",
        responses=errors(400, 401, 503),
    )
    async def list_(
        self,
        services: Services,
        principal: Principal,
        types: Annotated[
            list[str] | None, QueryParameter(name="type", description="Event types, repeated or separated by commas.")
        ] = None,
        object_id: Annotated[
            str | None,
            Parameter(max_length=100, description="Of an invoice, refund, subscription, connection or endpoint."),
        ] = None,
        is_sandbox: bool | None = None,
        date_from: Annotated[date | None, Parameter(description="First day (Asia/Almaty), inclusive.")] = None,
        date_to: Annotated[date | None, Parameter(description="Last day (Asia/Almaty), inclusive.")] = None,
        order: EventOrder = EventOrder.DESC,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        cursor: Annotated[str | None, Parameter(description="`next_cursor` of the page before.")] = None,
        after: Annotated[
            str | None, Parameter(max_length=100, description="An event's id: begin behind it; instead of `cursor`.")
        ] = None,
    ) -> EventPageJson:
        """GET /v1/events."""
        with every_wrong() as read:
            place = read(_place, cursor, after)
            wanted = EventFilter(
                since=readable_since(services, principal),
                types=read(chosen, types, EventType, "type"),
                object_id=read(paging.clean, object_id, "object_id"),
                is_sandbox=True if sees_sandbox_only(principal) else is_sandbox,
                date_from=read(days.first_moment, date_from, "date_from"),
                date_to=read(days.moment_after, date_to, "date_to"),
                after=place,
                ascending=order is EventOrder.ASC,
                limit=page_size,
            )
        if after:
            wanted = msgspec.structs.replace(wanted, after=await _place_of(services, principal, after))
        found = await services.events.page(principal.merchant.id, wanted)
        reached = (found.items[-1].created_at, found.items[-1].id) if found.items else wanted.after
        goes_on = found.has_more or wanted.ascending
        return EventPageJson(
            items=[services.v1.event(item) for item in found.items],
            page_size=page_size,
            has_more=found.has_more,
            next_cursor=paging.cursor(*reached) if reached is not None and goes_on else None,
        )

    @get("/{event_id:str}", summary="Get an event", operation_id="getEvent", responses=errors(400, 401, 404, 503))
    async def read(self, services: Services, principal: Principal, event_id: str) -> EventJson:
        """GET /v1/events/{id}."""
        found = await visible_event(services, principal, event_id)
        if found is None:
            raise TolemError(Code.NOT_FOUND)
        return services.v1.event(found)


async def visible_event(services: Services, principal: Principal, event_id: str) -> Event | None:
    """The event, None where there is none that this key may read now."""
    if "\x00" in event_id:
        return None
    found = await services.events.event(principal.merchant.id, event_id, readable_since(services, principal))
    return None if found is None or (sees_sandbox_only(principal) and not found.is_sandbox) else found


def _place(cursor: str | None, after: str | None) -> tuple[datetime, str] | None:
    """The last row of the page before, as a cursor names it."""
    if after and cursor:
        raise fields.wrong("after", "Give a cursor or an event, not both.")
    return paging.start(cursor, 1, 1)[0]


async def _place_of(services: Services, principal: Principal, event_id: str) -> tuple[datetime, str]:
    event = await visible_event(services, principal, event_id)
    if event is None:
        raise fields.wrong("after", "There is no such event, or it can no longer be read.")
    return event.created_at, event.id


def readable_since(services: Services, principal: Principal) -> datetime:
    """The oldest moment of which events can still be read."""
    return principal.database_now - timedelta(days=services.api.events_readable_days)
