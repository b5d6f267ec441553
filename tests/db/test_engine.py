"""The way in and out of a merchant's rows: no transaction, and no merchant, ever stays in a pooled connection."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.engine import as_merchant, create_engine, single_statement, transaction, unavailable
from tests.db.books import Books, Shop

TOUCH = "update invoices set description = 'touched'"


@pytest.fixture
async def one(books: Books) -> AsyncIterator[AsyncEngine]:
    """A pool of one connection: whoever comes next gets what the last one left."""
    engine = create_engine(books.database.app_url, pool_size=1)
    yield engine
    await engine.dispose()


async def clean(engine: AsyncEngine) -> bool:
    """True when the next user of the pool enters nobody's rows and no open transaction."""
    async with single_statement(engine) as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        left = await connection.exec_driver_sql("select nullif(current_setting('app.merchant', true), '')")
        return left.scalar_one() is None and not driver.is_in_transaction()


async def touched(shop: Shop, invoice_id: str) -> bool:
    return (await shop.invoice(invoice_id)).description == "touched"


async def test_a_transaction_that_ends_well_is_kept_and_leaves_nothing_behind(one: AsyncEngine, shop: Shop) -> None:
    invoice = await shop.pending()
    async with as_merchant(one, shop.id) as connection:
        await connection.exec_driver_sql(TOUCH)
        assert not await touched(shop, invoice.id)  # not before it is committed
    assert await touched(shop, invoice.id)
    assert await clean(one)


async def test_a_transaction_that_raises_is_taken_back_and_leaves_nothing_behind(one: AsyncEngine, shop: Shop) -> None:
    invoice = await shop.pending()

    async def fail(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql(TOUCH)
        raise LookupError

    with pytest.raises(LookupError):
        async with as_merchant(one, shop.id) as connection:
            await fail(connection)
    assert not await touched(shop, invoice.id)
    assert await clean(one)


@pytest.mark.parametrize("then", ["select pg_sleep(20)", None])
async def test_a_task_that_is_cancelled_in_a_transaction_leaves_nothing_behind(
    one: AsyncEngine, shop: Shop, then: str | None
) -> None:
    """In the middle of a statement, and between two."""
    invoice = await shop.pending()
    begun = asyncio.Event()

    async def work() -> None:
        async with as_merchant(one, shop.id) as connection:
            await connection.exec_driver_sql(TOUCH)
            begun.set()
            await (connection.exec_driver_sql(then) if then else asyncio.Event().wait())

    task = asyncio.create_task(work())
    await begun.wait()
    await asyncio.sleep(0.05 if then else 0)  # the statement is under way
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await clean(one)
    assert not await touched(shop, invoice.id)
    # The row is free again: nobody holds the lock that the cancelled task took, for which Postgres waits 4 s.
    async with as_merchant(one, shop.id) as connection:
        await connection.exec_driver_sql(TOUCH)


async def test_a_lock_is_given_back_with_its_transaction(one: AsyncEngine, books: Books, shop: Shop) -> None:
    taken = "select pg_try_advisory_xact_lock(hashtextextended('inv_x', 0))"
    async with as_merchant(one, shop.id, lock="inv_x"), transaction(books.app) as other:
        assert (await other.exec_driver_sql(taken)).scalar_one() is False
    async with transaction(books.app) as other:
        assert (await other.exec_driver_sql(taken)).scalar_one() is True


@pytest.mark.parametrize("id_", ["", "mer_x'; drop table invoices; --", "mer_'", "MER_1", "mer_1 ", "mer_1\n", "mer"])
async def test_what_is_no_id_of_ours_never_reaches_a_statement(one: AsyncEngine, shop: Shop, id_: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        async with as_merchant(one, id_):
            pass
    with pytest.raises(ValueError, match="not an id"):
        async with as_merchant(one, shop.id, lock=id_):
            pass
    assert await clean(one)


def test_a_server_that_dies_between_two_statements_is_away_and_a_wrong_statement_is_not() -> None:
    # What asyncpg says when the socket ends in the middle of its protocol (seen by `make torture`).
    assert unavailable(asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"))
    assert not unavailable(asyncpg.UniqueViolationError("duplicate key"))
