"""Invoices, the answers kept for idempotency keys, and the bookkeeping of status checks."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from db.models.base import created, metadata, moment, tenant

_STATES = "('processing','pending','paid','canceled','expired','failed','partially_refunded','refunded')"

invoices = Table(
    "invoices",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("number", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("is_sandbox", Boolean, nullable=False),
    Column("amount", BigInteger, nullable=False),
    # How many lines its cart has: what has none costs no look at them.
    Column("item_count", Integer, nullable=False, server_default=text("0")),
    Column("discount_percentage", Numeric(5, 2)),
    Column("refunded", BigInteger, nullable=False, server_default=text("0")),
    Column("refund_pending", BigInteger, nullable=False, server_default=text("0")),
    Column("refunded_outside", BigInteger, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False),
    Column("status_reason", Text),
    Column("attention", Text),
    Column("description", Text),
    Column("phone", Text),
    Column("external_order_id", Text),
    Column("connection_id", Text, ForeignKey("connections.id")),
    # The one endpoint that is told of it; without one all are.
    Column("endpoint_id", Text, ForeignKey("webhook_endpoints.id")),
    Column("bank_payment_id", BigInteger),
    Column("bank_code", BigInteger),
    Column("qr_token", Text),
    Column("payment_link", Text),
    Column("sequence", Integer, nullable=False, server_default=text("0")),
    # Which bill of a subscription it is: of which period, and which of that period's bills.
    Column("subscription_id", Text),
    Column("subscription_period", Integer),
    Column("subscription_charge", Integer),
    Column("request_id", Text, nullable=False),
    Column("claim_token", Text, nullable=False),
    # When a process claimed the right to make the bank call; a second claimant must read back, never call.
    moment("claimed_at", nullable=False),
    moment("deadline_at"),
    moment("expires_at"),
    moment("paid_at"),
    # When it was last closed unpaid.
    moment("closed_at"),
    created(),
    moment("updated_at", nullable=False),
    ForeignKeyConstraint(
        ["subscription_id", "subscription_period"],
        ["subscription_periods.subscription_id", "subscription_periods.number"],
        name="fk_invoices_subscription_periods",
    ),
    CheckConstraint(
        "num_nulls(subscription_id, subscription_period, subscription_charge) in (0, 3)"
        " and (subscription_charge is null or subscription_charge >= 1)",
        name="subscription",
    ),
    CheckConstraint("kind in ('phone', 'qr', 'link')", name="kind"),
    CheckConstraint(f"state in {_STATES}", name="state"),
    CheckConstraint("amount between 1 and 9999999999", name="amount"),
    CheckConstraint("item_count between 0 and 50", name="item_count"),
    CheckConstraint(
        "discount_percentage is null or discount_percentage > 0 and discount_percentage <= 100 and item_count > 0",
        name="discount_percentage",
    ),
    CheckConstraint("refunded between 0 and amount", name="refunded"),
    CheckConstraint("refund_pending >= 0", name="refund_pending"),
    CheckConstraint("refunded_outside >= 0", name="refunded_outside"),
    CheckConstraint("refunded + refund_pending <= amount", name="refund_bound"),
    CheckConstraint(
        "refunded + refund_pending = 0 or state in ('paid', 'partially_refunded', 'refunded')",
        name="refunds_need_payment",
    ),
    CheckConstraint(
        "(state = 'refunded') = (refunded = amount)"
        " and (state = 'partially_refunded') = (refunded > 0 and refunded < amount)",
        name="refunded_state",
    ),
    CheckConstraint("(kind = 'phone') = (phone is not null)", name="phone"),
    CheckConstraint("is_sandbox or connection_id is not null", name="connection"),
    CheckConstraint("(state in ('paid', 'partially_refunded', 'refunded')) = (paid_at is not null)", name="paid_at"),
    Index("uq_invoices_merchant_id_number", "merchant_id", "number", unique=True),
    Index("ix_invoices_merchant_id_created_at_id", "merchant_id", "created_at", "id"),
    Index("ix_invoices_merchant_id_state", "merchant_id", "state", "created_at", "id"),
    Index(
        "ix_invoices_merchant_id_external_order_id",
        "merchant_id",
        "external_order_id",
        postgresql_where=text("external_order_id is not null"),
    ),
    # A bank payment belongs to one invoice: the last line of defence against booking one payment twice.
    Index(
        "uq_invoices_merchant_id_bank_payment_id",
        "merchant_id",
        "bank_payment_id",
        unique=True,
        postgresql_where=text("bank_payment_id is not null and not is_sandbox"),
    ),
    Index(
        "ix_invoices_merchant_id_connection_id_updated_at",
        "merchant_id",
        "connection_id",
        "updated_at",
        postgresql_where=text("bank_payment_id is not null and not is_sandbox"),
    ),
    # The bills of a subscription, each of them once.
    Index(
        "uq_invoices_subscription_id_period_charge",
        "subscription_id",
        "subscription_period",
        "subscription_charge",
        unique=True,
        postgresql_where=text("subscription_id is not null"),
    ),
    # One live charge per period: whatever went wrong before, nobody is asked twice for the same money.
    Index(
        "uq_invoices_live_charge",
        "subscription_id",
        "subscription_period",
        unique=True,
        postgresql_where=text("subscription_id is not null and state in ('processing', 'pending')"),
    ),
    # What the watchdog looks at: over every merchant, by id, and nothing that is over.
    Index(
        "ix_invoices_live",
        "id",
        postgresql_where=text("state in ('processing', 'pending') or attention is not null"),
    ),
    Index(
        "ix_invoices_merchant_id_attention",
        "merchant_id",
        "attention",
        postgresql_where=text("attention is not null"),
    ),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    tenant(),
    Column("mode", Text, nullable=False),
    Column("operation", Text, nullable=False),
    # Merchants put order numbers and worse into keys: only a hash is kept.
    Column("key_hash", LargeBinary, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("answer_status", Integer),
    Column("answer_body", LargeBinary),
    created(),
    PrimaryKeyConstraint("merchant_id", "mode", "operation", "key_hash"),
    CheckConstraint("mode in ('test', 'live')", name="mode"),
    Index("ix_idempotency_keys_merchant_id_resource_id", "merchant_id", "resource_id"),
)

bank_watches = Table(
    "bank_watches",
    metadata,
    Column("invoice_id", Text, ForeignKey("invoices.id"), primary_key=True),
    tenant(),
    Column("connection_id", Text, ForeignKey("connections.id"), nullable=False),
    Column("bank_payment_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("poll_interval", Double, nullable=False),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("closed", Boolean, nullable=False, server_default=text("false")),
    Column("checks", Integer, nullable=False, server_default=text("0")),
    Column("last_word", Text),
    moment("last_checked_at"),
    moment("requested_at"),
    # When the look began that the bank last answered; the news of it is booked when the invoice is past this sequence.
    moment("answered_at"),
    Column("news_sequence", Integer),
    moment("next_check_at"),
    moment("deadline_at"),
    created(),
    Index(
        "ix_bank_watches_merchant_id_connection_id_next_check_at",
        "merchant_id",
        "connection_id",
        "next_check_at",
        postgresql_where=text("next_check_at is not null"),
    ),
)
