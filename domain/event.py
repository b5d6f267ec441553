"""Events and their deliveries: what merchants are told, and what became of telling it."""

from datetime import datetime
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

from domain.invoice import DeliveryRef

API_VERSION = "v1"


class EventType(StrEnum):
    """Every event this version sends."""

    INVOICE_STATUS_CHANGED = "invoice.status_changed"
    INVOICE_ATTENTION_REQUIRED = "invoice.attention_required"
    INVOICE_REFUNDED = "invoice.refunded"
    REFUND_COMPLETED = "refund.completed"
    REFUND_FAILED = "refund.failed"
    REFUND_ATTENTION_REQUIRED = "refund.attention_required"
    SUBSCRIPTION_PAYMENT_SUCCEEDED = "subscription.payment_succeeded"
    SUBSCRIPTION_PAYMENT_FAILED = "subscription.payment_failed"
    SUBSCRIPTION_GRACE_PERIOD_STARTED = "subscription.grace_period_started"
    SUBSCRIPTION_EXPIRED = "subscription.expired"
    SUBSCRIPTION_PAUSED = "subscription.paused"
    SUBSCRIPTION_RESUMED = "subscription.resumed"
    SUBSCRIPTION_CANCELED = "subscription.canceled"
    SUBSCRIPTION_COMPLETED = "subscription.completed"
    SUBSCRIPTION_PERIOD_SKIPPED = "subscription.period_skipped"
    KASPI_SESSION_CHANGED = "kaspi.session_changed"
    WEBHOOK_ENDPOINT_FAILING = "webhook.endpoint_failing"
    WEBHOOK_ENDPOINT_DISABLED = "webhook.endpoint_disabled"
    WEBHOOK_TEST = "webhook.test"


EVERY_EVENT = "*"


def _wildcard(event: str) -> str:
    return f"{event.partition('.')[0]}.*"


# What an endpoint may subscribe to: everything, a group (`invoice.*`), or one event.
PATTERNS: frozenset[str] = frozenset({EVERY_EVENT, *EventType, *(_wildcard(event) for event in EventType)})


def known_pattern(name: str) -> bool:
    """True for what an endpoint may subscribe to."""
    return name in PATTERNS


def wanted(event: str, patterns: list[str]) -> bool:
    """Does an endpoint with these patterns want the event? A test is always wanted."""
    return event == EventType.WEBHOOK_TEST or not {EVERY_EVENT, _wildcard(event), event}.isdisjoint(patterns)


class DeliveryState(StrEnum):
    """`DEAD` is visible and can be replayed; it never means forgotten."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class NotSent(StrEnum):
    """Why a delivery is dead though its last attempt did not say so; stands in `last_error` beside the failures."""

    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_DELETED = "endpoint_deleted"
    ENDPOINT_TOO_SLOW = "endpoint_too_slow"  # no place was free for it as long as a whole schedule lasts


class Dialect(StrEnum):
    """Whose words the bodies are in: `v1`, or `apipay` for integrations written against ApiPay v1.0."""

    V1 = "v1"
    APIPAY = "apipay"


class DisabledReason(StrEnum):
    """Why an endpoint gets nothing."""

    MERCHANT = "merchant"  # asked for through the API
    GONE = "gone"  # it answered 410
    FAILING = "failing"  # nothing but failures for days (domain.endpoint_health)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant's webhook receiver.

    `failing_since` is the first failure after the last success; `failing_percent` how far it is on its way to being
    disabled. `public_key` (`whpk_…`) is set where it also gets ed25519 signatures. `number` is the merchant's own (0 in
    events from before there were any).
    """

    id: str
    merchant_id: str
    url: str
    events: list[str]
    dialect: Dialect
    description: str | None
    is_sandbox: bool
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None
    failing_since: datetime | None
    failing_percent: int
    last_success_at: datetime | None
    last_failure_at: datetime | None
    public_key: str | None
    created_at: datetime
    updated_at: datetime
    number: int = 0

    def without_path(self) -> "Endpoint":
        """As others may see it: a URL's path and query can carry a secret, and events go to every other receiver."""
        parts = urlsplit(self.url)
        return msgspec.structs.replace(self, url=f"{parts.scheme}://{parts.netloc}")


class EndpointSecret(msgspec.Struct, frozen=True, kw_only=True):
    """One signing secret of an endpoint, without the secret; None in `expires_at` is the present one."""

    id: str
    created_at: datetime
    expires_at: datetime | None


class DueDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """All that one attempt needs; what is sealed is opened at the last moment.

    `failures` are those of this round: a replay begins the schedule anew, `attempts` goes on counting.
    `replay` is the last wish to send it again, `due_in` the seconds to the next attempt (negative: overdue).
    `secrets_sealed` are the secrets in force, the newest first. `claimed_by` is who may make this attempt; where
    somebody else is at one, `held_for` is the seconds to its end at the latest.
    """

    id: str
    event_id: str
    event_type: EventType
    endpoint_id: str
    url: str
    is_sandbox: bool
    secrets_sealed: list[bytes]
    signing_key_sealed: bytes | None
    body: bytes
    state: DeliveryState
    attempts: int
    failures: int
    replay: str | None
    endpoint_enabled: bool
    endpoint_deleted: bool
    due_in: float | None = None
    claimed_by: str | None = None
    held_for: float | None = None


class Attempted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome of one attempt, small enough for a history.

    `news` are deliveries of what the attempt itself made known (an endpoint fails, or is disabled): the activity hands
    them on, so they stand in no history. `handed_on`: the delivery's own workflow runs, and nobody else need see to it.
    """

    state: DeliveryState
    attempts: int
    retry_after: float | None = None
    handed_on: bool = False
    news: list[DeliveryRef] = []


class AttemptOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt went; `wait` is the seconds to the next one, None with `dead`.

    `gone`: the receiver answered 410, which disables its endpoint. `ours`: it failed on our side (the egress proxy) and
    says nothing of the endpoint. `request_headers` are those that were sent.
    """

    delivered: bool
    status: int | None
    error: str | None
    latency_ms: int
    excerpt: str
    dead: bool
    wait: float | None
    gone: bool = False
    ours: bool = False
    url: str | None = None
    request_headers: dict[str, str] = {}


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to one endpoint, as the delivery log shows it.

    `delivered_at` is the first success, and stays when a replay fails.
    """

    id: str
    merchant_id: str
    event_id: str
    event_type: EventType
    object_id: str
    endpoint_id: str
    is_sandbox: bool
    state: DeliveryState
    attempts: int
    last_status: int | None
    last_error: str | None
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    replayed_at: datetime | None
    created_at: datetime


class DeliveryAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a receiver and its answer; `response_excerpt` is the start of the answer's body."""

    number: int
    url: str | None
    request_headers: dict[str, str] | None
    status: int | None
    error: str | None
    latency_ms: int
    response_excerpt: str
    created_at: datetime
