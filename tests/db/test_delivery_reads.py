"""The delivery log: exactly what was asked for, in one order, by keyset and by offset, and nobody else's."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from db.delivery_reads import ATTEMPTS_SHOWN, DeliveryFilter, DeliveryReads
from db.engine import as_merchant
from domain.event import AttemptOutcome, Delivery, DeliveryState, EventType
from domain.ids import DELIVERY, EVENT, INVOICE, new_id
from domain.invoice import State
from tests.db.books import Books, Shop

START = datetime(2026, 11, 20, tzinfo=UTC)
TYPES = (EventType.INVOICE_STATUS_CHANGED, EventType.REFUND_COMPLETED, EventType.WEBHOOK_TEST)
SEED = 20261122

_EVENT = text(
    "insert into events"
    " (id, merchant_id, type, object_id, sequence, cause, is_sandbox, api_version, object, created_at)"
    " values (:id, :merchant, :type, :object_id, :sequence, :id, :sandbox, 'v1', 'null', :at)"
)
_DELIVERY = text(
    "insert into deliveries (id, merchant_id, event_id, endpoint_id, is_sandbox, state, body, attempts, last_error,"
    " created_at) select :id, :merchant, :event, :endpoint, e.is_sandbox, :state, '{}', :attempts, :error, :at"
    " from events e where e.id = :event"
)
_sequences = itertools.count(1)


class Log:
    """A shop's deliveries of every sort, many of one moment, newest first; one of its endpoints is deleted."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.items: list[Delivery] = []
        self.endpoints: list[str] = []
        self.objects = [new_id(INVOICE) for _ in range(4)]

    async def fill(self, count: int) -> None:
        chance = random.Random(SEED)
        modes = [False, False, True]
        self.endpoints = [await self.shop.endpoint(sandbox=mode) for mode in modes]
        async with as_merchant(self.shop.books.app, self.shop.id) as connection:
            for _ in range(count):
                endpoint = chance.randrange(3)
                one = self._some(chance, self.endpoints[endpoint], is_sandbox=modes[endpoint])
                values = {
                    "merchant": self.shop.id, "type": one.event_type, "object_id": one.object_id,
                    "sequence": next(_sequences), "sandbox": one.is_sandbox, "at": one.created_at,
                    "event": one.event_id, "endpoint": one.endpoint_id, "state": one.state,
                    "attempts": one.attempts, "error": one.last_error,
                }  # fmt: skip
                await connection.execute(_EVENT, values | {"id": one.event_id})
                await connection.execute(_DELIVERY, values | {"id": one.id})
                self.items.append(one)
            deleted = text("update webhook_endpoints set deleted_at = now() where id = :id")
            await connection.execute(deleted, {"id": self.endpoints[1]})
        self.items.sort(key=lambda one: (one.created_at, one.id), reverse=True)

    def _some(self, chance: random.Random, endpoint: str, *, is_sandbox: bool) -> Delivery:
        return Delivery(
            id=new_id(DELIVERY),
            merchant_id=self.shop.id,
            event_id=new_id(EVENT),
            event_type=chance.choice(TYPES),
            object_id=chance.choice(self.objects),
            endpoint_id=endpoint,
            is_sandbox=is_sandbox,
            state=chance.choice(list(DeliveryState)),
            attempts=chance.randrange(5),
            last_status=None,
            last_error=chance.choice([None, "timeout"]),
            next_attempt_at=None,
            delivered_at=None,
            replayed_at=None,
            created_at=START + timedelta(hours=chance.randrange(20)),
        )


@pytest.fixture(scope="module")
async def log(books: Books) -> Log:
    made = Log(await books.merchant())
    await made.fill(60)
    other = Log(await books.merchant())  # whose rows nobody may see
    await other.fill(5)
    return made


@pytest.fixture(scope="module")
def reads(books: Books) -> DeliveryReads:
    return DeliveryReads(books.app)


async def by_keyset(reads: DeliveryReads, merchant_id: str, limit: int, **wanted: Any) -> list[Delivery]:
    found: list[Delivery] = []
    after = None
    while True:
        page = await reads.page(merchant_id, DeliveryFilter(limit=limit, after=after, **wanted))
        found += page.items
        if not page.has_more:
            return found
        assert len(page.items) == limit
        after = (page.items[-1].created_at, page.items[-1].id)


async def by_offset(reads: DeliveryReads, merchant_id: str, limit: int, **wanted: Any) -> list[Delivery]:
    found: list[Delivery] = []
    while True:
        page = await reads.page(merchant_id, DeliveryFilter(limit=limit, offset=len(found), **wanted))
        found += page.items
        if not page.has_more:
            return found


