"""The watchdog's rounds over the real books; Temporal's part is played, so that each may fail on its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from temporalio.testing import ActivityEnvironment

from activities.guarding import FIRST_ATTEMPT_LASTS, PAGE, Guarded, Guarding, GuardLimits
from db.liveness import Liveness
from db.endpoints import Asker
from db.redeliveries import Redeliveries
from db.test_clocks import TestClocks
from dev.postgres import Database
from domain.invoice import Kind, OpenInvoice, State
from domain.redelivery import Redeliver, Redelivery, RedeliveryKind, RedeliveryState
from domain.refund import OpenRefund
from domain.subscription import Cancel
from domain.subscription_record import SubscriptionRef
from tests.db.books import Books, Shop
from tests.db.subscriptions import START, BookedSubscription
from workflows.client import EngineAway


@dataclass
class Engine:
    """`runs_now` is the truth, `listed` what visibility says of it; `sick` cannot be started."""

    runs_now: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    sick: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    async def running(self, kind: str) -> set[str]:
        prefix = {"kaspi_session": "kaspi-session", "webhook_delivery": "delivery"}.get(kind, kind)
        return {one for one in self.listed if one.startswith(prefix)}

    async def runs(self, workflow_id: str) -> bool:
        self.asked.append(workflow_id)
        return workflow_id in self.runs_now

    def _start(self, workflow_id: str) -> None:
        if workflow_id in self.sick:
            raise EngineAway("no answer in time")
        self.started.append(workflow_id)
        self.runs_now.add(workflow_id)
        self.listed.add(workflow_id)

    async def resume_invoice(self, order: OpenInvoice) -> None:
        assert order.resumed
        self._start(f"invoice-{order.invoice_id}")

    async def resume_refund(self, order: OpenRefund) -> None:
        assert (order.resumed, order.read_back_window) == (True, 7.0)
        self._start(f"refund-{order.refund_id}")

    async def watch_connection(self, merchant_id: str, connection_id: str) -> None:
        self._start(f"kaspi-session-{connection_id}")

    async def continue_delivery(self, merchant_id: str, delivery_id: str, *, wait: float = 0.0) -> None:
        self._start(f"delivery-{delivery_id}")

    async def redeliver(self, order: Redeliver) -> None:
        self._start(f"redelivery-{order.redelivery_id}")

    async def resume_subscription(self, ref: SubscriptionRef) -> None:
        self._start(f"subscription-{ref.subscription_id}")

    async def advance_clock(self, merchant_id: str, clock_id: str) -> None:
        self._start(f"test-clock-{clock_id}")


@dataclass
class Watch:
    """A merchant whose books nobody else is in, and the watchdog over them."""

    books: Books
    shop: Shop
    engine: Engine
    guarding: Guarding

    async def round(self, kind: str) -> Guarded:
        outcome: Guarded = await ActivityEnvironment().run(getattr(self.guarding, kind))
        return outcome


@pytest.fixture
async def watch(fresh_postgres: Database) -> AsyncIterator[Watch]:
    books, engine = Books(fresh_postgres), Engine()
    limits = GuardLimits(grace=0.0, read_back_window=7.0)
    yield Watch(
        books, await books.merchant(), engine, Guarding(Liveness(books.operator), books.registry, engine, limits)
    )
    await books.close()


async def test_what_is_alive_without_a_workflow_is_started_again_once(watch: Watch) -> None:
    lost, listed, lagging = [f"invoice-{(await watch.shop.pending()).id}" for _ in range(3)]
    over = await watch.shop.pending()
    await watch.shop.book(over.id, "paid", State.PAID)
    watch.engine.runs_now |= {listed, lagging}
    watch.engine.listed.add(listed)
    assert await watch.round("invoices") == Guarded(alive=3, restarted=1, failed=0)
    assert watch.engine.started == [lost]
    assert sorted(watch.engine.asked) == sorted([lost, lagging])  # what is listed costs no question
    assert await watch.round("invoices") == Guarded(alive=3, restarted=0, failed=0)


async def test_a_subscription_that_is_not_over_has_a_workflow(watch: Watch) -> None:
    lost, listed, over = [await BookedSubscription(watch.shop).opened() for _ in range(3)]
    await over.hear(Cancel(), START)
    watch.engine.runs_now.add(f"subscription-{listed.id}")
    watch.engine.listed.add(f"subscription-{listed.id}")
    assert await watch.round("subscriptions") == Guarded(alive=2, restarted=1, failed=0)
    assert watch.engine.started == [f"subscription-{lost.id}"]


async def test_a_test_clock_on_its_way_is_not_forgotten(watch: Watch) -> None:
    clocks, asker = TestClocks(watch.books.app), Asker(merchant_id=watch.shop.id, key_id="key_1", sandbox_only=True)
    ready, going = [await clocks.add(asker, name) for name in ("stands", "goes")]
    await clocks.advance(asker, going.id, timedelta(days=1))
    assert await watch.round("test_clocks") == Guarded(alive=1, restarted=1, failed=0)
    assert watch.engine.started == [f"test-clock-{going.id}"]
    assert ready.id != going.id


async def test_one_that_cannot_be_started_stops_no_other(watch: Watch) -> None:
    ids = [f"invoice-{(await watch.shop.pending(kind)).id}" for kind in (Kind.PHONE, Kind.QR, Kind.LINK)]
    watch.engine.sick.add(ids[1])
    assert await watch.round("invoices") == Guarded(alive=3, restarted=2, failed=1)
    assert sorted(watch.engine.started) == sorted([ids[0], ids[2]])
    watch.engine.sick.clear()
    assert await watch.round("invoices") == Guarded(alive=3, restarted=1, failed=0)


async def test_more_than_a_page_is_walked_to_its_end(watch: Watch) -> None:
    count = PAGE * 2 + 3
    await _many(watch, count)
    assert await watch.round("invoices") == Guarded(alive=count, restarted=count, failed=0)
    assert len(set(watch.engine.started)) == count


async def _many(watch: Watch, count: int) -> None:
    """Sandbox bills by the owner's hand: a thousand ledger calls would take long and prove no more."""
    await watch.shop.opened(sandbox=True)
    connection = await asyncpg.connect(watch.books.database.dsn("postgres"))
    try:
        await connection.execute(
            "insert into invoices (id, number, merchant_id, kind, is_sandbox, amount, state, phone, request_id,"
            " claim_token, claimed_at, updated_at)"
            " select 'inv_many' || n, 1000 + n, merchant_id, kind, is_sandbox, amount, state, phone, request_id,"
            " claim_token, claimed_at, updated_at from invoices, generate_series(1, $1::int) n where merchant_id = $2",
            count - 1,
            watch.shop.id,
        )
    finally:
        await connection.close()


