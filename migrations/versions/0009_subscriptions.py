"""Subscriptions: their terms, periods and bills, the test clocks of the sandbox, and the guards under them.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

CURRENT_MERCHANT = "nullif(current_setting('app.merchant', true), '')"

# Terms are written once; a period's number and due moment never change.
APP_GRANTS = {
    "test_clocks": "select, insert, update (state, now_at, target_at, updated_at, deleted_at)",
    "subscriptions": "select, insert, update",
    "subscription_terms": "select, insert",
    "subscription_periods": "select, insert, update (state, reason, revision, updated_at)",
}
MONEY = "between 1 and 9999999999"
LIVE = "state in ('active', 'past_due', 'paused') or invoice_id is not null"

# The same tables as domain.subscription.TRANSITIONS and PERIOD_TRANSITIONS; a test compares them.
TRANSITIONS = {
    "active": ("past_due", "paused", "canceled", "expired", "completed"),
    "past_due": ("active", "paused", "canceled", "expired", "completed"),
    "paused": ("active", "past_due", "canceled", "completed"),
    "expired": ("active", "canceled", "completed"),
}
PERIOD_TRANSITIONS = {
    "upcoming": ("billing", "skipped"),
    "billing": ("paid", "failed", "skipped"),
    "failed": ("paid",),
    "skipped": ("paid",),
}

SUBSCRIPTION_GUARD = """
create function guard_subscription() returns trigger language plpgsql as $$
begin
    if old.state is distinct from new.state and not exists (
        select 1 from subscription_transitions t where t.old_state = old.state and t.new_state = new.state
    ) then
        raise exception 'illegal subscription transition % -> %', old.state, new.state
            using errcode = 'check_violation', constraint = 'subscription_transition';
    end if;
    if (old.id, old.merchant_id, old.number, old.is_sandbox, old.phone, old.started_at, old.bill_immediately,
            old.payer, old.created_at)
        is distinct from (new.id, new.merchant_id, new.number, new.is_sandbox, new.phone, new.started_at,
            new.bill_immediately, new.payer, new.created_at)
        or old.test_clock_id is distinct from new.test_clock_id
    then
        raise exception 'a subscription''s identity never changes'
            using errcode = 'check_violation', constraint = 'subscription_identity';
    end if;
    if new.version <> old.version + 1 or new.sequence < old.sequence or new.clock_at < old.clock_at
        or new.revision < old.revision
    then
        raise exception 'decisions about a subscription follow one another'
            using errcode = 'check_violation', constraint = 'subscription_order';
    end if;
    return new;
end $$
"""

OPENING_GUARD = """
create function guard_subscription_opening() returns trigger language plpgsql as $$
begin
    if new.state <> 'active' or new.version <> 0 or new.sequence <> 0 or new.revision <> 1 then
        raise exception 'a subscription begins as active and undecided'
            using errcode = 'check_violation', constraint = 'subscription_opening';
    end if;
    if new.test_clock_id is not null and not exists (
        select 1 from test_clocks c where c.id = new.test_clock_id and c.merchant_id = new.merchant_id
            and c.deleted_at is null
    ) then
        raise exception 'a test clock moves subscriptions of its own merchant'
            using errcode = 'check_violation', constraint = 'subscription_test_clock';
    end if;
    return new;
end $$
"""

# Terms and periods belong to a subscription of the same merchant.
OWNER_GUARD = """
create function guard_subscription_owner() returns trigger language plpgsql as $$
begin
    if not exists (
        select 1 from subscriptions s where s.id = new.subscription_id and s.merchant_id = new.merchant_id
    ) then
        raise exception 'not the merchant''s subscription'
            using errcode = 'check_violation', constraint = 'subscription_owner';
    end if;
    return new;
end $$
"""

PERIOD_GUARD = """
create function guard_subscription_period() returns trigger language plpgsql as $$
begin
    if not exists (
        select 1 from subscription_period_transitions t
        where t.old_state = (case when tg_op = 'INSERT' then 'upcoming' else old.state end) and t.new_state = new.state
    ) then
        raise exception 'illegal period transition to %', new.state
            using errcode = 'check_violation', constraint = 'subscription_period_transition';
    end if;
    return new;
