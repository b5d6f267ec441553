"""Redeliveries as tests open and walk them, and a merchant's world of events to walk through."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from db.engine import as_merchant
from db.redeliveries import Redeliveries
from db.redelivery_books import RedeliveryBooks
from domain.ids import DELIVERY, EVENT, REDELIVERY, new_id
from domain.redelivery import Passed, Redelivery, RedeliveryKind, RedeliveryState, Taken
from tests.db.books import Shop

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
PATTERNS = ["invoice.*"]
_EVENT = text(
    "insert into events"
    " (id, merchant_id, type, object_id, sequence, cause, is_sandbox, api_version, object, created_at)"
    " select :id, :merchant, :type, object_id, :sequence, :id, :sandbox, 'v1', object, :at"
    " from events where id = :model"
)
_DELIVERY = text(
    "insert into deliveries (id, merchant_id, event_id, endpoint_id, is_sandbox, state, attempts, failures, body,"
    " next_attempt_at) select :id, :merchant, :event, :endpoint, e.is_sandbox, :state, :attempts, :failures, 'x',"
    " case when :state = 'pending' then now() + make_interval(secs => cast(:due as double precision)) end"
    " from events e where e.id = :event"
)


def new(shop: Shop, endpoint: str, kind: RedeliveryKind = RedeliveryKind.UNDELIVERED, **changes: Any) -> Redelivery:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": new_id(REDELIVERY),
        "merchant_id": shop.id,
        "endpoint_id": endpoint,
        "is_sandbox": False,
        "kind": kind,
        "since": LONG_AGO,
        "until": now + timedelta(seconds=1),
        "state": RedeliveryState.RUNNING,
        "found": 0,
        "delivered": 0,
        "handed_over": 0,
        "place_at": None,
        "place_id": None,
        "asked_by": "key_1",
        "created_at": now,
        "finished_at": None,
    }
    return Redelivery(**(fields | changes))


async def opened(
    records: Redeliveries, shop: Shop, endpoint: str, kind: RedeliveryKind = RedeliveryKind.UNDELIVERED, **changes: Any
) -> Redelivery:
    return await records.open(new(shop, endpoint, kind, **changes), request_id="req_1")


async def turns(
    walk: RedeliveryBooks, run: Redelivery, meet: Callable[[Taken], Passed] = lambda _: Passed.DELIVERED
) -> list[Taken]:
    """The whole walk, as it goes when every event is met so."""
    taken: list[Taken] = []
    async with asyncio.timeout(90):
        while not (turn := await walk.next(run.merchant_id, run.id)).over:
            if turn.taken is not None:
                taken.append(turn.taken)
                await walk.passed(run.merchant_id, run.id, turn.taken, meet(turn.taken))
            await asyncio.sleep(min(turn.wait, 0.05))
    return taken


async def missed(shop: Shop, count: int) -> list[str]:
    """Events from before there was any endpoint, in their order."""
    for _ in range(count):
        await shop.paid()
    rows = await shop.books.fetch("select id from events where merchant_id = :id order by created_at, id", id=shop.id)
    return [row["id"] for row in rows]


async def stands(records: Redeliveries, run: Redelivery) -> Redelivery:
    found = await records.redelivery(run.merchant_id, run.id)
    assert found is not None
    return found


class World:
    """Random events of one endpoint with random deliveries, and the rule that says which of them fit."""

    def __init__(self, seed: int, endpoint: str) -> None:
        self.chance = random.Random(seed)
        self.endpoint = endpoint
        self.events: list[dict[str, Any]] = []

    async def write(self, shop: Shop, count: int) -> None:
        (model,) = await shop.books.fetch("select id from events where merchant_id = :id limit 1", id=shop.id)
        base = datetime.now(UTC) - timedelta(hours=1)
        async with as_merchant(shop.books.app, shop.id) as connection:
            for number in range(count):
                one = self._one(base)
                await connection.execute(
                    _EVENT,
                    {
                        "id": one["id"],
                        "merchant": shop.id,
                        "type": one["type"],
                        "sequence": 1000 + number,
                        "sandbox": one["sandbox"],
                        "at": one["at"],
                        "model": model["id"],
                    },
                )
                if one["delivery"] is not None:
                    state, failures, due = one["delivery"]
                    values = {"id": new_id(DELIVERY), "merchant": shop.id, "event": one["id"]}
                    values |= {"endpoint": self.endpoint, "state": state, "failures": failures, "due": due}
                    await connection.execute(_DELIVERY, values | {"attempts": failures})
                self.events.append(one)

    def _one(self, base: datetime) -> dict[str, Any]:
        deliveries = [
            None,
            ("dead", 3, 0),
            ("delivered", 0, 0),
            ("pending", 2, 600),  # failed, and waits
            ("pending", 0, -300),  # nobody had a place for it
            ("pending", 0, 30),  # on its way
        ]
        types = ["invoice.status_changed", "invoice.refunded", "refund.completed", "kaspi.session_changed"]
        return {
            "id": new_id(EVENT),
            # Few moments, so that many events share one.
            "at": base + timedelta(seconds=self.chance.randrange(40)),
            "type": self.chance.choice([*types, "webhook.test"]),
            "sandbox": self.chance.random() < 0.1,
            "delivery": self.chance.choice(deliveries),
        }

    def expected(self, kind: RedeliveryKind, since: datetime, until: datetime) -> list[str]:
        def failed(delivery: tuple[str, int, int] | None) -> bool:
            return delivery is not None and (
                delivery[0] == "dead" or (delivery[0] == "pending" and (delivery[1] > 0 or delivery[2] < -60))
            )

        def fits(one: dict[str, Any]) -> bool:
            if one["sandbox"] or not one["type"].startswith("invoice.") or not since <= one["at"] < until:
                return False
            delivery = one["delivery"]
            missing, delivered = delivery is None, delivery is not None and delivery[0] == "delivered"
            return {
                RedeliveryKind.FAILED: failed(delivery),
                RedeliveryKind.MISSING: missing,
                RedeliveryKind.UNDELIVERED: missing or failed(delivery),
                RedeliveryKind.ALL: missing or failed(delivery) or delivered,
            }[kind]

        return [one["id"] for one in sorted(self.events, key=lambda one: (one["at"], one["id"])) if fits(one)]
