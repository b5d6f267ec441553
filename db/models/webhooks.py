"""Endpoints, their secrets, events, deliveries with their attempts, redeliveries."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from db.models.base import created, metadata, moment, tenant

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("is_sandbox", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    created(),
    moment("updated_at", nullable=False),
    Column("dialect", Text, nullable=False, server_default=text("'v1'")),
    Column("description", Text),
    moment("disabled_at"),
    Column("disabled_reason", Text),
    # A deleted endpoint keeps its row: its deliveries and their attempts are evidence.
    moment("deleted_at"),
    moment("failing_since"),
    Column("failing_seconds", Double, nullable=False, server_default=text("0")),
    Column("failing_percent", Integer, nullable=False, server_default=text("0")),
    moment("last_success_at"),
    moment("last_failure_at"),
    Column("public_key", Text),
    Column("signing_key_sealed", LargeBinary),
    # Of the endpoint's own events (webhook.test, webhook.endpoint_…).
    Column("sequence", Integer, nullable=False, server_default=text("0")),
    # The merchant's own, by which ApiPay's contract names it (webhook_id).
    Column("number", BigInteger, nullable=False),
    CheckConstraint("dialect in ('v1', 'apipay')", name="dialect"),
    CheckConstraint("disabled_reason in ('merchant', 'gone', 'failing')", name="disabled_reason"),
    CheckConstraint("enabled = (disabled_reason is null)", name="enabled"),
    CheckConstraint("(public_key is null) = (signing_key_sealed is null)", name="signing_key"),
    Index("ix_webhook_endpoints_merchant_id_created_at", "merchant_id", "created_at", "id"),
    Index("uq_webhook_endpoints_merchant_id_number", "merchant_id", "number", unique=True),
)

webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("endpoint_id", Text, ForeignKey("webhook_endpoints.id"), nullable=False),
    # Bound to its endpoint (`endpoint:<id>`), not to this row.
    Column("sealed", LargeBinary, nullable=False),
    moment("expires_at"),
    created(),
    Index("ix_webhook_secrets_endpoint_id_created_at", "endpoint_id", "created_at"),
    Index(
        "uq_webhook_secrets_endpoint_id_present",
        "endpoint_id",
        unique=True,
        postgresql_where=text("expires_at is null"),
    ),
)

events = Table(
    "events",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    # Which step of the object's life this tells; booking the same step again finds the first event.
    Column("cause", Text, nullable=False),
    Column("is_sandbox", Boolean, nullable=False),
    Column("api_version", Text, nullable=False),
    # The object as it was, in the domain's shape (JSON); contracts render it for each endpoint.
    Column("object", LargeBinary, nullable=False),
    Column("previous_state", Text),
    created(),
    UniqueConstraint("object_id", "sequence", name="uq_events_object_id_sequence"),
    UniqueConstraint("object_id", "cause", name="uq_events_object_id_cause"),
    # In the order of the feed; type and mode stand behind, so that a rare one is found without a look at every row.
    Index(
        "ix_events_merchant_id_created_at_id_type_is_sandbox", "merchant_id", "created_at", "id", "type", "is_sandbox"
    ),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("event_id", Text, ForeignKey("events.id"), nullable=False),
    Column("endpoint_id", Text, ForeignKey("webhook_endpoints.id"), nullable=False),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # The bytes that are signed and sent, the same at every attempt.
    Column("body", LargeBinary, nullable=False),
    Column("last_status", Integer),
    Column("last_error", Text),
    moment("next_attempt_at"),
    moment("delivered_at"),
    created(),
    # Its event's; here too, so that the few of one mode are not looked for among the many of the other.
    Column("is_sandbox", Boolean, nullable=False),
    # Failures of this round: a replay begins the schedule anew, `attempts` goes on counting.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    # The last replay's cause: the same cause replays once.
    Column("replay", Text),
    moment("replayed_at"),
    # Whose attempt is being made, and until when nobody else may make one.
    Column("claimed_by", Text),
    moment("claimed_until"),
    CheckConstraint("state in ('pending', 'delivered', 'dead')", name="state"),
    CheckConstraint("(claimed_by is null) = (claimed_until is null)", name="claim"),
    UniqueConstraint("event_id", "endpoint_id", name="uq_deliveries_event_id_endpoint_id"),
    Index("ix_deliveries_merchant_id_created_at_id", "merchant_id", "created_at", "id"),
    Index("ix_deliveries_pending", "id", postgresql_where=text("state = 'pending'")),
    Index("ix_deliveries_merchant_id_endpoint_id_created_at_id", "merchant_id", "endpoint_id", "created_at", "id"),
    Index("ix_deliveries_merchant_id_is_sandbox_created_at_id", "merchant_id", "is_sandbox", "created_at", "id"),
    Index(
        "ix_deliveries_merchant_id_is_sandbox_undelivered",
        "merchant_id",
        "is_sandbox",
        "created_at",
        "id",
        postgresql_where=text("state <> 'delivered'"),
    ),
    Index(
        "ix_deliveries_merchant_id_undelivered",
        "merchant_id",
        "created_at",
        "id",
        postgresql_where=text("state <> 'delivered'"),
    ),
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery_id", Text, ForeignKey("deliveries.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    tenant(),
    Column("status", Integer),
    Column("error", Text),
    Column("latency_ms", Integer, nullable=False),
    Column("response_excerpt", Text, nullable=False),
    created(),
    Column("url", Text),
    Column("request_headers", JSONB),
)

redeliveries = Table(
    "redeliveries",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("endpoint_id", Text, ForeignKey("webhook_endpoints.id"), nullable=False),
    Column("is_sandbox", Boolean, nullable=False),
    Column("kind", Text, nullable=False),
    moment("since", nullable=False),
    moment("until", nullable=False),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    Column("found", Integer, nullable=False, server_default=text("0")),
    Column("delivered", Integer, nullable=False, server_default=text("0")),
    Column("handed_over", Integer, nullable=False, server_default=text("0")),
    # The last event that is behind it.
    moment("place_at"),
    Column("place_id", Text),
    Column("asked_by", Text, nullable=False),
    moment("finished_at"),
    created(),
    CheckConstraint("kind in ('failed', 'missing', 'undelivered', 'all')", name="kind"),
    CheckConstraint("state in ('running', 'completed', 'canceled')", name="state"),
    CheckConstraint("(state = 'running') = (finished_at is null)", name="finished_at"),
    CheckConstraint("since < until", name="range"),
    Index("ix_redeliveries_merchant_id_created_at_id", "merchant_id", "created_at", "id"),
    Index("ix_redeliveries_running", "id", postgresql_where=text("state = 'running'")),
    Index(
        "uq_redeliveries_endpoint_id_running",
        "endpoint_id",
        unique=True,
        postgresql_where=text("state = 'running'"),
    ),
)
