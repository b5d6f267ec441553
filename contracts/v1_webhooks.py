"""The JSON of v1 about webhooks: endpoints, the delivery log, redeliveries, the queue of jobs."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from contracts.times import show, show_optional
from contracts.v1_json import Moment
from domain.event import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Dialect,
    DisabledReason,
    Endpoint,
    EndpointSecret,
    EventType,
)
from domain.redelivery import Redelivery, RedeliveryKind, RedeliveryState


class SecretJson(msgspec.Struct, frozen=True, kw_only=True):
    """A signing secret in force, without the secret. `expires_at` is null for the present one."""

    id: Annotated[str, Meta(examples=["whs_7jq2m5v3o5y3c6d2xk4wz7h5ud"])]
    created_at: Moment
    expires_at: Moment | None


class EndpointJson(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A webhook endpoint. `secret` is shown once, in the answer that made it.

    `failing_percent` is how far an endpoint that only fails is on its way to being disabled; `secrets` stands in the
    answers about one endpoint that exists, the newest first.
    """

    id: Annotated[str, Meta(examples=["whe_3jq2m7v5o5y3c6d2xk4wz7h5ue"])]
    number: Annotated[int, Meta(description="The merchant's own; `webhook_id` of the ApiPay contract.")]
    url: str
    events: list[str]
    dialect: Dialect
    description: str
    is_sandbox: bool
    enabled: bool
    disabled_at: Moment | None
    disabled_reason: DisabledReason | None
    failing_since: Moment | None
    failing_percent: int
    last_success_at: Moment | None
    last_failure_at: Moment | None
    public_key: str | None
    created_at: Moment
    updated_at: Moment
    secret: str | UnsetType = UNSET
    secrets: list[SecretJson] | UnsetType = UNSET


class DeliveryJson(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to one endpoint. `attempts` counts every request, replays included."""

    id: Annotated[str, Meta(examples=["whd_4jq2m7v5o5y3c6d2xk4wz7h5uf"])]
    event_id: str
    event: EventType
    object_id: str
    endpoint_id: str
    is_sandbox: bool
    state: DeliveryState
    attempts: int
    last_status: int | None
    last_error: str | None
    next_attempt_at: Moment | None
    delivered_at: Moment | None
    replayed_at: Moment | None
    created_at: Moment


class AttemptJson(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its answer. `response_body` is cut; `request_headers` are as sent."""

    number: int
    url: str | None
    request_headers: dict[str, str] | None
    status: int | None
    error: str | None
    latency_ms: int
    response_body: str
    created_at: Moment


class DeliveryDetailJson(DeliveryJson, frozen=True, kw_only=True):
    """A delivery with the bytes that are sent and every attempt, the oldest first."""

    request_body: str
    attempt_log: list[AttemptJson]


class RedeliveryJson(msgspec.Struct, frozen=True, kw_only=True):
    """A range of events sent again, in their order: `since` inclusive, `until` exclusive.

    `handed_over` failed again and go on by themselves on the usual schedule.
    """

    id: Annotated[str, Meta(examples=["rdl_6jq2m7v5o5y3c6d2xk4wz7h5ug"])]
    endpoint_id: str
    is_sandbox: bool
    kind: RedeliveryKind
    since: Moment
    until: Moment
    state: RedeliveryState
    found: int
    delivered: int
    handed_over: int
    created_at: Moment
    finished_at: Moment | None


def endpoint(
    endpoint_: Endpoint, secret: str | UnsetType = UNSET, secrets: list[EndpointSecret] | None = None
) -> EndpointJson:
    """The JSON of an endpoint."""
    return EndpointJson(
        id=endpoint_.id,
        number=endpoint_.number,
        url=endpoint_.url,
        events=endpoint_.events,
        dialect=endpoint_.dialect,
        description=endpoint_.description or "",
        is_sandbox=endpoint_.is_sandbox,
        enabled=endpoint_.enabled,
        disabled_at=show_optional(endpoint_.disabled_at),
        disabled_reason=endpoint_.disabled_reason,
        failing_since=show_optional(endpoint_.failing_since),
        failing_percent=endpoint_.failing_percent,
        last_success_at=show_optional(endpoint_.last_success_at),
        last_failure_at=show_optional(endpoint_.last_failure_at),
        public_key=endpoint_.public_key,
        created_at=show(endpoint_.created_at),
        updated_at=show(endpoint_.updated_at),
        secret=secret,
        secrets=UNSET if secrets is None else [_secret(one) for one in secrets],
    )


def _secret(one: EndpointSecret) -> SecretJson:
    return SecretJson(id=one.id, created_at=show(one.created_at), expires_at=show_optional(one.expires_at))


def delivery(one: Delivery) -> DeliveryJson:
    """The JSON of a row of the delivery log."""
    return DeliveryJson(**_delivery(one))


def delivery_detail(one: Delivery, body: bytes, attempts: list[DeliveryAttempt]) -> DeliveryDetailJson:
    """The JSON of a delivery with all that is known of it."""
    return DeliveryDetailJson(
        **_delivery(one), request_body=body.decode(), attempt_log=[_attempt(attempt) for attempt in attempts]
    )


def _delivery(one: Delivery) -> dict[str, Any]:
    return {
        "id": one.id,
        "event_id": one.event_id,
        "event": one.event_type,
        "object_id": one.object_id,
        "endpoint_id": one.endpoint_id,
        "is_sandbox": one.is_sandbox,
        "state": one.state,
        "attempts": one.attempts,
        "last_status": one.last_status,
        "last_error": one.last_error,
        "next_attempt_at": show_optional(one.next_attempt_at),
        "delivered_at": show_optional(one.delivered_at),
        "replayed_at": show_optional(one.replayed_at),
        "created_at": show(one.created_at),
    }


def _attempt(one: DeliveryAttempt) -> AttemptJson:
    return AttemptJson(
        number=one.number,
        url=one.url,
        request_headers=one.request_headers,
        status=one.status,
        error=one.error,
        latency_ms=one.latency_ms,
        response_body=one.response_excerpt,
        created_at=show(one.created_at),
    )


def redelivery(one: Redelivery) -> RedeliveryJson:
    """The JSON of a redelivery."""
    return RedeliveryJson(
        id=one.id,
        endpoint_id=one.endpoint_id,
        is_sandbox=one.is_sandbox,
        kind=one.kind,
        since=show(one.since),
        until=show(one.until),
        state=one.state,
        found=one.found,
        delivered=one.delivered,
        handed_over=one.handed_over,
        created_at=show(one.created_at),
        finished_at=show_optional(one.finished_at),
    )
