"""Refunds and their attempts at the bank."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from db.models.base import created, metadata, moment, tenant

refunds = Table(
    "refunds",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("number", BigInteger, nullable=False),
    Column("invoice_id", Text, ForeignKey("invoices.id"), nullable=False),
    # Its place among the refunds of its invoice: they go to the bank in this order, one at a time.
    Column("position", Integer, nullable=False),
    Column("is_sandbox", Boolean, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("item_count", Integer, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False),
    Column("status_reason", Text),
    Column("attention", Text),
    Column("reason", Text),
    Column("connection_id", Text, ForeignKey("connections.id")),
    Column("bank_payment_id", BigInteger),
    Column("bank_return_id", BigInteger),
    Column("bank_code", BigInteger),
    Column("simulate", Text, nullable=False),
    Column("sequence", Integer, nullable=False, server_default=text("0")),
    Column("request_id", Text, nullable=False),
    created(),
    moment("updated_at", nullable=False),
    moment("completed_at"),
    CheckConstraint("amount between 1 and 9999999999", name="amount"),
    CheckConstraint("item_count between 0 and 50", name="item_count"),
    CheckConstraint("state in ('pending','processing','completed','failed')", name="state"),
    CheckConstraint("(state = 'completed') = (completed_at is not null)", name="completed_at"),
    CheckConstraint("simulate in ('completed','failed','attention','pending')", name="simulate"),
    Index("uq_refunds_invoice_id_position", "invoice_id", "position", unique=True),
    Index("uq_refunds_merchant_id_number", "merchant_id", "number", unique=True),
    Index("ix_refunds_merchant_id_created_at_id", "merchant_id", "created_at", "id"),
    Index("ix_refunds_merchant_id_state", "merchant_id", "state", "created_at", "id"),
    Index("ix_refunds_live", "id", postgresql_where=text("state in ('pending', 'processing')")),
    # One refund of a payment at a time, also where the code forgets it.
    Index(
        "uq_refunds_invoice_id_in_flight",
        "invoice_id",
        unique=True,
        postgresql_where=text("state = 'processing'"),
    ),
    Index(
        "uq_refunds_connection_id_bank_payment_id_in_flight",
        "connection_id",
        "bank_payment_id",
        unique=True,
        postgresql_where=text("state = 'processing' and bank_payment_id is not null"),
    ),
)

refund_attempts = Table(
    "refund_attempts",
    metadata,
    Column("refund_id", Text, ForeignKey("refunds.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    tenant(),
    # Whose intent it is: a repeated commit of the same process is not a second claim.
    Column("token", Text, nullable=False),
    # What payment/details said before; the answer's absence is judged against it (fact sheet §5).
    Column("available_before", BigInteger, nullable=False),
    moment("intended_at", nullable=False),
    Column("outcome", Text),
    Column("bank_return_id", BigInteger),
    Column("reason", Text),
    Column("bank_code", BigInteger),
    moment("answered_at"),
    CheckConstraint("outcome in ('done','refused','not_sent','unknown')", name="outcome"),
)
