"""What a worker sees to again and again: Temporal's Schedules, and the pollers of the bank connections."""

import asyncio

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from db.engine import create_engine
from db.errors import DatabaseError
from db.registry import Registry
from runtime import settings as conf
from runtime.task_queues import TaskQueues
from workflows.client import Engine, EngineAway
from workflows.schedules import ensure_schedules, recurring

log = structlog.get_logger(__name__)

KEEP_GOING_PATIENCE = 60.0


async def watch_connections(settings: conf.Settings, engine: Engine) -> None:
    """Starts the poller of every connection that has none: after a restore, or a connection made while we were away."""
    pool = create_engine(settings[conf.OperatorDatabase].url.reveal(), pool_size=1)
    try:
        for connection in await Registry(pool).watched_connections():
            await engine.watch_connection(connection.merchant_id, connection.id)
    finally:
        await pool.dispose()


async def keep_going(settings: conf.Settings, client: Client, engine: Engine) -> None:
    """Makes sure, again and again, that Temporal has our Schedules, and the pollers where it has forgotten those.

    Temporal cannot schedule what it has forgotten: after the loss of its database nothing but this brings the
    watchdog back (docs/decisions/0014).
    """
    limits, started = settings[conf.Worker], False
    reconcile_at = settings[conf.Reconciliation].at
    wanted = recurring(watchdog_every=limits.watchdog_seconds, reconcile_at=reconcile_at)
    while True:
        try:
            async with asyncio.timeout(KEEP_GOING_PATIENCE):
                forgotten = await ensure_schedules(
                    client, TaskQueues(limits.task_queue_prefix), wanted, renew=not started
                )
                if forgotten or not started:
                    log.info("schedules_made", schedules=forgotten)
                    await watch_connections(settings, engine)
            started = True
        except (RPCError, EngineAway, DatabaseError, TimeoutError) as error:
            log.warning("schedules_not_ensured", cause=str(error), error=type(error).__name__)
        except Exception:
            log.exception("schedules_not_ensured")
        await asyncio.sleep(limits.watchdog_seconds)
