"""A merchant town: real books, a real bank client, and the emulator that judges what became of money."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.adopting import Adopting
from activities.bank_calls import BankCalls, PaymentRef
from activities.issuing import IssueLimits, IssueOutcome, Issuing
from activities.watching import PollLimits, WatchConnection, WatchEnded, Watching
from db.ledger import Ledger
from dev.postgres import Database
from domain.bank import BankFact, Scheme
from domain.invoice import OpenInvoice, bank_reference
from domain.merchant import Connection
from kaspi.config import KaspiConfig
from kaspi.directory import BankDirectory, BankLimits
from operations import sealed
from operations.connections import ConnectionPlan, connect_bank
from runtime.secrets import SealBox
from tests.db.books import BIN, Books, Shop
from tests.support.emulator import EmulatorServer
from workflows.client import EngineAway

SHOP_POINT = 10001
LIMITS = IssueLimits(longest_call=0.3)  # nobody waits 45 s for a claimer that a test knows to be dead
_devices = itertools.count(1)


class Town:
    """The wiring of worker.py over one database, with every gateway at hand."""

    def __init__(self, database: Database, emulator: EmulatorServer, box: SealBox) -> None:
        self.books = Books(database)
        self.emulator = emulator
        self.admin = emulator.admin
        self.box = box
        self.banks = BankDirectory(
            sealed.connection_loader(self.books.records, box), BankLimits(read_timeout=10, concurrency=8)
        )
        self.issuing = Issuing(self.books.ledger, self.banks, LIMITS)
        self.calls = BankCalls(self.banks, self.books.ledger)
        self.adopting = Adopting(self.banks, self.books.ledger, timedelta(hours=24))

    async def close(self) -> None:
        await self.banks.aclose()
        await self.books.close()

    async def merchant(self) -> Shop:
        """A merchant who is connected to the emulated bank as an operator connects one."""
        made = await self.books.registry.add_merchant("Shop", BIN)
        return Shop(self.books, made.id, (await self.connect(made.id)).id)

    async def connect(self, merchant_id: str) -> Connection:
        folder = self.emulator.certificates
        config = KaspiConfig(
            scheme=Scheme.R3,
            base_url=f"{self.emulator.bank_url}/r3/v01",
            organization_bin=BIN,
            certificate_pem=(folder / "client.pem").read_text(),
            private_key_pem=(folder / "client.key").read_text(),
            trust_pem=(folder / "ca.pem").read_text(),
        )
        plan = ConnectionPlan(
            merchant_id=merchant_id, config=config, device_id=f"till-{next(_devices)}", trade_point_id=SHOP_POINT
        )
        return await connect_bank(self.books.registry, self.box, plan)

    async def issue(self, order: OpenInvoice, ledger: Ledger | None = None) -> IssueOutcome:
        """Runs the activity as a worker would."""
        activity = self.issuing if ledger is None else Issuing(ledger, self.banks, LIMITS)
        return await ActivityEnvironment().run(activity.issue, order)

    async def bills(self, order: OpenInvoice) -> list[dict[str, Any]]:
        """What the bank has under this bill's reference."""
        if order.phone is not None:
            return await self.admin.purchases(comment_contains=bank_reference(order.invoice_id))
        return await self.admin.purchases(external_id=order.invoice_id)

    async def issued(self, shop: Shop, **changes: Any) -> PaymentRef:
        """A bill that the bank has and the payer can pay."""
        order = shop.order(**changes)
        outcome = await self.issue(order)
        assert outcome.booked is not None
        assert outcome.booked.bank_payment_id is not None
        return PaymentRef(
            merchant_id=shop.id,
            connection_id=shop.connection_id,
            invoice_id=order.invoice_id,
            payment_id=outcome.booked.bank_payment_id,
            kind=order.kind,
        )

    async def received(self, call: str) -> int:
        """How often the bank got a call of this kind."""
        return int((await self.admin.call("GET", "calls", limit="0"))["counts"].get(call, 0))

    async def executed(self, call: str) -> int:
        """How often it did what was asked."""
        return int((await self.admin.call("GET", "calls", limit="0"))["executed"].get(call, 0))


async def claimed(shop: Shop, order: OpenInvoice) -> None:
    """Returns when the intent to call the bank is committed."""
    async with asyncio.timeout(60):
        while await shop.books.reads.invoice(shop.id, order.invoice_id) is None:  # noqa: ASYNC110 -- Postgres tells nobody
            await asyncio.sleep(0.01)


class Mailbox:
    """Where the poller's news goes, in place of Temporal: the test reads what a workflow would have been told."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, BankFact]] = []
        self.resumed: list[tuple[OpenInvoice, BankFact]] = []
        self.somebody_home = True
        self.engine_away = False
        self._arrived = asyncio.Condition()

    async def bank_said(self, invoice_id: str, fact: BankFact) -> bool:
        async with self._arrived:
            self.facts.append((invoice_id, fact))
            self._arrived.notify_all()
        return self.somebody_home

    async def resume(self, order: OpenInvoice, fact: BankFact) -> None:
        if self.engine_away:
            raise EngineAway("no answer in time")
        self.resumed.append((order, fact))

    async def wait(self, count: int = 1) -> list[tuple[str, BankFact]]:
        async with asyncio.timeout(60), self._arrived:
            await self._arrived.wait_for(lambda: len(self.facts) >= count)
            return list(self.facts)


class Poller:
    """The watch activity while it runs."""

    def __init__(self, town: Town, shop: Shop, **limits: Any) -> None:
        self.mail = Mailbox()
        self.heartbeats = 0
        self._environment = ActivityEnvironment()
        self._environment.on_heartbeat = self._beat
        self._activity = Watching(
            town.books.watches, town.banks, town.books.deliveries, self.mail, PollLimits(tick=0.02, **limits)
        )
        self.order = WatchConnection(merchant_id=shop.id, connection_id=shop.connection_id)

    def _beat(self, *_details: Any) -> None:
        self.heartbeats += 1

    def start(self) -> None:
        self.task = asyncio.create_task(self._environment.run(self._activity.watch, self.order))

    async def stop(self) -> WatchEnded:
        """As a worker that is told to leave."""
        self._environment.worker_shutdown()
        return await self.task

    async def until(self, reached: Callable[[], Awaitable[bool]]) -> None:
        """Waits for what the poller does, and fails with the poller."""
        async with asyncio.timeout(60):
            while not await reached():
                assert not self.task.done(), self.task.result()
                await asyncio.sleep(0.01)


@asynccontextmanager
async def polling(town: Town, shop: Shop, **limits: Any) -> AsyncIterator[Poller]:
    poller = Poller(town, shop, **limits)
    poller.start()
    try:
        yield poller
    finally:
        await poller.stop()
