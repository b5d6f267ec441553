"""Webhook endpoints: register, list, test."""

from typing import Annotated, Any, ClassVar
from uuid import uuid4

import msgspec
from litestar import Controller, Request, get, post
from msgspec import Meta

from activities.delivering import TestEndpoint
from api.auth import sandbox_of, sees_sandbox_only
from api.bodies import JsonBody, RequestBody, Rule
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import fields
from api.v1.responses import errors
from contracts import v1_webhooks
from contracts.v1_webhooks import EndpointJson
from db.endpoints import new_endpoint_id
from domain.errors import Code, TolemError
from domain.event import PATTERNS, known_pattern
from domain.merchant import Principal
from webhooks.errors import UrlRefused
from webhooks.guard import check_url
from webhooks.signing import new_secret

MAX_ENDPOINTS = 50
PATIENCE_SECONDS = 5.0
EVENT_NAMES = sorted(PATTERNS)


def _known_events(value: list[str]) -> list[str]:
    unknown = [name for name in value if not known_pattern(name)]
    if unknown:
        raise ValueError(f"unknown event; the events are {', '.join(EVENT_NAMES)}")
    return value


class WebhookCreate(RequestBody):
    """Where to send which events."""

    RULES: ClassVar[dict[str, Rule]] = {"events": _known_events}

    url: Annotated[
        str, Meta(max_length=2000, examples=["https://example.kz/webhooks/kaspi"], description="https, public address.")
    ]
    events: Annotated[
        list[str],
        Meta(
            min_length=1,
            max_length=50,
            description="Event names, or `*` for all.",
            examples=[["invoice.status_changed", "invoice.refunded"]],
            extra_json_schema={"items": {"type": "string", "enum": EVENT_NAMES}},
        ),
    ]
    is_sandbox: (
        Annotated[bool, Meta(description="Get events of sandbox objects (true) or of live ones (false).")] | None
    ) = None


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
        dto=JsonBody[WebhookCreate],
        return_dto=None,
        summary="Register a webhook endpoint",
        description="The answer shows the signing `secret` once.",
        operation_id="createWebhook",
        responses=errors(400, 401, 403, 503),
    )
    async def create(
        self, request: Request[Any, Any, Any], services: Services, principal: Principal, data: WebhookCreate
    ) -> EndpointJson:
        """POST /v1/webhooks."""
        is_sandbox = sandbox_of(principal, asked=data.is_sandbox)
        try:
            check_url(data.url, services.egress)
        except UrlRefused as error:
            raise fields.wrong("url", str(error)) from error
        merchant = principal.merchant.id
        if len(await services.reads.endpoints(merchant, sandbox_only=False)) >= MAX_ENDPOINTS:
            raise fields.wrong("url", f"A merchant can have at most {MAX_ENDPOINTS} endpoints.")
        endpoint_id, secret = new_endpoint_id(), new_secret()
        created = await services.endpoints.add(
            merchant,
            endpoint_id,
            url=data.url,
            events=list(dict.fromkeys(data.events)),
            is_sandbox=is_sandbox,
            sealed=services.box.seal(secret.encode(), f"endpoint:{endpoint_id}"),
            asked_by=principal.key_id,
            request_id=request_id_of(request.scope),
        )
        return v1_webhooks.endpoint(created, secret)

    @post(
        "/{endpoint_id:str}/test",
        status_code=202,
        summary="Send a test event",
        operation_id="testWebhook",
        responses=errors(400, 401, 404, 503),
    )
    async def test(self, services: Services, principal: Principal, endpoint_id: str) -> TestQueued:
        """POST /v1/webhooks/{id}/test."""
        found = await services.reads.endpoint(principal.merchant.id, endpoint_id) if "\x00" not in endpoint_id else None
        if found is None or (sees_sandbox_only(principal) and not found.is_sandbox):
            raise TolemError(Code.NOT_FOUND)
        await services.engine.test_webhook(
            TestEndpoint(
                merchant_id=found.merchant_id, endpoint_id=found.id, is_sandbox=found.is_sandbox, cause=uuid4().hex
            ),
            wait=PATIENCE_SECONDS,
        )
        return TestQueued(status="queued", endpoint_id=found.id)
