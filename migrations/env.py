"""Alembic's entry: runs the migrations as the owner role, one transaction each, never waiting long for a lock."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from db.models.everything import metadata

LOCK_TIMEOUT = os.environ.get("TOLEM_MIGRATION_LOCK_TIMEOUT", "5s")


def _include(_object: object, name: str | None, type_: str, reflected: bool, _compare_to: object) -> bool:
    # Reference data of the database's own guards, made by migrations, read by triggers only.
    return not (type_ == "table" and reflected and name == "invoice_transitions")


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_server_default=True,
        include_object=_include,
    )
    with context.begin_transaction():
        # A migration that queues behind a long transaction blocks every reader behind itself: give up instead.
        connection.execute(text("select set_config('lock_timeout', :t, false)"), {"t": LOCK_TIMEOUT})
        context.run_migrations()


async def _main(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    asyncio.run(_main(context.config.get_main_option("sqlalchemy.url") or os.environ["TOLEM_OWNER_DATABASE_URL"]))
