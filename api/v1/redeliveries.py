"""Redeliveries: send a range of an endpoint's events again, watch it, stop it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Controller, MediaType, Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from msgspec import UNSET, Meta, UnsetType

from api import idempotency
from api.auth import sees_sandbox_only
from api.bodies import Draft, JsonDraft, JsonRequest, RequestBody, Rule
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import paging
from api.v1.choices import every_wrong
from api.v1.responses import errors
from contracts import v1_webhooks
from contracts.v1_webhooks import RedeliveryJson
from db.errors import KeyTaken, RedeliveryRuns
from db.kept_answers import KeyedAnswer
from domain.errors import Code, FieldError, TolemError
from domain.event import Endpoint
from domain.ids import REDELIVERY, new_id
from domain.merchant import Principal
from domain.redelivery import Redeliver, Redelivery, RedeliveryKind, RedeliveryState

OPERATION = "redeliveries"


def _moment(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


class RedeliveryCreate(RequestBody, forbid_unknown_fields=True):
    """Which events are sent again: those of `since` (inclusive) to `until` (exclusive) that are of `kind`."""

    RULES: ClassVar[dict[str, Rule]] = {"since": _moment, "until": _moment}

    since: Annotated[datetime, Meta(tz=True, description="With a time zone.", examples=["2026-11-21T00:00:00+05:00"])]
    until: (
        Annotated[
            datetime,
            Meta(
                tz=True,
                description="With a time zone; by default, and at the latest, now.",
                examples=["2026-11-22T12:00:00+05:00"],
            ),
        ]
        | None
    ) = None
    kind: Annotated[
        RedeliveryKind,
        Meta(
            description="`failed`: deliveries that are dead or have failed. `missing`: events the endpoint subscribes"
            " to and was never sent, because it was disabled or did not exist. `undelivered`: both. `all`: delivered"
            " ones too."
        ),
    ] = RedeliveryKind.UNDELIVERED


class RedeliveryPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    items: list[RedeliveryJson]
    page_size: int
    has_more: bool
    next_cursor: str | None


@post(
    "/webhooks/{endpoint_id:str}/redeliver",
    request_class=JsonRequest,
    dto=JsonDraft[RedeliveryCreate],
    return_dto=None,
    status_code=202,
    summary="Redeliver a range of events",
    description="Sends events of a range to an endpoint again, with the ids and bytes they had, one after another in"
    " their order. An event that stays undeliverable goes on by itself on the usual schedule. One runs at a time.",
    operation_id="redeliverWebhooks",
    tags=["Webhooks"],
    responses={
        **errors(400, 401, 404, 409, 422, 503),
        202: ResponseSpec(RedeliveryJson, description="Accepted.", generate_examples=False),
    },
)
async def redeliver(
    request: Request[Any, Any, Any],
    services: Services,
    principal: Principal,
    data: Draft[RedeliveryCreate],
    endpoint_id: str,
    idempotency_key: idempotency.IdempotencyKey = None,
) -> Response[Any]:
    """POST /v1/webhooks/{id}/redeliver."""
    key = idempotency.checked(idempotency_key)
    asked = data.finish(*_wrong_range(services, principal, data.get("since"), data.get("until")) if data.errors else [])
    body = (endpoint_id, asked.kind, _text(asked.since), asked.until and _text(asked.until))
    fingerprint = idempotency.fingerprint(principal.id_salt, OPERATION, *body)
    replayed = await _replayed(services, principal, key, fingerprint)
    if replayed is not None:
        return replayed
    endpoint = await _endpoint(services, principal, endpoint_id)
    # Only now: what was right when a kept answer was given may have grown too old.
    data.finish(*_wrong_range(services, principal, asked.since, asked.until))
    new = _new(principal, endpoint, asked)
    if not endpoint.enabled:
        raise TolemError(Code.WEBHOOK_ENDPOINT_DISABLED)
    answer = msgspec.json.encode(v1_webhooks.redelivery(new))
    keyed = None
    if key is not None:
        keyed = KeyedAnswer(
            mode=principal.mode, operation=OPERATION, key=key, fingerprint=fingerprint, status=202, body=answer
        )
    try:
        await services.redeliveries.open(new, request_id=request_id_of(request.scope), keyed=keyed)
    except KeyTaken:
        raced = await _replayed(services, principal, key, fingerprint)
        if raced is None:
            raise
        return raced
    except RedeliveryRuns as running:
        await _run(services, principal, running.redelivery_id)  # it may have lost its workflow
        details = {"redelivery_id": running.redelivery_id}
        raise TolemError(Code.REDELIVERY_RUNNING, details=details) from running
    await _run(services, principal, new.id)
    location = {"Location": f"/api/v1/redeliveries/{new.id}"}
    return Response(answer, status_code=202, media_type=MediaType.JSON, headers=location)


class RedeliveryController(Controller):
    """`/api/v1/redeliveries`."""

    path = "/redeliveries"
    tags = ["Webhooks"]  # noqa: RUF012 -- Litestar's way

    @get(summary="List redeliveries", operation_id="listRedeliveries", responses=errors(400, 401, 503))
    async def list_(
        self,
        services: Services,
        principal: Principal,
        endpoint_id: Annotated[str | None, Parameter(max_length=100)] = None,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        cursor: Annotated[str | None, Parameter(description="`next_cursor` of the page before.")] = None,
    ) -> RedeliveryPageJson:
        """GET /v1/redeliveries."""
        with every_wrong() as read:
            after, _ = read(paging.start, cursor, 1, page_size) or (None, 0)
            of_endpoint = read(paging.clean, endpoint_id, "endpoint_id")
        found = await services.redeliveries.page(
            principal.merchant.id,
            sandbox_only=sees_sandbox_only(principal),
            endpoint_id=of_endpoint,
            after=after,
            limit=page_size,
        )
        last = found.items[-1] if found.has_more else None
        return RedeliveryPageJson(
            items=[v1_webhooks.redelivery(one) for one in found.items],
            page_size=page_size,
            has_more=found.has_more,
            next_cursor=None if last is None else paging.cursor(last.created_at, last.id),
        )

    @get(
        "/{redelivery_id:str}",
        summary="Get a redelivery",
        operation_id="getRedelivery",
        responses=errors(400, 401, 404, 503),
    )
    async def read(self, services: Services, principal: Principal, redelivery_id: str) -> RedeliveryJson:
        """GET /v1/redeliveries/{id}."""
        return v1_webhooks.redelivery(await _visible(services, principal, redelivery_id))

    @post(
        "/{redelivery_id:str}/cancel",
        status_code=200,
        summary="Cancel a redelivery",
        description="It ends before the next event; one that is over stays as it is. What was tried and is not"
        " delivered goes on by itself.",
        operation_id="cancelRedelivery",
        responses=errors(400, 401, 404, 503),
    )
    async def cancel(
        self, request: Request[Any, Any, Any], services: Services, principal: Principal, redelivery_id: str
    ) -> RedeliveryJson:
        """POST /v1/redeliveries/{id}/cancel."""
        found = await _visible(services, principal, redelivery_id)
        ended = await services.redeliveries.cancel(
            principal.merchant.id, found.id, asked_by=principal.key_id, request_id=request_id_of(request.scope)
        )
        return v1_webhooks.redelivery(ended or found)


async def _replayed(
    services: Services, principal: Principal, key: str | None, fingerprint: str
) -> Response[Any] | None:
    if key is None:
        return None
    kept = await services.reads.kept_answer(principal.merchant.id, principal.mode, OPERATION, key)
    answer = idempotency.replay(kept, fingerprint) if kept else None
    if kept is not None and answer is not None:
        await _run(services, principal, kept.resource_id)
    return answer


async def _endpoint(services: Services, principal: Principal, endpoint_id: str) -> Endpoint:
    found = None if "\x00" in endpoint_id else await services.reads.endpoint(principal.merchant.id, endpoint_id)
    if found is None or (sees_sandbox_only(principal) and not found.is_sandbox):
        raise TolemError(Code.NOT_FOUND)
    return found


async def _visible(services: Services, principal: Principal, redelivery_id: str) -> Redelivery:
    found = None
    if "\x00" not in redelivery_id:
        found = await services.redeliveries.redelivery(principal.merchant.id, redelivery_id)
    if found is None or (sees_sandbox_only(principal) and not found.is_sandbox):
        raise TolemError(Code.NOT_FOUND)
    return found


def _wrong_range(
    services: Services, principal: Principal, since: datetime | UnsetType, until: datetime | UnsetType | None
) -> list[FieldError]:
    """UNSET is what cannot be looked at."""
    if since is UNSET:
        return []
    now, days = principal.database_now, services.api.events_readable_days
    wrong = []
    if since < now - timedelta(days=days):
        wrong.append(FieldError("since", "invalid", f"Events can be read for {days} days."))
    if since >= now:
        wrong.append(FieldError("since", "invalid", "Must lie in the past."))
    elif isinstance(until, datetime) and until <= since:
        wrong.append(FieldError("until", "invalid", "Must be later than since."))
    return wrong


def _new(principal: Principal, endpoint: Endpoint, asked: RedeliveryCreate) -> Redelivery:
    now = principal.database_now
    since = _moment(asked.since)
    until = now if asked.until is None else min(_moment(asked.until), now)
    return Redelivery(
        id=new_id(REDELIVERY),
        merchant_id=principal.merchant.id,
        endpoint_id=endpoint.id,
        is_sandbox=endpoint.is_sandbox,
        kind=asked.kind,
        since=since,
        until=until,
        state=RedeliveryState.RUNNING,
        found=0,
        delivered=0,
        handed_over=0,
        place_at=None,
        place_id=None,
        asked_by=principal.key_id,
        created_at=now,
        finished_at=None,
    )


async def _run(services: Services, principal: Principal, redelivery_id: str) -> None:
    await services.engine.redeliver(Redeliver(merchant_id=principal.merchant.id, redelivery_id=redelivery_id))


def _text(moment: datetime) -> str:
    return _moment(moment).isoformat()
