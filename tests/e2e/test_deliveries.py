"""Receivers that fail, never answer, or are slow."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.inbox import Inbox
from tests.support.receiver import Answer, WebhookReceiver
from tests.support.shop import Shop, close_shop, open_shop
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

PLACES = 10  # TOLEM_WEBHOOK_PER_ENDPOINT


@pytest.fixture
async def troubled(stack: Stack) -> AsyncIterator[Shop]:
    """A merchant whose receivers give trouble."""
    shop = await open_shop(stack, "Troubled shop", scheme=None)
    yield shop
    await close_shop(shop)


async def _paid(shop: Shop) -> str:
    invoice = await shop.sandbox_bill()
    assert (await shop.simulate(invoice["id"], "paid")).status_code == 200
    invoice_id: str = invoice["id"]
    return invoice_id


async def test_what_failed_is_sent_again_until_it_arrives_or_is_dead(troubled: Shop) -> None:
    async with WebhookReceiver() as flaky, WebhookReceiver() as broken:
        inbox = await Inbox.register(troubled.test, flaky)
        dead = await Inbox.register(troubled.test, broken)
        flaky.answer_next(Answer(status=500, body=b"no"), Answer(drop=True), Answer(status=301))
        broken.default = Answer(status=503)
        invoice_id = await _paid(troubled)

        inspected = await troubled.settled(invoice_id)
        by_endpoint = {one.endpoint_id: (one.state, one.attempts, one.last_status) for one in inspected.told}
        assert by_endpoint == {inbox.endpoint_id: ("delivered", 4, 200), dead.endpoint_id: ("dead", 4, 503)}
        told = inbox.about(invoice_id)
        assert len(told) == 4
        assert len({(one.id, one.request.body) for one in told}) == 1  # the same event, byte for byte
        assert len({one.id for one in dead.about(invoice_id)}) == 1
        assert len(dead.about(invoice_id)) == 4


async def test_slow_receivers_delay_nobody_elses_webhook(shop: Shop, sandbox_inbox: Inbox, troubled: Shop) -> None:
    async with WebhookReceiver() as slow:
        inbox = await Inbox.register(troubled.test, slow)
        await inbox.wait(await _paid(troubled))  # it is known to be quick, so that it has all its places
        ids = [(await troubled.sandbox_bill())["id"] for _ in range(20)]
        slow.requests.clear()
        # What follows must be over before an attempt is (TOLEM_WEBHOOK_TIMEOUT_SECONDS): the bills are there already.
        slow.default = Answer(delay=600)
        answers = await asyncio.gather(*(troubled.simulate(one, "paid") for one in ids))
        assert {answer.status_code for answer in answers} == {200}
        await slow.wait_for(count=PLACES)  # as many as it may hold
        paid = await _paid(shop)
        await sandbox_inbox.wait(paid)
        assert len(slow.requests) == PLACES
        for one in ids:
            assert [(told.state, told.attempts) for told in (await troubled.inspect(one)).told] == [("pending", 0)]
        # Well again: who stood in line, or was turned away, comes without having lost an attempt.
        slow.default = Answer()
        slow.release()
        for one in ids:
            await inbox.wait(one)
            assert [told.attempts for told in (await troubled.settled(one)).told] == [1]
