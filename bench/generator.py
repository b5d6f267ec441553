"""`python -m bench.generator`: one measurement's load, in a process of its own.

Reads an `Order` (one line of JSON) from stdin, warms up, prints "ready", waits for a second line, loads, prints a
`Tally`. So imports, connections and first calls are over before the caller reads any clock.
"""

import sys
import time
from collections.abc import Awaitable, Callable
from typing import Literal
from uuid import uuid4

import msgspec
import uvloop
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import TemporalError

from bench.load import Operation, Tally, closed_loop
from bench.raw_workflow import QUEUE
from bench.wire import BadAnswer, Connection, error_code
from runtime import settings as conf
from runtime.leave import leave
from runtime.temporal import connect

READY = "ready"
_CREATED = 201


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to load: the raw engine (its address is in the environment), or the API at `origin` with `key`."""

    target: Literal["raw", "http"]
    in_flight: int
    seconds: float
    warm_up: float = 1.0
    origin: str = ""
    key: str = ""


def http_create(api: Connection) -> Operation:
    """A merchant's POST of a bill to a phone, with an idempotency key."""
    body = msgspec.json.encode({"amount": 100, "phone_number": "77011234567", "description": "Order 1042"})

    async def create() -> str | None:
        try:
            status, answer = await api.call("POST", "/api/v1/invoices", body, Idempotency_Key=uuid4().hex)
        except (OSError, BadAnswer) as error:
            return type(error).__name__
        return None if status == _CREATED else f"HTTP {status} {error_code(answer)}"

    return create


def raw_create(client: Client) -> Operation:
    """A bare update-with-start, waited for like the API waits."""

    async def create() -> str | None:
        name = uuid4().hex
        start: WithStartWorkflowOperation[object, str] = WithStartWorkflowOperation(
            "bench_raw",
            "order",
            id=f"bench-raw-{name}",
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        try:
            await client.execute_update_with_start_workflow(
                "issued", "ask", id=name, start_workflow_operation=start, result_type=str
            )
        except TemporalError as error:
            return type(error).__name__
        return None

    return create


async def _lane(order: Order) -> Callable[[], Operation]:
    if order.target == "http":
        return lambda: http_create(Connection(order.origin, {"X-API-Key": order.key}))
    settings = conf.load(conf.Temporal, conf.Keys)
    client = await connect(settings[conf.Temporal], settings[conf.Keys].payload)
    return lambda: raw_create(client)


async def _measured(load: Awaitable[Tally]) -> Tally:
    before = time.process_time()
    tally = await load
    tally.cpu_seconds = time.process_time() - before
    return tally


async def run() -> int:
    """0, or 1 when the caller has gone away."""
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    lane = await _lane(order)
    lanes = [lane() for _ in range(order.in_flight)]
    warm = await closed_loop(lanes, order.warm_up)
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        return 1
    tally = await _measured(closed_loop(lanes, order.seconds))
    for what, count in warm.failures.items():
        tally.failures[f"{what} (warming up)"] = count
    sys.stdout.write(msgspec.json.encode(tally).decode() + "\n")
    return 0


if __name__ == "__main__":
    leave(uvloop.run(run()))