async def test_every_connection_in_use_has_its_poller(watch: Watch) -> None:
    used = f"kaspi-session-{watch.shop.connection_id}"
    other = await watch.books.merchant()
    watch.engine.runs_now.add(used)
    assert await watch.round("pollers") == Guarded(alive=2, restarted=1, failed=0)
    assert watch.engine.started == [f"kaspi-session-{other.connection_id}"]


async def _due(watch: Watch) -> tuple[str, str]:
    """The invoice and the delivery of an event that nobody tells."""
    await watch.shop.endpoint()
    invoice = await watch.shop.pending()
    (due,) = (await watch.shop.book(invoice.id, "paid", State.PAID)).deliveries
    return invoice.id, due.id


async def test_a_webhook_without_any_workflow_is_continued(watch: Watch) -> None:
    _, delivery_id = await _due(watch)
    assert await watch.round("deliveries") == Guarded(alive=1, restarted=1, failed=0)
    assert watch.engine.started == [f"delivery-{delivery_id}"]
    assert await watch.round("deliveries") == Guarded(alive=1, restarted=0, failed=0)


async def test_a_webhook_whose_story_makes_the_first_attempt_is_left_to_it(watch: Watch) -> None:
    invoice_id, delivery_id = await _due(watch)
    watch.engine.runs_now.add(f"invoice-{invoice_id}")
    assert await watch.round("deliveries") == Guarded(alive=1, restarted=0, failed=0)
    await watch.books.do(
        "update deliveries set next_attempt_at = now() - make_interval(secs => :s)", s=FIRST_ATTEMPT_LASTS + 5
    )
    assert await watch.round("deliveries") == Guarded(alive=1, restarted=1, failed=0)
    assert watch.engine.started == [f"delivery-{delivery_id}"]


async def test_a_webhook_that_was_tried_before_is_not_left_to_a_story(watch: Watch) -> None:
    """After the loss of Temporal's database a poller's story runs again, but knows nothing of its old webhooks."""
    invoice_id, delivery_id = await _due(watch)
    watch.engine.runs_now.add(f"invoice-{invoice_id}")
    await watch.books.do("update deliveries set attempts = 1")
    assert await watch.round("deliveries") == Guarded(alive=1, restarted=1, failed=0)
    assert watch.engine.started == [f"delivery-{delivery_id}"]


async def test_a_redelivery_that_lost_its_workflow_is_started_again(watch: Watch) -> None:
    lost, runs, over = [
        await _redelivery(watch, f"rdl_{name}", state) for name, state in (("a", None), ("b", None), ("c", "canceled"))
    ]
    watch.engine.runs_now.add(runs)
    assert await watch.round("redeliveries") == Guarded(alive=2, restarted=1, failed=0)
    assert watch.engine.started == [lost]
    assert over not in watch.engine.asked
    assert await watch.round("redeliveries") == Guarded(alive=2, restarted=0, failed=0)


async def _redelivery(watch: Watch, id_: str, state: str | None) -> str:
    now = datetime.now(UTC)
    records = Redeliveries(watch.books.app)
    run = Redelivery(
        id=id_,
        merchant_id=watch.shop.id,
        endpoint_id=await watch.shop.endpoint(),
        is_sandbox=False,
        kind=RedeliveryKind.ALL,
        since=now - timedelta(days=1),
        until=now,
        state=RedeliveryState.RUNNING,
        found=0,
        delivered=0,
        handed_over=0,
        place_at=None,
        place_id=None,
        asked_by="key_1",
        created_at=now - timedelta(minutes=1),
        finished_at=None,
    )
    await records.open(run, request_id="req_1")
    if state is not None:
        await records.cancel(watch.shop.id, id_, asked_by="key_1", request_id="req_1")
    return f"redelivery-{id_}"
