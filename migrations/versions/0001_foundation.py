"""Foundation: tenants, invoices, events, deliveries, and the guards that stand under them.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Every table that holds a merchant's rows. Row-level security is forced, so that even the owner sees nothing
# without a policy, and the application's role is not the owner.
TENANT_TABLES = (
    "api_keys",
    "bank_watches",
    "connections",
    "deliveries",
    "delivery_attempts",
    "events",
    "idempotency_keys",
    "invoices",
    "webhook_endpoints",
)
CURRENT_MERCHANT = "nullif(current_setting('app.merchant', true), '')"

# What the application may do; it never deletes money or its history.
APP_GRANTS = {
    "merchants": "select, update (last_invoice_number)",
    "api_keys": "select",
    "connections": "select, update (health, health_reason, health_sequence, health_changed_at, last_ok_at)",
    "invoices": "select, insert, update",
    "idempotency_keys": "select, insert, update, delete",
    "bank_watches": "select, insert, update, delete",
    "webhook_endpoints": "select, insert, update",
    "events": "select, insert",
    "deliveries": "select, insert, update",
    "delivery_attempts": "select, insert",
}

# The same table as domain.invoice.TRANSITIONS; a test compares the two.
TRANSITIONS = {
    "processing": ("pending", "paid", "canceled", "expired", "failed"),
    "pending": ("processing", "paid", "canceled", "expired", "failed"),
    "canceled": ("paid",),
    "expired": ("paid",),
    "failed": ("paid",),
    "paid": ("partially_refunded", "refunded"),
    "partially_refunded": ("refunded",),
}

INVOICE_GUARD = """
create function guard_invoice() returns trigger language plpgsql as $$
begin
    if old.state is distinct from new.state and not exists (
        select 1 from invoice_transitions t where t.old_state = old.state and t.new_state = new.state
    ) then
        raise exception 'illegal invoice transition % -> %', old.state, new.state
            using errcode = 'check_violation', constraint = 'invoice_transition';
    end if;
    if (old.id, old.merchant_id, old.number, old.kind, old.is_sandbox, old.amount, old.created_at)
        is distinct from (new.id, new.merchant_id, new.number, new.kind, new.is_sandbox, new.amount, new.created_at)
        or old.connection_id is distinct from new.connection_id
        or (old.bank_payment_id is not null and old.bank_payment_id is distinct from new.bank_payment_id)
        or (old.paid_at is not null and old.paid_at is distinct from new.paid_at)
        or new.sequence < old.sequence or new.refunded < old.refunded
    then
        raise exception 'an invoice''s identity and amount never change'
            using errcode = 'check_violation', constraint = 'invoice_identity';
    end if;
    return new;
end $$
"""

# One statement finds the key, the merchant and the bank connection of a request. The key's hash opens exactly its
# own row of api_keys (policy below), then the merchant it names is entered for the rest of the transaction.
AUTHENTICATE = """
create function authenticate(hash bytea) returns table (
    key_id text, mode text, merchant_id text, merchant_name text, merchant_bin text, merchant_created_at timestamptz,
    id_salt bytea, connection_id text, connection_scheme text, database_now timestamptz
) language plpgsql as $$
#variable_conflict use_column
declare
    found_merchant text;
    found_key text;
    found_mode text;
begin
    perform set_config('app.key_hash', encode(hash, 'hex'), true);
    select k.merchant_id, k.id, k.mode into found_merchant, found_key, found_mode
        from api_keys k where k.key_hash = hash and k.revoked_at is null;
    perform set_config('app.key_hash', '', true);
    if found_merchant is null then
        return;
    end if;
    perform set_config('app.merchant', found_merchant, true);
    return query
        select found_key, found_mode, m.id, m.name, m.bin, m.created_at, m.id_salt, c.id, c.scheme, clock_timestamp()
        from merchants m left join connections c on c.merchant_id = m.id and c.active = 1
        where m.id = found_merchant;
end $$
"""

# The payment page knows an invoice's id and no merchant; it sees that one row.
PAYER_VIEW = """
create function payer_view(invoice_id text) returns table (
    number bigint, kind text, is_sandbox boolean, amount bigint, state text, merchant_name text, qr_token text,
    payment_link text
) language plpgsql as $$
#variable_conflict use_column
declare
    found_merchant text;
begin
    perform set_config('app.invoice', invoice_id, true);
    select i.merchant_id into found_merchant from invoices i where i.id = invoice_id;
    perform set_config('app.invoice', '', true);
    if found_merchant is null then
        return;
    end if;
    perform set_config('app.merchant', found_merchant, true);
    return query
        select i.number, i.kind, i.is_sandbox, i.amount, i.state, m.name, i.qr_token, i.payment_link
        from invoices i join merchants m on m.id = i.merchant_id where i.id = invoice_id;
