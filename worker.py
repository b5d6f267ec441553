"""The worker: gateways → activities → workers on four queues; drains on SIGTERM."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog
import uvloop
from temporalio.client import Client
from temporalio.worker import Worker

from activities.adopting import Adopting
from activities.bank_calls import BankCalls
from activities.booking import Booking
from activities.delivering import Delivering
from activities.issuing import IssueLimits, Issuing
from activities.watching import PollLimits, Watching
from contracts.v1 import V1
from db.deliveries import Deliveries
from db.engine import create_engine
from db.ledger import Ledger
from db.registry import MerchantRecords, Registry
from db.watches import Watches
from domain.merchant import Connection, ConnectionSecrets
from kaspi.directory import BankDirectory, BankLimits
from kaspi.errors import KaspiMisconfigured
from operations.connections import open_connection
from runtime import settings as conf
from runtime.env import SettingsError
from runtime.leave import leave
from runtime.logging import configure
from runtime.secrets import SealBox, SealBroken
from runtime.temporal import connect
from runtime.temporal_names import TaskQueues
from runtime.workflow_sandbox import workflow_runner
from webhooks.attempt import Attempt
from webhooks.guard import EgressRules
from webhooks.sender import Sender
from webhooks.signing import sign
from workflows.client import Engine
from workflows.invoice import InvoiceWorkflow
from workflows.kaspi_session import KaspiSessionWorkflow
from workflows.webhook_delivery import WebhookDeliveryWorkflow
from workflows.webhook_test import WebhookTestWorkflow

log = structlog.get_logger(__name__)

WORKFLOWS = (InvoiceWorkflow, KaspiSessionWorkflow, WebhookDeliveryWorkflow, WebhookTestWorkflow)
# A create holds a workflow task and a local activity as long as its bank takes: there must be room beside the ill
# banks (TOLEM_CREATES_PER_CONNECTION each) for everybody's short steps.
LOCAL_ACTIVITIES = 1000
KASPI_ACTIVITIES = 200
WEBHOOK_ACTIVITIES = 200
WORKFLOW_TASKS = 1000

Activity = Callable[..., Coroutine[Any, Any, Any]]


class Wiring(msgspec.Struct, frozen=True):
    """The activities of each queue, with their real gateways."""

    local: list[Activity]
    kaspi: list[Activity]
    watch: list[Activity]
    webhooks: list[Activity]


async def wire(settings: conf.Settings, engine: Engine, stack: AsyncExitStack) -> Wiring:
    """Builds every gateway; what must be closed is left to `stack`."""
    database = settings[conf.Database]
    pool = create_engine(database.url.reveal(), pool_size=database.pool)
    stack.push_async_callback(pool.dispose)
    renderer = V1(settings[conf.Api].public_url)
    box = SealBox(settings[conf.Keys].seal)
    ledger, deliveries = Ledger(pool, renderer), Deliveries(pool, renderer)
    invoices = settings[conf.Invoices]
    banks = BankDirectory(
        _connection_loader(MerchantRecords(pool), box),
        BankLimits(
            phone_lifetime=invoices.phone_lifetime_seconds,
            read_timeout=invoices.kaspi_read_timeout_seconds,
            concurrency=invoices.poll_connections,
        ),
    )
    stack.push_async_callback(banks.aclose)
    hooks = settings[conf.Webhooks]
    rules = EgressRules(allowed_hosts=frozenset(hooks.allowed_hosts), allow_http=hooks.allow_http)
    sender = await stack.enter_async_context(Sender(rules, attempt_seconds=hooks.timeout_seconds))
    watching = Watching(
        Watches(pool),
        banks,
        deliveries,
        engine,
        PollLimits(
            tick=invoices.poll_tick_seconds,
            calls_per_second=invoices.bank_calls_per_second,
            concurrency=invoices.poll_connections,
            phone_polling=invoices.phone_polling,
            late_watch=invoices.late_watch_seconds,
        ),
    )
    issuing = Issuing(
        ledger,
        banks,
        IssueLimits(
            # Three connect timeouts and one read timeout (kaspi.transport), and a little.
            longest_call=3 * BankLimits().connect_timeout + invoices.kaspi_read_timeout_seconds + 5,
            per_connection=invoices.creates_per_connection,
        ),
    )
    stack.push_async_callback(issuing.drain)
    bank_calls = BankCalls(banks, ledger)
    adopting = Adopting(banks, ledger, timedelta(seconds=invoices.phone_lifetime_seconds))
    delivering = Delivering(deliveries, _poster(sender, box), hooks.schedule_seconds)
    return Wiring(
        local=[issuing.issue, Booking(ledger).book],
        kaspi=[bank_calls.read_status, bank_calls.cancel_remote, adopting.adopt],
        watch=[watching.watch],
        webhooks=[delivering.attempt, delivering.test],
    )


def _connection_loader(
    records: MerchantRecords, box: SealBox
) -> Callable[[str, str], Coroutine[Any, Any, tuple[Connection, ConnectionSecrets] | None]]:
    async def load(merchant_id: str, connection_id: str) -> tuple[Connection, ConnectionSecrets] | None:
        found = await records.sealed_connection(merchant_id, connection_id)
        try:
            return None if found is None else open_connection(box, *found)
        except SealBroken as error:
            raise KaspiMisconfigured("config", "sealed_secrets_unreadable") from error

    return load


def _poster(sender: Sender, box: SealBox) -> Callable[..., Coroutine[Any, Any, Attempt]]:
    async def post(url: str, secret_sealed: bytes, endpoint_id: str, event_id: str, body: bytes) -> Attempt:
        secret = box.open(secret_sealed, f"endpoint:{endpoint_id}").decode()
        return await sender.send(url, sign([secret], event_id, datetime.now(UTC), body), body)

    return post


def build_workers(client: Client, wiring: Wiring, settings: conf.Worker) -> list[Worker]:
    """One worker per queue, so that slow receivers or an ill bank starve nobody else."""
    queues = TaskQueues(settings.task_queue_prefix)
    drain = timedelta(seconds=settings.shutdown_seconds)
    return [
        Worker(
            client,
            task_queue=queues.workflows,
            workflows=WORKFLOWS,
            activities=wiring.local,
            workflow_runner=workflow_runner(sandboxed=settings.sandbox),
            max_cached_workflows=settings.max_cached_workflows,
            max_concurrent_workflow_tasks=WORKFLOW_TASKS,
            max_concurrent_local_activities=LOCAL_ACTIVITIES,
            graceful_shutdown_timeout=drain,
        ),
        Worker(
            client,
            task_queue=queues.kaspi,
            activities=wiring.kaspi,
            max_concurrent_activities=KASPI_ACTIVITIES,
            graceful_shutdown_timeout=drain,
        ),
        Worker(
            client,
            task_queue=queues.watch,
            activities=wiring.watch,
            max_concurrent_activities=settings.watched_connections,
            graceful_shutdown_timeout=drain,
        ),
        Worker(
            client,
            task_queue=queues.webhooks,
            activities=wiring.webhooks,
            max_concurrent_activities=WEBHOOK_ACTIVITIES,
            graceful_shutdown_timeout=drain,
        ),
    ]


async def watch_connections(settings: conf.Settings, engine: Engine) -> None:
    """Starts the poller of every connection that has none: after a restore, or a connection made while we were away."""
    pool = create_engine(settings[conf.OperatorDatabase].url.reveal(), pool_size=1)
    try:
        for connection in await Registry(pool).watched_connections():
            await engine.watch_connection(connection.merchant_id, connection.id)
    finally:
        await pool.dispose()


async def run() -> None:
    """Works until SIGTERM or SIGINT, then finishes what runs and returns."""
    settings = conf.load(
        conf.Database,
        conf.OperatorDatabase,
        conf.Temporal,
        conf.Keys,
        conf.Api,
        conf.Invoices,
        conf.Webhooks,
        conf.Worker,
        conf.Log,
    )
    configure(settings[conf.Log].level, settings[conf.Log].format, "worker")
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    client = await connect(settings[conf.Temporal], settings[conf.Keys].payload)
    engine = Engine(client, TaskQueues(settings[conf.Worker].task_queue_prefix))
    async with AsyncExitStack() as stack:
        wiring = await wire(settings, engine, stack)
        workers = build_workers(client, wiring, settings[conf.Worker])
        for worker in workers:
            await stack.enter_async_context(worker)
        await watch_connections(settings, engine)
        log.info("worker_ready", queue=settings[conf.Worker].task_queue_prefix)
        await stopping.wait()
        log.info("worker_stopping")
        # All queues at once: one after another would take longer than a deployment waits.
        await asyncio.gather(*(worker.shutdown() for worker in workers))


def main() -> None:
    """Entry point; leaves by `leave`, because the SDK's threads can abort a plain exit."""
    try:
        uvloop.run(run())
    except SettingsError as error:
        print(error)  # noqa: T201 -- before logging is configured
        leave(2)
    except Exception:
        log.exception("worker_failed")
        leave(1)
    leave(0)


if __name__ == "__main__":
    main()
