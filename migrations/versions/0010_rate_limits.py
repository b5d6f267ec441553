"""Rate limits: each key's own, and what every key has used of its, counted by the statement that authenticates.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CURRENT_MERCHANT = "nullif(current_setting('app.merchant', true), '')"

# GCRA: a request moves `full_at` (when the whole burst can be used again) one step into the future; one that would
# move it further than the burst reaches is refused and moves nothing. Without a default nothing is counted: who
# listens to a stream is looked up again and again. The function of one argument stays, because processes of the version
# before call it while a deployment is under way.
AUTHENTICATE = """
create function authenticate(hash bytea, default_per_minute integer, default_burst integer) returns table (
    key_id text, mode text, merchant_id text, merchant_name text, merchant_bin text, merchant_created_at timestamptz,
    id_salt bytea, connection_id text, connection_scheme text, database_now timestamptz,
    limit_per_minute integer, limit_burst integer, limit_remaining integer, limit_full_after double precision,
    limit_retry_after double precision
) language plpgsql as $$
#variable_conflict use_column
declare
    found_merchant text;
    found_key text;
    found_mode text;
    rate integer;
    room integer;
    asked timestamptz;
    step interval;
    full_again timestamptz;
    used interval;
    left_over integer;
    wait double precision;
begin
    perform set_config('app.key_hash', encode(hash, 'hex'), true);
    select k.merchant_id, k.id, k.mode, coalesce(k.rate_per_minute, default_per_minute),
        coalesce(k.rate_burst, default_burst)
        into found_merchant, found_key, found_mode, rate, room
        from api_keys k where k.key_hash = hash and k.revoked_at is null;
    perform set_config('app.key_hash', '', true);
    if found_merchant is null then
        return;
    end if;
    perform set_config('app.merchant', found_merchant, true);
    if default_per_minute is null or rate = 0 then
        rate := null;
        room := null;
    else
        asked := clock_timestamp();
        step := interval '60 seconds' / rate;
        insert into rate_limits as r (key_id, merchant_id, full_at) values (found_key, found_merchant, asked + step)
            on conflict (key_id) do update set full_at = greatest(r.full_at, asked) + step
                where greatest(r.full_at, asked) + step - asked <= step * room
            returning r.full_at into full_again;
        if full_again is null then
            select r.full_at into full_again from rate_limits r where r.key_id = found_key;
            wait := extract(epoch from full_again + step - asked - step * room);
        end if;
        full_again := coalesce(full_again, asked);  -- an operator has just taken the row away: nothing is used up
        used := full_again - asked;
        left_over := greatest(0, floor(extract(epoch from step * room - used) / extract(epoch from step)));
    end if;
    return query
        select found_key, found_mode, m.id, m.name, m.bin, m.created_at, m.id_salt, c.id, c.scheme, clock_timestamp(),
            rate, room, left_over, cast(extract(epoch from used) as double precision), wait
        from merchants m left join connections c on c.merchant_id = m.id and c.active = 1
        where m.id = found_merchant;
end $$
"""


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("rate_per_minute", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("rate_burst", sa.Integer(), nullable=True))
    op.create_check_constraint(op.f("ck_api_keys_rate"), "api_keys", "(rate_per_minute is null) = (rate_burst is null)")
    op.create_check_constraint(
        op.f("ck_api_keys_rate_bounds"), "api_keys", "rate_per_minute between 0 and 1000000 and rate_burst >= 1"
    )
    # Unlogged: a write costs no wait for the disk, and after a crash every key starts with its whole burst.
    op.create_table(
        "rate_limits",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("full_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_rate_limits")),
        prefixes=["unlogged"],
        postgresql_with={"fillfactor": 50},
    )
    own = f"merchant_id = {CURRENT_MERCHANT}"
    op.execute("alter table rate_limits enable row level security")
    op.execute("alter table rate_limits force row level security")
    op.execute(f"create policy own_rows on rate_limits to tolem_app using ({own}) with check ({own})")
    op.execute("create policy every_row on rate_limits to tolem_operator using (true) with check (true)")
    op.execute("grant select, insert, update (full_at) on rate_limits to tolem_app")
    op.execute("grant select, delete on rate_limits to tolem_operator")
    op.execute(AUTHENTICATE)


def downgrade() -> None:
    op.execute("drop function authenticate(bytea, integer, integer)")
    op.drop_table("rate_limits")
    op.drop_constraint(op.f("ck_api_keys_rate_bounds"), "api_keys", type_="check")
    op.drop_constraint(op.f("ck_api_keys_rate"), "api_keys", type_="check")
    op.drop_column("api_keys", "rate_burst")
    op.drop_column("api_keys", "rate_per_minute")
