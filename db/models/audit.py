"""The audit log."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, LargeBinary, Table, Text

from db.models.base import metadata, moment, tenant

# The database writes position, created_at, previous_hash and hash (trigger audit_link); nobody updates or deletes.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("position", BigInteger, nullable=False),
    moment("created_at", nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object_type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("is_sandbox", Boolean, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("request_id", Text),
    Column("note", Text),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("actor_kind in ('key','operator','workflow')", name="actor_kind"),
    CheckConstraint("octet_length(hash) = 32 and octet_length(previous_hash) = 32", name="hashes"),
    Index("uq_audit_log_merchant_id_position", "merchant_id", "position", unique=True),
    Index("ix_audit_log_merchant_id_object_id", "merchant_id", "object_id", "position"),
    Index("ix_audit_log_merchant_id_created_at", "merchant_id", "created_at"),
)