end $$
"""


def _ensure_roles() -> None:
    for role in ("tolem_app", "tolem_operator"):
        op.execute(
            f"do $$ begin if not exists (select 1 from pg_roles where rolname = '{role}') then"
            f" create role {role} nologin; end if; end $$"
        )


def _isolate() -> None:
    for table in (*TENANT_TABLES, "merchants"):
        column = "id" if table == "merchants" else "merchant_id"
        own = f"{column} = {CURRENT_MERCHANT}"
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy own_rows on {table} to tolem_app using ({own}) with check ({own})")
        op.execute(f"create policy every_row on {table} to tolem_operator using (true) with check (true)")
        op.execute(f"grant {APP_GRANTS[table]} on {table} to tolem_app")
        op.execute(f"grant select, insert, update on {table} to tolem_operator")
    op.execute(
        "create policy own_key on api_keys for select to tolem_app"
        " using (key_hash = decode(nullif(current_setting('app.key_hash', true), ''), 'hex'))"
    )
    op.execute(
        "create policy payer_page on invoices for select to tolem_app"
        " using (id = nullif(current_setting('app.invoice', true), ''))"
    )


def _guard() -> None:
    op.execute(
        "create table invoice_transitions (old_state text not null, new_state text not null,"
        " primary key (old_state, new_state))"
    )
    pairs = ", ".join(f"('{old}', '{new}')" for old, news in TRANSITIONS.items() for new in news)
    op.execute(f"insert into invoice_transitions values {pairs}")
    op.execute("grant select on invoice_transitions to tolem_app, tolem_operator")
    op.execute(INVOICE_GUARD)
    op.execute("create trigger guard_invoice before update on invoices for each row execute function guard_invoice()")
    op.execute(AUTHENTICATE)
    op.execute(PAYER_VIEW)


def upgrade() -> None:
    _ensure_roles()
    op.create_table(
        "connections",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("organization_bin", sa.Text(), nullable=True),
        sa.Column("trade_point_id", sa.BigInteger(), nullable=False),
        sa.Column("trade_point_name", sa.Text(), nullable=True),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("secrets_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("active", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("health", sa.Text(), server_default=sa.text("'unknown'"), nullable=False),
        sa.Column("health_reason", sa.Text(), nullable=True),
        sa.Column("health_sequence", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("health_changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_ok_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "health in ('unknown', 'connected', 'degraded', 'lost')", name=op.f("ck_connections_health")
        ),
        sa.CheckConstraint("scheme in ('r1', 'r2', 'r3')", name=op.f("ck_connections_scheme")),
        sa.CheckConstraint("active in (0, 1)", name=op.f("ck_connections_active")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
    )
    op.create_index(
        "uq_connections_merchant_id_active",
        "connections",
        ["merchant_id"],
        unique=True,
        postgresql_where=sa.text("active = 1"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), nullable=False),
        sa.Column("api_version", sa.Text(), nullable=False),
        sa.Column("object", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("object_id", "cause", name="uq_events_object_id_cause"),
        sa.UniqueConstraint("object_id", "sequence", name="uq_events_object_id_sequence"),
    )
    op.create_index("ix_events_merchant_id_created_at_id", "events", ["merchant_id", "created_at", "id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("answer_status", sa.Integer(), nullable=True),
        sa.Column("answer_body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("mode in ('test', 'live')", name=op.f("ck_idempotency_keys_mode")),
        sa.PrimaryKeyConstraint("merchant_id", "mode", "operation", "key_hash", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(
        "ix_idempotency_keys_merchant_id_resource_id",
        "idempotency_keys",
        ["merchant_id", "resource_id"],
        unique=False,
    )
    op.create_table(
        "merchants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("bin", sa.Text(), nullable=False),
        sa.Column("id_salt", sa.LargeBinary(), nullable=False),
        sa.Column("last_invoice_number", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("bin ~ '^[0-9]{12}$'", name=op.f("ck_merchants_bin")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merchants")),
    )
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_index(
        "ix_webhook_endpoints_merchant_id_created_at",
        "webhook_endpoints",
        ["merchant_id", "created_at", "id"],
        unique=False,
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("mode in ('test', 'live')", name=op.f("ck_api_keys_mode")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_api_keys_merchant_id_merchants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_index("ix_api_keys_merchant_id_created_at", "api_keys", ["merchant_id", "created_at"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state in ('pending', 'delivered', 'dead')", name=op.f("ck_deliveries_state")),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name=op.f("fk_deliveries_endpoint_id_webhook_endpoints"),
        ),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_deliveries_event_id_events")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("event_id", "endpoint_id", name="uq_deliveries_event_id_endpoint_id"),
    )
    op.create_index(
        "ix_deliveries_merchant_id_created_at_id",
        "deliveries",
        ["merchant_id", "created_at", "id"],
        unique=False,
    )
    op.create_table(
        "invoices",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("attention", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("external_order_id", sa.Text(), nullable=True),
        sa.Column("connection_id", sa.Text(), nullable=True),
        sa.Column("bank_payment_id", sa.BigInteger(), nullable=True),
        sa.Column("bank_code", sa.BigInteger(), nullable=True),
        sa.Column("qr_token", sa.Text(), nullable=True),
        sa.Column("payment_link", sa.Text(), nullable=True),
        sa.Column("sequence", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("claim_token", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(kind = 'phone') = (phone is not null)", name=op.f("ck_invoices_phone")),
        sa.CheckConstraint(
            "(state in ('paid', 'partially_refunded', 'refunded')) = (paid_at is not null)",
            name=op.f("ck_invoices_paid_at"),
        ),
        sa.CheckConstraint("kind in ('phone', 'qr', 'link')", name=op.f("ck_invoices_kind")),
        sa.CheckConstraint(
            "state in ('processing','pending','paid','canceled','expired','failed','partially_refunded','refunded')",
            name=op.f("ck_invoices_state"),
        ),
        sa.CheckConstraint("amount between 1 and 9999999999", name=op.f("ck_invoices_amount")),
        sa.CheckConstraint("is_sandbox or connection_id is not null", name=op.f("ck_invoices_connection")),
        sa.CheckConstraint("refunded between 0 and amount", name=op.f("ck_invoices_refunded")),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name=op.f("fk_invoices_connection_id_connections")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoices")),
    )
    op.create_index(
        "ix_invoices_merchant_id_attention",
        "invoices",
        ["merchant_id", "attention"],
        unique=False,
        postgresql_where=sa.text("attention is not null"),
    )
    op.create_index(
        "ix_invoices_merchant_id_created_at_id", "invoices", ["merchant_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_invoices_merchant_id_external_order_id",
        "invoices",
        ["merchant_id", "external_order_id"],
        unique=False,
        postgresql_where=sa.text("external_order_id is not null"),
    )
    op.create_index(
        "ix_invoices_merchant_id_state",
        "invoices",
        ["merchant_id", "state", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "uq_invoices_merchant_id_bank_payment_id",
        "invoices",
        ["merchant_id", "bank_payment_id"],
        unique=True,
        postgresql_where=sa.text("bank_payment_id is not null and not is_sandbox"),
    )
    op.create_index("uq_invoices_merchant_id_number", "invoices", ["merchant_id", "number"], unique=True)
    op.create_table(
        "bank_watches",
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("bank_payment_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("poll_interval", sa.Double(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("closed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("checks", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_word", sa.Text(), nullable=True),
        sa.Column("last_checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("news_sequence", sa.Integer(), nullable=True),
        sa.Column("next_check_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name=op.f("fk_bank_watches_connection_id_connections")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_bank_watches_invoice_id_invoices")),
        sa.PrimaryKeyConstraint("invoice_id", name=op.f("pk_bank_watches")),
    )
    op.create_index(
        "ix_bank_watches_merchant_id_connection_id_next_check_at",
        "bank_watches",
        ["merchant_id", "connection_id", "next_check_at"],
        unique=False,
        postgresql_where=sa.text("next_check_at is not null"),
    )
    op.create_table(
        "delivery_attempts",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.Column("response_excerpt", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_attempts_delivery_id_deliveries")
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_delivery_attempts")),
    )
    _isolate()
    _guard()


def downgrade() -> None:
    op.execute("drop function payer_view(text)")
    op.execute("drop function authenticate(bytea)")
    op.execute("drop table invoice_transitions")
    op.drop_table("delivery_attempts")
    op.drop_index(
        "ix_bank_watches_merchant_id_connection_id_next_check_at",
        table_name="bank_watches",
        postgresql_where=sa.text("next_check_at is not null"),
    )
    op.drop_table("bank_watches")
    op.drop_index("uq_invoices_merchant_id_number", table_name="invoices")
    op.drop_index(
        "uq_invoices_merchant_id_bank_payment_id",
        table_name="invoices",
        postgresql_where=sa.text("bank_payment_id is not null and not is_sandbox"),
    )
    op.drop_index("ix_invoices_merchant_id_state", table_name="invoices")
    op.drop_index(
        "ix_invoices_merchant_id_external_order_id",
        table_name="invoices",
        postgresql_where=sa.text("external_order_id is not null"),
    )
    op.drop_index("ix_invoices_merchant_id_created_at_id", table_name="invoices")
    op.drop_index(
        "ix_invoices_merchant_id_attention",
        table_name="invoices",
        postgresql_where=sa.text("attention is not null"),
    )
    op.drop_table("invoices")
    op.drop_index("ix_deliveries_merchant_id_created_at_id", table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_index("ix_api_keys_merchant_id_created_at", table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_index("ix_webhook_endpoints_merchant_id_created_at", table_name="webhook_endpoints")
    op.drop_table("webhook_endpoints")
    op.drop_table("merchants")
    op.drop_index("ix_idempotency_keys_merchant_id_resource_id", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index("ix_events_merchant_id_created_at_id", table_name="events")
    op.drop_table("events")
    op.drop_index("uq_connections_merchant_id_active", table_name="connections", postgresql_where=sa.text("active = 1"))
    op.drop_table("connections")
    op.execute("drop function guard_invoice()")
