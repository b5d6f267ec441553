"""Fourth scenario: from an event's commit to its first request, at a rate of events, while bills are made and paid."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack

import msgspec
from sqlalchemy import text

from bench.cpu import CpuMeter, difference
from bench.options import Options
from bench.results_file import Told, percentile
from bench.stack import BenchStack
from bench.storm_receivers import Illness, Receiver
from bench.wire import BadAnswer, Connection
from db.engine import create_engine
from db.registry import Registry
from domain.merchant import Mode
from operations.keys import add_key, add_merchant

BIN = "210140000016"
SHOPS = 10
# Each bill's event is told to so many receivers, as one event each.
RECEIVERS_EACH = 2
AT_ONCE = 64
PATIENCE = 30.0

_MADE = text(
    "select id, extract(epoch from created_at)::double precision as made from events"
    " where type = 'invoice.status_changed'"
)


class _Made(msgspec.Struct, frozen=True):
    id: str
    made: float


async def measure_told(options: Options, say: Callable[[str], None]) -> Told:
    """`told_rate` events a second for `told_seconds`: bills made and paid at random moments, each told twice."""
    async with BenchStack({}) as stack, AsyncExitStack() as exits:
        receivers = [await exits.enter_async_context(Receiver(Illness.WELL)) for _ in range(SHOPS * RECEIVERS_EACH)]
        told = await _Run(stack, receivers, options).go()
        stack.check_alive()
        say(f"told: p50 {told.p50}, p99 {told.p99}, max {told.max}")
        return told


class _Run:
    def __init__(self, stack: BenchStack, receivers: list[Receiver], options: Options) -> None:
        self._stack, self._receivers, self._options = stack, receivers, options
        self._failures: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._keys: list[str] = []

    async def go(self) -> Told:
        await self._open_shops()
        meter = CpuMeter(self._stack.pids)
        before, began = meter.read(), time.monotonic()
        asked = await self._load()
        seconds = time.monotonic() - began
        used = difference(before, meter.read())
        made = await self._all_told(asked)
        waits = [first - one.made for one in made for first in self._firsts(one.id)]
        missing = (asked - sum(self._failures.values())) * RECEIVERS_EACH - len(waits)
        if missing:
            self._failures["an event that was never told"] += missing
        return Told(
            events=len(waits),
            bills=len(made),
            rate=asked * RECEIVERS_EACH / seconds,
            p50=percentile(waits, 0.5),
            p99=percentile(waits, 0.99),
            max=max(waits, default=None),
            cpu_cores={name: cpu / seconds for name, cpu in used.items()},
            failures=dict(self._failures),
        )

    async def _open_shops(self) -> None:
        pool = create_engine(self._stack.system.database.operator_url, pool_size=2)
        try:
            registry = Registry(pool)
            keys = [
                await add_key(registry, (await add_merchant(registry, f"Shop {number}", BIN)).id, Mode.TEST, "told")
                for number in range(SHOPS)
            ]
        finally:
            await pool.dispose()
        for number, receiver in enumerate(self._receivers):
            async with self._api(keys[number % SHOPS]) as api:
                body = {"url": receiver.url, "events": ["*"]}
                await api.json("POST", "/api/v1/webhooks", body, expected=201)
        self._keys = keys

    async def _load(self) -> int:
        chance = random.Random(self._options.seed)  # noqa: S311 -- moments of a load
        room, tasks = asyncio.Semaphore(AT_ONCE), []
        due = began = time.monotonic()
        for number in itertools.count():
            due += chance.expovariate(self._options.told_rate / RECEIVERS_EACH)
            if due > began + self._options.told_seconds:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await room.acquire()
            task = asyncio.create_task(self._one(number))
            task.add_done_callback(lambda _: room.release())
            tasks.append(task)
        await asyncio.gather(*tasks)
        return len(tasks)

    async def _one(self, number: int) -> None:
        try:
            async with self._api(self._keys[number % SHOPS]) as api:
                number = next(self._numbers)
                # Endings from 1000: below them are the magic values of the sandbox.
                phone = f"7701{number // 9_000:03d}{1_000 + number % 9_000:04d}"
                bill = {"amount": 100, "phone_number": phone}
                made = await api.json("POST", "/api/v1/invoices", bill, expected=201)
                await api.json("POST", f"/api/v1/sandbox/invoices/{made['id']}/simulate", {"status": "paid"})
        except (OSError, BadAnswer) as error:
            self._failures[f"making an event: {error}"] += 1

    async def _all_told(self, asked: int) -> list[_Made]:
        """The events in the books, when all have been told or none has come for long."""
        ends = time.monotonic() + PATIENCE
        pool = create_engine(self._stack.system.database.operator_url, pool_size=1)
        try:
            while True:
                async with pool.connect() as connection:
                    made = [msgspec.convert(row, _Made) for row in (await connection.execute(_MADE)).mappings()]
                untold = sum(len(self._firsts(one.id)) < RECEIVERS_EACH for one in made)
                enough = len(made) >= asked - sum(self._failures.values()) and not untold
                if enough or time.monotonic() > ends:
                    return made
                await asyncio.sleep(0.5)
        finally:
            await pool.dispose()

    def _firsts(self, event_id: str) -> list[float]:
        return [receiver.first[event_id] for receiver in self._receivers if event_id in receiver.first]

    def _api(self, key: str) -> Connection:
        return Connection(self._stack.system.api_url, {"X-API-Key": key})
