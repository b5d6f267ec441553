"""The delivery log's and the queue's part of the examples."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from contracts import v1_webhooks as v1
from contracts.v1_jobs import JobEngineJson, job
from domain.errors import Code, TolemError
from domain.event import Delivery, DeliveryAttempt, DeliveryState, EventType
from domain.job import Job, JobKind, JobState

_AT = datetime(2026, 11, 22, 6, 18, 2, 480000, tzinfo=UTC)
_ENDPOINT_ID = "whe_653vh3ije5qrecxrt6nxeos5ru"
_BODY = (
    b'{"id":"evt_5jq2m7v3o5y3c6d2xk4wz7h5uc","type":"invoice.status_changed","api_version":"v1",'
    b'"merchant_id":"mer_6rzpebtuombeggmvdqnbyeugjy","endpoint_id":"whe_653vh3ije5qrecxrt6nxeos5ru",'
    b'"is_sandbox":false,"sequence":2,"created_at":"2026-11-22T06:18:02.480Z","data":{"object":{}}}'
)
_RETRYING = Delivery(
    id="whd_4jq2m7v5o5y3c6d2xk4wz7h5uf",
    merchant_id="mer_6rzpebtuombeggmvdqnbyeugjy",
    event_id="evt_5jq2m7v3o5y3c6d2xk4wz7h5uc",
    event_type=EventType.INVOICE_STATUS_CHANGED,
    object_id="inv_q3mjn2v7o5y3c6d2xk4wz7h5ua",
    endpoint_id=_ENDPOINT_ID,
    is_sandbox=False,
    state=DeliveryState.PENDING,
    attempts=1,
    last_status=503,
    last_error="http_status",
    next_attempt_at=_AT + timedelta(seconds=5),
    delivered_at=None,
    replayed_at=None,
    created_at=_AT,
)
_QUEUED = msgspec.structs.replace(_RETRYING, next_attempt_at=_AT + timedelta(seconds=2))
_ATTEMPT = DeliveryAttempt(
    number=1,
    url="https://example.kz/webhooks/kaspi",
    request_headers={
        "content-type": "application/json",
        "user-agent": "Tolem-Webhooks/1",
        "webhook-id": _RETRYING.event_id,
        "webhook-timestamp": "1795328282",
        "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    },
    status=503,
    error="http_status",
    latency_ms=184,
    response_excerpt="<h1>Service Unavailable</h1>",
    created_at=_AT,
)
_JOB = Job(
    kind=JobKind.DELIVERY,
    id=_RETRYING.id,
    state=JobState.RETRYING,
    object_id=_RETRYING.object_id,
    is_sandbox=False,
    attempts=1,
    last_error="http_status",
    next_attempt_at=_RETRYING.next_attempt_at,
    created_at=_AT,
    updated_at=_AT,
)
_ENGINE = JobEngineJson(
    running=True, attempt=2, last_failure="NotDelivered", next_attempt_at="2026-11-22T06:18:07.480Z"
)
_PAGE = {"page_size": 20, "has_more": False, "next_cursor": None}

REQUESTS: dict[str, Any] = {"resendEvent": {"endpoint_id": _ENDPOINT_ID}}
CONFLICTS = {
    "retryWebhookDelivery": TolemError(Code.WEBHOOK_ENDPOINT_DISABLED),
    "resendEvent": TolemError(Code.WEBHOOK_ENDPOINT_DISABLED),
}
ANSWERS: dict[str, Any] = {
    "listWebhookDeliveries": {"items": [v1.delivery(_RETRYING)], "page": 1, **_PAGE},
    "getWebhookDelivery": v1.delivery_detail(_RETRYING, _BODY, [_ATTEMPT]),
    "retryWebhookDelivery": v1.delivery(_QUEUED),
    "resendEvent": {"items": [v1.delivery(_QUEUED)]},
    "listJobs": {"items": [job(_JOB, _ENGINE)], **_PAGE},
}
