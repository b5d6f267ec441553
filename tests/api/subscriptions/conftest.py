"""The real API over a test's database, without an engine, and a merchant of it."""

from collections.abc import AsyncIterator

import pytest

from dev.postgres import Database
from tests.api.serving import running_api
from tests.api.subscriptions.keeper import Keeper, opened
from tests.db.books import Books


@pytest.fixture(scope="module")
async def books(postgres: Database) -> AsyncIterator[Books]:
    made = Books(postgres)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def url(books: Books) -> AsyncIterator[str]:
    async with running_api(books.database) as running:
        yield running.url


@pytest.fixture
async def keeper(books: Books, url: str) -> AsyncIterator[Keeper]:
    made = await opened(books, url)
    yield made
    await made.live.aclose()
    await made.test.aclose()
