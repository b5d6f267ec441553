"""The queue of jobs through the API: the books, and what Temporal adds to them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.inbox import Inbox
from tests.support.receiver import Answer, WebhookReceiver
from tests.support.shop import Shop, close_shop, open_shop
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.stack

JOBS = "/api/v1/jobs"
EVERY_WRONG = {"cursor": "x", "kind": "payout", "state": "lost"}
LATER = Answer(status=503, headers={"Retry-After": "3600"})


@pytest.fixture
async def shop(stack: Stack) -> AsyncIterator[Shop]:
    """A merchant of this test alone."""
    made = await open_shop(stack, "Shop with jobs", scheme=None)
    yield made
    await close_shop(made)


async def jobs(api: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    answer = await api.get(JOBS, params=params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def paid(shop: Shop) -> str:
    invoice = await shop.sandbox_bill()
    assert (await shop.simulate(invoice["id"], "paid")).status_code == 200
    return str(invoice["id"])


async def job_of(shop: Shop, state: str, **params: Any) -> dict[str, Any]:
    """The only job that fits, once it is in this state and Temporal runs it (or, dead, no longer does)."""

    async def look() -> dict[str, Any] | None:
        found = [one for one in await jobs(shop.test, **params) if one["state"] == state and one["engine"]]
        settled = [one for one in found if one["engine"]["running"] is (state != "dead")]
        return settled[0] if len(settled) == 1 else None

    found = await until(look, f"a job that is {state}")
    assert found is not None
    return found


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_webhook_that_failed_is_a_job_with_temporals_word_on_it(shop: Shop, receiver: WebhookReceiver) -> None:
    inbox = await Inbox.register(shop.test, receiver)
    assert await jobs(shop.test) == []
    receiver.default = LATER
    object_id = await paid(shop)

    async def waits() -> list[dict[str, Any]]:
        return [one for one in [await job_of(shop, "retrying")] if one["engine"]["next_attempt_at"]]

    (job,) = await until(waits, "Temporal to wait for the next attempt")
    assert (job["kind"], job["object_id"], job["is_sandbox"]) == ("delivery", object_id, True)
    assert (job["attempts"], job["last_error"], job["workflow_id"]) == (1, "http_status", f"delivery-{job['id']}")
    assert (job["engine"]["attempt"], job["engine"]["last_failure"]) == (2, "NotDelivered")
    soon = datetime.now(UTC) + timedelta(minutes=50)
    assert moment(job["next_attempt_at"]) > soon
    assert moment(job["engine"]["next_attempt_at"]) > soon

    receiver.default = Answer()
    retried = await shop.test.post(f"/api/v1/webhook-deliveries/{job['id']}/retry")
    assert retried.status_code == 202
    await inbox.wait(object_id, count=2)

    async def empty() -> bool:
        return await jobs(shop.test) == []

    await until(empty, "the queue to be empty")


async def test_dead_webhooks_and_cases_stay_in_the_queue_page_by_page(shop: Shop, receiver: WebhookReceiver) -> None:
    await Inbox.register(shop.test, receiver, events=["invoice.status_changed"])
    receiver.default = Answer(status=500)
    object_id = await paid(shop)
    dead = await job_of(shop, "dead")
    assert (dead["attempts"], dead["next_attempt_at"]) == (4, None)
    assert dead["engine"] == {"running": False, "attempt": None, "last_failure": None, "next_attempt_at": None}
    for simulate in ("pending", "attention"):
        body = {"amount": 100, "simulate": simulate}
        assert (await shop.test.post(f"/api/v1/invoices/{object_id}/refund", json=body)).status_code == 201

    async def three() -> list[dict[str, Any]] | None:
        found = await jobs(shop.test)
        return found if len(found) >= 3 and all(one["engine"] for one in found) else None

    queue = await until(three, "the refunds in the queue, with Temporal's word on each")
    assert queue is not None
    of_refunds = [one for one in queue if one["kind"] == "refund"]
    assert {one["object_id"] for one in of_refunds} == {object_id}
    assert all(one["engine"]["running"] for one in of_refunds)
    assert all(one["workflow_id"] == f"refund-{one['id']}" for one in of_refunds)
    assert [one["id"] for one in queue] == [
        one["id"] for one in sorted(queue, key=lambda one: (one["created_at"], one["id"]), reverse=True)
    ]
    walked, cursor = [], None
    while True:
        page = (await shop.test.get(JOBS, params={"page_size": 1} | ({"cursor": cursor} if cursor else {}))).json()
        walked += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert walked == [one["id"] for one in queue]
    assert [one["id"] for one in await jobs(shop.test, kind="delivery", state="dead,retrying")] == [dead["id"]]
    assert await jobs(shop.live, is_sandbox="false") == []
    assert len(await jobs(shop.live)) == len(queue)


async def test_the_queue_can_be_read_while_temporal_is_away(
    shop: Shop, receiver: WebhookReceiver, stack: Stack
) -> None:
    await Inbox.register(shop.test, receiver)
    receiver.default = LATER
    object_id = await paid(shop)
    with_engine = await job_of(shop, "retrying")
    await stack.kill9("temporal")
    (job,) = await jobs(shop.test)
    assert (job["object_id"], job["state"], job["engine"]) == (object_id, "retrying", None)
    assert job | {"engine": 0} == with_engine | {"engine": 0}
    await stack.start_part("temporal")
    await job_of(shop, "retrying")


async def test_nobody_sees_another_merchants_jobs_and_wrong_words_are_named(
    stack: Stack, shop: Shop, receiver: WebhookReceiver
) -> None:
    await Inbox.register(shop.test, receiver)
    receiver.default = LATER
    await paid(shop)
    await job_of(shop, "retrying")
    stranger = await open_shop(stack, "Stranger", scheme=None)
    assert await jobs(stranger.live) == await jobs(stranger.test) == []
    await close_shop(stranger)
    async with WebhookReceiver() as live:
        live.default = LATER
        made = await Inbox.register(shop.live, live)
        assert (await shop.live.post(f"/api/v1/webhooks/{made.endpoint_id}/test")).status_code == 202

        async def two() -> bool:
            return len(await jobs(shop.live)) == 2

        await until(two, "the live job")
        assert len(await jobs(shop.test)) == 1
        assert len(await jobs(shop.live, is_sandbox="false")) == 1
    for params in ({"kind": "payout"}, {"state": "lost"}, {"cursor": "x"}, {"page_size": 101}, EVERY_WRONG):
        body = assert_error(await shop.test.get(JOBS, params=params), Code.INVALID_REQUEST)
        assert [error["field"] for error in body["errors"]] == list(params)
