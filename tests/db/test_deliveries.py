import asyncio
import json
from typing import Any

import msgspec
import pytest

from db.deliveries import WISHED_WAIT
from domain.event import AttemptOutcome, DeliveryState, NotSent
from domain.invoice import State
from domain.merchant import Health
from tests.db.books import Books, Shop, at_once

DISABLE_AFTER = 120 * 3600.0
FAILED = AttemptOutcome(
    delivered=False, status=500, error="http_500", latency_ms=12, excerpt="oops", dead=False, wait=60.0
)
DELIVERED = AttemptOutcome(delivered=True, status=204, error=None, latency_ms=7, excerpt="", dead=False, wait=None)
DEAD = AttemptOutcome(delivered=False, status=None, error="timeout", latency_ms=9, excerpt="", dead=True, wait=None)


@pytest.fixture
async def delivery(shop: Shop) -> str:
    """A delivery that waits for its first attempt."""
    await shop.endpoint()
    invoice = await shop.pending()
    booked = await shop.book(invoice.id, "paid", State.PAID)
    return booked.deliveries[0].id


async def row(books: Books, delivery_id: str) -> dict[str, Any]:
    (found,) = await books.fetch(
        "select *, next_attempt_at - now() as wait from deliveries where id = :id", id=delivery_id
    )
    return found


async def attempts(books: Books, delivery_id: str) -> list[tuple[int, int | None, str | None]]:
    found = await books.fetch(
        "select number, status, error from delivery_attempts where delivery_id = :id order by number", id=delivery_id
    )
    return [(one["number"], one["status"], one["error"]) for one in found]


async def test_a_failed_attempt_is_written_down_and_the_next_one_planned(
    books: Books, shop: Shop, delivery: str
) -> None:
    booked = await books.attempted(shop.id, delivery, FAILED, disable_after=DISABLE_AFTER)
    assert (booked.state, booked.attempts, booked.retry_after) == (DeliveryState.PENDING, 1, 60.0)
    stands = await row(books, delivery)
    assert (stands["state"], stands["last_status"], stands["last_error"]) == ("pending", 500, "http_500")
    assert 0 < stands["wait"].total_seconds() <= 60
    assert stands["delivered_at"] is None
    assert await attempts(books, delivery) == [(1, 500, "http_500")]


async def test_a_success_after_failures_ends_the_delivery(books: Books, shop: Shop, delivery: str) -> None:
    await books.attempted(shop.id, delivery, FAILED, disable_after=DISABLE_AFTER)
    booked = await books.attempted(shop.id, delivery, DELIVERED, disable_after=DISABLE_AFTER)
    assert (booked.state, booked.attempts, booked.retry_after) == (DeliveryState.DELIVERED, 2, None)
    stands = await row(books, delivery)
    assert (stands["next_attempt_at"], stands["last_error"]) == (None, None)
    assert stands["delivered_at"] is not None
    assert await attempts(books, delivery) == [(1, 500, "http_500"), (2, 204, None)]


@pytest.mark.parametrize("last", [DELIVERED, DEAD])
async def test_what_is_settled_stays_settled_and_every_request_is_kept(
    books: Books, shop: Shop, delivery: str, last: AttemptOutcome
) -> None:
    await books.attempted(shop.id, delivery, last)
    before = await row(books, delivery)
    for number, more in enumerate((FAILED, DEAD), start=2):
        booked = await books.attempted(shop.id, delivery, more)
        assert (booked.state, booked.attempts, booked.retry_after) == (before["state"], number, None)
    after = await row(books, delivery)
    assert {**before, "wait": None, "attempts": 3} == {**after, "wait": None}
    assert len(await attempts(books, delivery)) == 3


