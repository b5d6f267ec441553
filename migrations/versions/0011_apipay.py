"""ApiPay's contract: numbers of webhook endpoints, bills that only one endpoint is told of, when a bill was closed, and
the organisations that keys are verified for.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

CURRENT_MERCHANT = "nullif(current_setting('app.merchant', true), '')"

# Owners are bound by forced policies too (see 0007).
COUNTED = ("webhook_endpoints", "merchants")


def _force(*, how: str) -> None:
    for table in COUNTED:
        op.execute(f"alter table {table} {how} row level security")


def upgrade() -> None:
    _force(how="no force")
    op.add_column("webhook_endpoints", sa.Column("number", sa.BigInteger(), nullable=True))
    op.add_column(
        "merchants",
        sa.Column("last_endpoint_number", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.execute(
        "update webhook_endpoints w set number = n.number from (select id, row_number() over"
        " (partition by merchant_id order by created_at, id) as number from webhook_endpoints) n where n.id = w.id"
    )
    op.execute(
        "update merchants m set last_endpoint_number = n.last from (select merchant_id, max(number) as last"
        " from webhook_endpoints group by merchant_id) n where n.merchant_id = m.id"
    )
    op.alter_column("webhook_endpoints", "number", nullable=False)
    op.create_index(
        "uq_webhook_endpoints_merchant_id_number", "webhook_endpoints", ["merchant_id", "number"], unique=True
    )
    _force(how="force")
    op.execute("grant update (last_endpoint_number) on merchants to tolem_app")
    op.add_column("invoices", sa.Column("endpoint_id", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_invoices_endpoint_id_webhook_endpoints"), "invoices", "webhook_endpoints", ["endpoint_id"], ["id"]
    )
    op.add_column("subscriptions", sa.Column("endpoint_id", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_subscriptions_endpoint_id_webhook_endpoints"),
        "subscriptions",
        "webhook_endpoints",
        ["endpoint_id"],
        ["id"],
    )
    op.add_column("invoices", sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "organizations",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), nullable=False),
        sa.Column("idn", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("idn ~ '^[0-9]{12}$'", name=op.f("ck_organizations_idn")),
        sa.PrimaryKeyConstraint("merchant_id", "number", name=op.f("pk_organizations")),
        sa.UniqueConstraint("merchant_id", "is_sandbox", "idn", name="uq_organizations_merchant_id_is_sandbox_idn"),
    )
    own = f"merchant_id = {CURRENT_MERCHANT}"
    op.execute("alter table organizations enable row level security")
    op.execute("alter table organizations force row level security")
    op.execute(f"create policy own_rows on organizations to tolem_app using ({own}) with check ({own})")
    op.execute("create policy every_row on organizations to tolem_operator using (true) with check (true)")
    op.execute("grant select, insert, update (started_at) on organizations to tolem_app")
    op.execute("grant select on organizations to tolem_operator")


def downgrade() -> None:
    op.drop_table("organizations")
    op.drop_constraint(op.f("fk_subscriptions_endpoint_id_webhook_endpoints"), "subscriptions", type_="foreignkey")
    op.drop_column("subscriptions", "endpoint_id")
    op.drop_column("invoices", "closed_at")
    op.drop_constraint(op.f("fk_invoices_endpoint_id_webhook_endpoints"), "invoices", type_="foreignkey")
    op.drop_column("invoices", "endpoint_id")
    op.drop_index("uq_webhook_endpoints_merchant_id_number", table_name="webhook_endpoints")
    op.drop_column("merchants", "last_endpoint_number")
    op.drop_column("webhook_endpoints", "number")
