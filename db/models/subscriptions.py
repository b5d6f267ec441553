"""Subscriptions with their terms and periods, and the test clocks that move those of the sandbox."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    Time,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from db.models.base import created, metadata, moment, tenant

_MONEY = "between 1 and 9999999999"
LIVE = "state in ('active', 'past_due', 'paused') or invoice_id is not null"

test_clocks = Table(
    "test_clocks",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'ready'")),
    moment("now_at", nullable=False),
    moment("target_at"),
    created(),
    moment("updated_at", nullable=False),
    moment("deleted_at"),
    CheckConstraint("state in ('ready', 'advancing')", name="state"),
    CheckConstraint("(state = 'advancing') = (target_at is not null)", name="target_at"),
    CheckConstraint("target_at >= now_at", name="forward"),
    Index("ix_test_clocks_merchant_id_created_at_id", "merchant_id", "created_at", "id"),
    Index("ix_test_clocks_advancing", "id", postgresql_where=text("state = 'advancing'")),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("number", BigInteger, nullable=False),
    Column("is_sandbox", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("phone", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("description", Text),
    # The newest terms; their cart stands in `subscription_terms`.
    Column("revision", Integer, nullable=False),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    Column("external_order_id", Text),
    # The one endpoint that is told of it and its bills; without one all are.
    Column("endpoint_id", Text, ForeignKey("webhook_endpoints.id")),
    Column("period", Text, nullable=False),
    Column("billing_day", Integer),
    Column("billing_time", Time, nullable=False),
    moment("started_at", nullable=False),
    moment("ends_at"),
    Column("total_cycles", Integer),
    Column("bill_immediately", Boolean, nullable=False),
    Column("max_retry_attempts", Integer, nullable=False),
    Column("retry_interval_hours", Integer, nullable=False),
    Column("grace_period_days", Integer, nullable=False),
    Column("missed", Text, nullable=False),
    moment("next_billing_at"),
    Column("cancel_at_period_end", Boolean, nullable=False, server_default=text("false")),
    # The newest bill of the period that is being billed. No foreign key: it is decided before it is made.
    Column("invoice_id", Text),
    Column("test_clock_id", Text, ForeignKey("test_clocks.id")),
    moment("clock_at"),
    # When that bill was decided, by the subscription's own time.
    moment("billed_at"),
    Column("payer", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # domain.subscription.Standing: what the workflow begins again from.
    Column("standing", JSONB, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("0")),
    Column("decided", Text),
    Column("sequence", Integer, nullable=False, server_default=text("0")),
    Column("request_id", Text, nullable=False),
    created(),
    moment("updated_at", nullable=False),
    moment("ended_at"),
    CheckConstraint("state in ('active','past_due','paused','canceled','expired','completed')", name="state"),
    CheckConstraint("period in ('daily','weekly','biweekly','monthly','quarterly','yearly')", name="period"),
    CheckConstraint("missed in ('newest', 'none')", name="missed"),
    CheckConstraint(f"amount {_MONEY}", name="amount"),
    CheckConstraint("billing_day between 1 and 31", name="billing_day"),
    CheckConstraint("total_cycles >= 1", name="total_cycles"),
    CheckConstraint("max_retry_attempts >= 0 and retry_interval_hours >= 1 and grace_period_days >= 0", name="dunning"),
    CheckConstraint("jsonb_typeof(metadata) = 'object' and jsonb_typeof(standing) = 'object'", name="json"),
    CheckConstraint("(state in ('canceled','expired','completed')) = (ended_at is not null)", name="ended_at"),
    # A test clock moves nothing but the sandbox.
    CheckConstraint("is_sandbox or test_clock_id is null", name="test_clock"),
    CheckConstraint("(test_clock_id is null) = (clock_at is null)", name="clock_at"),
    CheckConstraint("test_clock_id is not null or payer = '{}'", name="payer"),
    CheckConstraint("payer <@ array['pays', 'ignores', 'declines']", name="payer_words"),
    Index("uq_subscriptions_merchant_id_number", "merchant_id", "number", unique=True),
    Index("ix_subscriptions_merchant_id_created_at_id", "merchant_id", "created_at", "id"),
    Index("ix_subscriptions_merchant_id_state", "merchant_id", "state", "created_at", "id"),
    Index("ix_subscriptions_merchant_id_phone", "merchant_id", "phone", "created_at", "id"),
    Index(
        "ix_subscriptions_merchant_id_external_order_id",
        "merchant_id",
        "external_order_id",
        postgresql_where=text("external_order_id is not null"),
    ),
    Index("ix_subscriptions_test_clock_id", "test_clock_id", postgresql_where=text("test_clock_id is not null")),
    # Those that no bank takes a bill of just now (db.job_reads).
    Index(
        "ix_subscriptions_faults",
        "merchant_id",
        "created_at",
        "id",
        postgresql_where=text("standing #> '{open,faults}' is not null"),
    ),
    # What the watchdog looks at: over every merchant, by id, and nothing that is over.
    Index("ix_subscriptions_live", "id", postgresql_where=text(LIVE)),
)

# What bills say, revision by revision: written once, never changed.
subscription_terms = Table(
    "subscription_terms",
    metadata,
    Column("subscription_id", Text, ForeignKey("subscriptions.id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    tenant(),
    Column("amount", BigInteger, nullable=False),
    Column("description", Text),
    Column("discount_percentage", Numeric(5, 2)),
    # The cart as domain.cart.InvoiceItem; its bills take their lines from here.
    Column("items", JSONB, nullable=False, server_default=text("'[]'")),
    created(),
    CheckConstraint(f"amount {_MONEY}", name="amount"),
    CheckConstraint("jsonb_typeof(items) = 'array'", name="items"),
    CheckConstraint(
        "discount_percentage is null or discount_percentage > 0 and discount_percentage <= 100"
        " and jsonb_array_length(items) > 0",
        name="discount_percentage",
    ),
)

subscription_periods = Table(
    "subscription_periods",
    metadata,
    Column("subscription_id", Text, ForeignKey("subscriptions.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    tenant(),
    moment("due_at", nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("revision", Integer, nullable=False),
    moment("updated_at", nullable=False),
    CheckConstraint("number >= 1", name="number"),
    CheckConstraint("state in ('billing', 'paid', 'failed', 'skipped')", name="state"),
    CheckConstraint("(state = 'skipped') = (reason is not null)", name="reason"),
)