async def test_a_success_counts_although_the_delivery_was_given_up_meanwhile(
    books: Books, shop: Shop, delivery: str
) -> None:
    due = await books.deliveries.due(shop.id, delivery)
    assert due is not None
    await books.do(
        "update webhook_endpoints set enabled = false, disabled_reason = 'merchant' where id = :id", id=due.endpoint_id
    )
    await books.give_up(shop.id, delivery, NotSent.ENDPOINT_DISABLED)
    assert (await row(books, delivery))["state"] == "dead"
    booked = await books.deliveries.attempted(due, shop.id, DELIVERED, disable_after=DISABLE_AFTER)
    assert booked.state is DeliveryState.DELIVERED
    stands = await row(books, delivery)
    assert (stands["state"], stands["last_error"], stands["next_attempt_at"]) == ("delivered", None, None)


@pytest.mark.parametrize("failure", [FAILED, DEAD])
async def test_a_wish_that_came_during_an_attempt_outlives_its_failure(
    books: Books, shop: Shop, delivery: str, failure: AttemptOutcome
) -> None:
    due = await books.deliveries.due(shop.id, delivery)
    assert due is not None
    await books.do("update deliveries set replay = 'wish', next_attempt_at = now() where id = :id", id=delivery)
    booked = await books.deliveries.attempted(due, shop.id, failure, disable_after=DISABLE_AFTER)
    assert (booked.state, booked.retry_after) == (DeliveryState.PENDING, WISHED_WAIT)
    stands = await row(books, delivery)
    assert (stands["state"], stands["failures"], stands["attempts"]) == ("pending", 0, 1)
    assert stands["wait"].total_seconds() <= 0


async def test_nothing_is_given_up_that_was_wished_or_whose_endpoint_is_enabled_again(
    books: Books, shop: Shop, delivery: str
) -> None:
    due = await books.deliveries.due(shop.id, delivery)
    assert due is not None
    await books.deliveries.give_up(due, shop.id, NotSent.ENDPOINT_DISABLED)  # it was enabled while this one looked
    assert (await row(books, delivery))["state"] == "pending"
    await books.do(
        "update webhook_endpoints set enabled = false, disabled_reason = 'merchant' where id = :id", id=due.endpoint_id
    )
    await books.do("update deliveries set replay = 'wish' where id = :id", id=delivery)
    await books.deliveries.give_up(due, shop.id, NotSent.ENDPOINT_DISABLED)
    assert (await row(books, delivery))["state"] == "pending"


@pytest.mark.parametrize("outcome", [FAILED, DELIVERED, DEAD])
async def test_a_booking_that_is_repeated_counts_once(
    books: Books, shop: Shop, delivery: str, outcome: AttemptOutcome
) -> None:
    due = await books.deliveries.due(shop.id, delivery)
    assert due is not None
    first = await books.deliveries.attempted(due, shop.id, outcome, disable_after=DISABLE_AFTER)
    again = await books.deliveries.attempted(due, shop.id, outcome, disable_after=DISABLE_AFTER, again=True)
    assert (again.state, again.attempts) == (first.state, first.attempts) == (again.state, 1)
    assert len(await attempts(books, delivery)) == 1


async def test_a_repeated_booking_of_a_success_is_not_lost_beside_another_attempt(
    books: Books, shop: Shop, delivery: str
) -> None:
    due = await books.deliveries.due(shop.id, delivery)
    assert due is not None
    await books.attempted(shop.id, delivery, FAILED)  # another process
    booked = await books.deliveries.attempted(due, shop.id, DELIVERED, disable_after=DISABLE_AFTER, again=True)
    assert (booked.state, booked.attempts) == (DeliveryState.DELIVERED, 2)


async def test_what_finds_no_place_for_as_long_as_a_schedule_lasts_is_dead_and_says_why(
    books: Books, shop: Shop, delivery: str
) -> None:
    due = await books.deliveries.due(shop.id, delivery)
    assert due is not None
    waits = await books.deliveries.postponed(due, shop.id, 90.0, patience=3600.0)
    assert (waits.state, waits.attempts, waits.retry_after) == (DeliveryState.PENDING, 0, 90.0)
    assert 60 < (await row(books, delivery))["wait"].total_seconds() <= 90
    await books.do("update deliveries set created_at = now() - interval '2 hours' where id = :id", id=delivery)
    assert (await books.deliveries.postponed(due, shop.id, 90.0, patience=3600.0)).state is DeliveryState.DEAD
    stands = await row(books, delivery)
    assert (stands["state"], stands["last_error"], stands["next_attempt_at"]) == ("dead", "endpoint_too_slow", None)


