"""A developer's evening: `tolem listen` in one terminal, `tolem trigger` and `tolem events` in another."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from operations.triggering import TRIGGERED
from tests.support.cli import Listening, ended, kill_all, tolem
from tests.support.inbox import Inbox
from tests.support.receiver import WebhookReceiver
from tests.support.shop import Shop, close_shop, open_shop
from tests.support.stack import Stack
from tests.support.waiting import until
from webhooks.signing import new_secret, verify

pytestmark = [pytest.mark.stack, pytest.mark.long]


@pytest.fixture
async def laptop_shop(stack: Stack) -> AsyncIterator[Shop]:
    shop = await open_shop(stack, "Laptop shop", scheme=None)
    yield shop
    await close_shop(shop)
    await kill_all()


async def trigger(shop: Shop, event: str, *words: str) -> dict[str, str]:
    """What it printed: the ids by what they are of."""
    code, out, err = await ended(await tolem("trigger", event, *words, *access(shop)))
    assert code == 0, err
    return dict(line.split() for line in out.splitlines())


def access(shop: Shop) -> tuple[str, ...]:
    return ("--key", shop.test.headers["X-API-Key"], "--api", shop.stack.system.api_url)


async def test_every_event_that_can_be_triggered_arrives_signed(laptop_shop: Shop, receiver: WebhookReceiver) -> None:
    async with WebhookReceiver() as registered:
        inbox = await Inbox.register(laptop_shop.test, registered)
        secret = new_secret()
        listening = await Listening.start("--forward-to", receiver.url, "--secret", secret, *access(laptop_shop))
        endpoint = None
        for event in TRIGGERED:
            ids = await trigger(laptop_shop, event)
            endpoint = ids.get("endpoint", endpoint)
            (got,) = await receiver.wait_for(lambda one, ids=ids: one.headers["webhook-id"] == ids["event"])  # type: ignore[misc]
            verify(secret, got.headers, got.body, got.at, timedelta(minutes=5))
            body = json.loads(got.body)
            assert (body["type"], body["is_sandbox"]) == (event, True)
            about = body["data"]["object"]
            assert about.get("id", about.get("endpoint_id")) in ids.values()
            # The same event as the endpoint got from production, but for the endpoint.
            wanted = ids["event"]
            (told,) = await registered.wait_for(lambda one, wanted=wanted: one.headers["webhook-id"] == wanted)  # type: ignore[misc]
            assert json.loads(told.body) | {"endpoint_id": "whe_listen"} == body
            assert list(json.loads(told.body)) == list(body)
            await listening.until(ids["event"])
        assert inbox.endpoint_id == endpoint
        end = await listening.stop()
    assert " 0 failed." in end


async def test_nothing_is_lost_or_repeated_while_the_api_is_stopped_and_killed(
    stack: Stack, laptop_shop: Shop, receiver: WebhookReceiver
) -> None:
    listening = await Listening.start("--forward-to", receiver.url, *access(laptop_shop))
    made = [(await trigger(laptop_shop, "invoice.status_changed"))["event"]]
    await listening.until(made[0])
    await stack.stop_part("api")
    await listening.until("Trying again in")
    await stack.start_part("api")
    made.append((await trigger(laptop_shop, "invoice.status_changed"))["event"])
    await listening.until(made[1])
    await stack.restart("api")
    made.append((await trigger(laptop_shop, "invoice.status_changed"))["event"])
    await listening.until(made[2])
    assert [one.headers["webhook-id"] for one in receiver.requests] == made
    assert "3 delivered, 0 failed." in await listening.stop()


async def test_an_event_is_sent_again_to_an_endpoint(laptop_shop: Shop, receiver: WebhookReceiver) -> None:
    inbox = await Inbox.register(laptop_shop.test, receiver)
    event = (await trigger(laptop_shop, "invoice.status_changed"))["event"]
    await receiver.wait_for()

    async def delivered() -> bool:
        found = (await laptop_shop.test.get("/api/v1/webhook-deliveries", params={"event_id": event})).json()["items"]
        return [one["state"] for one in found] == ["delivered"]

    await until(delivered, "the first delivery to be booked")
    for words in ((), ("--endpoint", inbox.endpoint_id)):
        before = len(receiver.requests)
        code, out, err = await ended(await tolem("events", "resend", event, *words, *access(laptop_shop)))
        assert code == 0, err
        assert inbox.endpoint_id in out
        await receiver.wait_for(count=before + 1)
        await until(delivered, "the delivery to be booked again")
    assert {one.headers["webhook-id"] for one in receiver.requests} == {event}
    assert len({one.body for one in receiver.requests}) == 1
