"""One merchant with one endpoint at a real receiver, whose events are redelivered."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from temporalio.testing import ActivityEnvironment

from activities.attempting import Attempting, AttemptPolicy
from activities.redelivering import Redelivered, Redelivering, RedeliverLimits
from db.endpoints import new_endpoint_id
from db.redeliveries import Redeliveries
from db.redelivery_books import RedeliveryBooks
from domain.event import DueDelivery
from domain.ids import REDELIVERY, new_id
from domain.redelivery import Redeliver, Redelivery, RedeliveryKind, RedeliveryState
from operations import sealed
from runtime.secrets import SealBox
from tests.activities.mortal import Process
from tests.activities.tails import Tails
from tests.activities.town import Town
from tests.db.books import Shop
from tests.support.receiver import Answer, WebhookReceiver
from tests.support.waiting import until
from webhooks.lanes import Lanes
from webhooks.sender import Sender
from webhooks.signing import new_secret

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SCHEDULE = [0.01] * 20
LIMITS = RedeliverLimits(patience=(0.01, 0.02), look_every=0.05)
BAD = Answer(status=500)


class Rig:
    """One merchant with one endpoint at a real receiver, and its redeliveries."""

    def __init__(self, town: Town, shop: Shop, box: SealBox, sender: Sender, receiver: WebhookReceiver) -> None:
        self.town, self.shop, self.receiver = town, shop, receiver
        self.records = Redeliveries(town.books.app)
        self.tails = Tails()
        self.lanes = Lanes(per_endpoint=1)
        self.schedule: Sequence[float] = SCHEDULE
        self.endpoint = ""
        self._box, self._sender = box, sender

    def attempting(self, process: Process | None = None) -> Attempting:
        """Of another process each time: what one has in hand the others don't know."""
        deliveries: Any = self.town.books.deliveries
        real = post = sealed.poster(self._sender, self._box)
        if process is not None:
            deliveries = process.ledger(deliveries)

            async def mortal_post(due: DueDelivery) -> Any:
                return await process.call("post", real, (due,), {})

            post = mortal_post
        return Attempting(deliveries, post, self.lanes, self.tails, AttemptPolicy(schedule=self.schedule))

    def activity(
        self, limits: RedeliverLimits = LIMITS, process: Process | None = None, attempting: Attempting | None = None
    ) -> Callable[[Redeliver], Any]:
        books: Any = RedeliveryBooks(self.town.books.app, self.town.books.renderer)
        if process is not None:
            books = process.ledger(books)
        return Redelivering(books, attempting or self.attempting(process), self.tails, limits).redeliver

    async def paid(self, count: int) -> list[str]:
        """Events that nobody was told of, in their order."""
        for _ in range(count):
            await self.shop.paid()
        rows = await self.town.books.fetch(
            "select id from events where merchant_id = :id order by created_at, id", id=self.shop.id
        )
        return [row["id"] for row in rows]

    async def listen(self) -> None:
        self.endpoint = new_endpoint_id()
        sealed = self._box.seal(new_secret().encode(), f"endpoint:{self.endpoint}")
        await self.town.books.endpoints.add(
            self.shop.id,
            self.endpoint,
            url=self.receiver.url,
            events=["*"],
            is_sandbox=False,
            sealed=sealed,
            asked_by="key_1",
        )

    async def open(self, kind: RedeliveryKind = RedeliveryKind.UNDELIVERED) -> Redeliver:
        now = datetime.now(UTC)
        new = Redelivery(
            id=new_id(REDELIVERY),
            merchant_id=self.shop.id,
            endpoint_id=self.endpoint,
            is_sandbox=False,
            kind=kind,
            since=LONG_AGO,
            until=now + timedelta(milliseconds=1),
            state=RedeliveryState.RUNNING,
            found=0,
            delivered=0,
            handed_over=0,
            place_at=None,
            place_id=None,
            asked_by="key_1",
            created_at=now,
            finished_at=None,
        )
        await self.records.open(new, request_id="req_1")
        return Redeliver(merchant_id=self.shop.id, redelivery_id=new.id)

    async def run(self, order: Redeliver, **changes: Any) -> Redelivered:
        outcome: Redelivered = await ActivityEnvironment().run(self.activity(**changes), order)
        return outcome

    async def stands(self, order: Redeliver) -> Redelivery:
        found = await self.records.redelivery(order.merchant_id, order.redelivery_id)
        assert found is not None
        return found

    def heard(self) -> list[str]:
        """Ids of events as they came."""
        return [one.headers["webhook-id"] for one in self.receiver.requests]

    async def deliveries(self) -> list[dict[str, Any]]:
        return await self.town.books.fetch(
            "select d.* from deliveries d join events e on e.id = d.event_id where d.endpoint_id = :id"
            " order by e.created_at, e.id",
            id=self.endpoint,
        )

    async def tried_once(self) -> dict[str, Any]:
        """The first delivery, once its first attempt stands in the books."""

        async def booked() -> dict[str, Any] | None:
            rows = await self.deliveries()
            return rows[0] if rows and rows[0]["attempts"] == 1 else None

        found = await until(booked, "the first attempt to be booked")
        assert found is not None
        return found

    async def as_owner(self, statement: str, *values: Any) -> None:
        connection = await asyncpg.connect(self.town.books.database.dsn("postgres"))
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()