async def test_a_410_of_the_url_that_was_called_disables_no_other_one(books: Books, shop: Shop, delivery: str) -> None:
    due = await books.deliveries.due(shop.id, delivery)
    assert due is not None
    await books.do("update webhook_endpoints set url = 'https://new.example/hook' where id = :id", id=due.endpoint_id)
    gone = msgspec.structs.replace(DEAD, gone=True, status=410, url=due.url)
    await books.deliveries.attempted(due, shop.id, gone, disable_after=DISABLE_AFTER)
    (endpoint,) = await books.fetch(
        "select enabled, failing_since from webhook_endpoints where id = :id", id=due.endpoint_id
    )
    assert endpoint == {"enabled": True, "failing_since": None}


async def test_endpoints_that_end_at_one_moment_do_not_wait_for_each_other(books: Books, shop: Shop) -> None:
    """Each tells the others, so each booking writes a delivery to the endpoint that another booking has in hand."""
    for _ in range(4):
        await shop.endpoint()
    invoice = await shop.pending()
    refs = (await shop.book(invoice.id, "paid", State.PAID)).deliveries
    gone = msgspec.structs.replace(DEAD, gone=True, status=410)
    for _ in range(5):
        await asyncio.gather(*(books.attempted(shop.id, ref.id, gone) for ref in refs))
        await books.do(
            "update webhook_endpoints set enabled = true, disabled_reason = null where merchant_id = :id", id=shop.id
        )


async def test_attempts_at_once_are_counted_one_by_one(books: Books, shop: Shop, delivery: str) -> None:
    booked = await at_once(10, lambda _: books.attempted(shop.id, delivery, FAILED, disable_after=DISABLE_AFTER))
    assert sorted(one.attempts for one in booked) == list(range(1, 11))
    assert [number for number, _, _ in await attempts(books, delivery)] == list(range(1, 11))


async def test_a_delivery_that_was_given_up_is_dead_and_says_why(books: Books, shop: Shop, delivery: str) -> None:
    await books.do(
        "update webhook_endpoints set enabled = false, disabled_reason = 'gone' where merchant_id = :id", id=shop.id
    )
    await books.give_up(shop.id, delivery, NotSent.ENDPOINT_DISABLED)
    stands = await row(books, delivery)
    assert (stands["state"], stands["last_error"], stands["next_attempt_at"]) == ("dead", "endpoint_disabled", None)


async def test_a_settled_delivery_is_not_due_again_when_its_cause_is_repeated(
    books: Books, shop: Shop, delivery: str
) -> None:
    await books.attempted(shop.id, delivery, DELIVERED, disable_after=DISABLE_AFTER)
    due = await books.deliveries.due(shop.id, delivery)
    assert due is not None
    invoice_id = json.loads(due.body)["data"]["object"]["id"]
    assert (await shop.book(invoice_id, "paid", State.PAID)).deliveries == []


async def test_a_test_event_goes_to_its_endpoint_whatever_that_wants_and_once_per_cause(
    books: Books, shop: Shop
) -> None:
    endpoint = await shop.endpoint("invoice.refunded")
    await shop.endpoint("*")
    first = await books.deliveries.test(shop.id, endpoint, is_sandbox=False, cause="test-1")
    again = await books.deliveries.test(shop.id, endpoint, is_sandbox=False, cause="test-1")
    other = await books.deliveries.test(shop.id, endpoint, is_sandbox=False, cause="test-2")
    assert [ref.endpoint_id for ref in first] == [endpoint]
    assert again == first
    assert other != first
    due = await books.deliveries.due(shop.id, first[0].id)
    assert due is not None
    body = json.loads(due.body)
    assert (body["type"], body["data"]["object"]["endpoint_id"]) == ("webhook.test", endpoint)


