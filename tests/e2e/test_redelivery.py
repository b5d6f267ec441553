"""The gap of an endpoint that was disabled, or down, closed in order."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.inbox import Inbox
from tests.support.receiver import Answer, WebhookReceiver
from tests.support.shop import Shop, close_shop, fresh_key, open_shop
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.long]

PATH = "/api/v1/redeliveries"


@pytest.fixture
async def store(stack: Stack) -> AsyncIterator[Shop]:
    """A merchant of this test alone, without a bank."""
    made = await open_shop(stack, "Redelivered shop", scheme=None)
    yield made
    await close_shop(made)


async def paid(shop: Shop, count: int) -> list[str]:
    made = []
    for _ in range(count):
        bill = await shop.sandbox_bill()
        assert (await shop.simulate(bill["id"], "paid")).status_code == 200
        made.append(bill["id"])
    return made


def an_hour_ago() -> str:
    return (datetime.now(UTC) - timedelta(hours=1)).isoformat()


async def redeliver(api: httpx.AsyncClient, endpoint_id: str, key: str | None = None, **body: object) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    asked = {"since": an_hour_ago()} | body
    return await api.post(f"/api/v1/webhooks/{endpoint_id}/redeliver", json=asked, headers=headers)


async def over(api: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    id_ = answer.json()["id"]
    assert answer.headers["location"] == f"{PATH}/{id_}"

    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = (await api.get(f"{PATH}/{id_}")).json()
        return found if found["state"] != "running" else None

    ended = await until(look, "the end of the redelivery")
    assert ended is not None
    return ended


def invoices(inbox: Inbox) -> list[str]:
    return [one.object["id"] for one in inbox.all()]


async def test_what_a_disabled_endpoint_missed_comes_in_order_and_once(store: Shop, receiver: WebhookReceiver) -> None:
    inbox = await Inbox.register(store.test, receiver)
    known = await paid(store, 1)
    await inbox.wait(known[0])
    endpoint = f"/api/v1/webhooks/{inbox.endpoint_id}"
    assert (await store.test.post(f"{endpoint}/disable")).status_code == 200
    missed = await paid(store, 30)
    assert_error(await redeliver(store.test, inbox.endpoint_id), Code.WEBHOOK_ENDPOINT_DISABLED)
    assert (await store.test.post(f"{endpoint}/enable")).status_code == 200
    ended = await over(store.test, await redeliver(store.test, inbox.endpoint_id))
    assert invoices(inbox) == known + missed
    assert (ended["state"], ended["kind"]) == ("completed", "undelivered")
    assert (ended["found"], ended["delivered"], ended["handed_over"]) == (30, 30, 0)
    again = await over(store.test, await redeliver(store.test, inbox.endpoint_id))
    assert (again["found"], len(invoices(inbox))) == (0, 31)


async def test_what_died_while_the_receiver_was_down_comes_again_in_order(
    store: Shop, receiver: WebhookReceiver
) -> None:
    inbox = await Inbox.register(store.test, receiver)
    receiver.default = Answer(status=503)
    failed = await paid(store, 6)

    async def dead() -> bool:
        answer = await store.test.get("/api/v1/webhook-deliveries", params={"state": "dead"})
        return len(answer.json()["items"]) == 6

    await until(dead, "the end of the schedule")
    receiver.default = Answer()
    down = len(receiver.requests)
    ended = await over(store.test, await redeliver(store.test, inbox.endpoint_id, kind="failed"))
    assert invoices(inbox)[down:] == failed
    assert (ended["found"], ended["delivered"]) == (6, 6)
    # The same ids and bytes as before.
    sent = {one.headers["webhook-id"]: one.body for one in receiver.requests[:down]}
    assert {one.headers["webhook-id"]: one.body for one in receiver.requests[down:]} == sent


async def test_a_worker_killed_in_the_middle_leaves_nothing_out_and_doubles_one_at_most(
    store: Shop, stack: Stack, receiver: WebhookReceiver
) -> None:
    missed = await paid(store, 15)
    receiver.default = Answer(delay=0.2)
    inbox = await Inbox.register(store.test, receiver)
    answer = await redeliver(store.test, inbox.endpoint_id)
    await receiver.wait_for(count=5)
    await stack.restart("deliveries")
    ended = await over(store.test, answer)
    heard = invoices(inbox)
    assert list(dict.fromkeys(heard)) == missed
    assert len(heard) <= len(missed) + 1
    assert (ended["state"], ended["found"], ended["delivered"]) == ("completed", 15, 15)


async def test_a_cancel_stops_it_and_one_runs_at_a_time(store: Shop, receiver: WebhookReceiver) -> None:
    await paid(store, 3)
    receiver.default = Answer(status=500)
    inbox = await Inbox.register(store.test, receiver)
    key = fresh_key()
    first = await redeliver(store.test, inbox.endpoint_id, key=key, since="2026-01-01T00:00:00+05:00")
    assert_error(first, Code.INVALID_REQUEST)
    since = an_hour_ago()
    first = await redeliver(store.test, inbox.endpoint_id, key=key, since=since)
    assert first.status_code == 202, first.text
    again = await redeliver(store.test, inbox.endpoint_id, key=key, since=since)
    assert (again.status_code, again.content) == (202, first.content)
    other = await redeliver(store.test, inbox.endpoint_id, key=key, since=since, kind="all")
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)
    body = assert_error(await redeliver(store.test, inbox.endpoint_id), Code.REDELIVERY_RUNNING)
    assert body["details"] == {"redelivery_id": first.json()["id"]}
    await receiver.wait_for(count=1)
    for _ in range(2):
        canceled = await store.test.post(f"{PATH}/{first.json()['id']}/cancel")
        assert (canceled.status_code, canceled.json()["state"]) == (200, "canceled")
    second = await redeliver(store.test, inbox.endpoint_id)
    assert second.status_code == 202
    listed = (await store.test.get(PATH, params={"page_size": 1})).json()
    assert ([one["id"] for one in listed["items"]], listed["has_more"]) == ([second.json()["id"]], True)
    rest = (await store.test.get(PATH, params={"cursor": listed["next_cursor"]})).json()
    assert ([one["id"] for one in rest["items"]], rest["has_more"]) == ([first.json()["id"]], False)
    await store.test.post(f"{PATH}/{second.json()['id']}/cancel")


async def test_a_key_that_has_lapsed_sends_again(store: Shop, stack: Stack, receiver: WebhookReceiver) -> None:
    sent = await paid(store, 2)
    inbox = await Inbox.register(store.test, receiver)
    key, since = fresh_key(), an_hour_ago()
    first = await redeliver(store.test, inbox.endpoint_id, key=key, since=since, kind="all")
    assert (await over(store.test, first))["found"] == 2
    connection = await asyncpg.connect(stack.system.database.dsn("postgres"))
    aged = await connection.execute(
        "update idempotency_keys set created_at = created_at - interval '31 days' where resource_id = $1",
        first.json()["id"],
    )
    await connection.close()
    assert aged == "UPDATE 1"
    again = await redeliver(store.test, inbox.endpoint_id, key=key, since=since, kind="all")
    assert "idempotent-replayed" not in again.headers
    assert again.json()["id"] != first.json()["id"]
    assert (await over(store.test, again))["found"] == 2
    assert invoices(inbox) == sent * 2


async def test_requests_with_one_key_at_one_time_open_one_and_get_one_answer(
    store: Shop, receiver: WebhookReceiver
) -> None:
    await paid(store, 3)
    inbox = await Inbox.register(store.test, receiver)
    for _ in range(5):
        key, since = fresh_key(), an_hour_ago()
        asked = (redeliver(store.test, inbox.endpoint_id, key=key, since=since, kind="all") for _ in range(6))
        answers = await asyncio.gather(*asked)
        assert [answer.status_code for answer in answers] == [202] * 6, [answer.text for answer in answers]
        assert len({answer.content for answer in answers}) == 1
        opened = next(answer for answer in answers if "idempotent-replayed" not in answer.headers)
        assert (await over(store.test, opened))["found"] == 3
    assert len((await store.test.get(PATH)).json()["items"]) == 5


async def test_another_merchants_and_a_live_one_do_not_exist_for_a_test_key(
    store: Shop, shop: Shop, inbox: Inbox, sandbox_inbox: Inbox
) -> None:
    assert_error(await redeliver(store.live, inbox.endpoint_id), Code.NOT_FOUND)
    assert_error(await redeliver(shop.test, inbox.endpoint_id), Code.NOT_FOUND)
    live = await over(shop.live, await redeliver(shop.live, inbox.endpoint_id, kind="missing"))
    sandbox = await over(shop.test, await redeliver(shop.test, sandbox_inbox.endpoint_id, kind="missing"))
    for api in (shop.test, store.live):
        assert_error(await api.get(f"{PATH}/{live['id']}"), Code.NOT_FOUND)
        assert_error(await api.post(f"{PATH}/{live['id']}/cancel"), Code.NOT_FOUND)
    mine = [one["id"] for one in (await shop.test.get(PATH)).json()["items"]]
    assert sandbox["id"] in mine
    assert live["id"] not in mine
    assert (await store.live.get(PATH)).json()["items"] == []
    for nonsense in ("rdl_nothing", "a%00b"):
        assert_error(await shop.live.get(f"{PATH}/{nonsense}"), Code.NOT_FOUND)
        assert_error(await shop.live.post(f"{PATH}/{nonsense}/cancel"), Code.NOT_FOUND)
        assert_error(await redeliver(shop.live, nonsense), Code.NOT_FOUND)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["since"]),
        ({"since": "2026-11-22T10:00:00"}, ["since"]),
        ({"since": "yesterday", "until": 5, "kind": "some"}, ["since", "until", "kind"]),
        ({"since": "0001-01-01T00:00:00+14:00"}, ["since"]),
        ({"since": "2001-01-01T00:00:00Z", "until": "2000-01-01T00:00:00Z"}, ["since", "until"]),
        ({"since": "2999-01-01T00:00:00Z"}, ["since"]),
        # A field that is misspelt would send more than was asked for.
        ({"since": "2001-01-01T00:00:00Z", "kind": "some", "untill": 5}, ["kind", "untill", "since"]),
        (None, ["since"]),
    ],
)
async def test_every_wrong_field_is_named(
    shop: Shop, sandbox_inbox: Inbox, body: dict[str, Any] | None, fields: list[str]
) -> None:
    answer = await shop.test.post(f"/api/v1/webhooks/{sandbox_inbox.endpoint_id}/redeliver", json=body)
    wrong = assert_error(answer, Code.INVALID_REQUEST)
    assert [one["field"] for one in wrong["errors"]] == fields
