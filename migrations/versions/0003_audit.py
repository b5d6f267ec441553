"""The audit log: append-only, hash-chained for each merchant.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CURRENT_MERCHANT = "nullif(current_setting('app.merchant', true), '')"

# The place in the chain, the time and the hashes are nobody's to give: the trigger writes them.
GIVEN = (
    "id, merchant_id, actor_kind, actor_id, action, object_type, object_id, is_sandbox, before, after, request_id, note"
)

# The hashed text is that of domain.audit_chain.canonical; tests compare the two. A field stands with its length in
# bytes before it, a null as a tilde. The loop is plain PL/pgSQL because a function call per field costs 0.3 ms a row.
# The lock makes a merchant's rows one queue until the transaction ends, so a chain has no gaps and no forks.
LINK = """
create function audit_link() returns trigger language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
    last record;
    field text;
    canonical text := '';
begin
    perform pg_advisory_xact_lock(hashtextextended('audit:' || new.merchant_id, 0));
    select a.position, a.hash into last from audit_log a
        where a.merchant_id = new.merchant_id order by a.position desc limit 1;
    new.position := coalesce(last.position, 0) + 1;
    new.previous_hash := coalesce(last.hash, decode(repeat('00', 32), 'hex'));
    new.created_at := clock_timestamp();
    foreach field in array array[
        'tolem-audit-1', new.merchant_id, new.position::text, new.id,
        (extract(epoch from new.created_at) * 1000000)::bigint::text, new.actor_kind, new.actor_id, new.action,
        new.object_type, new.object_id, case when new.is_sandbox then 'true' else 'false' end, new.before, new.after,
        new.request_id, new.note
    ] loop
        canonical := canonical || coalesce(octet_length(field) || ':' || field, '~');
    end loop;
    new.hash := sha256(new.previous_hash || convert_to(canonical, 'UTF8'));
    return new;
end $$
"""

REFUSE = """
create function audit_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'the audit log is written once and never changed'
        using errcode = 'insufficient_privilege', constraint = 'audit_append_only';
end $$
"""


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("actor_kind in ('key','operator','workflow')", name=op.f("ck_audit_log_actor_kind")),
        sa.CheckConstraint(
            "octet_length(hash) = 32 and octet_length(previous_hash) = 32", name=op.f("ck_audit_log_hashes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("uq_audit_log_merchant_id_position", "audit_log", ["merchant_id", "position"], unique=True)
    op.create_index("ix_audit_log_merchant_id_object_id", "audit_log", ["merchant_id", "object_id", "position"])
    op.create_index("ix_audit_log_merchant_id_created_at", "audit_log", ["merchant_id", "created_at"])
    own = f"merchant_id = {CURRENT_MERCHANT}"
    op.execute("alter table audit_log enable row level security")
    op.execute("alter table audit_log force row level security")
    op.execute(f"create policy own_rows on audit_log to tolem_app using ({own}) with check ({own})")
    op.execute("create policy every_row on audit_log to tolem_operator using (true) with check (true)")
    op.execute(f"grant select, insert ({GIVEN}) on audit_log to tolem_app, tolem_operator")
    for function in (LINK, REFUSE):
        op.execute(function)
    op.execute("create trigger audit_link before insert on audit_log for each row execute function audit_link()")
    op.execute(
        "create trigger audit_refuse before update or delete or truncate on audit_log"
        " for each statement execute function audit_refuse()"
    )
    # Also where somebody sets session_replication_role, which silences every other trigger.
    op.execute("alter table audit_log enable always trigger audit_refuse")


def downgrade() -> None:
    op.drop_table("audit_log")
    for function in ("audit_refuse()", "audit_link()"):
        op.execute(f"drop function {function}")
