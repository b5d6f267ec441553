"""Refunds, and the guards that keep "refunded + on its way" within what was paid, whatever the code does.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CURRENT_MERCHANT = "nullif(current_setting('app.merchant', true), '')"

# What the application may do; it never deletes money or its history, and an attempt's intent never changes.
APP_GRANTS = {
    "refunds": "select, insert, update",
    "refund_attempts": "select, insert, update (outcome, bank_return_id, reason, bank_code, answered_at)",
}

# The same table as domain.refund.REFUND_TRANSITIONS; a test compares the two.
TRANSITIONS = {"pending": ("processing", "failed"), "processing": ("completed", "failed")}

INVOICE_BOUNDS = {
    "refund_pending": "refund_pending >= 0",
    "refunded_outside": "refunded_outside >= 0",
    "refund_bound": "refunded + refund_pending <= amount",
    "refunds_need_payment": "refunded + refund_pending = 0 or state in ('paid', 'partially_refunded', 'refunded')",
    "refunded_state": "(state = 'refunded') = (refunded = amount)"
    " and (state = 'partially_refunded') = (refunded > 0 and refunded < amount)",
}

_IDENTITY = """
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
"""

_TRANSITION = """
    if old.state is distinct from new.state and not exists (
        select 1 from invoice_transitions t where t.old_state = old.state and t.new_state = new.state
    ) then
        raise exception 'illegal invoice transition % -> %', old.state, new.state
            using errcode = 'check_violation', constraint = 'invoice_transition';
    end if;
"""

# The sums on an invoice are never more or less than its refunds say. Whoever changes them holds the invoice's row
# lock, so no other transaction's refund can slip in between.
_SUMS = """
    if (old.refunded, old.refund_pending) is distinct from (new.refunded, new.refund_pending) and exists (
        select 1 from (
            select coalesce(sum(amount) filter (where state = 'completed'), 0) as done,
                coalesce(sum(amount) filter (where state in ('pending', 'processing')), 0) as under_way
            from refunds where invoice_id = new.id
        ) r where (r.done, r.under_way) is distinct from (new.refunded::numeric, new.refund_pending::numeric)
    ) then
        raise exception 'an invoice''s refunded sums must be those of its refunds'
            using errcode = 'check_violation', constraint = 'invoice_refund_sums';
    end if;
"""

INVOICE_GUARD = (
    "create or replace function guard_invoice() returns trigger language plpgsql as $$ begin"
    f"{_TRANSITION}{_IDENTITY}{_SUMS} return new; end $$"
)
INVOICE_GUARD_BEFORE = (
    "create or replace function guard_invoice() returns trigger language plpgsql as $$ begin"
    f"{_TRANSITION}{_IDENTITY} return new; end $$"
)

OPENING_GUARD = """
create function guard_invoice_opening() returns trigger language plpgsql as $$
begin
    if new.state <> 'processing' or new.sequence <> 0 or new.refunded <> 0 or new.refund_pending <> 0 then
        raise exception 'an invoice begins as processing'
            using errcode = 'check_violation', constraint = 'invoice_opening';
    end if;
    return new;
end $$
"""

REFUND_OPENING_GUARD = """
create function guard_refund_opening() returns trigger language plpgsql as $$
begin
    if new.state <> 'pending' or new.sequence <> 0 or not exists (
        select 1 from invoices i where i.id = new.invoice_id and i.merchant_id = new.merchant_id
            and i.is_sandbox = new.is_sandbox and i.state in ('paid', 'partially_refunded')
            and i.connection_id is not distinct from new.connection_id
            and i.bank_payment_id is not distinct from new.bank_payment_id
    ) then
        raise exception 'a refund begins as pending, of a paid invoice of its merchant'
            using errcode = 'check_violation', constraint = 'refund_opening';
    end if;
    return new;
