"""Connections, and the one way into a merchant's rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from db.errors import DatabaseUnavailable

ENTER = text("select set_config('app.merchant', :merchant, true)")

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


def create_engine(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """An engine for one role; `url` as `postgresql+asyncpg://…`. Connects lazily."""
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_use_lifo=True,
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
)
# Class 57 (shutdown, crash), 58 (system), 53 (out of resources), 40 (serialization, deadlock), 55P03 (lock timeout),
# 08 (connection): nothing is wrong with the statement, so the same statement may be tried again.
_TRANSIENT = ("57", "58", "53", "40", "55", "08")


def unavailable(error: BaseException) -> bool:
    """True when the database, not the statement, is at fault."""
    if isinstance(error, DBAPIError) and not isinstance(error, InterfaceError | OperationalError):
        state = getattr(error.orig, "sqlstate", None)
        return error.connection_invalidated or (isinstance(state, str) and state.startswith(_TRANSIENT))
    return isinstance(error, _LOST)


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction outside any merchant (operator role); raises `DatabaseUnavailable`."""
    try:
        async with engine.begin() as connection:
            yield connection
    except Exception as error:
        if unavailable(error):
            raise DatabaseUnavailable(type(error).__name__) from error
        raise


@asynccontextmanager
async def as_merchant(engine: AsyncEngine, merchant_id: str) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees and writes only this merchant's rows (row-level security)."""
    async with transaction(engine) as connection:
        await connection.execute(ENTER, {"merchant": merchant_id})
        yield connection