def fits(one: Delivery, wanted: dict[str, Any]) -> bool:
    checks: dict[str, Any] = {
        "states": lambda value: one.state in value,
        "endpoint_id": lambda value: one.endpoint_id == value,
        "types": lambda value: one.event_type in value,
        "object_id": lambda value: one.object_id == value,
        "event_id": lambda value: one.event_id == value,
        "is_sandbox": lambda value: one.is_sandbox is value,
        "date_from": lambda value: one.created_at >= value,
        "date_to": lambda value: one.created_at < value,
    }
    return all(checks[name](value) for name, value in wanted.items())


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_filter_gives_what_a_look_at_every_row_gives(
    reads: DeliveryReads, log: Log, data: st.DataObject
) -> None:
    moments = st.integers(-1, 21).map(lambda hour: START + timedelta(hours=hour))
    wanted = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "states": st.lists(st.sampled_from(DeliveryState), min_size=1, unique=True),
                "endpoint_id": st.sampled_from([*log.endpoints, "whe_nobody"]),
                "types": st.lists(st.sampled_from(TYPES), min_size=1, unique=True),
                "object_id": st.sampled_from([*log.objects, "inv_nothing"]),
                "event_id": st.sampled_from(log.items).map(lambda one: one.event_id),
                "is_sandbox": st.booleans(),
                "date_from": moments,
                "date_to": moments,
            },
        )
    )
    limit = data.draw(st.integers(1, 70))
    expected = [one for one in log.items if fits(one, wanted)]
    assert await by_keyset(reads, log.shop.id, limit, **wanted) == expected
    assert await by_offset(reads, log.shop.id, limit, **wanted) == expected


async def test_what_went_to_a_deleted_endpoint_stays_in_the_log(reads: DeliveryReads, log: Log) -> None:
    deleted = log.endpoints[1]
    assert await log.shop.books.reads.endpoint(log.shop.id, deleted) is None
    mine = [one for one in log.items if one.endpoint_id == deleted]
    assert mine
    assert await by_keyset(reads, log.shop.id, 7, endpoint_id=deleted) == mine
    assert await reads.delivery(log.shop.id, mine[0].id) == mine[0]


async def test_another_merchant_sees_none_of_it(books: Books, reads: DeliveryReads, log: Log) -> None:
    stranger, one = await books.merchant(), log.items[0]
    assert await by_keyset(reads, stranger.id, 100) == []
    assert await reads.delivery(stranger.id, one.id) is None
    assert await reads.detail(stranger.id, one.id) is None
    assert await reads.deliveries(stranger.id, [one.id]) == []
    assert await reads.deliveries(log.shop.id, [one.id, "whd_nothing"]) == [one]


async def test_a_detail_shows_the_bytes_and_each_attempt_as_it_was(
    books: Books, reads: DeliveryReads, shop: Shop
) -> None:
    endpoint = await shop.endpoint()
    invoice = await shop.pending()
    (ref,) = (await shop.book(invoice.id, "paid", State.PAID)).deliveries
    failed = AttemptOutcome(
        delivered=False,
        status=503,
        error="http_status",
        latency_ms=12,
        excerpt="нет",
        dead=False,
        wait=5.0,
        url="https://shop.example/hook",
        request_headers={"webhook-id": "evt_1"},
    )
    await books.attempted(shop.id, ref.id, failed, disable_after=1e9)
    arrived = msgspec.structs.replace(failed, delivered=True, status=200, error=None, wait=None, excerpt="ok")
    await books.attempted(shop.id, ref.id, arrived, disable_after=1e9)
    found = await reads.detail(shop.id, ref.id)
    due = await books.deliveries.due(shop.id, ref.id)
    assert found is not None
    assert due is not None
    assert (found.body, found.delivery.endpoint_id, found.delivery.state) == (due.body, endpoint, "delivered")
    assert [(one.number, one.status, one.error, one.response_excerpt) for one in found.attempts] == [
        (1, 503, "http_status", "нет"),
        (2, 200, None, "ok"),
    ]
    assert found.attempts[0].request_headers == {"webhook-id": "evt_1"}
    assert found.attempts[0].url == "https://shop.example/hook"


async def test_of_very_many_attempts_the_last_are_shown(books: Books, reads: DeliveryReads, shop: Shop) -> None:
    await shop.endpoint()
    invoice = await shop.pending()
    (ref,) = (await shop.book(invoice.id, "paid", State.PAID)).deliveries
    more = text(
        "insert into delivery_attempts (delivery_id, number, merchant_id, latency_ms, response_excerpt)"
        " select :id, n, :merchant, 1, '' from generate_series(1, :count) n"
    )
    async with as_merchant(books.app, shop.id) as connection:
        await connection.execute(more, {"id": ref.id, "merchant": shop.id, "count": ATTEMPTS_SHOWN + 5})
    found = await reads.detail(shop.id, ref.id)
    assert found is not None
    assert [one.number for one in found.attempts] == list(range(6, ATTEMPTS_SHOWN + 6))