end $$
"""

REFUND_GUARD = """
create function guard_refund() returns trigger language plpgsql as $$
begin
    if old.state is distinct from new.state and not exists (
        select 1 from refund_transitions t where t.old_state = old.state and t.new_state = new.state
    ) then
        raise exception 'illegal refund transition % -> %', old.state, new.state
            using errcode = 'check_violation', constraint = 'refund_transition';
    end if;
    if old.state = 'processing' and new.state = 'failed' and exists (
        select 1 from refund_attempts a where a.refund_id = new.id and a.outcome = 'done'
    ) then
        raise exception 'the bank said that it has executed this refund'
            using errcode = 'check_violation', constraint = 'refund_executed';
    end if;
    if old.state = 'pending' and new.state = 'processing' and exists (
        select 1 from refunds r where r.invoice_id = new.invoice_id and r.position < new.position
            and r.state in ('pending', 'processing')
    ) then
        raise exception 'an earlier refund of this invoice is not over'
            using errcode = 'check_violation', constraint = 'refund_order';
    end if;
    if (old.id, old.merchant_id, old.number, old.invoice_id, old.position, old.is_sandbox, old.amount,
            old.created_at, old.reason, old.connection_id, old.bank_payment_id)
        is distinct from (new.id, new.merchant_id, new.number, new.invoice_id, new.position, new.is_sandbox,
            new.amount, new.created_at, new.reason, new.connection_id, new.bank_payment_id)
        or (old.bank_return_id is not null and old.bank_return_id is distinct from new.bank_return_id)
        or (old.completed_at is not null and old.completed_at is distinct from new.completed_at)
        or new.sequence < old.sequence
    then
        raise exception 'a refund''s identity and amount never change'
            using errcode = 'check_violation', constraint = 'refund_identity';
    end if;
    return new;
end $$
"""

# At commit: a refund that was added or ended without its invoice's sums is refused. So is one whose invoice can't be
# seen any more, because somebody left the merchant's rows before the commit.
REFUND_SUMS_GUARD = """
create function guard_refund_sums() returns trigger language plpgsql as $$
begin
    if not exists (
        select 1 from invoices i, lateral (
            select coalesce(sum(amount) filter (where state = 'completed'), 0) as done,
                coalesce(sum(amount) filter (where state in ('pending', 'processing')), 0) as under_way
            from refunds where invoice_id = i.id
        ) r where i.id = new.invoice_id
            and (r.done, r.under_way) is not distinct from (i.refunded::numeric, i.refund_pending::numeric)
    ) then
        raise exception 'an invoice''s refunded sums must be those of its refunds'
            using errcode = 'check_violation', constraint = 'refund_sums';
    end if;
    return null;
end $$
"""

# An attempt is the right to call payment/return once, never after one that the bank said it has executed. Whether an
# earlier one may still be at the bank is a question of time and of the bank's sums: the story asks it.
ATTEMPT_GUARD = """
create function guard_refund_attempt() returns trigger language plpgsql as $$
begin
    if not exists (select 1 from refunds r where r.id = new.refund_id and r.merchant_id = new.merchant_id
            and r.state = 'processing')
        or exists (select 1 from refund_attempts a where a.refund_id = new.refund_id and a.outcome = 'done')
        or new.number <> 1 + (select count(*) from refund_attempts a where a.refund_id = new.refund_id)
    then
        raise exception 'this refund may not be sent now'
            using errcode = 'check_violation', constraint = 'refund_attempt';
    end if;
    return new;
end $$
"""

# The bank's word on an attempt is kept as it came: only "we don't know" may become something else.
ANSWER_GUARD = """
create function guard_refund_answer() returns trigger language plpgsql as $$
begin
    if coalesce(old.outcome, 'unknown') <> 'unknown' and (old.outcome, old.bank_return_id, old.reason, old.bank_code)
        is distinct from (new.outcome, new.bank_return_id, new.reason, new.bank_code)
    then
        raise exception 'what the bank said of an attempt never changes'
            using errcode = 'check_violation', constraint = 'refund_answer';
    end if;
    return new;
