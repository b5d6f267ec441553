"""Catalog items, and the lines of invoices and refunds."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from db.models.base import created, metadata, moment, tenant

_MONEY = "between 1 and 9999999999"
_COUNT = "between 1 and 1000000000"

# No trigram index on the name: `ilike` is not leakproof, so under row-level security Postgres never searches an index
# with it: a merchant's rows are found by the first index and looked through (50 000 items: 28 ms).
catalog_items = Table(
    "catalog_items",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("is_sandbox", Boolean, nullable=False),
    Column("name", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("unit", Text, nullable=False),
    Column("barcode", Text),
    Column("sku", Text),
    Column("description", Text),
    moment("archived_at"),
    created(),
    moment("updated_at", nullable=False),
    CheckConstraint(f"price {_MONEY}", name="price"),
    CheckConstraint("name <> ''", name="name"),
    Index("ix_catalog_items_merchant_id_created_at_id", "merchant_id", "created_at", "id"),
    Index("ix_catalog_items_merchant_id_sku", "merchant_id", "sku", postgresql_where=text("sku is not null")),
    # A scanner must find one thing; what is archived has given its barcode away.
    Index(
        "uq_catalog_items_merchant_id_is_sandbox_barcode",
        "merchant_id",
        "is_sandbox",
        "barcode",
        unique=True,
        postgresql_where=text("barcode is not null and archived_at is null"),
    ),
)

# Lines as they were sold: written with their invoice, and never changed.
invoice_items = Table(
    "invoice_items",
    metadata,
    # No column may be called `id`: db.rows reads lines in a subquery that names the invoice's.
    Column("invoice_id", Text, ForeignKey("invoices.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    tenant(),
    Column("catalog_item_id", Text, ForeignKey("catalog_items.id")),
    Column("name", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("count_milli", BigInteger, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("price_overridden", Boolean, nullable=False),
    Column("sum", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("position >= 1", name="position"),
    CheckConstraint(f"count_milli {_COUNT}", name="count_milli"),
    CheckConstraint(f"price {_MONEY}", name="price"),
    CheckConstraint(f"sum {_MONEY} and sum = div(price::numeric * count_milli + 500, 1000)", name="sum"),
    CheckConstraint("amount between 0 and sum", name="amount"),
)

# What of which line goes back with a refund; without a count it is money only.
refund_items = Table(
    "refund_items",
    metadata,
    Column("refund_id", Text, ForeignKey("refunds.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    tenant(),
    Column("invoice_id", Text, nullable=False),
    Column("count_milli", BigInteger),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint(f"count_milli {_COUNT}", name="count_milli"),
    CheckConstraint(f"amount {_MONEY}", name="amount"),
    ForeignKeyConstraint(["invoice_id", "position"], ["invoice_items.invoice_id", "invoice_items.position"]),
    Index("ix_refund_items_invoice_id_position", "invoice_id", "position"),
)
