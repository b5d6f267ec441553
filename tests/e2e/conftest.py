"""A merchant of the running system with its webhook inboxes; each test gets them with every part alive."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.support.emulator import EmulatorAdmin
from tests.support.inbox import Inbox
from tests.support.receiver import WebhookReceiver
from tests.support.shop import Shop, close_shop, open_shop
from tests.support.stack import Stack


@dataclass
class Listening:
    """A shop whose events are heard."""

    shop: Shop
    inbox: Inbox
    sandbox_inbox: Inbox


@pytest.fixture(scope="session")
async def listening(stack_of_run: Stack) -> AsyncIterator[Listening]:
    """For `shop`, `inbox` and `sandbox_inbox` only."""
    shop = await open_shop(stack_of_run, "E2E shop")
    async with WebhookReceiver() as live, WebhookReceiver() as sandbox:
        inbox = await Inbox.register(shop.live, live)
        sandbox_inbox = await Inbox.register(shop.test, sandbox)
        yield Listening(shop, inbox, sandbox_inbox)
        await close_shop(shop)


@pytest.fixture
async def shop(stack: Stack, listening: Listening) -> Shop:
    """A merchant with a live link to the bank."""
    return listening.shop


@pytest.fixture
async def inbox(listening: Listening) -> Inbox:
    """Where the shop's live events arrive."""
    return listening.inbox


@pytest.fixture
async def sandbox_inbox(listening: Listening) -> Inbox:
    """Where the shop's sandbox events arrive."""
    return listening.sandbox_inbox


@pytest.fixture
async def bank(stack: Stack) -> AsyncIterator[EmulatorAdmin]:
    """The bank's admin side; settings and faults are put back."""
    before = await stack.emulator.call("GET", "settings")
    yield stack.emulator
    if not stack.runs("emulator"):
        await stack.start_part("emulator")
    await stack.emulator.clear_faults()
    await stack.emulator.change(before)
