"""Subscriptions on the stage's server: workflows, activities and books are real; banks and receivers are played."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast

import msgspec
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.worker import Worker

from activities.adopting import Adopting
from activities.bank_calls import BankCalls
from activities.booking import Booking
from activities.delivering import Delivering
from activities.issuing import IssueLimits, Issuing
from activities.subscribing import Subscribing
from db.endpoints import Asker
from db.rows import SUBSCRIPTION_COLUMNS, to_subscription
from db.subscription_bills import BillTimes, SubscriptionBills
from db.subscriptions import SubscriptionLedger
from db.test_clocks import TestClocks
from domain.bank import BankFact, Verdict
from domain.billing_calendar import BillingPeriod, Plan
from domain.event import Attempted, AttemptOutcome
from domain.invoice import Issued, Kind, OpenInvoice
from domain.scenario import Scene
from domain.subscription import Dunning, OpenPeriod
from domain.subscription_record import (
    NewTerms,
    OpenSubscription,
    PayerAct,
    Subscription,
    SubscriptionRef,
)
from kaspi.sandbox import SandboxBank
from runtime.task_queues import TaskQueues
from runtime.workflow_sandbox import workflow_runner
from tests.db.books import Books, Shop
from tests.support.waiting import until
from tests.support.working import working
from tests.workflows.stage import Stage
from worker import WORKFLOWS
from workflows.client import Engine
from workflows.subscription_messages import Act, Acted

QUEUES = TaskQueues("subscription-stage")
# Only ends a test that hangs.
WAIT = 60.0
PHONE = "77011234567"
START = datetime(2026, 1, 15, 5, tzinfo=UTC)
AMOUNT = 500_000
ACCEPTED = AttemptOutcome(delivered=True, status=204, error=None, latency_ms=7, excerpt="", dead=False, wait=None)


class PlayedBank(SandboxBank):
    """Answers to creates (by merchant) and cancels (by payment) used up in turn; then it does what it is asked.

    `words` is what it says of a payment that is not simply waited for.
    """

    def __init__(self) -> None:
        super().__init__(phone_lifetime=timedelta(days=36500))
        self.creates: dict[str, deque[Exception]] = defaultdict(deque)
        self.cancels: dict[int, deque[Exception]] = defaultdict(deque)
        self.words: dict[int, Verdict] = {}
        self.created: list[OpenInvoice] = []

    async def of(self, merchant_id: str, connection_id: str | None, scene: Scene | None = None) -> "PlayedBank":
        return self

    async def create(self, order: OpenInvoice) -> Issued:
        if self.creates[order.merchant_id]:
            raise self.creates[order.merchant_id].popleft()
        self.created.append(order)
        return await super().create(order)

    async def cancel(self, payment_id: int) -> Verdict:
        if self.cancels[payment_id]:
            raise self.cancels[payment_id].popleft()
        return await super().cancel(payment_id)

    async def status(self, payment_id: int, kind: Kind) -> BankFact:
        verdict = self.words.get(payment_id, Verdict.WAITING)
        return BankFact(word="played", verdict=verdict, seen_at=datetime.now(UTC))


class Receivers:
    """What stands behind a first attempt: every receiver accepts, and keeps what it got in its order."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.got: dict[str, list[dict[str, Any]]] = defaultdict(list)

    async def once(self, merchant_id: str, delivery_id: str) -> Attempted:
        rows = await self._books.fetch("select body from deliveries where id = :id", id=delivery_id)
        self.got[merchant_id].append(json.loads(rows[0]["body"]))
        return await self._books.attempted(merchant_id, delivery_id, ACCEPTED)

    async def first(self, merchant_id: str, delivery_id: str) -> Attempted:
        return await self.once(merchant_id, delivery_id)


