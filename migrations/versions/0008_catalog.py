"""Catalog and carts: what merchants sell, the lines of an invoice as they were sold, and refunds by line.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

CURRENT_MERCHANT = "nullif(current_setting('app.merchant', true), '')"

# Lines are written once and never changed or taken away; a catalog item that is sold no more is archived.
APP_GRANTS = {
    "catalog_items": "select, insert, update (name, price, unit, barcode, sku, description, archived_at, updated_at)",
    "invoice_items": "select, insert",
    "refund_items": "select, insert",
}
MONEY = "between 1 and 9999999999"
COUNT = "between 1 and 1000000000"

# At commit: an invoice has exactly the lines it says, from 1 without gaps, and they add up to its amount. One whose
# lines can't be seen any more, because somebody left the merchant's rows before the commit, is refused too.
INVOICE_ITEMS_GUARD = """
create function guard_invoice_items() returns trigger language plpgsql as $$
declare
    sold text := case tg_table_name when 'invoices' then to_jsonb(new) ->> 'id' else to_jsonb(new) ->> 'invoice_id' end;
begin
    if not exists (
        select 1 from invoices i, lateral (
            select count(*) as lines, max(position) as last, sum(amount) as amount from invoice_items
            where invoice_id = i.id and merchant_id = i.merchant_id
        ) l where i.id = sold and (l.lines, l.last, l.amount) = (i.item_count, i.item_count, i.amount::numeric)
    ) then
        raise exception 'an invoice''s lines must add up to its amount'
            using errcode = 'check_violation', constraint = 'invoice_items_sum';
    end if;
    return null;
end $$
"""

INVOICE_CART_GUARD = """
create function guard_invoice_cart() returns trigger language plpgsql as $$
begin
    raise exception 'an invoice''s cart never changes'
        using errcode = 'check_violation', constraint = 'invoice_cart';
end $$
"""

# Of a line no more goes back than was paid for it, refunds on their way counted and failed ones not. The invoice's row
# lock is what makes two at once see each other.
REFUND_ITEM_GUARD = """
create function guard_refund_item() returns trigger language plpgsql as $$
begin
    perform 1 from invoices i where i.id = new.invoice_id for update;
    if not exists (
        select 1 from refunds r where r.id = new.refund_id and r.merchant_id = new.merchant_id
            and r.invoice_id = new.invoice_id and r.state = 'pending' and r.item_count > 0
    ) then
        raise exception 'a refund''s lines are those of its invoice, and are written with it'
            using errcode = 'check_violation', constraint = 'refund_item_opening';
    end if;
    if not exists (
        select 1 from invoice_items i, lateral (
            select coalesce(sum(b.amount), 0) as amount, coalesce(sum(b.count_milli), 0) as count_milli
            from refund_items b join refunds r on r.id = b.refund_id
            where b.invoice_id = i.invoice_id and b.position = i.position and r.state <> 'failed'
        ) back where i.invoice_id = new.invoice_id and i.position = new.position and i.merchant_id = new.merchant_id
            and back.amount + new.amount <= i.amount
            and back.count_milli + coalesce(new.count_milli, 0) <= i.count_milli
    ) then
        raise exception 'no more can go back of a line than was paid for it'
            using errcode = 'check_violation', constraint = 'refund_item_bound';
    end if;
    return new;
end $$
"""

REFUND_ITEMS_GUARD = """
create function guard_refund_items() returns trigger language plpgsql as $$
declare
    refund text := case tg_table_name when 'refunds' then to_jsonb(new) ->> 'id' else to_jsonb(new) ->> 'refund_id' end;
begin
    if not exists (
        select 1 from refunds r, lateral (
            select count(*) as lines, sum(amount) as amount from refund_items where refund_id = r.id
        ) l where r.id = refund and (l.lines, l.amount) = (r.item_count, r.amount::numeric)
    ) then
        raise exception 'a refund''s lines must add up to its amount'
            using errcode = 'check_violation', constraint = 'refund_items_sum';
    end if;
    return null;
end $$
"""

REFUND_CART_GUARD = """
create function guard_refund_cart() returns trigger language plpgsql as $$
begin
    raise exception 'a refund''s lines never change'
        using errcode = 'check_violation', constraint = 'refund_cart';
