"""Endpoints, events, deliveries and their attempts."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

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
    Column("secret_sealed", LargeBinary, nullable=False),
    created(),
    moment("updated_at", nullable=False),
    Index("ix_webhook_endpoints_merchant_id_created_at", "merchant_id", "created_at", "id"),
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
    CheckConstraint("state in ('pending', 'delivered', 'dead')", name="state"),
    UniqueConstraint("event_id", "endpoint_id", name="uq_deliveries_event_id_endpoint_id"),
    Index("ix_deliveries_merchant_id_created_at_id", "merchant_id", "created_at", "id"),
    Index("ix_deliveries_pending", "id", postgresql_where=text("state = 'pending'")),
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
)
