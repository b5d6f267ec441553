"""Reconciliations, what they found, and the statements they were given."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from db.models.base import created, metadata, moment, tenant

_VERDICTS = (
    "('matched','missing_here','missing_at_bank','amount_differs','status_differs','refunded_outside',"
    "'paid_after_close')"
)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("connection_id", Text, ForeignKey("connections.id"), nullable=False),
    Column("trigger", Text, nullable=False),
    Column("asked_by", Text, nullable=False),
    moment("period_from", nullable=False),
    moment("period_to", nullable=False),
    Column("statement_rows", Integer),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    Column("reason", Text),
    # Where the walk is (domain.reconciliation.Place): a batch is written together with the next place, once.
    Column("place", JSONB, nullable=False, server_default=text("'{}'")),
    Column("last_line", Integer, nullable=False, server_default=text("0")),
    Column("totals", JSONB, nullable=False, server_default=text("'{}'")),
    # Since when the bank has been away, without a batch done in between.
    moment("troubled_at"),
    created(),
    moment("finished_at"),
    CheckConstraint("trigger in ('schedule','api','cli')", name="trigger"),
    CheckConstraint("state in ('running','completed','failed')", name="state"),
    CheckConstraint("(state = 'running') = (finished_at is null)", name="finished_at"),
    CheckConstraint("period_from < period_to", name="period"),
    # Two at once would ask the bank twice and tell each other's findings apart by luck.
    Index(
        "uq_reconciliations_merchant_id_connection_id_running",
        "merchant_id",
        "connection_id",
        unique=True,
        postgresql_where=text("state = 'running'"),
    ),
    Index("ix_reconciliations_merchant_id_created_at_id", "merchant_id", "created_at", "id"),
)

# Only what did not match has a line; what matched is counted in `totals`.
reconciliation_lines = Table(
    "reconciliation_lines",
    metadata,
    Column("reconciliation_id", Text, ForeignKey("reconciliations.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    tenant(),
    Column("source", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("detail", Text),
    Column("action", Text, nullable=False),
    Column("invoice_id", Text),
    Column("suggested_invoice_id", Text),
    Column("bank_payment_id", BigInteger, nullable=False),
    Column("our_state", Text),
    Column("our_amount", BigInteger),
    Column("our_refunded", BigInteger),
    Column("bank_word", Text),
    Column("bank_amount", BigInteger),
    Column("bank_refunded", BigInteger),
    created(),
    CheckConstraint("source in ('bank','statement')", name="source"),
    CheckConstraint(f"verdict in {_VERDICTS}", name="verdict"),
    CheckConstraint("action in ('none','booked','attention')", name="action"),
    UniqueConstraint("reconciliation_id", "source", "bank_payment_id", name="uq_reconciliation_lines_payment"),
)

statement_lines = Table(
    "statement_lines",
    metadata,
    Column("reconciliation_id", Text, ForeignKey("reconciliations.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    tenant(),
    moment("happened_at", nullable=False),
    Column("operation", Text, nullable=False),
    Column("bank_payment_id", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    # Of the comment only our own reference is kept: the rest may name a person.
    Column("reference", Text),
    CheckConstraint("operation in ('payment','refund')", name="operation"),
    CheckConstraint("amount > 0", name="amount"),
    Index("ix_statement_lines_reconciliation_id_bank_payment_id", "reconciliation_id", "bank_payment_id"),
)
