import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from dev.ports import free_port
from dev.postgres import Database, EmbeddedPostgres, PostgresFailed
from dev.postgres_home import postgres_home, remove_home, server_user
from tests.support.postgres import TEST_SETTINGS
from tests.support.processes import runs


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    # pytest's folder is 0700: as root this also takes the path of data that moves out of the state folder.
    own = EmbeddedPostgres(postgres_home(tmp_path), free_port(), TEST_SETTINGS)
    await own.start()
    yield own
    await own.stop()
    remove_home(tmp_path)


async def test_roles_are_not_superusers_and_own_only_what_they_should(postgres: Database) -> None:
    connection = await asyncpg.connect(postgres.owner_dsn)
    rows = await connection.fetch(
        "SELECT rolname, rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname LIKE 'tolem_%'"
    )
    owner = await connection.fetchval(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1", postgres.name
    )
    await connection.close()
    assert {tuple(row) for row in rows} == {
        ("tolem_owner", False, True, False),
        ("tolem_app", False, False, False),
        ("tolem_operator", False, False, False),
    }
    assert owner == "tolem_owner"


async def test_password_is_required(postgres: Database) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://tolem_app:wrong@127.0.0.1:{postgres.port}/{postgres.name}")


async def test_the_owner_can_install_trigram_search(fresh_postgres: Database) -> None:
    connection = await asyncpg.connect(fresh_postgres.owner_dsn)
    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    assert await connection.fetchval("SELECT similarity('Қазақ', 'қазақ')") == 1
    await connection.close()


async def test_committed_rows_survive_kill_9(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.database().owner_dsn)
    await connection.execute("CREATE TABLE kept (word text)")
    await connection.execute("INSERT INTO kept VALUES ('here')")
    await server.kill9()
    connection.terminate()

    await server.start()

    connection = await asyncpg.connect(server.database().owner_dsn)
    assert await connection.fetchval("SELECT word FROM kept") == "here"
    await connection.close()


async def test_starts_when_the_killed_servers_number_belongs_to_a_stranger(server: EmbeddedPostgres) -> None:
    pid_file = _cluster_of(server) / "postmaster.pid"
    await server.kill9()
    # Number reuse: a living process of the same account, which Postgres alone takes for its own older self.
    stranger = await asyncio.create_subprocess_exec("sleep", "60", user=server_user())
    try:
        _, *rest = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(stranger.pid), *rest]) + "\n")

        await server.start()

        assert await server.is_ready()
    finally:
        stranger.kill()
        await stranger.wait()


async def test_stop_leaves_no_process(server: EmbeddedPostgres) -> None:
    assert server.pid
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    assert len(family) > 3

    await server.stop()

    assert [process for process in family if runs(process)] == []


async def test_lost_passwords_are_explained(server: EmbeddedPostgres) -> None:
    await server.stop()
    (_cluster_of(server).parent / "passwords.json").unlink()

    with pytest.raises(PostgresFailed, match="make clean"):
        await server.start()


async def test_passwords_stay_out_of_reprs(postgres: Database) -> None:
    shown = repr(postgres)
    assert all(password not in shown for password in postgres.passwords.values())


def _cluster_of(server: EmbeddedPostgres) -> Path:
    argv = server.command().argv
    return Path(argv[argv.index("-D") + 1])
