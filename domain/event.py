"""Events and their deliveries: what merchants are told, and what became of telling it."""

from datetime import datetime
from enum import StrEnum

import msgspec

API_VERSION = "v1"


class EventType(StrEnum):
    """Every event this version sends."""

    INVOICE_STATUS_CHANGED = "invoice.status_changed"
    INVOICE_ATTENTION_REQUIRED = "invoice.attention_required"
    INVOICE_REFUNDED = "invoice.refunded"
    REFUND_COMPLETED = "refund.completed"
    REFUND_FAILED = "refund.failed"
    REFUND_ATTENTION_REQUIRED = "refund.attention_required"
    KASPI_SESSION_CHANGED = "kaspi.session_changed"
    WEBHOOK_TEST = "webhook.test"


EVERY_EVENT = "*"


def known_event(name: str) -> bool:
    """True for what an endpoint may subscribe to."""
    return name == EVERY_EVENT or name in set(EventType)


def wanted(event: str, patterns: list[str]) -> bool:
    """Does an endpoint with these patterns want the event? A test is always wanted."""
    return event == EventType.WEBHOOK_TEST or EVERY_EVENT in patterns or event in patterns


class DeliveryState(StrEnum):
    """`DEAD` is visible and can be replayed; it never means forgotten."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant's webhook receiver."""

    id: str
    merchant_id: str
    url: str
    events: list[str]
    is_sandbox: bool
    enabled: bool
    created_at: datetime
    updated_at: datetime


class DueDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """All that one attempt needs; `secret_sealed` is opened at the last moment."""

    id: str
    event_id: str
    endpoint_id: str
    url: str
    secret_sealed: bytes
    body: bytes
    state: DeliveryState
    attempts: int


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one attempt, small enough for a history."""

    state: DeliveryState
    attempts: int
    retry_after: float | None = None


class AttemptOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt went; `wait` is the seconds to the next one, None with `dead`."""

    delivered: bool
    status: int | None
    error: str | None
    latency_ms: int
    excerpt: str
    dead: bool
    wait: float | None
