"""One real merchant: our worker's own wiring over Postgres, the emulated bank and a receiver, on a namespace alone."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from activities.bank_calls import PaymentRef
from db.endpoints import Endpoints, new_endpoint_id
from db.engine import create_engine
from db.registry import Registry
from dev.dev_secrets import load_or_make
from dev.postgres import Database
from dev.temporal import TemporalServer
from domain.bank import BankFact, Scheme
from domain.event import EVERY_EVENT
from domain.ids import INVOICE, new_id
from domain.invoice import Kind, OpenInvoice
from domain.merchant import Connection
from kaspi.config import KaspiConfig
from operations.connections import ConnectionPlan, connect_bank
from operations.keys import add_merchant
from runtime import settings as conf
from runtime.secrets import SealBox
from runtime.task_queues import TaskQueues
from runtime.temporal import connect, register_search_attributes
from tests.support.emulator import EmulatorServer
from tests.support.receiver import WebhookReceiver
from tests.support.waiting import until
from tests.support.working import working
from worker import Wiring, build_workers, wire
from workflows.client import Engine

BIN = "210140000016"
TRADE_POINT = 10001
PHONE = "77015554433"
DESCRIPTION = "Тойға арналған торт"
KEY = "order-7"


@dataclass
class RealShop:
    """A merchant whose worker runs in this process."""

    client: Client
    engine: Engine
    wiring: Wiring
    connection: Connection
    emulator: EmulatorServer
    metrics_url: str

    def order(self) -> OpenInvoice:
        now = datetime.now(UTC)
        return OpenInvoice(
            invoice_id=new_id(INVOICE),
            merchant_id=self.connection.merchant_id,
            kind=Kind.PHONE,
            is_sandbox=False,
            amount=1_250_000,
            issue_before=now + timedelta(seconds=20),
            answer_by=now + timedelta(seconds=25),
            fingerprint="ab" * 32,
            operation="create_invoice",
            request_id="req_real",
            late_watch=3600.0,
            connection_id=self.connection.id,
            phone=PHONE,
            description=DESCRIPTION,
            idempotency_key=KEY,
        )

    async def read(self, order: OpenInvoice, payment_id: int) -> BankFact:
        """What the poller would tell the invoice."""
        read_status = next(one for one in self.wiring.kaspi if one.__name__ == "read_status")
        payment = PaymentRef(
            merchant_id=order.merchant_id,
            connection_id=order.connection_id,
            invoice_id=order.invoice_id,
            payment_id=payment_id,
            kind=order.kind,
        )
        fact = await read_status(payment)
        assert isinstance(fact, BankFact)
        return fact

    async def actions(self) -> int:
        """The server's own count of billable actions in our namespace; it lags by a second or two."""
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(self.metrics_url)).text
        lines = (line for line in text.splitlines() if line.startswith("action{"))
        own = (line for line in lines if f'namespace="{self.client.namespace}"' in line)
        return round(sum(float(line.rsplit(" ", 1)[1]) for line in own))


@asynccontextmanager
async def open_shop(
    database: Database,
    temporal: TemporalServer,
    temporal_log: Path,
    emulator: EmulatorServer,
    receiver: WebhookReceiver,
    folder: Path,
) -> AsyncIterator[RealShop]:
    """Built as `worker.run` builds it, in the strict sandbox."""
    namespace = "budget"
    assert await temporal.ask("operator", "namespace", "create", "--namespace", namespace)
    settings = _settings(database, temporal, namespace, folder)
    client = await connect(settings[conf.Temporal], settings[conf.Keys].payload)
    await register_search_attributes(client)
    engine = Engine(client, TaskQueues(settings[conf.Worker].task_queue_prefix))
    async with AsyncExitStack() as stack:
        connection = await _merchant(settings, database, emulator, receiver)
        wiring = await wire(settings, engine, stack)
        await stack.enter_async_context(working(build_workers(client, wiring, settings[conf.Worker])))
        yield RealShop(client, engine, wiring, connection, emulator, await _metrics_url(temporal_log))


async def _metrics_url(temporal_log: Path) -> str:
    async def told() -> str | None:
        found = re.search(r"http://\S+/metrics\b", await asyncio.to_thread(temporal_log.read_text))
        return found and found[0]

    # The server says it about when it begins to serve, not before.
    found = await until(told, "the server to tell where its metrics are")
    assert found is not None
    return found


def _settings(database: Database, temporal: TemporalServer, namespace: str, folder: Path) -> conf.Settings:
    secrets = load_or_make(folder / "secrets.json")
    environ = {
        "TOLEM_DATABASE_URL": database.app_url,
        "TOLEM_OPERATOR_DATABASE_URL": database.operator_url,
        "TOLEM_TEMPORAL_ADDRESS": temporal.address,
        "TOLEM_TEMPORAL_NAMESPACE": namespace,
        "TOLEM_SEAL_KEYS": secrets.seal_keys,
        "TOLEM_PAYLOAD_KEYS": secrets.payload_keys,
        "TOLEM_CODEC_TOKEN": secrets.codec_token,
        "TOLEM_PUBLIC_URL": "http://127.0.0.1:8000",
        "TOLEM_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1",
        "TOLEM_WEBHOOK_ALLOW_HTTP": "true",
        "TOLEM_TASK_QUEUE_PREFIX": namespace,
    }
    sections = (
        conf.Database,
        conf.OperatorDatabase,
        conf.Temporal,
        conf.Keys,
        conf.Api,
        conf.Invoices,
        conf.Reconciliation,
        conf.Webhooks,
        conf.Worker,
    )
    return conf.load(*sections, environ=environ)


async def _merchant(
    settings: conf.Settings, database: Database, emulator: EmulatorServer, receiver: WebhookReceiver
) -> Connection:
    box = SealBox(settings[conf.Keys].seal)
    operator, app = create_engine(database.operator_url, pool_size=1), create_engine(database.app_url, pool_size=1)
    try:
        merchant = await add_merchant(Registry(operator), "Budget", BIN)
        endpoint = new_endpoint_id()
        await Endpoints(app).add(
            merchant.id,
            endpoint,
            url=receiver.url,
            events=[EVERY_EVENT],
            is_sandbox=False,
            sealed=box.seal(b"whsec_" + b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", f"endpoint:{endpoint}"),
            asked_by="key_budget",
        )
        read = {name: (emulator.certificates / name).read_text() for name in ("client.pem", "client.key", "ca.pem")}
        plan = ConnectionPlan(
            merchant_id=merchant.id,
            device_id="tolem-budget",
            trade_point_id=TRADE_POINT,
            config=KaspiConfig(
                scheme=Scheme.R3,
                base_url=f"{emulator.bank_url}/r3/v01",
                organization_bin=BIN,
                certificate_pem=read["client.pem"],
                private_key_pem=read["client.key"],
                trust_pem=read["ca.pem"],
            ),
        )
        return await connect_bank(Registry(operator), box, plan)
    finally:
        await operator.dispose()
        await app.dispose()


def actions_of(events: Sequence[HistoryEvent]) -> int:
    """Billable actions by Temporal Cloud's public list, for the kinds of events that an invoice has."""
    kinds = Counter[Any](event.event_type for event in events)
    priced = {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: 1,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: 1,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: 1,
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: 1,
        EventType.EVENT_TYPE_TIMER_STARTED: 1,
        EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: 1,
        EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: 2,
    }
    # All local activities of one workflow task are one action.
    local = {
        event.marker_recorded_event_attributes.workflow_task_completed_event_id
        for event in events
        if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED
    }
    return sum(price * kinds[kind] for kind, price in priced.items()) + len(local)
