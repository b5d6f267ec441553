"""Connections, and the one way into a merchant's rows."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from db.errors import DatabaseUnavailable

_ID = re.compile(r"[a-z]{2,8}_[A-Za-z0-9]{1,64}")

# A hot statement takes under a millisecond; what takes seconds is stuck, and stuck work must fail while its
# caller still waits. Milliseconds.
SERVER_SETTINGS = {
    "application_name": "tolem",
    "jit": "off",
    "lock_timeout": "4000",
    "statement_timeout": "8000",
    "idle_in_transaction_session_timeout": "15000",
}
CONNECT_TIMEOUT_SECONDS = 3.0
POOL_WAIT_SECONDS = 3.0
ABANDON_SECONDS = 2.0


def create_engine(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """An engine for one role; `url` as `postgresql+asyncpg://…`. Connects lazily."""
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_use_lifo=True,
        isolation_level="AUTOCOMMIT",  # transactions are begun in `transaction`
        hide_parameters=True,  # exception texts reach logs: they must not carry phones
        connect_args={"timeout": CONNECT_TIMEOUT_SECONDS, "server_settings": SERVER_SETTINGS},
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    # The socket of a connection whose server died is known to be closed without asking: after a restart of
    # Postgres the pool then replaces it instead of failing somebody's request. Costs no round trip.
    if connection.driver_connection.is_closed():
        raise DisconnectionError


_LOST = (
    OSError,
    TimeoutError,
    PoolTimeout,
    InterfaceError,
    OperationalError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    # What asyncpg says of a statement on a connection whose server has crashed between two statements ("cannot switch
    # to state 15; another operation (2) is in progress"): found by `make torture`.
    asyncpg.InternalClientError,
)
# Class 57 (shutdown, crash), 58 (system), 53 (out of resources), 40 (serialization, deadlock), 55P03 (lock timeout),
# 08 (connection): nothing is wrong with the statement, so the same statement may be tried again.
_TRANSIENT = ("57", "58", "53", "40", "55", "08")


def unavailable(error: BaseException) -> bool:
    """True when the database, not the statement, is at fault."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    return isinstance(error, _LOST) or (isinstance(state, str) and state.startswith(_TRANSIENT))


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if unavailable(error):
            raise DatabaseUnavailable(type(error).__name__) from error
        raise


@asynccontextmanager
async def single_statement(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """For one statement that is its own transaction: one round trip."""
    with _told_apart():
        async with engine.connect() as connection:
            yield connection


@asynccontextmanager
async def transaction(engine: AsyncEngine, *, begin: str = "begin") -> AsyncIterator[AsyncConnection]:
    """A transaction outside any merchant; `begin` may carry more statements. Raises `DatabaseUnavailable`.

    Two round trips beside its statements: the driver's connection is in autocommit mode, and BEGIN and COMMIT are
    sent bare, which is a third of what SQLAlchemy's own transaction costs.
    """
    with _told_apart():
        async with engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            if driver is None:
                raise DatabaseUnavailable("no connection")
            try:
                await driver.execute(begin)
                yield connection
                await driver.execute("commit")
            except BaseException:
                await _abandon(connection, driver)
                raise


async def _abandon(connection: AsyncConnection, driver: Any) -> None:
    """Never gives a connection back to the pool inside a transaction, also not when the task is being cancelled."""
    try:
        async with asyncio.timeout(ABANDON_SECONDS):
            await asyncio.shield(driver.execute("rollback"))
    except BaseException:  # the caller's own error is on its way; this one means only that the connection is unfit
        driver.terminate()
        await connection.invalidate()


@asynccontextmanager
async def as_merchant(
    engine: AsyncEngine, merchant_id: str, *, lock: str | None = None, lasting: bool = True
) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees and writes only this merchant's rows (row-level security).

    `lock` is an object's id: transactions that name the same one run one after another. Not `lasting`: its commit does
    not wait for the disk, and a crash of Postgres may forget it.
    """
    begin = f"begin; select set_config('app.merchant', '{_plain(merchant_id)}', true)"
    if lock is not None:
        begin += f"; select pg_advisory_xact_lock(hashtextextended('{_plain(lock)}', 0))"
    if not lasting:
        begin += "; set local synchronous_commit = off"
    async with transaction(engine, begin=begin) as connection:
        yield connection


def _plain(id_: str) -> str:
    # These stand in the text of a statement; ids of ours are letters, digits and one underscore (domain.ids).
    if not _ID.fullmatch(id_):
        raise ValueError("not an id of ours")
    return id_
