"""The redeliveries' part of the examples."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from contracts.v1_webhooks import redelivery
from domain.redelivery import Redelivery, RedeliveryKind, RedeliveryState

_AT = datetime(2026, 11, 22, 6, 17, 33, 120000, tzinfo=UTC)

RUNNING = Redelivery(
    id="rdl_6jq2m7v5o5y3c6d2xk4wz7h5ug",
    merchant_id="mer_6rzpebtuombeggmvdqnbyeugjy",
    endpoint_id="whe_653vh3ije5qrecxrt6nxeos5ru",
    is_sandbox=False,
    kind=RedeliveryKind.UNDELIVERED,
    since=_AT - timedelta(hours=26),
    until=_AT,
    state=RedeliveryState.RUNNING,
    found=0,
    delivered=0,
    handed_over=0,
    place_at=None,
    place_id=None,
    asked_by="key_iewhsdauauk3efv2ffg5mhzst4",
    created_at=_AT,
    finished_at=None,
)
_OVER = msgspec.structs.replace(
    RUNNING,
    state=RedeliveryState.COMPLETED,
    found=412,
    delivered=411,
    handed_over=1,
    finished_at=_AT + timedelta(minutes=3),
)
_CANCELED = msgspec.structs.replace(
    RUNNING,
    state=RedeliveryState.CANCELED,
    found=17,
    delivered=17,
    finished_at=_AT + timedelta(seconds=20),
)

REQUESTS: dict[str, Any] = {"redeliverWebhooks": {"kind": "undelivered", "since": "2026-11-21T04:17:33.120Z"}}
ANSWERS: dict[str, Any] = {
    "redeliverWebhooks": redelivery(RUNNING),
    "listRedeliveries": {"items": [redelivery(_OVER)], "page_size": 20, "has_more": False, "next_cursor": None},
    "getRedelivery": redelivery(_OVER),
    "cancelRedelivery": redelivery(_CANCELED),
}
