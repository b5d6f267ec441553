"""The migrations on a database of their own: up, down, up again, and nothing forgotten."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT

import asyncpg

from dev.migrations import ROOT, upgrade
from dev.postgres import Database

SHAPE = """
select format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) from
    information_schema.columns where table_schema = 'public'
union all select pg_get_constraintdef(oid) || conname from pg_constraint where connamespace = 'public'::regnamespace
union all select indexdef from pg_indexes where schemaname = 'public'
union all select format('%s %s %s %s', tablename, policyname, roles, qual) from pg_policies
union all select format('%s %s %s', grantee, table_name, privilege_type) from information_schema.role_table_grants
    where table_schema = 'public' and grantee in ('tolem_app', 'tolem_operator')
union all select pg_get_functiondef(p.oid) from pg_proc p where pronamespace = 'public'::regnamespace
    and proname in ('guard_invoice', 'authenticate', 'payer_view')
union all select format('%s %s', old_state, new_state) from invoice_transitions
union all select format('%s %s %s', relname, relrowsecurity, relforcerowsecurity) from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r'
"""


async def shape(database: Database) -> list[str]:
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        return sorted(row[0] for row in await connection.fetch(SHAPE))
    finally:
        await connection.close()


async def leftovers(database: Database) -> list[str]:
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        rows = await connection.fetch(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'S')"
            " union all select proname from pg_proc where pronamespace = 'public'::regnamespace"
            " and pg_get_userbyid(proowner) = 'tolem_owner'"
        )
        return sorted(row[0] for row in rows)
    finally:
        await connection.close()


async def test_down_to_nothing_and_up_again_gives_the_same_database(fresh_postgres: Database) -> None:
    before = await shape(fresh_postgres)
    await upgrade(fresh_postgres.owner_url, arguments=("downgrade", "base"))
    assert await leftovers(fresh_postgres) == ["alembic_version"]
    await upgrade(fresh_postgres.owner_url)
    assert await shape(fresh_postgres) == before
    assert len(before) > 100


AT_0006 = """
insert into webhook_endpoints (id, merchant_id, url, events, is_sandbox, enabled, secret_sealed, updated_at) values
    ('whe_on', 'mer_1', 'https://a.example', '{*}', false, true, 'sealed-on', now()),
    ('whe_off', 'mer_2', 'https://b.example', '{*}', true, false, 'sealed-off', now());
insert into events (id, merchant_id, type, object_id, sequence, cause, is_sandbox, api_version, object)
    values ('evt_1', 'mer_1', 'webhook.test', 'whe_on', 1700000000, 'c', false, 'v1', 'null');
insert into deliveries (id, merchant_id, event_id, endpoint_id, attempts, body)
    values ('whd_1', 'mer_1', 'evt_1', 'whe_on', 7, '{}');
"""


async def test_what_stood_before_webhook_secrets_had_a_table_is_all_there_afterwards(fresh_postgres: Database) -> None:
    """The owner's role is bound by forced policies: a migration that forgets it moves nothing and drops everything."""
    await upgrade(fresh_postgres.owner_url, arguments=("downgrade", "0006"))
    judge = await asyncpg.connect(fresh_postgres.dsn("postgres"))
    try:
        await judge.execute(AT_0006)
        await upgrade(fresh_postgres.owner_url)
        secrets = await judge.fetch(
            "select endpoint_id, merchant_id, sealed, expires_at from webhook_secrets order by 1"
        )
        assert [tuple(row) for row in secrets] == [
            ("whe_off", "mer_2", b"sealed-off", None),
            ("whe_on", "mer_1", b"sealed-on", None),
        ]
        endpoints = await judge.fetch(
            "select id, enabled, disabled_reason, sequence, dialect from webhook_endpoints order by 1"
        )
        assert [tuple(row) for row in endpoints] == [
            ("whe_off", False, "merchant", 0, "v1"),
            ("whe_on", True, None, 1700000000, "v1"),
        ]
        assert tuple(await judge.fetchrow("select failures, is_sandbox from deliveries")) == (7, False)
        await upgrade(fresh_postgres.owner_url, arguments=("downgrade", "0006"))
        kept = await judge.fetch("select id, secret_sealed, enabled from webhook_endpoints order by 1")
        assert [tuple(row) for row in kept] == [("whe_off", b"sealed-off", False), ("whe_on", b"sealed-on", True)]
    finally:
        await judge.close()


async def test_the_models_and_the_migrations_agree(postgres: Database) -> None:
    said = await upgrade(postgres.owner_url, arguments=("check",))
    assert "No new upgrade operations detected" in said


async def test_a_migration_that_would_wait_for_a_lock_gives_up(fresh_postgres: Database) -> None:
    """A queue behind a migration is a standstill: it must fail and leave everything as it was."""
    before = await shape(fresh_postgres)
    holder = await asyncpg.connect(fresh_postgres.app_dsn)
    try:
        transaction = holder.transaction()
        await transaction.start()
        # A table that the newest migration changes: each is a transaction of its own, and the first must fail.
        await holder.execute("lock table deliveries in access share mode")
        command = (sys.executable, "-m", "alembic", "downgrade", "base")
        settings = {"TOLEM_OWNER_DATABASE_URL": fresh_postgres.owner_url, "TOLEM_MIGRATION_LOCK_TIMEOUT": "50ms"}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=os.environ | settings, stdout=PIPE, stderr=STDOUT
        )
        said, _ = await process.communicate()
        assert process.returncode == 1
        assert b"lock timeout" in said
        await transaction.rollback()
    finally:
        await holder.close()
    assert await shape(fresh_postgres) == before
