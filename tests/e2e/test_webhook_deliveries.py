"""The delivery log through the API, and what sends a webhook again."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.inbox import Inbox
from tests.support.receiver import Answer, WebhookReceiver
from tests.support.shop import Shop, close_shop, fresh_key, open_shop
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.stack

LOG = "/api/v1/webhook-deliveries"
# The receiver asks for a long wait, so that nothing but a wish to try now ends it.
LATER = Answer(status=503, body=b"later", headers={"Retry-After": "3600"})
NOWHERE = ["whd_nothing", "..", "%00", "whd_a%00b", "whd_" + "a" * 5000, "%D0%96"]


@pytest.fixture
async def shop(stack: Stack) -> AsyncIterator[Shop]:
    """A merchant of this test alone, with no link to the bank."""
    made = await open_shop(stack, "Delivery log shop", scheme=None)
    yield made
    await close_shop(made)


@pytest.fixture
async def inbox(shop: Shop, receiver: WebhookReceiver) -> Inbox:
    return await Inbox.register(shop.test, receiver)


async def paid(shop: Shop) -> str:
    invoice = await shop.sandbox_bill()
    assert (await shop.simulate(invoice["id"], "paid")).status_code == 200
    return str(invoice["id"])


async def log(api: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    answer = await api.get(LOG, params=params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def one(api: httpx.AsyncClient, delivery_id: str) -> dict[str, Any]:
    answer = await api.get(f"{LOG}/{delivery_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def only(shop: Shop, state: str, **params: Any) -> dict[str, Any]:
    """The only delivery that fits, once it is in this state and was tried."""

    async def look() -> dict[str, Any] | None:
        found = await log(shop.test, **params)
        return found[0] if len(found) == 1 and found[0]["state"] == state and found[0]["attempts"] else None

    found = await until(look, f"a delivery that is {state}")
    assert found is not None
    return found


async def retry(api: httpx.AsyncClient, delivery_id: str, key: str | None = None) -> httpx.Response:
    return await api.post(f"{LOG}/{delivery_id}/retry", headers={"Idempotency-Key": key} if key else {})


async def test_a_dead_webhook_is_sent_again_with_its_id_and_its_bytes(
    shop: Shop, inbox: Inbox, receiver: WebhookReceiver
) -> None:
    receiver.default = Answer(status=500, body="не сейчас".encode())
    object_id = await paid(shop)
    dead = await only(shop, "dead")
    assert (dead["object_id"], dead["event"], dead["attempts"], dead["last_status"], dead["last_error"]) == (
        object_id, "invoice.status_changed", 4, 500, "http_status",
    )  # fmt: skip
    assert (dead["next_attempt_at"], dead["delivered_at"], dead["replayed_at"]) == (None, None, None)
    receiver.default = Answer(body=b"ok")
    queued = await retry(shop.test, dead["id"])
    assert (queued.status_code, queued.json()["state"], queued.json()["id"]) == (202, "pending", dead["id"])
    delivered = await only(shop, "delivered")
    assert delivered["attempts"] == 5
    assert delivered["replayed_at"] is not None
    told = inbox.about(object_id)
    assert len(told) == 5
    assert {(one.id, one.request.body) for one in told} == {(dead["event_id"], told[0].request.body)}

    detail = await one(shop.test, dead["id"])
    assert detail["request_body"].encode() == told[0].request.body
    shown = [(each["number"], each["status"], each["error"], each["response_body"]) for each in detail["attempt_log"]]
    assert shown == [(n, 500, "http_status", "не сейчас") for n in range(1, 5)] + [(5, 200, None, "ok")]
    for each, request in zip(detail["attempt_log"], told, strict=True):
        assert each["url"] == receiver.url
        sent = {name.lower(): value for name, value in each["request_headers"].items()}
        assert sent["webhook-id"] == dead["event_id"]
        assert sent["webhook-signature"] == request.request.headers["webhook-signature"]


async def test_what_was_delivered_is_sent_again_as_often_as_there_are_keys(
    shop: Shop, inbox: Inbox, receiver: WebhookReceiver
) -> None:
    object_id, key = await paid(shop), fresh_key()
    first = await only(shop, "delivered")
    answers = [await retry(shop.test, first["id"], key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert {answer.content for answer in answers} == {answers[0].content}
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true", "true"]
    await inbox.wait(object_id, count=2)
    await only(shop, "delivered")
    other = await retry(shop.test, first["id"], fresh_key())
    assert other.status_code == 202
    await inbox.wait(object_id, count=3)
    last = await only(shop, "delivered")
    assert (last["attempts"], last["delivered_at"]) == (3, first["delivered_at"])
    assert len(inbox.about(object_id)) == 3

    second = await paid(shop)
    reused = await retry(shop.test, (await only(shop, "delivered", object_id=second))["id"], key)
    assert_error(reused, Code.IDEMPOTENCY_KEY_REUSED)


async def test_what_waits_for_an_hour_is_tried_at_once(shop: Shop, inbox: Inbox, receiver: WebhookReceiver) -> None:
    receiver.answer_next(LATER, LATER)
    object_id = await paid(shop)
    waiting = await only(shop, "pending")
    assert (waiting["attempts"], waiting["last_status"]) == (1, 503)
    assert (await retry(shop.test, waiting["id"])).status_code == 202
    await inbox.wait(object_id, count=2)

    async def booked() -> bool:
        return bool((await one(shop.test, waiting["id"]))["attempts"] == 2)

    await until(booked, "the second attempt")
    assert (await one(shop.test, waiting["id"]))["state"] == "pending"  # and waits for an hour again
    assert (await retry(shop.test, waiting["id"])).status_code == 202
    await inbox.wait(object_id, count=3)
    arrived = await only(shop, "delivered")
    assert (arrived["attempts"], arrived["replayed_at"]) == (3, None)


async def test_a_retry_while_the_first_attempt_is_on_its_way_makes_no_second_request(
    shop: Shop, inbox: Inbox, receiver: WebhookReceiver
) -> None:
    receiver.answer_next(Answer(delay=1.5))
    object_id = await paid(shop)
    await inbox.wait(object_id)
    (waiting,) = await log(shop.test)
    assert (waiting["state"], waiting["attempts"]) == ("pending", 0)
    assert (await retry(shop.test, waiting["id"])).status_code == 202
    await only(shop, "delivered")

    async def over() -> bool:
        return await shop.open_workflows() == 0

    await until(over, "the wish to find that it is done")
    assert (await one(shop.test, waiting["id"]))["attempts"] == 1
    assert len(inbox.about(object_id)) == 1


async def test_nothing_is_sent_to_an_endpoint_that_does_not_listen_and_its_history_stays(
    shop: Shop, inbox: Inbox, receiver: WebhookReceiver
) -> None:
    object_id = await paid(shop)
    delivered = await only(shop, "delivered")
    event = f"/api/v1/events/{delivered['event_id']}/resend"
    here = f"/api/v1/webhooks/{inbox.endpoint_id}"
    assert (await shop.test.post(f"{here}/disable")).status_code == 200
    assert_error(await retry(shop.test, delivered["id"]), Code.WEBHOOK_ENDPOINT_DISABLED)
    refused = await shop.test.post(event, json={"endpoint_id": inbox.endpoint_id})
    assert_error(refused, Code.WEBHOOK_ENDPOINT_DISABLED)
    nobody = await shop.test.post(event)
    assert (nobody.status_code, nobody.json()) == (202, {"items": []})
    assert (await shop.test.delete(here)).status_code == 204
    assert_error(await retry(shop.test, delivered["id"]), Code.WEBHOOK_ENDPOINT_DISABLED)
    assert_error(await shop.test.post(event, json={"endpoint_id": inbox.endpoint_id}), Code.NOT_FOUND)
    assert await log(shop.test, endpoint_id=inbox.endpoint_id) == [delivered]
    assert len((await one(shop.test, delivered["id"]))["attempt_log"]) == 1
    assert len(inbox.about(object_id)) == 1


async def test_an_event_is_sent_again_to_one_endpoint_or_to_all_that_want_it(
    shop: Shop, inbox: Inbox, receiver: WebhookReceiver
) -> None:
    object_id = await paid(shop)
    event_id = (await only(shop, "delivered"))["event_id"]
    resend = f"/api/v1/events/{event_id}/resend"
    async with WebhookReceiver() as late, WebhookReceiver() as picky, WebhookReceiver() as live:
        late_inbox = await Inbox.register(shop.test, late)
        picky_inbox = await Inbox.register(shop.test, picky, events=["refund.*"])
        live_inbox = await Inbox.register(shop.live, live)

        everybody = await shop.test.post(resend)
        assert everybody.status_code == 202, everybody.text
        queued = everybody.json()["items"]
        assert {one["endpoint_id"] for one in queued} == {inbox.endpoint_id, late_inbox.endpoint_id}
        assert {(one["state"], one["event_id"]) for one in queued} == {("pending", event_id)}
        assert (await late_inbox.wait(object_id))[0].id == event_id
        first, again = await inbox.wait(object_id, count=2)
        assert first.request.body == again.request.body

        key = fresh_key()
        for replayed in (None, "true"):
            chosen = await shop.test.post(
                resend, json={"endpoint_id": picky_inbox.endpoint_id}, headers={"Idempotency-Key": key}
            )
            assert (chosen.status_code, chosen.headers.get("idempotent-replayed")) == (202, replayed)
            (queued_one,) = chosen.json()["items"]
            assert queued_one["endpoint_id"] == picky_inbox.endpoint_id
            assert (await picky_inbox.wait(object_id))[0].id == event_id

        wrong_mode = await shop.live.post(resend, json={"endpoint_id": live_inbox.endpoint_id})
        body = assert_error(wrong_mode, Code.INVALID_REQUEST)
        assert [error["field"] for error in body["errors"]] == ["endpoint_id"]
        unseen = await shop.test.post(resend, json={"endpoint_id": live_inbox.endpoint_id})
        assert_error(unseen, Code.NOT_FOUND)

        async def all_arrived() -> bool:
            return all(one["state"] == "delivered" for one in await log(shop.test))

        await until(all_arrived, "every delivery")
        assert (len(late.requests), len(picky.requests), len(live.requests)) == (1, 1, 0)


async def test_pages_and_filters_show_each_delivery_once(shop: Shop, inbox: Inbox) -> None:
    objects = [await paid(shop) for _ in range(5)]
    await inbox.wait(objects[-1])
    pages, params = [], dict[str, Any](page_size=2)
    while True:
        page = (await shop.test.get(LOG, params=params)).json()
        pages.append(page)
        if not page["has_more"]:
            break
        params["cursor"] = page["next_cursor"]
    assert [len(page["items"]) for page in pages] == [2, 2, 1]
    walked = [one["object_id"] for page in pages for one in page["items"]]
    assert walked == objects[::-1]
    assert pages[-1]["next_cursor"] is None
    numbered = [(await shop.test.get(LOG, params={"page": n, "page_size": 2})).json()["items"] for n in (1, 2, 3, 4)]
    assert [one["object_id"] for items in numbered for one in items] == walked

    def of(items: list[dict[str, Any]]) -> list[str]:
        return [one["object_id"] for one in items]

    assert of(await log(shop.test, object_id=objects[2])) == [objects[2]]
    assert of(await log(shop.test, event="invoice.status_changed,refund.failed")) == walked
    assert of(await log(shop.test, event="refund.failed")) == []
    assert of(await log(shop.test, state=["pending", "delivered", "dead"])) == walked
    assert of(await log(shop.test, endpoint_id=inbox.endpoint_id)) == walked
    assert of(await log(shop.test, date_to="2020-01-01")) == []
    assert of(await log(shop.test, is_sandbox="false")) == walked  # a test key sees sandbox, whatever it asks


async def test_every_wrong_filter_is_named(shop: Shop) -> None:
    for params, field in (
        ({"state": "lost"}, "state"),
        ({"event": "invoice.lost"}, "event"),
        ({"page_size": 0}, "page_size"),
        ({"cursor": "x"}, "cursor"),
        ({"date_from": "9999-99-99"}, "date_from"),
        ({"object_id": "a\x00b"}, "object_id"),
        ({"endpoint_id": "a\x00b"}, "endpoint_id"),
        ({"event_id": "a\x00b"}, "event_id"),
        ({"page": 10_000}, "page"),
    ):
        answer = await shop.test.get(LOG, params=params)
        body = assert_error(answer, Code.INVALID_REQUEST)
        assert [error["field"] for error in body["errors"]] == [field], params


async def test_all_wrong_filters_are_named_at_once(shop: Shop) -> None:
    params: dict[str, str | int] = {
        "page": 10_000,
        "state": "lost",
        "endpoint_id": "a\x00b",
        "event": "invoice.lost",
        "object_id": "a\x00b",
        "event_id": "a\x00b",
        "date_to": "9999-12-31",
    }
    body = assert_error(await shop.test.get(LOG, params=params), Code.INVALID_REQUEST)
    assert [error["field"] for error in body["errors"]] == list(params)


async def test_a_misspelt_endpoint_sends_to_nobody(shop: Shop, inbox: Inbox) -> None:
    object_id = await paid(shop)
    before = await only(shop, "delivered")
    resend = f"/api/v1/events/{before['event_id']}/resend"
    body = assert_error(await shop.test.post(resend, json={"endpoint": inbox.endpoint_id}), Code.INVALID_REQUEST)
    assert [error["field"] for error in body["errors"]] == ["endpoint"]
    assert await only(shop, "delivered") == before
    assert len(inbox.about(object_id)) == 1


async def test_an_event_about_an_endpoint_is_sent_again_to_the_others_only(
    shop: Shop, inbox: Inbox, receiver: WebhookReceiver
) -> None:
    async with WebhookReceiver() as gone:
        closing = await Inbox.register(shop.test, gone)
        gone.default = Answer(status=410)
        await paid(shop)
        (told,) = await inbox.wait(closing.endpoint_id)
        assert told.body["type"] == "webhook.endpoint_disabled"
        gone.default = Answer()
        enabled = await shop.test.post(f"/api/v1/webhooks/{closing.endpoint_id}/enable")
        assert enabled.status_code == 200, enabled.text
        resent = await shop.test.post(f"/api/v1/events/{told.id}/resend")
        assert [one["endpoint_id"] for one in resent.json()["items"]] == [inbox.endpoint_id]
        await inbox.wait(closing.endpoint_id, count=2)
        assert len(gone.requests) == 1  # the invoice's event, which it refused


async def test_nobody_sees_or_retries_what_is_not_theirs(stack: Stack, shop: Shop, inbox: Inbox) -> None:
    object_id = await paid(shop)
    mine = await only(shop, "delivered")
    stranger = await open_shop(stack, "Stranger", scheme=None)
    for api in (stranger.live, stranger.test):
        assert await log(api) == []
        assert_error(await api.get(f"{LOG}/{mine['id']}"), Code.NOT_FOUND)
        assert_error(await retry(api, mine["id"]), Code.NOT_FOUND)
        assert_error(await api.post(f"/api/v1/events/{mine['event_id']}/resend"), Code.NOT_FOUND)
    await close_shop(stranger)
    assert [one["id"] for one in await log(shop.live)] == [mine["id"]]  # a live key sees both modes

    async with WebhookReceiver() as live:
        made = await Inbox.register(shop.live, live)
        assert (await shop.live.post(f"/api/v1/webhooks/{made.endpoint_id}/test")).status_code == 202

        async def told() -> list[dict[str, Any]]:
            return await log(shop.live, is_sandbox="false", state="delivered")

        (of_live,) = await until(told, "the test event")
        assert [one["id"] for one in await log(shop.test)] == [mine["id"]]
        assert_error(await shop.test.get(f"{LOG}/{of_live['id']}"), Code.NOT_FOUND)
        assert_error(await retry(shop.test, of_live["id"]), Code.NOT_FOUND)
        assert_error(await shop.test.post(f"/api/v1/events/{of_live['event_id']}/resend"), Code.NOT_FOUND)
        resent = await shop.live.post(f"/api/v1/events/{of_live['event_id']}/resend")  # a test is its endpoint's alone
        assert [one["endpoint_id"] for one in resent.json()["items"]] == [made.endpoint_id]
    for wrong in NOWHERE:
        for answer in (
            await shop.test.get(f"{LOG}/{wrong}"),
            await retry(shop.test, wrong),
            await shop.test.post(f"/api/v1/events/{wrong}/resend"),
        ):
            assert answer.status_code in {404, 405}, (wrong, answer.text)
    assert len(inbox.about(object_id)) == 1


@pytest.mark.long
async def test_a_retry_while_the_engine_is_away_is_not_lost(
    shop: Shop, inbox: Inbox, receiver: WebhookReceiver, stack: Stack
) -> None:
    object_id = await paid(shop)
    delivered = await only(shop, "delivered")
    await stack.kill9("temporal")
    assert_error(await retry(shop.test, delivered["id"], fresh_key()), Code.ENGINE_SLOW)
    assert (await one(shop.test, delivered["id"]))["state"] == "pending"
    await stack.start_part("temporal")
    await inbox.wait(object_id, count=2)  # nobody asks again: the watchdog finds it
    await only(shop, "delivered")
