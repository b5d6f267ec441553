"""Webhook endpoints: register, read, change, rotate the secret, test."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import uuid4

import msgspec
from litestar import Controller, Request, delete, get, patch, post
from litestar.params import Parameter
from msgspec import UNSET, UnsetType

from activities.delivering import TestEndpoint
from api.auth import sandbox_of, sees_sandbox_only
from api.bodies import Draft, JsonBody, JsonDraft, JsonRequest
from api.optional_body import BodyOptional
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import fields
from api.v1.responses import errors
from api.v1.webhook_bodies import SecretRotate, WebhookCreate, WebhookUpdate
from contracts import v1_webhooks
from contracts.times import show
from contracts.v1_webhooks import EndpointJson
from db.endpoints import Asker, EndpointChanges, EndpointDetail, new_endpoint_id
from db.errors import TooManyEndpoints, TooManySecrets
from domain.errors import Code, FieldError, TolemError
from domain.merchant import Principal
from webhooks.errors import UrlRefused
from webhooks.guard import check_url
from webhooks.signing import MAX_SECRETS, new_secret, new_signing_key

PATIENCE_SECONDS = 5.0

EndpointId = Annotated[str, Parameter(description="Of a webhook endpoint.")]


class EndpointList(msgspec.Struct, frozen=True, kw_only=True):
    """Every endpoint of the merchant that the key may see."""

    items: list[EndpointJson]


class TestQueued(msgspec.Struct, frozen=True, kw_only=True):
    """The test event is on its way."""

    status: str
    endpoint_id: str


class WebhookController(Controller):
    """`/api/v1/webhooks`."""

    path = "/webhooks"
    tags = ["Webhooks"]  # noqa: RUF012 -- Litestar's way

    @get(summary="List webhook endpoints", operation_id="listWebhooks", responses=errors(401, 503))
    async def list_(self, services: Services, principal: Principal) -> EndpointList:
        """GET /v1/webhooks."""
        found = await services.reads.endpoints(principal.merchant.id, sandbox_only=sees_sandbox_only(principal))
        return EndpointList(items=[v1_webhooks.endpoint(one) for one in found])

    @post(
        request_class=JsonRequest,
        dto=JsonDraft[WebhookCreate],
        return_dto=None,
        summary="Register a webhook endpoint",
        description="The answer shows the signing `secret` once. A merchant can have 50 endpoints.",
        operation_id="createWebhook",
        responses=errors(400, 401, 403, 409, 503),
    )
    async def create(
        self, request: Request[Any, Any, Any], services: Services, principal: Principal, data: Draft[WebhookCreate]
    ) -> EndpointJson:
        """POST /v1/webhooks."""
        asked = data.finish(*_wrong_url(services, data.get("url"), is_sandbox=_may_be_sandbox(principal, data)))
        is_sandbox = sandbox_of(principal, asked=asked.is_sandbox)
        endpoint_id, secret = new_endpoint_id(), new_secret()
        signing_key, public_key = new_signing_key() if asked.asymmetric else (None, None)
        try:
            created = await services.endpoints.add(
                principal.merchant.id,
                endpoint_id,
                url=asked.url,
                events=_once_each(asked.events),
                dialect=asked.dialect,
                description=fields.optional_text(asked.description),
                is_sandbox=is_sandbox,
                sealed=_sealed(services, endpoint_id, secret),
                public_key=public_key,
                signing_key_sealed=None if signing_key is None else _sealed(services, endpoint_id, signing_key),
                asked_by=principal.key_id,
                request_id=request_id_of(request.scope),
            )
        except TooManyEndpoints as full:
            message = f"A merchant can have {full.most} webhook endpoints; delete one that is not needed."
            raise TolemError(Code.LIMIT_REACHED, message, details={"limit": str(full.most)}) from full
        return v1_webhooks.endpoint(created, secret)

    @get(
        "/{endpoint_id:str}",
        summary="Get a webhook endpoint",
        description="With its signing secrets in force, which are shown without the secret itself.",
        operation_id="getWebhook",
        responses=errors(400, 401, 404, 503),
    )
    async def read(self, services: Services, principal: Principal, endpoint_id: EndpointId) -> EndpointJson:
        """GET /v1/webhooks/{id}."""
        return _shown(await _visible(services, principal, endpoint_id))

    @patch(
        "/{endpoint_id:str}",
        dto=JsonDraft[WebhookUpdate],
        return_dto=None,
        summary="Change a webhook endpoint",
        description="Events that are on their way keep their bodies, and go to the new URL. A new URL starts without "
        "the failures of the old one.",
        operation_id="updateWebhook",
        responses=errors(400, 401, 404, 503),
    )
    async def update(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        endpoint_id: EndpointId,
        data: Draft[WebhookUpdate],
    ) -> EndpointJson:
        """PATCH /v1/webhooks/{id}."""
        before = await _visible(services, principal, endpoint_id)
        asked = data.finish(*_wrong_url(services, data.get("url"), is_sandbox=before.endpoint.is_sandbox))
        changes = EndpointChanges(
            url=asked.url,
            events=UNSET if asked.events is UNSET else _once_each(asked.events),
            dialect=asked.dialect,
            description=UNSET if asked.description is UNSET else fields.optional_text(asked.description),
        )
        return _shown(await services.endpoints.change(_asker(request, principal), endpoint_id, changes))

    @delete(
        "/{endpoint_id:str}",
        summary="Delete a webhook endpoint",
        description="Nothing more is sent to it: what was on its way ends as dead with `endpoint_deleted`. Its "
        "deliveries can still be read.",
        operation_id="deleteWebhook",
        responses=errors(400, 401, 404, 503),
    )
    async def remove(
        self, request: Request[Any, Any, Any], services: Services, principal: Principal, endpoint_id: EndpointId
    ) -> None:
        """DELETE /v1/webhooks/{id}."""
        if "\x00" in endpoint_id or await services.endpoints.delete(_asker(request, principal), endpoint_id) is None:
            raise TolemError(Code.NOT_FOUND)

    @post(
        "/{endpoint_id:str}/enable",
        status_code=200,
        summary="Enable a webhook endpoint",
        description="It gets new events again and starts without the failures it had. What it missed can be sent "
        "with a redelivery.",
        operation_id="enableWebhook",
        responses=errors(400, 401, 404, 503),
    )
    async def enable(
        self, request: Request[Any, Any, Any], services: Services, principal: Principal, endpoint_id: EndpointId
    ) -> EndpointJson:
        """POST /v1/webhooks/{id}/enable."""
        _refuse_nul(endpoint_id)
        return _shown(await services.endpoints.enable(_asker(request, principal), endpoint_id))

    @post(
        "/{endpoint_id:str}/disable",
        status_code=200,
        summary="Disable a webhook endpoint",
        description="It gets no new events, and what was on its way ends as dead with `endpoint_disabled`. Events stay "
        "readable and can be sent later with a redelivery.",
        operation_id="disableWebhook",
        responses=errors(400, 401, 404, 503),
    )
    async def disable(
        self, request: Request[Any, Any, Any], services: Services, principal: Principal, endpoint_id: EndpointId
    ) -> EndpointJson:
        """POST /v1/webhooks/{id}/disable."""
        _refuse_nul(endpoint_id)
        return _shown(await services.endpoints.disable(_asker(request, principal), endpoint_id))

    @post(
        "/{endpoint_id:str}/rotate-secret",
        dto=JsonBody[SecretRotate],
        return_dto=None,
        status_code=200,
        summary="Rotate the signing secret",
        description="The answer shows the new `secret` once. While secrets overlap, `webhook-signature` has a "
        f"signature by each of them, so a receiver that knows any one of them can check it. Up to {MAX_SECRETS} can "
        "be in force. The ed25519 key of an endpoint stays as it is.",
        operation_id="rotateWebhookSecret",
        operation_class=BodyOptional,
        responses=errors(400, 401, 404, 409, 503),
    )
    async def rotate(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        endpoint_id: EndpointId,
        data: SecretRotate | None = None,
    ) -> EndpointJson:
        """POST /v1/webhooks/{id}/rotate-secret."""
        _refuse_nul(endpoint_id)
        asked = data.overlap_hours if data is not None else None
        hours = services.webhooks.secret_overlap_hours if asked is None else asked
        secret = new_secret()
        try:
            rotated = await services.endpoints.rotate(
                _asker(request, principal),
                endpoint_id,
                sealed=_sealed(services, endpoint_id, secret),
                overlap=timedelta(hours=hours),
                most=MAX_SECRETS,
            )
        except TooManySecrets as full:
            raise _no_room(full) from full
        return _shown(rotated, secret)

    @post(
        "/{endpoint_id:str}/test",
        status_code=202,
        summary="Send a test event",
        operation_id="testWebhook",
        responses=errors(400, 401, 404, 409, 503),
    )
    async def test(self, services: Services, principal: Principal, endpoint_id: EndpointId) -> TestQueued:
        """POST /v1/webhooks/{id}/test."""
        found = (await _visible(services, principal, endpoint_id)).endpoint
        if not found.enabled:
            raise TolemError(Code.WEBHOOK_ENDPOINT_DISABLED)
        await services.engine.test_webhook(
            TestEndpoint(
                merchant_id=found.merchant_id, endpoint_id=found.id, is_sandbox=found.is_sandbox, cause=uuid4().hex
            ),
            wait=PATIENCE_SECONDS,
        )
        return TestQueued(status="queued", endpoint_id=found.id)


async def _visible(services: Services, principal: Principal, endpoint_id: str) -> EndpointDetail:
    _refuse_nul(endpoint_id)
    found = await services.endpoints.read(principal.merchant.id, endpoint_id, sandbox_only=sees_sandbox_only(principal))
    if found is None:
        raise TolemError(Code.NOT_FOUND)
    return found


def _refuse_nul(endpoint_id: str) -> None:
    """Postgres takes no NUL in a text, so there is no such endpoint."""
    if "\x00" in endpoint_id:
        raise TolemError(Code.NOT_FOUND)


def _shown(detail: EndpointDetail | None, secret: str | None = None) -> EndpointJson:
    if detail is None:
        raise TolemError(Code.NOT_FOUND)
    return v1_webhooks.endpoint(detail.endpoint, UNSET if secret is None else secret, detail.secrets)


def _asker(request: Request[Any, Any, Any], principal: Principal) -> Asker:
    return Asker(
        merchant_id=principal.merchant.id,
        key_id=principal.key_id,
        sandbox_only=sees_sandbox_only(principal),
        request_id=request_id_of(request.scope),
    )


def _may_be_sandbox(principal: Principal, data: Draft[WebhookCreate]) -> bool:
    """What the URL is checked for; where `is_sandbox` is wrong itself, only what is wrong in either mode is told."""
    asked = data.get("is_sandbox")
    return sees_sandbox_only(principal) if asked is None else asked is not False


def _wrong_url(services: Services, url: str | UnsetType, *, is_sandbox: bool) -> list[FieldError]:
    """UNSET is what cannot be looked at."""
    if url is UNSET:
        return []
    try:
        check_url(url, services.egress, is_sandbox=is_sandbox)
    except UrlRefused as error:
        return [FieldError("url", "invalid", str(error))]
    return []


def _sealed(services: Services, endpoint_id: str, secret: str) -> bytes:
    return services.box.seal(secret.encode(), f"endpoint:{endpoint_id}")


def _once_each(events: list[str]) -> list[str]:
    return list(dict.fromkeys(events))


def _no_room(full: TooManySecrets) -> TolemError:
    details, until = {"limit": str(full.most)}, ""
    if full.room_at is not None:
        details["room_at"] = show(full.room_at)
        until = f", or wait until {show(full.room_at)} when the next of them ends"
    message = (
        f"{full.most} secrets are in force, which is the most; rotate with overlap_hours 0 to end all of them{until}."
    )
    return TolemError(Code.LIMIT_REACHED, message, details=details)