end $$
"""

# A bill is opened only for a period that is being billed, and belongs to it for ever. The period's lock makes whoever
# closes it and whoever bills it see each other.
CHARGE_GUARD = """
create function guard_charge() returns trigger language plpgsql as $$
begin
    perform 1 from subscription_periods p
        where p.subscription_id = new.subscription_id and p.number = new.subscription_period for share;
    if not exists (
        select 1 from subscription_periods p join subscriptions s on s.id = p.subscription_id
        where p.subscription_id = new.subscription_id and p.number = new.subscription_period
            and p.merchant_id = new.merchant_id and s.merchant_id = new.merchant_id
            and s.is_sandbox = new.is_sandbox and p.state = 'billing'
    ) then
        raise exception 'this period is not being billed'
            using errcode = 'check_violation', constraint = 'invoice_charge';
    end if;
    return new;
end $$
"""

CHARGE_IDENTITY_GUARD = """
create function guard_charge_identity() returns trigger language plpgsql as $$
begin
    raise exception 'a bill never changes its subscription'
        using errcode = 'check_violation', constraint = 'invoice_charge_identity';
end $$
"""

CLOCK_GUARD = """
create function guard_test_clock() returns trigger language plpgsql as $$
begin
    if new.now_at < old.now_at or old.deleted_at is not null then
        raise exception 'a test clock never goes back'
            using errcode = 'check_violation', constraint = 'test_clock_forward';
    end if;
    return new;
