"""A dump of the running system's database and its return, by the programs that an operator uses."""

import asyncio
from pathlib import Path

from dev.layout import Layout
from dev.postgres import Database
from dev.postgres_home import postgres_home, programs
from dev.system import System


async def dump(system: System, into: Path) -> None:
    """`pg_dump` as a superuser: row-level security is forced on everybody else, the owner too."""
    await _run(system.layout, "pg_dump", "--format=custom", f"--file={into}", system.database.dsn("postgres"))


async def restore(system: System, dumped: Path) -> None:
    """The database is made anew and filled; nothing may be connected to it."""
    database: Database = system.database
    await system.postgres.drop_database(database.name)
    await system.postgres.create_database(database.name)
    await _run(system.layout, "pg_restore", "--exit-on-error", f"--dbname={database.dsn('postgres')}", str(dumped))


async def _run(layout: Layout, program: str, *arguments: str) -> None:
    running = await asyncio.create_subprocess_exec(
        str(programs(postgres_home(layout.state_dir)) / program), *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, said = await running.communicate()
    assert running.returncode == 0, said.decode(errors="replace")