end $$
"""
FUNCTIONS = {
    "guard_invoice_items": INVOICE_ITEMS_GUARD,
    "guard_invoice_cart": INVOICE_CART_GUARD,
    "guard_refund_item": REFUND_ITEM_GUARD,
    "guard_refund_items": REFUND_ITEMS_GUARD,
    "guard_refund_cart": REFUND_CART_GUARD,
}


def upgrade() -> None:
    _columns()
    _catalog_items()
    _invoice_items()
    _refund_items()
    for table, granted in APP_GRANTS.items():
        own = f"merchant_id = {CURRENT_MERCHANT}"
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy own_rows on {table} to tolem_app using ({own}) with check ({own})")
        op.execute(f"create policy every_row on {table} to tolem_operator using (true) with check (true)")
        op.execute(f"grant {granted} on {table} to tolem_app")
        op.execute(f"grant select on {table} to tolem_operator")
    _guard()


def _columns() -> None:
    """How many lines there are stands beside the sum they make: what has none costs no look at them."""
    for table in ("invoices", "refunds"):
        op.add_column(table, sa.Column("item_count", sa.Integer(), server_default=sa.text("0"), nullable=False))
        op.create_check_constraint(op.f(f"ck_{table}_item_count"), table, "item_count between 0 and 50")
    op.add_column("invoices", sa.Column("discount_percentage", sa.Numeric(5, 2), nullable=True))
    op.create_check_constraint(
        op.f("ck_invoices_discount_percentage"),
        "invoices",
        "discount_percentage is null or discount_percentage > 0 and discount_percentage <= 100 and item_count > 0",
    )


def _catalog_items() -> None:
    op.create_table(
        "catalog_items",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("barcode", sa.Text(), nullable=True),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(f"price {MONEY}", name=op.f("ck_catalog_items_price")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_catalog_items_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_catalog_items")),
    )
    op.create_index("ix_catalog_items_merchant_id_created_at_id", "catalog_items", ["merchant_id", "created_at", "id"])
    op.create_index(
        "ix_catalog_items_merchant_id_sku",
        "catalog_items",
        ["merchant_id", "sku"],
        postgresql_where=sa.text("sku is not null"),
    )
    # A scanner must find one thing; what is archived has given its barcode away.
    op.create_index(
        "uq_catalog_items_merchant_id_is_sandbox_barcode",
        "catalog_items",
        ["merchant_id", "is_sandbox", "barcode"],
        unique=True,
        postgresql_where=sa.text("barcode is not null and archived_at is null"),
    )


def _invoice_items() -> None:
    op.create_table(
        "invoice_items",
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("catalog_item_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("count_milli", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("price_overridden", sa.Boolean(), nullable=False),
        sa.Column("sum", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("position >= 1", name=op.f("ck_invoice_items_position")),
        sa.CheckConstraint(f"count_milli {COUNT}", name=op.f("ck_invoice_items_count_milli")),
        sa.CheckConstraint(f"price {MONEY}", name=op.f("ck_invoice_items_price")),
        sa.CheckConstraint(
            f"sum {MONEY} and sum = div(price::numeric * count_milli + 500, 1000)", name=op.f("ck_invoice_items_sum")
        ),
        sa.CheckConstraint("amount between 0 and sum", name=op.f("ck_invoice_items_amount")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_invoice_items_invoice_id_invoices")),
        sa.ForeignKeyConstraint(
            ["catalog_item_id"], ["catalog_items.id"], name=op.f("fk_invoice_items_catalog_item_id_catalog_items")
        ),
        sa.PrimaryKeyConstraint("invoice_id", "position", name=op.f("pk_invoice_items")),
    )


def _refund_items() -> None:
    op.create_table(
        "refund_items",
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("count_milli", sa.BigInteger(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(f"count_milli {COUNT}", name=op.f("ck_refund_items_count_milli")),
        sa.CheckConstraint(f"amount {MONEY}", name=op.f("ck_refund_items_amount")),
        sa.ForeignKeyConstraint(["refund_id"], ["refunds.id"], name=op.f("fk_refund_items_refund_id_refunds")),
        sa.ForeignKeyConstraint(
            ["invoice_id", "position"],
            ["invoice_items.invoice_id", "invoice_items.position"],
            name=op.f("fk_refund_items_invoice_id_position_invoice_items"),
        ),
        sa.PrimaryKeyConstraint("refund_id", "position", name=op.f("pk_refund_items")),
    )
    op.create_index("ix_refund_items_invoice_id_position", "refund_items", ["invoice_id", "position"])


def _guard() -> None:
    for function in FUNCTIONS.values():
        op.execute(function)
    each = "for each row"
    at_commit = f"deferrable initially deferred {each}"
    op.execute(
        f"create constraint trigger guard_invoice_items after insert on invoices {at_commit}"
        " when (new.item_count > 0) execute function guard_invoice_items()"
    )
    op.execute(
        f"create constraint trigger guard_invoice_items after insert on invoice_items {at_commit}"
        " execute function guard_invoice_items()"
    )
    op.execute(
        f"create trigger guard_invoice_cart before update on invoices {each} when ((old.item_count,"
        " old.discount_percentage) is distinct from (new.item_count, new.discount_percentage))"
        " execute function guard_invoice_cart()"
    )
    op.execute(
        f"create trigger guard_refund_item before insert on refund_items {each} execute function guard_refund_item()"
    )
    op.execute(
        f"create constraint trigger guard_refund_items after insert on refunds {at_commit}"
        " when (new.item_count > 0) execute function guard_refund_items()"
    )
    op.execute(
        f"create constraint trigger guard_refund_items after insert on refund_items {at_commit}"
        " execute function guard_refund_items()"
    )
    op.execute(
        f"create trigger guard_refund_cart before update on refunds {each}"
        " when (old.item_count is distinct from new.item_count) execute function guard_refund_cart()"
    )


def downgrade() -> None:
    for trigger, table in (
        ("guard_invoice_items", "invoices"),
        ("guard_invoice_cart", "invoices"),
        ("guard_refund_items", "refunds"),
        ("guard_refund_cart", "refunds"),
    ):
        op.execute(f"drop trigger {trigger} on {table}")
    for table in ("refund_items", "invoice_items", "catalog_items"):
        op.drop_table(table)
    for function in FUNCTIONS:
        op.execute(f"drop function {function}()")
    op.drop_constraint(op.f("ck_invoices_discount_percentage"), "invoices", type_="check")
    op.drop_column("invoices", "discount_percentage")
    for table in ("refunds", "invoices"):
        op.drop_constraint(op.f(f"ck_{table}_item_count"), table, type_="check")
        op.drop_column(table, "item_count")
