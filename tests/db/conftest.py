from collections.abc import AsyncIterator

import pytest

from tests.db.books import Books, Shop
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
async def books(postgres_server: PostgresServer) -> AsyncIterator[Books]:
    """One set of gateways for the run; other merchants of this room are in the same database.

    It is this room's alone: pollers and workflows of other rooms go on in the background, and what these tests look at,
    open transactions and locks among it, is the whole database's.
    """
    made = Books(await postgres_server.fresh_database())
    yield made
    await made.close()


@pytest.fixture
async def shop(books: Books) -> Shop:
    """A merchant of this test alone."""
    return await books.merchant()
