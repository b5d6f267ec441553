"""Postgres for tests: one server per run, databases copied from one migrated template."""

import itertools
from dataclasses import dataclass, field

from dev.migrations import upgrade
from dev.postgres import Database, EmbeddedPostgres

# The machine is not going to lose power during a test, and kill -9 of a process does not need fsync to be survived.
TEST_SETTINGS = {"fsync": "off", "full_page_writes": "off", "scram_iterations": "1"}
_TEMPLATE = "tolem_template"


@dataclass
class PostgresServer:
    """A running server whose template database is migrated."""

    server: EmbeddedPostgres
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def migrate_template(self) -> None:
        template = await self.server.create_database(_TEMPLATE)
        await upgrade(template.owner_url)

    async def fresh_database(self) -> Database:
        """An empty migrated database that nobody else uses (about 50 ms)."""
        return await self.server.create_database(f"tolem_{next(self._numbers)}", template=_TEMPLATE)

    async def drop(self, database: Database) -> None:
        await self.server.drop_database(database.name)
