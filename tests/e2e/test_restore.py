"""Postgres comes back from a dump that is older than the bank's books: the bank is read, and nothing is done twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dev.system import WORKERS
from domain.errors import Code
from domain.reconciliation import LineVerdict
from tests.conftest import STACK_SETTINGS
from tests.support.api_errors import assert_error
from tests.support.dumps import dump, restore
from tests.support.inbox import Inbox
from tests.support.receiver import WebhookReceiver
from tests.support.reconciling import reconcile
from tests.support.refunds import given_back, paid_bill, refund, until_refund
from tests.support.shop import Shop, close_shop, fresh_phone, open_shop
from tests.support.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.long]


@pytest.fixture
async def own_stack(servers_dir: Path) -> AsyncIterator[Stack]:
    """A system of this test alone: what it loses, nobody else misses."""
    folder = servers_dir / "restored"
    folder.mkdir(mode=0o711)
    async with Stack(folder, STACK_SETTINGS) as running:
        yield running


@pytest.fixture
async def shop(own_stack: Stack) -> AsyncIterator[Shop]:
    made = await open_shop(own_stack, "Restored shop")
    yield made
    await close_shop(made)


async def test_the_bank_knows_more_than_the_restored_books(own_stack: Stack, shop: Shop, tmp_path: Path) -> None:
    async with WebhookReceiver() as receiver:
        inbox = await Inbox.register(shop.live, receiver)
        still_open, paid_since = await shop.bill(), await shop.bill()
        given_back_since = await paid_bill(shop, amount=900)
        await dump(own_stack.system, tmp_path / "tolem.dump")

        await shop.pay(paid_since)
        await shop.until_state(paid_since["id"], "paid")
        await until_refund(shop.live, (await refund(shop.live, given_back_since["id"]))["id"], status="completed")
        phone = fresh_phone()
        made_since = await shop.bill(phone_number=phone)

        # docs/operations.md, "Backups": nothing runs, the books return, Temporal begins empty, the API opens last.
        for part in ("api", *WORKERS):
            await own_stack.stop_part(part)
        await shop.pool.dispose()
        await restore(own_stack.system, tmp_path / "tolem.dump")
        await own_stack.lose_temporal()
        await own_stack.start_workers()
        await own_stack.start_part("api")

        await shop.until_state(paid_since["id"], "paid")
        assert len(await inbox.wait(paid_since["id"], state="paid", count=2)) == 2, "told again: the first is forgotten"
        assert (await shop.read(still_open["id"]))["state"] == "pending"
        await shop.pay(still_open)
        await shop.until_state(still_open["id"], "paid")

        _, lines = await reconcile(shop)
        (line,) = [line for line in lines if line.invoice_id == given_back_since["id"]]
        assert line.verdict is LineVerdict.REFUNDED_OUTSIDE
        refused = await shop.live.post(f"/api/v1/invoices/{given_back_since['id']}/refund", json={})
        assert_error(refused, Code.REFUND_EXCEEDS_AVAILABLE)
        assert await given_back(shop, given_back_since) == [90_000], "once"

        # What was made after the dump is unknown here, and still at the bank: a statement shows it once it is paid.
        assert (await shop.live.get(f"/api/v1/invoices/{made_since['id']}")).status_code == 404
        assert len(await shop.purchases(phone=phone)) == 1
