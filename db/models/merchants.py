"""Merchants, their keys and their connections to the bank."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from db.models.base import created, metadata, moment, tenant

merchants = Table(
    "merchants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("bin", Text, nullable=False),
    # Salts the ids derived from idempotency keys, so that a public id cannot be guessed from an order number.
    Column("id_salt", LargeBinary, nullable=False),
    Column("last_invoice_number", BigInteger, nullable=False, server_default=text("0")),
    Column("last_refund_number", BigInteger, nullable=False, server_default=text("0")),
    Column("last_endpoint_number", BigInteger, nullable=False, server_default=text("0")),
    Column("last_subscription_number", BigInteger, nullable=False, server_default=text("0")),
    created(),
    CheckConstraint("bin ~ '^[0-9]{12}$'", name="bin"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("merchant_id", Text, ForeignKey("merchants.id"), nullable=False),
    Column("mode", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    created(),
    moment("revoked_at"),
    # Its own limit; without one the default of the settings holds. 0 a minute is no limit.
    Column("rate_per_minute", Integer),
    Column("rate_burst", Integer),
    CheckConstraint("mode in ('test', 'live')", name="mode"),
    CheckConstraint("(rate_per_minute is null) = (rate_burst is null)", name="rate"),
    CheckConstraint("rate_per_minute between 0 and 1000000 and rate_burst >= 1", name="rate_bounds"),
    Index("ix_api_keys_merchant_id_created_at", "merchant_id", "created_at"),
)

# What each key has used of its limit; a row is rewritten by every request, so it is small and never logged.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("key_id", Text, primary_key=True),
    tenant(),
    # When the whole burst can be used again.
    moment("full_at", nullable=False),
    prefixes=["unlogged"],
    postgresql_with={"fillfactor": 50},
)

connections = Table(
    "connections",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("scheme", Text, nullable=False),
    Column("base_url", Text, nullable=False),
    Column("organization_bin", Text),
    Column("trade_point_id", BigInteger, nullable=False),
    Column("trade_point_name", Text),
    Column("device_id", Text, nullable=False),
    Column("secrets_sealed", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("active", Integer, nullable=False, server_default=text("1")),
    Column("health", Text, nullable=False, server_default=text("'unknown'")),
    Column("health_reason", Text),
    Column("health_sequence", Integer, nullable=False, server_default=text("0")),
    moment("health_changed_at", nullable=False),
    moment("last_ok_at"),
    created(),
    CheckConstraint("scheme in ('r1', 'r2', 'r3')", name="scheme"),
    CheckConstraint("health in ('unknown', 'connected', 'degraded', 'lost')", name="health"),
    CheckConstraint("active in (0, 1)", name="active"),
    # One link to the bank per merchant is in use at a time; the older ones stay for their open payments.
    Index("uq_connections_merchant_id_active", "merchant_id", unique=True, postgresql_where=text("active = 1")),
)
