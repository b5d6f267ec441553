"""A merchant for what schemathesis makes up."""

from collections.abc import AsyncIterator

import pytest

from tests.support.shop import Shop, close_shop, open_shop
from tests.support.stack import Stack


@pytest.fixture(scope="session")
async def played_with(stack_of_run: Stack) -> AsyncIterator[Shop]:
    """A merchant without a bank: whatever is asked of it moves no money."""
    shop = await open_shop(stack_of_run, "Schemathesis", scheme=None)
    yield shop
    await close_shop(shop)
