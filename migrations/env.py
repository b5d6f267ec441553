"""Alembic's entry: runs the migrations as the owner role, one transaction each, never waiting long for a lock."""

import asyncio
import sys

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from db.models.everything import metadata
from runtime import settings as conf


def _include(_object: object, name: str | None, type_: str, reflected: bool, _compare_to: object) -> bool:
    # Reference data of the database's own guards, made by migrations, read by triggers only.
    return not (type_ == "table" and reflected and (name or "").endswith("_transitions"))


def _run(connection: Connection, lock_timeout: str) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_server_default=True,
        include_object=_include,
    )
    with context.begin_transaction():
        # A migration that queues behind a long transaction blocks every reader behind itself: give up instead.
        connection.execute(text("select set_config('lock_timeout', :t, false)"), {"t": lock_timeout})
        context.run_migrations()


async def _main(owner: conf.OwnerDatabase) -> None:
    engine = create_async_engine(owner.url.reveal(), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_run, owner.lock_timeout)
        await connection.commit()
    await engine.dispose()


try:
    settings = conf.load(conf.OwnerDatabase)
except conf.SettingsError as error:
    sys.exit(str(error))
asyncio.run(_main(settings[conf.OwnerDatabase]))
