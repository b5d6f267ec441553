"""Webhooks at full strength: secrets that rotate, endpoint health, replays, redeliveries.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

CURRENT_MERCHANT = "nullif(current_setting('app.merchant', true), '')"

APP_GRANTS = {
    "webhook_secrets": "select, insert, update (expires_at), delete",
    "redeliveries": "select, insert, update (state, found, delivered, handed_over, place_at, place_id, finished_at)",
}


# Owners are bound by forced policies too, and none of them names the owner: without this every statement below that
# reads or changes rows would find none, and say nothing.
MOVED = ("webhook_endpoints", "events", "deliveries")


def _force(tables: tuple[str, ...], *, how: str) -> None:
    for table in tables:
        op.execute(f"alter table {table} {how} row level security")


def upgrade() -> None:
    _force(MOVED, how="no force")
    _endpoints()
    _secrets()
    _deliveries()
    _redeliveries()
    _force(MOVED, how="force")
    for table, granted in APP_GRANTS.items():
        own = f"merchant_id = {CURRENT_MERCHANT}"
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy own_rows on {table} to tolem_app using ({own}) with check ({own})")
        op.execute(f"create policy every_row on {table} to tolem_operator using (true) with check (true)")
        op.execute(f"grant {granted} on {table} to tolem_app")
        op.execute(f"grant select on {table} to tolem_operator")


def _endpoints() -> None:
    for column in (
        sa.Column("dialect", sa.Text(), server_default=sa.text("'v1'"), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("failing_percent", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_success_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_failure_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("public_key", sa.Text(), nullable=True),
        sa.Column("signing_key_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("sequence", sa.Integer(), server_default=sa.text("0"), nullable=False),
    ):
        op.add_column("webhook_endpoints", column)
    op.create_check_constraint(op.f("ck_webhook_endpoints_dialect"), "webhook_endpoints", "dialect in ('v1', 'apipay')")
    op.execute("update webhook_endpoints set disabled_reason = 'merchant', disabled_at = updated_at where not enabled")
    op.create_check_constraint(
        op.f("ck_webhook_endpoints_disabled_reason"),
        "webhook_endpoints",
        "disabled_reason in ('merchant', 'gone', 'failing')",
    )
    op.create_check_constraint(
        op.f("ck_webhook_endpoints_enabled"), "webhook_endpoints", "enabled = (disabled_reason is null)"
    )
    op.create_check_constraint(
        op.f("ck_webhook_endpoints_signing_key"),
        "webhook_endpoints",
        "(public_key is null) = (signing_key_sealed is null)",
    )
    # Test events had the milliseconds of their moment for a sequence; what comes now goes on behind them.
    op.execute(
        "update webhook_endpoints w set sequence = e.last from"
        " (select object_id, max(sequence) as last from events where type = 'webhook.test' group by object_id) e"
        " where e.object_id = w.id"
    )


def _secrets() -> None:
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoints.id"], name=op.f("fk_webhook_secrets_endpoint_id_webhook_endpoints")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_secrets")),
    )
    op.create_index("ix_webhook_secrets_endpoint_id_created_at", "webhook_secrets", ["endpoint_id", "created_at"])
    # One secret in force without an end; the others are on their way out.
    op.create_index(
        "uq_webhook_secrets_endpoint_id_present",
        "webhook_secrets",
        ["endpoint_id"],
        unique=True,
        postgresql_where=sa.text("expires_at is null"),
    )
    op.execute(
        "insert into webhook_secrets (id, merchant_id, endpoint_id, sealed, created_at)"
        " select 'whs_' || substr(id, 5), merchant_id, id, secret_sealed, created_at from webhook_endpoints"
    )
    op.execute(
        "do $$ begin if exists (select 1 from webhook_endpoints w"
        "   where not exists (select 1 from webhook_secrets s where s.endpoint_id = w.id)) then"
        " raise exception 'a signing secret was not moved'; end if; end $$"
    )
    op.drop_column("webhook_endpoints", "secret_sealed")


def _deliveries() -> None:
    op.add_column("deliveries", sa.Column("is_sandbox", sa.Boolean(), nullable=True))
    op.execute("update deliveries d set is_sandbox = e.is_sandbox from events e where e.id = d.event_id")
    op.alter_column("deliveries", "is_sandbox", nullable=False)
    op.add_column("deliveries", sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("deliveries", sa.Column("replay", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("update deliveries set failures = attempts where state <> 'delivered'")
    op.add_column("delivery_attempts", sa.Column("url", sa.Text(), nullable=True))
    op.add_column("delivery_attempts", sa.Column("request_headers", postgresql.JSONB(), nullable=True))
    op.create_index(
        "ix_deliveries_merchant_id_endpoint_id_created_at_id",
        "deliveries",
        ["merchant_id", "endpoint_id", "created_at", "id"],
    )
    op.create_index(
        "ix_deliveries_merchant_id_is_sandbox_created_at_id",
        "deliveries",
        ["merchant_id", "is_sandbox", "created_at", "id"],
    )
    op.create_index(
        "ix_deliveries_merchant_id_undelivered",
        "deliveries",
        ["merchant_id", "created_at", "id"],
        postgresql_where=sa.text("state <> 'delivered'"),
    )
    op.create_index(
        "ix_deliveries_merchant_id_is_sandbox_undelivered",
        "deliveries",
        ["merchant_id", "is_sandbox", "created_at", "id"],
        postgresql_where=sa.text("state <> 'delivered'"),
    )


def _redeliveries() -> None:
    op.create_table(
        "redeliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("found", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("delivered", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("handed_over", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("place_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("place_id", sa.Text(), nullable=True),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind in ('failed', 'missing', 'undelivered', 'all')", name=op.f("ck_redeliveries_kind")),
        sa.CheckConstraint("state in ('running', 'completed', 'canceled')", name=op.f("ck_redeliveries_state")),
        sa.CheckConstraint("(state = 'running') = (finished_at is null)", name=op.f("ck_redeliveries_finished_at")),
        sa.CheckConstraint("since < until", name=op.f("ck_redeliveries_range")),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoints.id"], name=op.f("fk_redeliveries_endpoint_id_webhook_endpoints")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_redeliveries")),
    )
    op.create_index("ix_redeliveries_merchant_id_created_at_id", "redeliveries", ["merchant_id", "created_at", "id"])
    op.create_index("ix_redeliveries_running", "redeliveries", ["id"], postgresql_where=sa.text("state = 'running'"))
    # Two at once to one endpoint would mix their orders.
    op.create_index(
        "uq_redeliveries_endpoint_id_running",
        "redeliveries",
        ["endpoint_id"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )


def downgrade() -> None:
    _force(("webhook_endpoints", "webhook_secrets"), how="no force")
    op.drop_table("redeliveries")
    op.drop_index("ix_deliveries_merchant_id_is_sandbox_undelivered", table_name="deliveries")
    op.drop_index("ix_deliveries_merchant_id_undelivered", table_name="deliveries")
    op.drop_index("ix_deliveries_merchant_id_is_sandbox_created_at_id", table_name="deliveries")
    op.drop_index("ix_deliveries_merchant_id_endpoint_id_created_at_id", table_name="deliveries")
    op.drop_column("delivery_attempts", "request_headers")
    op.drop_column("delivery_attempts", "url")
    for column in ("replayed_at", "replay", "failures", "is_sandbox"):
        op.drop_column("deliveries", column)
    op.add_column("webhook_endpoints", sa.Column("secret_sealed", sa.LargeBinary(), nullable=True))
    # The one in force; the others cannot be kept.
    op.execute(
        "update webhook_endpoints w set secret_sealed = s.sealed from webhook_secrets s"
        " where s.endpoint_id = w.id and s.expires_at is null"
    )
    # A deleted endpoint has none any more; the older version knows no deletion and would send, unsigned by anybody.
    op.execute(
        "update webhook_endpoints set secret_sealed = '', enabled = false, disabled_reason = 'merchant'"
        " where secret_sealed is null"
    )
    op.alter_column("webhook_endpoints", "secret_sealed", nullable=False)
    op.drop_table("webhook_secrets")
    _force(("webhook_endpoints",), how="force")
    for name in ("signing_key", "enabled", "disabled_reason", "dialect"):
        op.drop_constraint(op.f(f"ck_webhook_endpoints_{name}"), "webhook_endpoints", type_="check")
    for column in (
        "sequence",
        "signing_key_sealed",
        "public_key",
        "last_failure_at",
        "last_success_at",
        "failing_percent",
        "failing_seconds",
        "failing_since",
        "deleted_at",
        "disabled_reason",
        "disabled_at",
        "description",
        "dialect",
    ):
        op.drop_column("webhook_endpoints", column)
