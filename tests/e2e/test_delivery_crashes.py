"""The workers die by SIGKILL while webhooks are on their way: nothing is lost, and a doubled one has the same id."""

import asyncio
from collections import Counter

import pytest

from tests.support.inbox import Inbox
from tests.support.receiver import Answer, Received, WebhookReceiver
from tests.support.shop import Shop, close_shop, open_shop
from tests.support.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.long]

BILLS = 8  # fewer than the places of an endpoint: all requests are open at once


class RefusesOnce(WebhookReceiver):
    """Whatever the order in which they come: each event is refused the first time, and no other time."""

    def answer_to(self, received: Received) -> Answer:
        known = {one.headers["webhook-id"] for one in self.requests}
        return self.default if received.headers["webhook-id"] in known else Answer(status=500)


async def _paid(shop: Shop) -> str:
    invoice = await shop.sandbox_bill()
    assert (await shop.simulate(invoice["id"], "paid")).status_code == 200
    invoice_id: str = invoice["id"]
    return invoice_id


async def test_workers_killed_during_attempts_lose_none_and_double_each_at_most_once(stack: Stack) -> None:
    shop = await open_shop(stack, "Crashing shop", scheme=None)
    try:
        async with WebhookReceiver() as receiver, RefusesOnce() as flaky:
            inbox = await Inbox.register(shop.test, receiver)
            tail = await Inbox.register(shop.test, flaky)
            receiver.default = Answer(delay=2)
            # These are in their long tail when the workers die: the second request is open, or the third is waited for.
            flaky.default = Answer(delay=2)
            ids = await asyncio.gather(*(_paid(shop) for _ in range(BILLS)))
            await receiver.wait_for(count=BILLS)
            await flaky.wait_for(count=BILLS + 1)
            await stack.kill_workers()
            receiver.default = flaky.default = Answer()
            await stack.start_workers()
            for invoice_id in ids:
                told = (await shop.settled(invoice_id)).told
                assert [one.state for one in told] == ["delivered", "delivered"]
            heard = Counter(one.id for one in inbox.all())
            assert len(heard) == BILLS
            assert max(heard.values()) <= 2
            again = Counter(one.id for one in tail.all())
            assert set(again) == set(heard)  # the same events, by the same ids
            assert max(again.values()) <= 3  # the refused one, the one that was cut off, and the one that arrived
            for one in (*inbox.all(), *tail.all()):
                assert one.object["id"] in ids
    finally:
        await close_shop(shop)
