"""A merchant that speaks with both keys, and its subscriptions in the books."""

from dataclasses import dataclass
from typing import Any

import httpx

from domain.merchant import Mode
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


async def opened(books: Books, url: str) -> Keeper:
    """A new merchant; close its clients."""
    shop = await books.merchant()
    keys = {mode: await add_key(books.registry, shop.id, mode, "k") for mode in Mode}
    clients = {
        mode: httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, trust_env=False, timeout=30)
        for mode, key in keys.items()
    }
    return Keeper(shop, Subscriber(shop), clients[Mode.LIVE], clients[Mode.TEST])


def fields_of(body: dict[str, Any]) -> list[str]:
    """The fields that an error names."""
    return [error["field"] for error in body["errors"]]
