"""The delivery log: list, read, and send again."""

from datetime import date
from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter
from msgspec import Meta

from api import idempotency
from api.auth import sees_sandbox_only
from api.bodies import JsonBody, RequestBody, Rule
from api.optional_body import BodyOptional
from api.replaying import Asked, replay
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import days, fields, paging
from api.v1.choices import chosen, every_wrong
from api.v1.events import visible_event
from api.v1.responses import errors
from contracts import v1_webhooks as v1
from contracts.v1_webhooks import DeliveryDetailJson, DeliveryJson
from db.delivery_reads import DeliveryFilter
from db.replaying import Receiver, Wish
from domain.errors import Code, TolemError
from domain.event import Delivery, DeliveryState, Endpoint, EventType, wanted
from domain.merchant import Principal
from domain.rendering import Event

RETRY = "webhook-deliveries.retry"
RESEND = "events.resend"

IdParameter = Annotated[str | None, Parameter(max_length=100)]


class DeliveryPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    items: list[DeliveryJson]
    page: int
    page_size: int
    has_more: bool
    next_cursor: str | None


class ResentJson(msgspec.Struct, frozen=True, kw_only=True):
    """The deliveries that are on their way; empty where no endpoint wants the event."""

    items: list[DeliveryJson]


class EventResend(RequestBody, forbid_unknown_fields=True):
    """To whom; without `endpoint_id`, to every enabled endpoint that subscribes to the event."""

    RULES: ClassVar[dict[str, Rule]] = {}

    endpoint_id: (
        Annotated[str, Meta(max_length=100, description="An endpoint of the event's mode, whatever it subscribes to.")]
        | None
    ) = None