end $$
"""


def upgrade() -> None:
    op.add_column(
        "merchants", sa.Column("last_refund_number", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.execute("grant update (last_refund_number) on merchants to tolem_app")
    for column in ("refund_pending", "refunded_outside"):
        op.add_column("invoices", sa.Column(column, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    for name, condition in INVOICE_BOUNDS.items():
        op.create_check_constraint(op.f(f"ck_invoices_{name}"), "invoices", condition)
    op.create_table(
        "refunds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("attention", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("connection_id", sa.Text(), nullable=True),
        sa.Column("bank_payment_id", sa.BigInteger(), nullable=True),
        sa.Column("bank_return_id", sa.BigInteger(), nullable=True),
        sa.Column("bank_code", sa.BigInteger(), nullable=True),
        sa.Column("simulate", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("amount between 1 and 9999999999", name=op.f("ck_refunds_amount")),
        sa.CheckConstraint(
            "state in ('pending','processing','completed','failed')",
            name=op.f("ck_refunds_state"),
        ),
        sa.CheckConstraint(
            "(state = 'completed') = (completed_at is not null)",
            name=op.f("ck_refunds_completed_at"),
        ),
        sa.CheckConstraint(
            "simulate in ('completed','failed','attention','pending')", name=op.f("ck_refunds_simulate")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_refunds_invoice_id_invoices")),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name=op.f("fk_refunds_connection_id_connections")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
    )
    op.create_index("uq_refunds_invoice_id_position", "refunds", ["invoice_id", "position"], unique=True)
    op.create_index("uq_refunds_merchant_id_number", "refunds", ["merchant_id", "number"], unique=True)
    op.create_index("ix_refunds_merchant_id_created_at_id", "refunds", ["merchant_id", "created_at", "id"])
    op.create_index("ix_refunds_merchant_id_state", "refunds", ["merchant_id", "state", "created_at", "id"])
    op.create_index(
        "uq_refunds_invoice_id_in_flight",
        "refunds",
        ["invoice_id"],
        unique=True,
        postgresql_where=sa.text("state = 'processing'"),
    )
    op.create_index(
        "uq_refunds_connection_id_bank_payment_id_in_flight",
        "refunds",
        ["connection_id", "bank_payment_id"],
        unique=True,
        postgresql_where=sa.text("state = 'processing' and bank_payment_id is not null"),
    )
    op.create_table(
        "refund_attempts",
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("available_before", sa.BigInteger(), nullable=False),
        sa.Column("intended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("bank_return_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("bank_code", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "outcome in ('done','refused','not_sent','unknown')", name=op.f("ck_refund_attempts_outcome")
        ),
        sa.ForeignKeyConstraint(["refund_id"], ["refunds.id"], name=op.f("fk_refund_attempts_refund_id_refunds")),
        sa.PrimaryKeyConstraint("refund_id", "number", name=op.f("pk_refund_attempts")),
    )
    for table, rights in APP_GRANTS.items():
        own = f"merchant_id = {CURRENT_MERCHANT}"
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy own_rows on {table} to tolem_app using ({own}) with check ({own})")
        op.execute(f"create policy every_row on {table} to tolem_operator using (true) with check (true)")
        op.execute(f"grant {rights} on {table} to tolem_app")
        op.execute(f"grant select on {table} to tolem_operator")
    _guard()


def _guard() -> None:
    op.execute(
        "create table refund_transitions (old_state text not null, new_state text not null,"
        " primary key (old_state, new_state))"
    )
    pairs = ", ".join(f"('{old}', '{new}')" for old, news in TRANSITIONS.items() for new in news)
    op.execute(f"insert into refund_transitions values {pairs}")
    op.execute("grant select on refund_transitions to tolem_app, tolem_operator")
    for function in (
        OPENING_GUARD,
        REFUND_OPENING_GUARD,
        REFUND_GUARD,
        REFUND_SUMS_GUARD,
        ATTEMPT_GUARD,
        ANSWER_GUARD,
        INVOICE_GUARD,
    ):
        op.execute(function)
    each = "for each row execute function"
    op.execute(f"create trigger guard_invoice_opening before insert on invoices {each} guard_invoice_opening()")
    op.execute(f"create trigger guard_refund_opening before insert on refunds {each} guard_refund_opening()")
    op.execute(f"create trigger guard_refund before update on refunds {each} guard_refund()")
    op.execute(
        "create constraint trigger guard_refund_sums after insert or update on refunds"
        f" deferrable initially deferred {each} guard_refund_sums()"
    )
    op.execute(f"create trigger guard_refund_attempt before insert on refund_attempts {each} guard_refund_attempt()")
    op.execute(f"create trigger guard_refund_answer before update on refund_attempts {each} guard_refund_answer()")


def downgrade() -> None:
    op.execute(INVOICE_GUARD_BEFORE)
    op.drop_table("refund_attempts")
    op.drop_table("refunds")
    op.execute("drop trigger guard_invoice_opening on invoices")
    for function in (
        "guard_invoice_opening",
        "guard_refund_opening",
        "guard_refund",
        "guard_refund_sums",
        "guard_refund_attempt",
        "guard_refund_answer",
    ):
        op.execute(f"drop function {function}()")
    op.execute("drop table refund_transitions")
    for name in INVOICE_BOUNDS:
        op.drop_constraint(op.f(f"ck_invoices_{name}"), "invoices")
    op.drop_column("invoices", "refunded_outside")
    op.drop_column("invoices", "refund_pending")
    op.drop_column("merchants", "last_refund_number")
