"""The feed: the same events as the webhooks, for who lost some."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from domain.errors import Code
from domain.event import EventType
from tests.support.api_errors import assert_error
from tests.support.inbox import Inbox
from tests.support.shop import Shop, close_shop, open_shop
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.stack

FEED = "/api/v1/events"


@pytest.fixture
async def quiet_shop(stack: Stack) -> AsyncIterator[Shop]:
    """A merchant without webhooks, a bank, or events so far."""
    shop = await open_shop(stack, "Quiet shop", scheme=None)
    yield shop
    await close_shop(shop)


async def feed(api: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    answer = await api.get(FEED, params=params)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    assert page["page_size"] == params.get("page_size", 20)
    return page


async def sandbox_payment(shop: Shop) -> str:
    """A sandbox bill whose payment is one event."""
    invoice = await shop.sandbox_bill()
    assert (await shop.simulate(invoice["id"], "paid")).status_code == 200
    return str(invoice["id"])


async def read_forward(api: httpx.AsyncClient, count: int, **params: Any) -> tuple[list[dict[str, Any]], str]:
    """What is read page by page until it is `count` events, and the cursor to go on with."""
    found: list[dict[str, Any]] = []
    place = dict(params)

    async def read_on() -> bool:
        page = await feed(api, order="asc", **place)
        found.extend(page["items"])
        if page["next_cursor"] is not None:
            place.pop("after", None)
            place["cursor"] = page["next_cursor"]
        return len(found) >= count

    await until(read_on, f"{count} events")
    return found, str(place["cursor"])


async def test_the_feed_shows_what_the_webhook_told(shop: Shop, sandbox_inbox: Inbox, inbox: Inbox) -> None:
    invoice_id = await sandbox_payment(shop)
    (told,) = await sandbox_inbox.wait(invoice_id)
    (event,) = (await feed(shop.test, object_id=invoice_id))["items"]
    assert told.body == event | {"endpoint_id": sandbox_inbox.endpoint_id}
    assert (event["type"], event["data"]["previous_state"]) == ("invoice.status_changed", "pending")
    assert (await shop.test.get(f"{FEED}/{event['id']}")).json() == event

    await shop.test.post(f"/api/v1/webhooks/{sandbox_inbox.endpoint_id}/test")
    expected = {"endpoint_id": sandbox_inbox.endpoint_id, "message": "This is a test event."}

    async def tested() -> bool:
        return expected in [one["data"]["object"] for one in await _items(shop.test, type="webhook.test")]

    await until(tested, "the test event")


async def _items(api: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await feed(api, **params))["items"]
    return found


async def test_who_lost_webhooks_reads_on_from_the_last_event_and_then_with_the_cursor(quiet_shop: Shop) -> None:
    shop = quiet_shop
    paid = [await sandbox_payment(shop) for _ in range(6)]
    (first,) = await _items(shop.test, object_id=paid[0])
    read, cursor = await read_forward(shop.test, 5, after=first["id"], page_size=2)
    assert [event["data"]["object"]["id"] for event in read] == paid[1:]
    # At the end the cursor stays usable: nothing yet, and later what came.
    end = await feed(shop.test, order="asc", cursor=cursor)
    assert (end["items"], end["has_more"], end["next_cursor"]) == ([], False, cursor)
    later = await sandbox_payment(shop)
    (event,), _ = await read_forward(shop.test, 1, cursor=cursor)
    assert event["data"]["object"]["id"] == later
    assert [one["data"]["object"]["id"] for one in await _items(shop.test)] == [later, *reversed(paid)]


async def test_newest_first_ends_with_the_oldest(quiet_shop: Shop) -> None:
    paid = [await sandbox_payment(quiet_shop) for _ in range(3)]
    first = await feed(quiet_shop.live, page_size=2)
    second = await feed(quiet_shop.live, page_size=2, cursor=first["next_cursor"])
    listed = [one["data"]["object"]["id"] for one in first["items"] + second["items"]]
    assert listed == list(reversed(paid))
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)


async def test_types_can_be_repeated_or_listed(quiet_shop: Shop) -> None:
    await sandbox_payment(quiet_shop)
    both = ["invoice.refunded", "invoice.status_changed"]
    assert len(await _items(quiet_shop.test, type=both)) == 1
    assert len(await _items(quiet_shop.test, type=", ".join(both))) == 1
    assert await _items(quiet_shop.test, type="invoice.refunded") == []
    assert await _items(quiet_shop.test, object_id="inv_nothing") == []
    assert await _items(quiet_shop.live, is_sandbox="false") == []
    assert await _items(quiet_shop.live, date_to="2020-01-01") == []
    assert len(await _items(quiet_shop.live, date_from="2020-01-01")) == 1


async def test_a_test_key_reads_sandbox_events_only(shop: Shop, inbox: Inbox) -> None:
    live = await shop.bill()
    await shop.pay(live)
    await shop.until_state(live["id"], "paid")
    (event,) = await _items(shop.live, object_id=live["id"])
    assert event["is_sandbox"] is False
    assert await _items(shop.test, object_id=live["id"]) == []
    assert await _items(shop.test, object_id=live["id"], is_sandbox="false") == []
    assert_error(await shop.test.get(f"{FEED}/{event['id']}"), Code.NOT_FOUND)
    assert_error(await shop.test.get(FEED, params={"after": event["id"]}), Code.INVALID_REQUEST)


async def test_another_merchants_events_and_those_that_are_too_old_do_not_exist(
    stack: Stack, shop: Shop, quiet_shop: Shop
) -> None:
    paid = [await sandbox_payment(quiet_shop) for _ in range(2)]
    old, young = reversed(await _items(quiet_shop.live))
    assert [one["data"]["object"]["id"] for one in (old, young)] == paid
    assert_error(await shop.live.get(f"{FEED}/{young['id']}"), Code.NOT_FOUND)
    assert await _items(shop.live, object_id=paid[1]) == []
    connection = await asyncpg.connect(stack.system.postgres.database().dsn("postgres"))
    await connection.execute("update events set created_at = created_at - interval '90 days' where id = $1", old["id"])
    await connection.close()
    assert_error(await quiet_shop.live.get(f"{FEED}/{old['id']}"), Code.NOT_FOUND)
    assert await _items(quiet_shop.live, date_from="2020-01-01") == [young]
    assert (await quiet_shop.live.get(f"{FEED}/{young['id']}")).json() == young
    for gone in (old["id"], "evt_nothing"):
        body = assert_error(await quiet_shop.live.get(FEED, params={"after": gone}), Code.INVALID_REQUEST)
        assert [one["field"] for one in body["errors"]] == ["after"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"type": "invoice.payed"}, "type"),
        ({"type": "*"}, "type"),
        ({"order": "newest"}, "order"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "x", "after": "evt_x"}, "after"),
        ({"page_size": "101"}, "page_size"),
        ({"page_size": "0"}, "page_size"),
        ({"object_id": "a\x00b"}, "object_id"),
        ({"after": "a\x00b"}, "after"),
        ({"date_from": "22.11.2026"}, "date_from"),
        ({"date_to": "9999-12-31"}, "date_to"),
    ],
)
async def test_a_wrong_parameter_is_named(shop: Shop, params: dict[str, str], field: str) -> None:
    body = assert_error(await shop.live.get(FEED, params=params), Code.INVALID_REQUEST)
    (error,) = body["errors"]
    assert error["field"] == field
    if field == "type":
        assert all(name in error["message"] for name in EventType)