class SubscriptionStage:
    """The gateways of a run, and one worker per queue."""

    def __init__(self, client: Client, books: Books, queues: TaskQueues = QUEUES, stage: Stage | None = None) -> None:
        self.client, self.books, self.queues, self.stage = client, books, queues, stage
        self.engine = Engine(client, queues)
        self.bank = PlayedBank()
        self.receivers = Receivers(books)
        self.ledger = SubscriptionLedger(books.app, books.renderer)
        self.bills = SubscriptionBills(books.app, BillTimes(window=60, late_watch=0))
        self.clocks = TestClocks(books.app)
        self.subscribing = Subscribing(self.ledger, self.bills, self.clocks, self.engine)
        self.issuing = Issuing(books.ledger, cast("Any", self.bank), IssueLimits(longest_call=0.3))
        self.booking = Booking(books.ledger)
        self.calls = BankCalls(cast("Any", self.bank), books.ledger)
        self.adopting = Adopting(cast("Any", self.bank), books.ledger, timedelta(days=1))
        self.delivering = Delivering(self.receivers, cast("Any", None), self.engine)

    def workers(self, *, sandboxed: bool = True) -> list[Worker]:
        """As worker.py splits them."""
        doing = self.subscribing
        books: list[Callable[..., Any]] = [
            self.issuing.issue, self.booking.book, self.booking.standing, *doing.activities(),
        ]  # fmt: skip
        return [
            Worker(
                self.client,
                task_queue=self.queues.workflows,
                workflows=WORKFLOWS,
                activities=books,
                workflow_runner=workflow_runner(sandboxed=sandboxed),
            ),
            Worker(
                self.client,
                task_queue=self.queues.kaspi,
                activities=[self.calls.read_status, self.calls.cancel_remote, self.adopting.adopt],
            ),
            Worker(self.client, task_queue=self.queues.webhooks, activities=[self.delivering.attempt]),
        ]

    @asynccontextmanager
    async def working(self, *, sandboxed: bool = True) -> AsyncIterator[None]:
        async with working(self.workers(sandboxed=sandboxed)):
            yield


@asynccontextmanager
async def open_subscription_stage(stage: Stage, books: Books) -> AsyncIterator[SubscriptionStage]:
    made = SubscriptionStage(stage.client, books, stage=stage)
    async with made.working():
        yield made


class NewSubscription(Protocol):
    """The fixture `new_subscription`: a merchant with a receiver, and a subscription of his."""

    async def __call__(self, **changes: Any) -> "StagedSubscription": ...


