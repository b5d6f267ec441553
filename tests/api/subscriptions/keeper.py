"""A merchant that speaks with both keys, and its subscriptions in the books."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import msgspec

from api.idempotency import fingerprint
from api.subscribing import OPERATION, AskedSubscription
from db.engine import as_merchant
from db.kept_answers import KeyedAnswer, keep_answer
from domain.billing_calendar import Plan
from domain.merchant import Mode
from domain.subscription import Dunning
from domain.subscription_record import Subscription
from operations.keys import add_key
from tests.db.books import Books, Shop
from tests.support.subscriptions import Subscriber

PATH = "/api/v1/subscriptions"
ACTIONS = ("pause", "resume", "cancel", "bill-now", "skip-period")


@dataclass
class Keeper:
    """A merchant that speaks with both keys, and its subscriptions in the books."""

    shop: Shop
    subscriber: Subscriber
    live: httpx.AsyncClient
    test: httpx.AsyncClient

    async def listed(self, client: httpx.AsyncClient | None = None, **params: Any) -> list[str]:
        answer = await (client or self.live).get(PATH, params=params)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    async def shown(self, one: Subscription, path: str = "", **params: Any) -> dict[str, Any]:
        answer = await self.live.get(f"{PATH}/{one.id}{path}", params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def print_of(self, operation: str, *parts: object) -> str:
        """What a request is known by where its key comes again."""
        (row,) = await self.shop.books.fetch("select id_salt from merchants where id = :id", id=self.shop.id)
        return fingerprint(row["id_salt"], operation, *parts)

    async def print_of_creation(self, started_at: datetime | None) -> str:
        """That of a sandbox subscription of 10,000 tenge a month for 77011234567."""
        asked = AskedSubscription(
            phone="77011234567",
            amount=1_000_000,
            cart=None,
            description=None,
            external_order_id=None,
            is_sandbox=True,
            plan=Plan(),
            dunning=Dunning(),
            started_at=started_at,
            bill_immediately=False,
            metadata={},
            test_clock=None,
            payer=[],
        )
        return await self.print_of(OPERATION, *msgspec.structs.astuple(asked))

    async def keep(self, subscription_id: str, print_: str, key: str, operation: str = OPERATION) -> None:
        """An answer is kept for the key, as the books do with what they write."""
        keyed = KeyedAnswer(mode=Mode.TEST, operation=operation, key=key, fingerprint=print_, status=201, body=b"{}")
        async with as_merchant(self.shop.books.app, self.shop.id) as connection:
            assert await keep_answer(connection, self.shop.id, subscription_id, keyed)


async def opened(books: Books, url: str) -> Keeper:
    """A new merchant; close its clients."""
    shop = await books.merchant()
    keys = {mode: await add_key(books.registry, shop.id, mode, "k") for mode in Mode}
    clients = {
        mode: httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, trust_env=False, timeout=60)
        for mode, key in keys.items()
    }
    return Keeper(shop, Subscriber(shop), clients[Mode.LIVE], clients[Mode.TEST])


def fields_of(body: dict[str, Any]) -> list[str]:
    """The fields that an error names."""
    return [error["field"] for error in body["errors"]]
