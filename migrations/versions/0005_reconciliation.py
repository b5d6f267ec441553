"""Reconciliations: our books against the bank's.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

CURRENT_MERCHANT = "nullif(current_setting('app.merchant', true), '')"

APP_GRANTS = {
    "reconciliations": "select, insert, update (state, reason, place, last_line, totals, troubled_at, finished_at)",
    "reconciliation_lines": "select, insert, update",
    "statement_lines": "select, insert",
}
# `tolem reconcile run` opens one; everything else is the worker's.
OPERATOR_GRANTS = {
    "reconciliations": "select, insert",
    "reconciliation_lines": "select",
    "statement_lines": "select, insert",
}

GUARD = """
create function guard_reconciliation() returns trigger language plpgsql as $$
begin
    if old.state <> 'running' then
        raise exception 'a reconciliation that is over never changes'
            using errcode = 'check_violation', constraint = 'reconciliation_over';
    end if;
    return new;
end $$
"""

VERDICTS = (
    "('matched','missing_here','missing_at_bank','amount_differs','status_differs','refunded_outside',"
    "'paid_after_close')"
)


def upgrade() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("period_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("statement_rows", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("place", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("last_line", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("totals", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("troubled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("trigger in ('schedule','api','cli')", name=op.f("ck_reconciliations_trigger")),
        sa.CheckConstraint("state in ('running','completed','failed')", name=op.f("ck_reconciliations_state")),
        sa.CheckConstraint("(state = 'running') = (finished_at is null)", name=op.f("ck_reconciliations_finished_at")),
        sa.CheckConstraint("period_from < period_to", name=op.f("ck_reconciliations_period")),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name=op.f("fk_reconciliations_connection_id_connections")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
    )
    op.create_index(
        "uq_reconciliations_merchant_id_connection_id_running",
        "reconciliations",
        ["merchant_id", "connection_id"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "ix_reconciliations_merchant_id_created_at_id", "reconciliations", ["merchant_id", "created_at", "id"]
    )
    op.create_table(
        "reconciliation_lines",
        sa.Column("reconciliation_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=True),
        sa.Column("suggested_invoice_id", sa.Text(), nullable=True),
        sa.Column("bank_payment_id", sa.BigInteger(), nullable=False),
        sa.Column("our_state", sa.Text(), nullable=True),
        sa.Column("our_amount", sa.BigInteger(), nullable=True),
        sa.Column("our_refunded", sa.BigInteger(), nullable=True),
        sa.Column("bank_word", sa.Text(), nullable=True),
        sa.Column("bank_amount", sa.BigInteger(), nullable=True),
        sa.Column("bank_refunded", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("source in ('bank','statement')", name=op.f("ck_reconciliation_lines_source")),
        sa.CheckConstraint(f"verdict in {VERDICTS}", name=op.f("ck_reconciliation_lines_verdict")),
        sa.CheckConstraint("action in ('none','booked','attention')", name=op.f("ck_reconciliation_lines_action")),
        sa.ForeignKeyConstraint(
            ["reconciliation_id"],
            ["reconciliations.id"],
            name=op.f("fk_reconciliation_lines_reconciliation_id_reconciliations"),
        ),
        sa.PrimaryKeyConstraint("reconciliation_id", "number", name=op.f("pk_reconciliation_lines")),
        sa.UniqueConstraint("reconciliation_id", "source", "bank_payment_id", name="uq_reconciliation_lines_payment"),
    )
    op.create_table(
        "statement_lines",
        sa.Column("reconciliation_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("bank_payment_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.CheckConstraint("operation in ('payment','refund')", name=op.f("ck_statement_lines_operation")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_statement_lines_amount")),
        sa.ForeignKeyConstraint(
            ["reconciliation_id"],
            ["reconciliations.id"],
            name=op.f("fk_statement_lines_reconciliation_id_reconciliations"),
        ),
        sa.PrimaryKeyConstraint("reconciliation_id", "number", name=op.f("pk_statement_lines")),
    )
    op.create_index(
        "ix_statement_lines_reconciliation_id_bank_payment_id",
        "statement_lines",
        ["reconciliation_id", "bank_payment_id"],
    )
    # What a period's comparison starts from, however old the bill: it was touched (paid, refunded) in the period.
    op.create_index(
        "ix_invoices_merchant_id_connection_id_updated_at",
        "invoices",
        ["merchant_id", "connection_id", "updated_at"],
        postgresql_where=sa.text("bank_payment_id is not null and not is_sandbox"),
    )
    for table, rights in APP_GRANTS.items():
        own = f"merchant_id = {CURRENT_MERCHANT}"
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy own_rows on {table} to tolem_app using ({own}) with check ({own})")
        op.execute(f"create policy every_row on {table} to tolem_operator using (true) with check (true)")
        op.execute(f"grant {rights} on {table} to tolem_app")
        op.execute(f"grant {OPERATOR_GRANTS[table]} on {table} to tolem_operator")
    op.execute(GUARD)
    op.execute(
        "create trigger guard_reconciliation before update on reconciliations"
        " for each row execute function guard_reconciliation()"
    )


def downgrade() -> None:
    op.drop_index("ix_invoices_merchant_id_connection_id_updated_at", table_name="invoices")
    op.drop_table("statement_lines")
    op.drop_table("reconciliation_lines")
    op.drop_table("reconciliations")
    op.execute("drop function guard_reconciliation()")