class StagedSubscription:
    """One subscription as its merchant, its payer and the clock handle it."""

    def __init__(self, stage: SubscriptionStage, shop: Shop, order: OpenSubscription) -> None:
        self.stage, self.shop, self.order = stage, shop, order
        self.ref = SubscriptionRef(
            merchant_id=shop.id, subscription_id=order.subscription_id, is_sandbox=order.is_sandbox
        )

    @property
    def id(self) -> str:
        return self.order.subscription_id

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self.stage.client.get_workflow_handle(f"subscription-{self.id}")

    async def open(self, **changes: Any) -> None:
        await self.stage.engine.open_subscription(msgspec.structs.replace(self.order, **changes), wait=WAIT)

    async def act(self, act: Act) -> Acted:
        return await self.stage.engine.act_on_subscription(self.ref, act, wait=WAIT)

    async def advance(self, to: datetime | timedelta) -> datetime:
        """Through the clock's own workflow, as the API does it; where the clock stands then."""
        assert self.order.test_clock_id is not None
        asker = Asker(merchant_id=self.shop.id, key_id="key_1", sandbox_only=True)
        clock = await self.stage.clocks.advance(asker, self.order.test_clock_id, to)
        assert clock is not None
        await self.stage.engine.advance_clock(self.shop.id, clock.id)
        handle = self.stage.client.get_workflow_handle(f"test-clock-{clock.id}", result_type=datetime)
        async with asyncio.timeout(500):  # ten years on a busy machine
            arrived: datetime = await handle.result()
            return arrived

    async def row(self) -> Subscription:
        query = f"select {SUBSCRIPTION_COLUMNS} from subscriptions where id = :id"  # noqa: S608 -- our own names
        rows = await self.stage.books.fetch(query, id=self.id)
        return to_subscription(rows[0])

    async def periods(self) -> list[tuple[int, str, str | None]]:
        rows = await self.stage.books.fetch(
            "select number, state, reason from subscription_periods where subscription_id = :id order by number",
            id=self.id,
        )
        return [(row["number"], row["state"], row["reason"]) for row in rows]

    async def dues(self) -> list[datetime]:
        rows = await self.stage.books.fetch(
            "select due_at from subscription_periods where subscription_id = :id order by number", id=self.id
        )
        return [row["due_at"] for row in rows]

    async def bills(self) -> list[tuple[int, int, str]]:
        """Period, charge and state of every bill."""
        rows = await self.stage.books.fetch(
            "select subscription_period, subscription_charge, state from invoices where subscription_id = :id"
            " order by subscription_period, subscription_charge",
            id=self.id,
        )
        return [(row["subscription_period"], row["subscription_charge"], row["state"]) for row in rows]

    async def told(self) -> list[str]:
        """The subscription's events in their order, without their prefix."""
        return [row["type"].removeprefix("subscription.") for row in await self.shop.events(self.id)]

    async def received(self) -> list[int]:
        """Sequences of the subscription's webhooks as they came in."""
        got = self.stage.receivers.got[self.shop.id]
        return [body["sequence"] for body in got if body["type"].startswith("subscription.")]

    async def live_bill(self) -> str:
        """The invoice that is out."""

        async def out() -> str | None:
            rows = await self.stage.books.fetch(
                "select id from invoices where subscription_id = :id and state = 'pending'", id=self.id
            )
            return rows[0]["id"] if rows else None

        found = await until(out, "a bill that is out")
        assert found is not None
        return found

    async def payer(self, verdict: Verdict, invoice_id: str | None = None) -> None:
        await self.stage.engine.simulate(invoice_id or await self.live_bill(), verdict, wait=WAIT)

    async def bank_says(self, verdict: Verdict, invoice_id: str) -> None:
        """News of a live bill, as the poller brings them; the bank says the same when it is asked."""
        payment = (await self.shop.invoice(invoice_id)).bank_payment_id
        assert payment is not None
        self.stage.bank.words[payment] = verdict
        order = await self.stage.books.watches.order(self.shop.id, invoice_id)
        await self.stage.engine.resume(order, BankFact(word="played", verdict=verdict, seen_at=datetime.now(UTC)))

    async def until_open(self, looks: Callable[[OpenPeriod], bool], what: str) -> OpenPeriod:
        """The open period once it looks so."""

        async def look() -> OpenPeriod | None:
            open_ = (await self.row()).standing.open
            return open_ if open_ is not None and looks(open_) else None

        found = await until(look, what)
        assert found is not None
        return found

    async def until_state(self, *states: str) -> None:
        async def there() -> bool:
            return (await self.row()).state in states

        await until(there, f"the state {states}")

    async def until_period(self, number: int, state: str) -> None:
        async def there() -> bool:
            return any((one[0], one[1]) == (number, state) for one in await self.periods())

        await until(there, f"period {number} to be {state}")

    async def until_over(self) -> None:
        """Returns when the workflow has ended."""

        async def over() -> bool:
            return (await self.handle.describe()).status is not WorkflowExecutionStatus.RUNNING

        await until(over, "the workflow's end")

    async def skip(self, duration: timedelta) -> None:
        assert self.stage.stage is not None
        await self.stage.stage.skip_alone(self.handle, duration)


def order_of(shop: Shop, subscription_id: str, **changes: Any) -> OpenSubscription:
    fields: dict[str, Any] = {
        "subscription_id": subscription_id,
        "merchant_id": shop.id,
        "is_sandbox": True,
        "phone": PHONE,
        "terms": NewTerms(amount=AMOUNT, description="Абонемент"),
        "open_before": datetime.now(UTC) + timedelta(seconds=60),
        "fingerprint": "f1",
        "operation": "subscriptions",
        "request_id": "req_1",
        "plan": Plan(period=BillingPeriod.MONTHLY),
        "dunning": Dunning(),
        "asked_by": "key_1",
    }
    return OpenSubscription(**(fields | changes))


async def on_a_clock(stage: SubscriptionStage, subscription_id: str, **changes: Any) -> StagedSubscription:
    """A subscription on a test clock that stands at `START`."""
    shop = await stage.books.merchant()
    await shop.endpoint(sandbox=True)
    asker = Asker(merchant_id=shop.id, key_id="key_1", sandbox_only=True)
    clock = await stage.clocks.add(asker, "a year", changes.pop("starts", START))
    return StagedSubscription(stage, shop, order_of(shop, subscription_id, test_clock_id=clock.id, **changes))


def script(words: str) -> list[PayerAct]:
    """`p` pays, `i` ignores, `d` declines."""
    return [{"p": PayerAct.PAYS, "i": PayerAct.IGNORES, "d": PayerAct.DECLINES}[word] for word in words]
