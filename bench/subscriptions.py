"""`python -m bench.subscriptions [count]`: many subscriptions, a worker that dies, and whether all still live."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.stack import BenchStack
from db.engine import create_engine
from db.registry import Registry
from domain.billing_calendar import Plan
from domain.ids import SUBSCRIPTION, new_id
from domain.subscription_record import NewTerms, OpenSubscription, SubscriptionRef
from operations.keys import add_merchant
from runtime import settings as conf
from runtime.leave import leave
from runtime.logging import configure
from runtime.task_queues import TaskQueues
from runtime.temporal import connect
from workflows.client import Engine
from workflows.subscription_messages import PauseSubscription

BIN = "210140000016"
AT_ONCE = 50
WAIT = 60.0


def resident_mb(pid: int) -> float:
    """Memory of a process that is in RAM, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


async def measure(count: int) -> int:
    """Exit code 1 when one of them does not live any more."""
    async with BenchStack({}) as stack:
        settings = conf.load(conf.Temporal, conf.Keys, environ=stack.system.operator_environment())
        engine = Engine(await connect(settings[conf.Temporal], settings[conf.Keys].payload), TaskQueues())
        pool = create_engine(stack.system.database.operator_url, pool_size=1)
        merchant = (await add_merchant(Registry(pool), "Subscriptions", BIN)).id
        await pool.dispose()
        idle = resident_mb(stack.pids["worker"])
        refs = [
            SubscriptionRef(merchant_id=merchant, subscription_id=new_id(SUBSCRIPTION), is_sandbox=True)
            for _ in range(count)
        ]
        made = await _timed(refs, lambda ref: engine.open_subscription(_order(ref), wait=WAIT))
        full = resident_mb(stack.pids["worker"])
        await stack.restart_worker()
        again = resident_mb(stack.pids["worker"])
        running = await engine.running("subscription")
        heard = await _timed(refs, lambda ref: engine.act_on_subscription(ref, PauseSubscription(), wait=WAIT))
        after = resident_mb(stack.pids["worker"])
        alive = sum(f"subscription-{ref.subscription_id}" in running for ref in refs)
    _say(f"{count} subscriptions made in {made:.0f} s")
    _say(f"after a SIGKILL of the worker {alive} run, and all of them answered in {heard:.0f} s")
    _say(f"worker MB: idle {idle:.0f}, with all of them {full:.0f}, begun again {again:.0f}, all woken {after:.0f}")
    return 0 if alive == count else 1


async def _timed(refs: Sequence[SubscriptionRef], do: Callable[[SubscriptionRef], Awaitable[object]]) -> float:
    room, began = asyncio.Semaphore(AT_ONCE), time.monotonic()

    async def one(ref: SubscriptionRef) -> None:
        async with room:
            await do(ref)

    await asyncio.gather(*(one(ref) for ref in refs))
    return time.monotonic() - began


def _order(ref: SubscriptionRef) -> OpenSubscription:
    now = datetime.now(UTC)
    return OpenSubscription(
        subscription_id=ref.subscription_id,
        merchant_id=ref.merchant_id,
        is_sandbox=True,
        phone="77011234567",
        terms=NewTerms(amount=500_000, description="bench"),
        open_before=now + timedelta(seconds=WAIT),
        fingerprint="bench",
        operation="subscriptions",
        request_id="bench",
        plan=Plan(),
        started_at=now + timedelta(days=30),
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    configure("warning", "console", "bench")
    leave(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)))
