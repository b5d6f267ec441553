"""The books of a redelivery: which events it takes, in which order, and what a step that is repeated does."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import text

from db import redelivery_books
from db.engine import as_merchant
from db.errors import KeyTaken, RedeliveryRuns
from db.kept_answers import KeyedAnswer
from db.redeliveries import Redeliveries
from db.redelivery_books import RedeliveryBooks
from domain.ids import DELIVERY, EVENT, new_id
from domain.invoice import State
from domain.merchant import Mode
from domain.redelivery import Passed, Redelivery, RedeliveryKind, RedeliveryState
from tests.db.books import Books, Shop
from tests.db.redeliveries import _DELIVERY, _EVENT, PATTERNS, World, missed, new, opened, stands, turns


@pytest.fixture
def records(books: Books) -> Redeliveries:
    return Redeliveries(books.app)


@pytest.fixture
def walk(books: Books) -> RedeliveryBooks:
    return RedeliveryBooks(books.app, books.renderer)


# --- which events


@pytest.mark.parametrize("kind", RedeliveryKind)
@pytest.mark.parametrize(("seed", "seen"), [(1, redelivery_books.SEEN_AT_ONCE), (2, 7)])
async def test_each_kind_takes_what_the_rule_says_in_the_order_of_the_feed(
    books: Books,
    shop: Shop,
    records: Redeliveries,
    walk: RedeliveryBooks,
    kind: RedeliveryKind,
    seed: int,
    seen: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redelivery_books, "SEEN_AT_ONCE", seen)
    await missed(shop, 1)
    endpoint = await shop.endpoint(*PATTERNS)
    world = World(seed, endpoint)
    await world.write(shop, 250)
    moments = sorted(one["at"] for one in world.events)
    since, until = moments[10], moments[-10]
    run = await opened(records, shop, endpoint, kind, since=since, until=until)
    taken = await turns(walk, run)
    expected = world.expected(kind, since, until)
    assert len(expected) > 5
    assert [one.event_id for one in taken] == expected
    ended = await stands(records, run)
    assert (ended.state, ended.found, ended.delivered, ended.handed_over) == (
        RedeliveryState.COMPLETED, len(expected), len(expected), 0,
    )  # fmt: skip


async def test_what_an_endpoint_is_told_of_itself_is_not_sent_to_it(
    books: Books, shop: Shop, records: Redeliveries, walk: RedeliveryBooks
) -> None:
    endpoint = await shop.endpoint("*")
    await books.deliveries.test(shop.id, endpoint, is_sandbox=False, cause="t1")
    await books.do("update deliveries set state = 'dead' where endpoint_id = :id", id=endpoint)
    assert await turns(walk, await opened(records, shop, endpoint, RedeliveryKind.ALL)) == []


async def test_a_missing_delivery_is_made_with_the_bytes_of_its_endpoint(
    books: Books, shop: Shop, records: Redeliveries, walk: RedeliveryBooks
) -> None:
    (event,) = await missed(shop, 1)
    endpoint = await shop.endpoint()
    (taken,) = await turns(walk, await opened(records, shop, endpoint))
    (row,) = await books.fetch("select * from deliveries where id = :id", id=taken.delivery_id)
    assert (row["event_id"], row["endpoint_id"], row["state"]) == (event, endpoint, "pending")
    assert endpoint.encode() in row["body"]


async def test_an_event_whose_booking_has_not_ended_is_waited_for(
    books: Books, shop: Shop, records: Redeliveries, walk: RedeliveryBooks
) -> None:
    first = (await missed(shop, 1))[0]
    endpoint = await shop.endpoint()
    run = await opened(records, shop, endpoint, until=datetime.now(UTC) + timedelta(hours=1))
    async with as_merchant(books.app, shop.id) as connection:
        younger = {"id": new_id(EVENT), "merchant": shop.id, "type": "invoice.refunded", "sequence": 1000}
        at = (await connection.execute(text("select clock_timestamp()"))).scalar_one()
        await connection.execute(_EVENT, younger | {"sandbox": False, "at": at, "model": first})
        later = (await missed(shop, 1))[-1]
        await books.do("update deliveries set state = 'dead' where endpoint_id = :id", id=endpoint)
        turn = await walk.next(shop.id, run.id)
        assert turn.taken is not None
        assert turn.taken.event_id == first
        await walk.passed(shop.id, run.id, turn.taken, Passed.DELIVERED)
        held = await walk.next(shop.id, run.id)
        assert (held.taken, held.over) == (None, False)
        assert held.wait > 0
    for event in (younger["id"], later):
        turn = await walk.next(shop.id, run.id)
        assert turn.taken is not None
        assert turn.taken.event_id == event
        await walk.passed(shop.id, run.id, turn.taken, Passed.DELIVERED)


# --- repeated steps


async def test_a_step_that_is_repeated_takes_the_same_event_and_makes_one_delivery(
    books: Books, shop: Shop, records: Redeliveries, walk: RedeliveryBooks
) -> None:
    await missed(shop, 2)
    endpoint = await shop.endpoint()
    run = await opened(records, shop, endpoint, RedeliveryKind.MISSING)
    first, again = await walk.next(shop.id, run.id), await walk.next(shop.id, run.id)
    assert first.taken is not None
    assert first == again
    for _ in range(2):
        await walk.passed(shop.id, run.id, first.taken, Passed.HANDED_OVER)
    standing = await stands(records, run)
    assert (standing.found, standing.delivered, standing.handed_over) == (1, 0, 1)
    assert standing.place_id == first.taken.event_id
    assert len(await books.fetch("select 1 from deliveries where endpoint_id = :id", id=endpoint)) == 1


async def test_what_it_has_delivered_is_found_again_and_not_made_pending(
    books: Books, shop: Shop, records: Redeliveries, walk: RedeliveryBooks
) -> None:
    await missed(shop, 1)
    endpoint = await shop.endpoint()
    run = await opened(records, shop, endpoint, RedeliveryKind.ALL)
    first = (await walk.next(shop.id, run.id)).taken
    assert first is not None
    await books.do("update deliveries set state = 'delivered' where id = :id", id=first.delivery_id)
    assert (await walk.next(shop.id, run.id)).taken == first
    (row,) = await books.fetch("select state from deliveries where id = :id", id=first.delivery_id)
    assert row["state"] == "delivered"


@pytest.mark.parametrize("due", [-20, 1])
async def test_what_its_own_workflow_is_trying_now_is_waited_for(
    books: Books, shop: Shop, records: Redeliveries, walk: RedeliveryBooks, due: int
) -> None:
    (event,) = await missed(shop, 1)
    endpoint = await shop.endpoint()
    delivery = new_id(DELIVERY)
    async with as_merchant(books.app, shop.id) as connection:
        values = {"id": delivery, "merchant": shop.id, "event": event, "endpoint": endpoint, "state": "pending"}
        await connection.execute(_DELIVERY, values | {"attempts": 1, "failures": 1, "due": due})
    run = await opened(records, shop, endpoint)
    turn = await walk.next(shop.id, run.id)
    assert (turn.taken, turn.over) == (None, False)
    assert turn.wait > 0
    await books.do("update deliveries set state = 'delivered' where id = :id", id=delivery)
    assert await turns(walk, run) == []
    assert (await stands(records, run)).found == 0


async def test_what_was_delivered_while_it_was_looked_at_is_left_alone(
    books: Books, shop: Shop, records: Redeliveries, walk: RedeliveryBooks
) -> None:
    (event,) = await missed(shop, 1)
    endpoint = await shop.endpoint()
    delivery = new_id(DELIVERY)
    async with as_merchant(books.app, shop.id) as connection:
        values = {"id": delivery, "merchant": shop.id, "event": event, "endpoint": endpoint, "state": "pending"}
        await connection.execute(_DELIVERY, values | {"attempts": 1, "failures": 1, "due": 600})
    run = await opened(records, shop, endpoint)
    own = await asyncpg.connect(books.database.dsn("postgres"))
    try:
        async with own.transaction():
            await own.execute("update deliveries set state = 'delivered' where id = $1", delivery)
            looking = asyncio.create_task(turns(walk, run))
            await _waits(own)
    finally:
        await own.close()
    assert await looking == []
    (row,) = await books.fetch("select state from deliveries where id = :id", id=delivery)
    assert row["state"] == "delivered"


async def _waits(own: asyncpg.Connection) -> None:
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'update deliveries%'"
    async with asyncio.timeout(30):
        while not await own.fetchval(query):
            await own.execute("select pg_stat_clear_snapshot()")
            await asyncio.sleep(0.02)


# --- its end


@pytest.mark.parametrize(
    "blow",
    [
        "update webhook_endpoints set enabled = false, disabled_reason = 'merchant' where id = $1",
        "update webhook_endpoints set deleted_at = now() where id = $1",
    ],
)
async def test_it_ends_canceled_where_its_endpoint_is_disabled_or_deleted(
    books: Books, shop: Shop, records: Redeliveries, walk: RedeliveryBooks, blow: str
) -> None:
    await missed(shop, 2)
    endpoint = await shop.endpoint()
    run = await opened(records, shop, endpoint)
    turn = await walk.next(shop.id, run.id)
    assert turn.taken is not None
    await walk.passed(shop.id, run.id, turn.taken, Passed.DEAD)
    own = await asyncpg.connect(books.database.dsn("postgres"))
    await own.execute(blow, endpoint)
    await own.close()
    assert (await walk.next(shop.id, run.id)).over
    ended = await stands(records, run)
    assert (ended.state, ended.found, ended.delivered) == (RedeliveryState.CANCELED, 1, 0)
    assert ended.finished_at is not None
    assert await audited(books, run) == [
        ("key", "webhook_redelivery.created"), ("workflow", "webhook_redelivery.canceled"),
    ]  # fmt: skip


async def audited(books: Books, run: Redelivery) -> list[tuple[str, str]]:
    rows = await books.fetch(
        "select actor_kind, action from audit_log where object_id = :id order by position", id=run.id
    )
    return [(row["actor_kind"], row["action"]) for row in rows]


async def test_a_cancel_ends_it_once_and_nothing_is_taken_afterwards(
    books: Books, shop: Shop, records: Redeliveries, walk: RedeliveryBooks
) -> None:
    await missed(shop, 2)
    endpoint = await shop.endpoint()
    run = await opened(records, shop, endpoint)
    assert await walk.runs(shop.id, run.id)
    for _ in range(2):
        ended = await records.cancel(shop.id, run.id, asked_by="key_2", request_id="req_2")
        assert ended is not None
        assert ended.state is RedeliveryState.CANCELED
    assert (await walk.next(shop.id, run.id)).over
    assert not await walk.runs(shop.id, run.id)
    assert [action for _, action in await audited(books, run)] == [
        "webhook_redelivery.created", "webhook_redelivery.canceled",
    ]  # fmt: skip


async def test_one_runs_per_endpoint(shop: Shop, records: Redeliveries) -> None:
    endpoint, other = await shop.endpoint(), await shop.endpoint()
    run = await opened(records, shop, endpoint)
    with pytest.raises(RedeliveryRuns) as caught:
        await opened(records, shop, endpoint)
    assert caught.value.redelivery_id == run.id
    assert (await opened(records, shop, other)).state is RedeliveryState.RUNNING
    await records.cancel(shop.id, run.id, asked_by="key_1", request_id="req_1")
    assert (await opened(records, shop, endpoint)).state is RedeliveryState.RUNNING


async def test_the_answer_of_a_key_is_kept_with_it(books: Books, shop: Shop, records: Redeliveries) -> None:
    wanted = new(shop, await shop.endpoint())
    await records.open(wanted, request_id="req_1", keyed=keyed())
    kept = await books.reads.kept_answer(shop.id, Mode.LIVE, "o", "k")
    assert kept is not None
    assert (kept.fingerprint, kept.resource_id, kept.status, kept.body) == ("f", wanted.id, 202, b"{}")


def keyed() -> KeyedAnswer:
    return KeyedAnswer(mode=Mode.LIVE, operation="o", key="k", fingerprint="f", status=202, body=b"{}")


async def listed(records: Redeliveries, shop: Shop) -> list[str]:
    return [one.id for one in (await records.page(shop.id, sandbox_only=False)).items]


async def test_a_key_that_has_an_answer_opens_nothing_more_until_it_has_lapsed(
    books: Books, shop: Shop, records: Redeliveries
) -> None:
    endpoint, other = await shop.endpoint(), await shop.endpoint()
    first = await records.open(new(shop, endpoint), request_id="req_1", keyed=keyed())
    refused = new(shop, other)
    with pytest.raises(KeyTaken):
        await records.open(refused, request_id="req_2", keyed=keyed())
    assert await listed(records, shop) == [first.id]
    assert await audited(books, refused) == []
    kept = await books.reads.kept_answer(shop.id, Mode.LIVE, "o", "k")
    assert kept is not None
    assert kept.resource_id == first.id
    await books.do(
        "update idempotency_keys set created_at = now() - interval '31 days' where merchant_id = :m", m=shop.id
    )
    again = await records.open(new(shop, other), request_id="req_3", keyed=keyed())
    assert await listed(records, shop) == [again.id, first.id]


async def test_of_many_at_once_with_one_key_one_is_opened_and_the_others_are_told_of_the_key(
    shop: Shop, records: Redeliveries
) -> None:
    endpoint = await shop.endpoint()

    async def ask() -> str:
        try:
            return (await records.open(new(shop, endpoint), request_id="req_1", keyed=keyed())).id
        except KeyTaken:
            return "taken"

    answers = sorted(await asyncio.gather(*(ask() for _ in range(8))))
    assert answers == [*await listed(records, shop), *["taken"] * 7]


async def test_a_key_whose_redelivery_was_refused_keeps_no_answer(
    books: Books, shop: Shop, records: Redeliveries
) -> None:
    endpoint = await shop.endpoint()
    await opened(records, shop, endpoint)
    with pytest.raises(RedeliveryRuns):
        await records.open(new(shop, endpoint), request_id="req_1", keyed=keyed())
    assert await books.reads.kept_answer(shop.id, Mode.LIVE, "o", "k") is None


# --- reading


async def test_pages_newest_first_and_another_merchants_are_not_there(
    books: Books, shop: Shop, records: Redeliveries
) -> None:
    live, sandbox = await shop.endpoint(), await shop.endpoint(sandbox=True)
    made = []
    for number in range(5):
        endpoint, is_sandbox = (sandbox, True) if number % 2 else (live, False)
        run = await opened(records, shop, endpoint, is_sandbox=is_sandbox)
        await records.cancel(shop.id, run.id, asked_by="key_1", request_id="req_1")
        made.append(run.id)
    first = await records.page(shop.id, sandbox_only=False, limit=3)
    last = first.items[-1]
    second = await records.page(shop.id, sandbox_only=False, after=(last.created_at, last.id), limit=3)
    assert [one.id for one in first.items + second.items] == made[::-1]
    assert (first.has_more, second.has_more) == (True, False)
    assert [one.id for one in (await records.page(shop.id, sandbox_only=True)).items] == [made[3], made[1]]
    of_live = await records.page(shop.id, sandbox_only=False, endpoint_id=live)
    assert [one.id for one in of_live.items] == [made[4], made[2], made[0]]
    other = await books.merchant()
    assert (await records.page(other.id, sandbox_only=False)).items == []
    assert await records.redelivery(other.id, made[0]) is None
    assert await records.cancel(other.id, made[0], asked_by="key_1", request_id="req_1") is None


async def test_a_dead_one_keeps_its_bytes(
    books: Books, shop: Shop, records: Redeliveries, walk: RedeliveryBooks
) -> None:
    endpoint = await shop.endpoint()
    invoice = await shop.pending()
    booked = await shop.book(invoice.id, "paid", State.PAID)
    ref = booked.deliveries[0].id
    (before,) = await books.fetch("select * from deliveries where id = :id", id=ref)
    await books.do("update deliveries set state = 'dead', next_attempt_at = null where id = :id", id=ref)
    run = await opened(records, shop, endpoint)
    (taken,) = await turns(walk, run)
    (after,) = await books.fetch("select * from deliveries where id = :id", id=ref)
    assert (taken.delivery_id, after["body"], after["replay"]) == (ref, before["body"], run.id)
    assert (after["state"], after["failures"], after["next_attempt_at"] is None) == ("pending", 0, False)
