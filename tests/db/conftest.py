from collections.abc import AsyncIterator

import pytest

from dev.postgres import Database
from tests.db.books import Books, Shop


@pytest.fixture(scope="session")
async def books(postgres: Database) -> AsyncIterator[Books]:
    """One set of gateways for the run; other tests' merchants are in the same database."""
    made = Books(postgres)
    yield made
    await made.close()


@pytest.fixture
async def shop(books: Books) -> Shop:
    """A merchant of this test alone."""
    return await books.merchant()
