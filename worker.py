"""The worker: gateways → activities → a worker on each of its queues; drains on SIGTERM."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import msgspec
import structlog
import uvloop
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker

from activities.adopting import Adopting
from activities.attempting import Attempting, AttemptPolicy
from activities.bank_calls import BankCalls
from activities.booking import Booking
from activities.delivering import Delivering
from activities.guarding import Guarding, GuardLimits
from activities.issuing import IssueLimits, Issuing
from activities.looking import Looking
from activities.reconciling import AWAY_PAUSE_SECONDS, ReconcileLimits, Reconciling
from activities.redelivering import Redelivering
from activities.refunding import Refunding
from activities.subscribing import Subscribing
from activities.watching import PollLimits, Watching
from contracts.rendering import Contracts
from db.deliveries import Deliveries
from db.engine import create_engine
from db.ledger import Ledger
from db.liveness import Liveness
from db.reconciliation_books import ReconciliationBooks
from db.reconciliation_links import ReconciliationLinks
from db.reconciliations import Reconciliations
from db.redelivery_books import RedeliveryBooks
from db.refunds import RefundLedger
from db.registry import MerchantRecords, Registry
from db.subscription_bills import BillTimes, SubscriptionBills
from db.subscriptions import SubscriptionLedger
from db.test_clocks import TestClocks
from db.watches import Watches
from domain.policy import REFUND_CALL_OVERHEAD
from kaspi.directory import BankDirectory, BankLimits
from operations.keeping_going import keep_going
from operations.sealed import connection_loader, poster
from runtime import settings as conf
from runtime.env import SettingsError
from runtime.leave import leave
from runtime.logging import configure
from runtime.secrets import SealBox
from runtime.task_queues import TaskQueues
from runtime.temporal import connect
from runtime.workflow_sandbox import workflow_runner
from webhooks.guard import EgressRules
from webhooks.lanes import Lanes
from webhooks.proxy import EgressProxy
from webhooks.sender import Sender
from workflows.client import Engine
from workflows.invoice import InvoiceWorkflow
from workflows.kaspi_session import KaspiSessionWorkflow
from workflows.reconciliation import ReconcileAllWorkflow, ReconciliationWorkflow
from workflows.redelivery import RedeliveryWorkflow
from workflows.refund import RefundWorkflow
from workflows.subscription import SubscriptionWorkflow
from workflows.test_clock import TestClockWorkflow
from workflows.watchdog import WatchdogWorkflow
from workflows.webhook_delivery import WebhookDeliveryWorkflow
from workflows.webhook_test import WebhookTestWorkflow

log = structlog.get_logger(__name__)

WORKFLOWS = (
    InvoiceWorkflow,
    KaspiSessionWorkflow,
    ReconcileAllWorkflow,
    ReconciliationWorkflow,
    RefundWorkflow,
    SubscriptionWorkflow,
    TestClockWorkflow,
    WatchdogWorkflow,
    WebhookTestWorkflow,
)
# What failed once has a queue of its own, so that months of dead receivers are in no invoice's way.
DELIVERY_WORKFLOWS = (WebhookDeliveryWorkflow, RedeliveryWorkflow)
# A create holds a workflow task and a local activity as long as its bank takes: there must be room beside the ill
# banks (TOLEM_CREATES_PER_CONNECTION each) for everybody's short steps.
LOCAL_ACTIVITIES = 1000
KASPI_ACTIVITIES = 200
# More than the places of the lanes: who stands in line there, or is turned away, holds a slot for a moment too.
WEBHOOK_ACTIVITIES = 1000
WORKFLOW_TASKS = 1000
DELIVERY_WORKFLOW_TASKS = 100

Activity = Callable[..., Coroutine[Any, Any, Any]]


class Wiring(msgspec.Struct, frozen=True):
    """The activities of each queue, with their real gateways."""

    local: list[Activity]
    kaspi: list[Activity]
    watch: list[Activity]
    webhooks: list[Activity]
    deliveries: list[Activity]


async def wire(settings: conf.Settings, engine: Engine, stack: AsyncExitStack) -> Wiring:
    """Builds every gateway; what must be closed is left to `stack`."""
    database = settings[conf.Database]
    pool = create_engine(database.url.reveal(), pool_size=database.pool)
    stack.push_async_callback(pool.dispose)
    renderer = Contracts(settings[conf.Api].public_url)
    box = SealBox(settings[conf.Keys].seal)
    ledger, deliveries = Ledger(pool, renderer), Deliveries(pool, renderer)
    invoices = settings[conf.Invoices]
    banks = BankDirectory(
        connection_loader(MerchantRecords(pool), box),
        BankLimits(
            phone_lifetime=invoices.phone_lifetime_seconds,
            read_timeout=invoices.kaspi_read_timeout_seconds,
            concurrency=invoices.poll_connections,
        ),
    )
    stack.push_async_callback(banks.aclose)
    hooks = settings[conf.Webhooks]
    rules = EgressRules(allowed_hosts=frozenset(hooks.allowed_hosts), allow_http=hooks.allow_http)
    proxy = None if hooks.proxy_url is None else EgressProxy.parse(hooks.proxy_url.reveal())
    sender = await stack.enter_async_context(
        Sender(rules, attempt_seconds=hooks.timeout_seconds, max_in_flight=hooks.places, proxy=proxy)
    )
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
    refunding = Refunding(RefundLedger(pool, renderer), banks)
    stack.push_async_callback(refunding.drain)
    adopting = Adopting(banks, ledger, timedelta(seconds=invoices.phone_lifetime_seconds))
    attempting = Attempting(
        deliveries,
        poster(sender, box),
        Lanes(per_endpoint=hooks.per_endpoint, places=hooks.places),
        engine,
        AttemptPolicy(
            schedule=hooks.schedule_seconds,
            disable_after=hooks.disable_after_hours * 3600.0,
            attempt_seconds=hooks.timeout_seconds,
        ),
    )
    delivering = Delivering(attempting, deliveries, engine, handovers=hooks.handovers)
    booking, guarding = Booking(ledger), _guarding(settings, stack, engine)
    reconciling = _reconciling(settings, pool, stack, banks, ledger, engine)
    return Wiring(
        local=[
            issuing.issue,
            booking.book,
            booking.standing,
            # Not local ones: they take minutes, and need a queue on which no ill bank is waited for.
            guarding.invoices,
            guarding.refunds,
            guarding.pollers,
            guarding.deliveries,
            guarding.redeliveries,
            guarding.subscriptions,
            guarding.test_clocks,
            *_subscribing(settings, pool, renderer, engine),
            refunding.open,
            refunding.turn,
            refunding.standing,
            refunding.book,
            refunding.note,
        ],
        kaspi=[
            bank_calls.read_status,
            bank_calls.cancel_remote,
            adopting.adopt,
            Looking(banks).look,
            refunding.read_sums,
            refunding.give_back,
            reconciling.plan,
            reconciling.walk,
        ],
        watch=[watching.watch],
        webhooks=[delivering.attempt, delivering.test],
        deliveries=[
            delivering.retry,
            Redelivering(RedeliveryBooks(pool, renderer), attempting, engine).redeliver,
        ],
    )


def _subscribing(settings: conf.Settings, pool: AsyncEngine, renderer: Contracts, engine: Engine) -> list[Activity]:
    times = BillTimes(late_watch=float(settings[conf.Invoices].late_watch_seconds))
    doing = Subscribing(SubscriptionLedger(pool, renderer), SubscriptionBills(pool, times), TestClocks(pool), engine)
    return doing.activities()


def _guarding(settings: conf.Settings, stack: AsyncExitStack, engine: Engine) -> Guarding:
    every_merchant = create_engine(settings[conf.OperatorDatabase].url.reveal(), pool_size=2)
    stack.push_async_callback(every_merchant.dispose)
    limits = GuardLimits(
        grace=settings[conf.Worker].watchdog_grace_seconds,
        read_back_window=settings[conf.Invoices].refund_window_seconds,
        longest_call=settings[conf.Invoices].kaspi_read_timeout_seconds + REFUND_CALL_OVERHEAD,
    )
    return Guarding(Liveness(every_merchant), Registry(every_merchant), engine, limits)


def _reconciling(
    settings: conf.Settings,
    pool: AsyncEngine,
    stack: AsyncExitStack,
    banks: BankDirectory,
    ledger: Ledger,
    engine: Engine,
) -> Reconciling:
    every_merchant = create_engine(settings[conf.OperatorDatabase].url.reveal(), pool_size=1)
    stack.push_async_callback(every_merchant.dispose)
    limits = settings[conf.Reconciliation]
    return Reconciling(
        Reconciliations(pool),
        ReconciliationBooks(pool, timedelta(seconds=limits.lag_seconds)),
        banks,
        ledger,
        Watches(pool),
        engine,
        ReconciliationLinks(every_merchant),
        ReconcileLimits(
            days=limits.days,
            calls_per_second=limits.calls_per_second,
            concurrency=limits.concurrency,
            pause=limits.pause_seconds,
            bank_patience=limits.bank_patience_seconds,
            away_pause=min(AWAY_PAUSE_SECONDS, limits.bank_patience_seconds / 4),
        ),
    )


def build_workers(client: Client, wiring: Wiring, settings: conf.Worker) -> list[Worker]:
    """One worker per queue that this process serves, so that slow receivers or an ill bank starve nobody else."""
    queues = TaskQueues(settings.task_queue_prefix)
    with_workflows = {
        "workflow_runner": workflow_runner(sandboxed=settings.sandbox),
        "max_cached_workflows": settings.max_cached_workflows,
    }
    options: dict[str, dict[str, Any]] = {
        "workflows": {
            "workflows": WORKFLOWS,
            "activities": wiring.local,
            "max_concurrent_workflow_tasks": WORKFLOW_TASKS,
            "max_concurrent_local_activities": LOCAL_ACTIVITIES,
            **with_workflows,
        },
        "kaspi": {"activities": wiring.kaspi, "max_concurrent_activities": KASPI_ACTIVITIES},
        "watch": {"activities": wiring.watch, "max_concurrent_activities": settings.watched_connections},
        "webhooks": {"activities": wiring.webhooks, "max_concurrent_activities": WEBHOOK_ACTIVITIES},
        "deliveries": {
            "workflows": DELIVERY_WORKFLOWS,
            "activities": wiring.deliveries,
            "max_concurrent_workflow_tasks": DELIVERY_WORKFLOW_TASKS,
            "max_concurrent_activities": WEBHOOK_ACTIVITIES,
            **with_workflows,
        },
    }
    return [
        Worker(
            client,
            task_queue=queues.called(word),
            graceful_shutdown_timeout=timedelta(seconds=settings.shutdown_seconds),
            **options[word],
        )
        for word in settings.queues
    ]


async def run() -> None:
    """Works until SIGTERM or SIGINT, then finishes what runs and returns."""
    settings = conf.load(
        conf.Database,
        conf.OperatorDatabase,
        conf.Temporal,
        conf.Keys,
        conf.Api,
        conf.Invoices,
        conf.Reconciliation,
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
        keeping = asyncio.create_task(keep_going(settings, client, engine))
        # What is loaded by now stays: looking through it for garbage would stop every attempt for a tenth of a second.
        gc.collect()
        gc.freeze()
        log.info("worker_ready", queue=settings[conf.Worker].task_queue_prefix, serves=settings[conf.Worker].queues)
        await stopping.wait()
        log.info("worker_stopping")
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
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