async def test_an_unknown_delivery_is_not_due(books: Books, shop: Shop) -> None:
    assert await books.deliveries.due(shop.id, "whd_none") is None


async def test_the_banks_health_is_told_only_when_it_changes(books: Books, shop: Shop) -> None:
    endpoint = await shop.endpoint("kaspi.session_changed")
    sandbox = await shop.endpoint("*", sandbox=True)

    async def say(health: Health, reason: str | None = None) -> list[str]:
        refs = await books.deliveries.connection_health(shop.id, shop.connection_id, health, reason)
        return [ref.endpoint_id for ref in refs]

    assert await say(Health.CONNECTED) == []  # it was made connected
    assert await say(Health.DEGRADED, "kaspi_unavailable") == [endpoint]
    assert await say(Health.DEGRADED, "kaspi_unavailable") == []
    assert await say(Health.LOST, "kaspi_misconfigured") == [endpoint]
    assert await say(Health.CONNECTED) == [endpoint]
    assert await say(Health.CONNECTED) == []
    told = await shop.events(shop.connection_id)
    assert [event["sequence"] for event in told] == [1, 2, 3]
    assert [json.loads(event["object"])["health"] for event in told] == ["degraded", "lost", "connected"]
    assert sandbox not in {
        one["endpoint_id"]
        for one in await books.fetch("select endpoint_id from deliveries where merchant_id = :m", m=shop.id)
    }


async def test_a_bank_that_answers_is_noted_without_an_event(books: Books, shop: Shop) -> None:
    before = await books.reads.connection(shop.id)
    await books.deliveries.connection_health(shop.id, shop.connection_id, Health.CONNECTED, None)
    after = await books.reads.connection(shop.id)
    assert before is not None
    assert after is not None
    assert before.last_ok_at is not None
    assert after.last_ok_at is not None
    assert after.last_ok_at > before.last_ok_at
    assert after.health_changed_at == before.health_changed_at


async def test_two_pollers_that_notice_the_same_change_tell_it_once(books: Books, shop: Shop) -> None:
    await shop.endpoint()
    told = await at_once(
        8, lambda _: books.deliveries.connection_health(shop.id, shop.connection_id, Health.LOST, "kaspi_misconfigured")
    )
    assert sum(len(refs) for refs in told) == 1


async def test_news_of_the_banks_health_that_nobody_delivered_is_told_again_when_a_poller_starts(
    books: Books, shop: Shop
) -> None:
    failed = AttemptOutcome(delivered=False, status=500, error=None, latency_ms=1, excerpt="", dead=False, wait=30.0)
    ours, theirs = sorted([await shop.endpoint(), await shop.endpoint()])
    lost = (shop.id, shop.connection_id, Health.LOST, "kaspi_misconfigured")
    told = await books.deliveries.connection_health(*lost)
    assert [ref.endpoint_id for ref in told] == [ours, theirs]
    assert await books.deliveries.connection_health(*lost) == []
    assert await books.deliveries.connection_health(*lost, retell=True) == told
    # What its workflow has in hand, or has tried, is no orphan.
    assert await books.deliveries.connection_health(*lost, retell=True, telling=[told[0].id]) == told[1:]
    await books.attempted(shop.id, told[1].id, failed, disable_after=DISABLE_AFTER)
    assert await books.deliveries.connection_health(*lost, retell=True) == told[:1]
    assert len(await shop.events(shop.connection_id)) == 1


async def test_the_health_of_a_link_out_of_use_is_nobodys_news(books: Books, shop: Shop) -> None:
    await shop.endpoint()
    await books.connection(shop.id)
    lost = (shop.id, shop.connection_id, Health.LOST, "kaspi_misconfigured")
    assert await books.deliveries.connection_health(*lost) == []
    assert await shop.events(shop.connection_id) == []
