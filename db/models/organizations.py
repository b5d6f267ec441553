"""The organisations that keys are verified for (ApiPay's contract)."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, PrimaryKeyConstraint, Table, Text, UniqueConstraint

from db.models.base import metadata, moment, tenant

organizations = Table(
    "organizations",
    metadata,
    tenant(),
    Column("number", BigInteger, nullable=False),
    Column("is_sandbox", Boolean, nullable=False),
    Column("idn", Text, nullable=False),
    moment("started_at", nullable=False),
    PrimaryKeyConstraint("merchant_id", "number"),
    UniqueConstraint("merchant_id", "is_sandbox", "idn", name="uq_organizations_merchant_id_is_sandbox_idn"),
    CheckConstraint("idn ~ '^[0-9]{12}$'", name="idn"),
)