end $$
"""

FUNCTIONS = {
    "guard_subscription": SUBSCRIPTION_GUARD,
    "guard_subscription_opening": OPENING_GUARD,
    "guard_subscription_owner": OWNER_GUARD,
    "guard_subscription_period": PERIOD_GUARD,
    "guard_charge": CHARGE_GUARD,
    "guard_charge_identity": CHARGE_IDENTITY_GUARD,
    "guard_test_clock": CLOCK_GUARD,
}


def upgrade() -> None:
    op.add_column(
        "merchants", sa.Column("last_subscription_number", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.execute("grant update (last_subscription_number) on merchants to tolem_app")
    _test_clocks()
    _subscriptions()
    _terms_and_periods()
    _charges()
    for table, granted in APP_GRANTS.items():
        own = f"merchant_id = {CURRENT_MERCHANT}"
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy own_rows on {table} to tolem_app using ({own}) with check ({own})")
        op.execute(f"create policy every_row on {table} to tolem_operator using (true) with check (true)")
        op.execute(f"grant {granted} on {table} to tolem_app")
        op.execute(f"grant select on {table} to tolem_operator")
    _guard()


def _moment(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _created() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _test_clocks() -> None:
    op.create_table(
        "test_clocks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'ready'"), nullable=False),
        _moment("now_at", nullable=False),
        _moment("target_at"),
        _created(),
        _moment("updated_at", nullable=False),
        _moment("deleted_at"),
        sa.CheckConstraint("state in ('ready', 'advancing')", name=op.f("ck_test_clocks_state")),
        sa.CheckConstraint("(state = 'advancing') = (target_at is not null)", name=op.f("ck_test_clocks_target_at")),
        sa.CheckConstraint("target_at >= now_at", name=op.f("ck_test_clocks_forward")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_test_clocks")),
    )
    op.create_index("ix_test_clocks_merchant_id_created_at_id", "test_clocks", ["merchant_id", "created_at", "id"])
    op.create_index("ix_test_clocks_advancing", "test_clocks", ["id"], postgresql_where=sa.text("state = 'advancing'"))


def _subscriptions() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("external_order_id", sa.Text(), nullable=True),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("billing_day", sa.Integer(), nullable=True),
        sa.Column("billing_time", sa.Time(), nullable=False),
        _moment("started_at", nullable=False),
        _moment("ends_at"),
        sa.Column("total_cycles", sa.Integer(), nullable=True),
        sa.Column("bill_immediately", sa.Boolean(), nullable=False),
        sa.Column("max_retry_attempts", sa.Integer(), nullable=False),
        sa.Column("retry_interval_hours", sa.Integer(), nullable=False),
        sa.Column("grace_period_days", sa.Integer(), nullable=False),
        sa.Column("missed", sa.Text(), nullable=False),
        _moment("next_billing_at"),
        sa.Column("cancel_at_period_end", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=True),
        sa.Column("test_clock_id", sa.Text(), nullable=True),
        _moment("clock_at"),
        _moment("billed_at"),
        sa.Column("payer", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("standing", postgresql.JSONB(), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("decided", sa.Text(), nullable=True),
        sa.Column("sequence", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        _created(),
        _moment("updated_at", nullable=False),
        _moment("ended_at"),
        sa.CheckConstraint(
            "state in ('active','past_due','paused','canceled','expired','completed')",
            name=op.f("ck_subscriptions_state"),
        ),
        sa.CheckConstraint(
            "period in ('daily','weekly','biweekly','monthly','quarterly','yearly')",
            name=op.f("ck_subscriptions_period"),
        ),
        sa.CheckConstraint("missed in ('newest', 'none')", name=op.f("ck_subscriptions_missed")),
        sa.CheckConstraint(f"amount {MONEY}", name=op.f("ck_subscriptions_amount")),
        sa.CheckConstraint("billing_day between 1 and 31", name=op.f("ck_subscriptions_billing_day")),
        sa.CheckConstraint("total_cycles >= 1", name=op.f("ck_subscriptions_total_cycles")),
        sa.CheckConstraint(
            "max_retry_attempts >= 0 and retry_interval_hours >= 1 and grace_period_days >= 0",
            name=op.f("ck_subscriptions_dunning"),
        ),
        sa.CheckConstraint(
            "jsonb_typeof(metadata) = 'object' and jsonb_typeof(standing) = 'object'",
            name=op.f("ck_subscriptions_json"),
        ),
        sa.CheckConstraint(
            "(state in ('canceled','expired','completed')) = (ended_at is not null)",
            name=op.f("ck_subscriptions_ended_at"),
        ),
        sa.CheckConstraint("is_sandbox or test_clock_id is null", name=op.f("ck_subscriptions_test_clock")),
        sa.CheckConstraint("(test_clock_id is null) = (clock_at is null)", name=op.f("ck_subscriptions_clock_at")),
        sa.CheckConstraint("test_clock_id is not null or payer = '{}'", name=op.f("ck_subscriptions_payer")),
        sa.CheckConstraint("payer <@ array['pays', 'ignores', 'declines']", name=op.f("ck_subscriptions_payer_words")),
        sa.ForeignKeyConstraint(
            ["test_clock_id"], ["test_clocks.id"], name=op.f("fk_subscriptions_test_clock_id_test_clocks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
    )
    op.create_index("uq_subscriptions_merchant_id_number", "subscriptions", ["merchant_id", "number"], unique=True)
    op.create_index("ix_subscriptions_merchant_id_created_at_id", "subscriptions", ["merchant_id", "created_at", "id"])
    for column in ("state", "phone"):
        op.create_index(
            f"ix_subscriptions_merchant_id_{column}", "subscriptions", ["merchant_id", column, "created_at", "id"]
        )
    op.create_index(
        "ix_subscriptions_merchant_id_external_order_id",
        "subscriptions",
        ["merchant_id", "external_order_id"],
        postgresql_where=sa.text("external_order_id is not null"),
    )
    op.create_index(
        "ix_subscriptions_test_clock_id",
        "subscriptions",
        ["test_clock_id"],
        postgresql_where=sa.text("test_clock_id is not null"),
    )
    op.create_index(
        "ix_subscriptions_faults",
        "subscriptions",
        ["merchant_id", "created_at", "id"],
        postgresql_where=sa.text("standing #> '{open,faults}' is not null"),
    )
    op.create_index("ix_subscriptions_live", "subscriptions", ["id"], postgresql_where=sa.text(LIVE))


def _terms_and_periods() -> None:
    op.create_table(
        "subscription_terms",
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("discount_percentage", sa.Numeric(5, 2), nullable=True),
        sa.Column("items", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        _created(),
        sa.CheckConstraint(f"amount {MONEY}", name=op.f("ck_subscription_terms_amount")),
        sa.CheckConstraint("jsonb_typeof(items) = 'array'", name=op.f("ck_subscription_terms_items")),
        sa.CheckConstraint(
            "discount_percentage is null or discount_percentage > 0 and discount_percentage <= 100"
            " and jsonb_array_length(items) > 0",
            name=op.f("ck_subscription_terms_discount_percentage"),
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_subscription_terms_subscription_id_subscriptions")
        ),
        sa.PrimaryKeyConstraint("subscription_id", "revision", name=op.f("pk_subscription_terms")),
    )
    op.create_table(
        "subscription_periods",
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        _moment("due_at", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        _moment("updated_at", nullable=False),
        sa.CheckConstraint("number >= 1", name=op.f("ck_subscription_periods_number")),
        sa.CheckConstraint(
            "state in ('billing', 'paid', 'failed', 'skipped')", name=op.f("ck_subscription_periods_state")
        ),
        sa.CheckConstraint("(state = 'skipped') = (reason is not null)", name=op.f("ck_subscription_periods_reason")),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name=op.f("fk_subscription_periods_subscription_id_subscriptions"),
        ),
        sa.PrimaryKeyConstraint("subscription_id", "number", name=op.f("pk_subscription_periods")),
    )


def _charges() -> None:
    op.add_column("invoices", sa.Column("subscription_id", sa.Text(), nullable=True))
    op.add_column("invoices", sa.Column("subscription_period", sa.Integer(), nullable=True))
    op.add_column("invoices", sa.Column("subscription_charge", sa.Integer(), nullable=True))
    op.create_check_constraint(
        op.f("ck_invoices_subscription"),
        "invoices",
        "num_nulls(subscription_id, subscription_period, subscription_charge) in (0, 3)"
        " and (subscription_charge is null or subscription_charge >= 1)",
    )
    op.create_foreign_key(
        "fk_invoices_subscription_periods",
        "invoices",
        "subscription_periods",
        ["subscription_id", "subscription_period"],
        ["subscription_id", "number"],
    )
    op.create_index(
        "uq_invoices_subscription_id_period_charge",
        "invoices",
        ["subscription_id", "subscription_period", "subscription_charge"],
        unique=True,
        postgresql_where=sa.text("subscription_id is not null"),
    )
    op.create_index(
        "uq_invoices_live_charge",
        "invoices",
        ["subscription_id", "subscription_period"],
        unique=True,
        postgresql_where=sa.text("subscription_id is not null and state in ('processing', 'pending')"),
    )


def _transitions(table: str, pairs: dict[str, tuple[str, ...]]) -> None:
    op.execute(
        f"create table {table} (old_state text not null, new_state text not null, primary key (old_state, new_state))"
    )
    rows = ", ".join(f"('{old}', '{new}')" for old, news in pairs.items() for new in news)
    op.execute(f"insert into {table} values {rows}")
    op.execute(f"grant select on {table} to tolem_app, tolem_operator")


def _guard() -> None:
    _transitions("subscription_transitions", TRANSITIONS)
    _transitions("subscription_period_transitions", PERIOD_TRANSITIONS)
    for function in FUNCTIONS.values():
        op.execute(function)

    def guard(name: str, when: str, table: str, condition: str = "", function: str = "") -> None:
        op.execute(
            f"create trigger {name} before {when} on {table} for each row {condition}"
            f" execute function {function or name}()"
        )

    guard("guard_subscription", "update", "subscriptions")
    guard("guard_subscription_opening", "insert", "subscriptions")
    guard("guard_subscription_owner", "insert", "subscription_terms")
    guard("guard_subscription_owner", "insert", "subscription_periods")
    guard("guard_subscription_period", "insert", "subscription_periods")
    guard(
        "guard_subscription_period_change",
        "update",
        "subscription_periods",
        "when (old.state is distinct from new.state)",
        "guard_subscription_period",
    )
    guard("guard_charge", "insert", "invoices", "when (new.subscription_id is not null)")
    guard(
        "guard_charge_identity",
        "update",
        "invoices",
        "when ((old.subscription_id, old.subscription_period, old.subscription_charge)"
        " is distinct from (new.subscription_id, new.subscription_period, new.subscription_charge))",
    )
    guard("guard_test_clock", "update", "test_clocks")


def downgrade() -> None:
    op.execute("drop trigger guard_charge on invoices")
    op.execute("drop trigger guard_charge_identity on invoices")
    op.drop_index("uq_invoices_live_charge", table_name="invoices")
    op.drop_index("uq_invoices_subscription_id_period_charge", table_name="invoices")
    op.drop_constraint("fk_invoices_subscription_periods", "invoices", type_="foreignkey")
    op.drop_constraint(op.f("ck_invoices_subscription"), "invoices", type_="check")
    for column in ("subscription_charge", "subscription_period", "subscription_id"):
        op.drop_column("invoices", column)
    for table in ("subscription_periods", "subscription_terms", "subscriptions", "test_clocks"):
        op.drop_table(table)
    for table in ("subscription_period_transitions", "subscription_transitions"):
        op.drop_table(table)
    for function in FUNCTIONS:
        op.execute(f"drop function {function}()")
    op.drop_column("merchants", "last_subscription_number")