class WebhookDeliveryController(Controller):
    """`/api/v1/webhook-deliveries`."""

    path = "/webhook-deliveries"
    tags = ["Webhooks"]  # noqa: RUF012 -- Litestar's way

    @get(
        summary="List webhook deliveries",
        description="Every event on its way to an endpoint, also of endpoints that are disabled or deleted by now.",
        operation_id="listWebhookDeliveries",
        responses=errors(400, 401, 503),
    )
    async def list_(
        self,
        services: Services,
        principal: Principal,
        states: Annotated[
            list[str] | None,
            QueryParameter(name="state", description="`pending`, `delivered`, `dead`; repeated or with commas."),
        ] = None,
        endpoint_id: IdParameter = None,
        types: Annotated[
            list[str] | None, QueryParameter(name="event", description="Event types, repeated or with commas.")
        ] = None,
        object_id: Annotated[
            str | None,
            Parameter(max_length=100, description="Of an invoice, refund, subscription, connection or endpoint."),
        ] = None,
        event_id: IdParameter = None,
        is_sandbox: bool | None = None,
        date_from: Annotated[date | None, Parameter(description="First day (Asia/Almaty), inclusive.")] = None,
        date_to: Annotated[date | None, Parameter(description="Last day (Asia/Almaty), inclusive.")] = None,
        page: Annotated[int, Parameter(ge=1, le=1_000_000)] = 1,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        cursor: Annotated[
            str | None, Parameter(description="`next_cursor` of the page before; instead of `page`.")
        ] = None,
    ) -> DeliveryPageJson:
        """GET /v1/webhook-deliveries."""
        with every_wrong() as read:
            after, offset = read(paging.start, cursor, page, page_size) or (None, 0)
            asked = DeliveryFilter(
                states=read(chosen, states, DeliveryState, "state"),
                endpoint_id=read(paging.clean, endpoint_id, "endpoint_id"),
                types=read(chosen, types, EventType, "event"),
                object_id=read(paging.clean, object_id, "object_id"),
                event_id=read(paging.clean, event_id, "event_id"),
                is_sandbox=True if sees_sandbox_only(principal) else is_sandbox,
                date_from=read(days.first_moment, date_from, "date_from"),
                date_to=read(days.moment_after, date_to, "date_to"),
                after=after,
                offset=offset,
                limit=page_size,
            )
        found = await services.deliveries.page(principal.merchant.id, asked)
        last = found.items[-1] if found.items and found.has_more else None
        return DeliveryPageJson(
            items=[v1.delivery(one) for one in found.items],
            page=page,
            page_size=page_size,
            has_more=found.has_more,
            next_cursor=None if last is None else paging.cursor(last.created_at, last.id),
        )

    @get(
        "/{delivery_id:str}",
        summary="Get a webhook delivery",
        description="With the bytes that are sent and the last 100 attempts: what was sent, what came back.",
        operation_id="getWebhookDelivery",
        responses=errors(400, 401, 404, 503),
    )
    async def read(self, services: Services, principal: Principal, delivery_id: str) -> DeliveryDetailJson:
        """GET /v1/webhook-deliveries/{id}."""
        found = None
        if "\x00" not in delivery_id:
            found = await services.deliveries.detail(principal.merchant.id, delivery_id)
        if found is None or (sees_sandbox_only(principal) and not found.delivery.is_sandbox):
            raise TolemError(Code.NOT_FOUND)
        return v1.delivery_detail(found.delivery, found.body, found.attempts)

    @post(
        "/{delivery_id:str}/retry",
        status_code=202,
        summary="Send a webhook again",
        description="One that waits is tried at once; one that is delivered or dead is sent again, with the same id "
        "and the same bytes and the whole schedule before it.",
        operation_id="retryWebhookDelivery",
        responses={202: ResponseSpec(DeliveryJson, description="Retry queued.", generate_examples=False)}
        | errors(400, 401, 404, 409, 422, 503),
    )
    async def retry(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        delivery_id: str,
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/webhook-deliveries/{id}/retry."""
        key = idempotency.checked(idempotency_key)
        found = await _visible(services, principal, delivery_id)

        async def book(wish: Wish) -> list[Delivery]:
            await _listening(services, principal, found.endpoint_id)
            return [await services.replaying.retry(wish, found)]

        asked = Asked(
            operation=RETRY,
            parts=(found.id,),
            key=key,
            request_id=request_id_of(request.scope),
            show=lambda deliveries: v1.delivery(deliveries[0]),
        )
        return await replay(services, principal, asked, book)


@post(
    "/events/{event_id:str}/resend",
    status_code=202,
    dto=JsonBody[EventResend],
    return_dto=None,
    tags=["Events"],
    summary="Send an event again",
    description="To one endpoint, or to every enabled one that subscribes to it: what was delivered or is dead is sent "
    "again with the same id and bytes, and an endpoint that never got the event gets it now.",
    operation_id="resendEvent",
    operation_class=BodyOptional,
    responses={202: ResponseSpec(ResentJson, description="Queued.", generate_examples=False)}
    | errors(400, 401, 404, 409, 422, 503),
)
async def resend_event(
    request: Request[Any, Any, Any],
    services: Services,
    principal: Principal,
    event_id: str,
    data: EventResend | None = None,
    idempotency_key: idempotency.IdempotencyKey = None,
) -> Response[Any]:
    """POST /v1/events/{id}/resend."""
    key = idempotency.checked(idempotency_key)
    event = await visible_event(services, principal, event_id)
    if event is None:
        raise TolemError(Code.NOT_FOUND)
    endpoint_id = data.endpoint_id if data is not None else None

    async def book(wish: Wish) -> list[Delivery]:
        endpoints = await _receivers(services, principal, event, endpoint_id)
        return await services.replaying.resend(wish, event, [Receiver(one.id, one.dialect) for one in endpoints])

    asked = Asked(
        operation=RESEND,
        parts=(event.id, endpoint_id),
        key=key,
        request_id=request_id_of(request.scope),
        show=lambda deliveries: ResentJson(items=[v1.delivery(one) for one in deliveries]),
    )
    return await replay(services, principal, asked, book)


async def _visible(services: Services, principal: Principal, delivery_id: str) -> Delivery:
    found = None
    if "\x00" not in delivery_id:
        found = await services.deliveries.delivery(principal.merchant.id, delivery_id)
    if found is None or (sees_sandbox_only(principal) and not found.is_sandbox):
        raise TolemError(Code.NOT_FOUND)
    return found


async def _listening(services: Services, principal: Principal, endpoint_id: str) -> None:
    """Disabled in this very moment it is found out by the attempt, which ends dead and says why."""
    endpoint = await services.reads.endpoint(principal.merchant.id, endpoint_id)
    if endpoint is None or not endpoint.enabled:
        raise TolemError(Code.WEBHOOK_ENDPOINT_DISABLED)


async def _receivers(services: Services, principal: Principal, event: Event, endpoint_id: str | None) -> list[Endpoint]:
    if endpoint_id is None:
        every = await services.reads.endpoints(principal.merchant.id, sandbox_only=False)
        told = [one for one in every if one.enabled and _gets(one, event)]
        return [one for one in told if services.replaying.tells(event, one.dialect)]
    endpoint = await services.reads.endpoint(principal.merchant.id, endpoint_id)
    if endpoint is None or (sees_sandbox_only(principal) and not endpoint.is_sandbox):
        raise TolemError(Code.NOT_FOUND)
    if endpoint.is_sandbox is not event.is_sandbox:
        raise fields.wrong("endpoint_id", "Gets events of the other mode; see is_sandbox of both.")
    if not endpoint.enabled:
        raise TolemError(Code.WEBHOOK_ENDPOINT_DISABLED)
    return [endpoint]


def _gets(endpoint: Endpoint, event: Event) -> bool:
    """By itself, as when the event was made: a test is its endpoint's alone, and no endpoint is told of itself."""
    if event.type is EventType.WEBHOOK_TEST:
        return endpoint.id == event.object_id
    if endpoint.id == event.object_id:
        return False
    return endpoint.is_sandbox is event.is_sandbox and wanted(event.type, endpoint.events)
