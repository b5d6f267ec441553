"""Third scenario: events to many receivers, some of them ill: nothing is lost, and the well ones must not feel it."""

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
from bench.results_file import Storm, percentile
from bench.stack import BenchStack
from bench.storm_receivers import Illness, Receiver, illnesses
from bench.wire import BadAnswer, Connection
from db.engine import create_engine
from db.registry import Registry
from domain.merchant import Mode
from operations.keys import add_key, add_merchant

# The published schedule takes a month; this one ends while somebody waits. A hanging receiver is given up sooner, too.
SETTINGS = {
    "TOLEM_WEBHOOK_SCHEDULE_SECONDS": "5,30,120",
    "TOLEM_WEBHOOK_TIMEOUT_SECONDS": "7",
    "TOLEM_DATABASE_POOL": "20",
}
BIN = "210140000016"
LOOK_EVERY = 5.0
# A create and its payment take some 100 ms; more at once than this only measures a queue.
AT_ONCE = 32

_DELIVERIES = text(
    "select e.id as event_id, extract(epoch from e.created_at)::double precision as made, d.endpoint_id, d.state,"
    " d.attempts, d.last_error, d.last_status,"
    " (select count(*) from delivery_attempts a where a.delivery_id = d.id and a.status between 200 and 299"
    "   and a.error is null) as accepted, w.disabled_reason"
    " from events e join webhook_endpoints w on w.merchant_id = e.merchant_id"
    " left join deliveries d on d.event_id = e.id and d.endpoint_id = w.id where e.type = 'invoice.status_changed'"
)
_OPEN = text("select count(*) from deliveries where state = 'pending'")


# Each merchant's event goes to so many receivers, well and ill ones beside each other: the same story tells them all.
ENDPOINTS_EACH = 5


class Merchant(msgspec.Struct):
    """One shop with its receivers by endpoint."""

    key: str
    receivers: list[Receiver]
    endpoints: dict[str, Receiver] = {}


class Told(msgspec.Struct, frozen=True):
    """An event and what became of it in the books; without a delivery where the endpoint was disabled before it."""

    event_id: str
    made: float
    endpoint_id: str | None
    state: str | None
    attempts: int | None
    last_error: str | None
    last_status: int | None
    accepted: int
    disabled_reason: str | None


async def measure_storm(options: Options, say: Callable[[str], None]) -> list[Storm]:
    """Runs without the ill receivers and with them in turn, each on a fresh system.

    In turn, because the machine itself is faster at one hour than at another, by more than what is looked for.
    """
    turns = [(round_, ill) for round_ in range(1, options.storm_rounds + 1) for ill in (False, True)]
    return [await _one(options, say, round_, ill=ill) for round_, ill in turns]


async def _one(options: Options, say: Callable[[str], None], round_: int, *, ill: bool) -> Storm:
    async with BenchStack(SETTINGS, one_worker=options.one_worker) as stack, AsyncExitStack() as exits:
        kinds = illnesses(options.receivers, ill=ill)
        receivers = [await exits.enter_async_context(Receiver(kind)) for kind in kinds]
        storm = await _Run(stack, receivers, options, say).go(round_, ill=ill)
        stack.check_alive()
        # The other runs may never end.
        name = "with the ill ones" if ill else "all well"
        say(f"storm: round {round_}, {name}: p50 {storm.p50}, p99 {storm.p99}, max {storm.max}")
        return storm


class _Run:
    def __init__(
        self, stack: BenchStack, receivers: list[Receiver], options: Options, say: Callable[[str], None]
    ) -> None:
        self._stack = stack
        self._receivers = receivers
        self._options = options
        self._say = say
        self._events = options.events // options.storm_rounds
        self._failures: Counter[str] = Counter()
        self._numbers = itertools.count(1)

    async def go(self, round_: int, *, ill: bool) -> Storm:
        merchants = await self._merchants()
        meter = CpuMeter(self._stack.pids)
        before, began = meter.read(), time.monotonic()
        await self._load(merchants)
        sending = time.monotonic() - began
        used = difference(before, meter.read())
        self._say(f"storm: {self._events} events after {sending:.0f} s, waiting for the last deliveries")
        await self._settled()
        return self._judge(merchants, await self._books(), round_, ill=ill, sending=sending, used=used)

    async def _merchants(self) -> list[Merchant]:
        pool = create_engine(self._stack.system.database.operator_url, pool_size=2)
        try:
            registry, made = Registry(pool), []
            for number in range(len(self._receivers) // ENDPOINTS_EACH):
                shop = await add_merchant(registry, f"Shop {number}", BIN)
                own = self._receivers[number * ENDPOINTS_EACH : (number + 1) * ENDPOINTS_EACH]
                made.append(Merchant(await add_key(registry, shop.id, Mode.TEST, "storm"), own))
        finally:
            await pool.dispose()
        for merchant in made:
            async with self._api(merchant) as api:
                for receiver in merchant.receivers:
                    body = {"url": receiver.url, "events": ["invoice.*"]}
                    made_id = (await api.json("POST", "/api/v1/webhooks", body, expected=201))["id"]
                    merchant.endpoints[made_id] = receiver
        return made

    async def _load(self, merchants: list[Merchant]) -> None:
        """Bills made and paid, each merchant in its turn, whatever became of those before.

        They come as independent payers do, at random moments (the same in both runs) of an even rate on average.
        """
        room, tasks, due = asyncio.Semaphore(AT_ONCE), [], time.monotonic()
        chance = random.Random(self._options.seed)  # noqa: S311 -- moments of a load
        for number in range(self._events // ENDPOINTS_EACH):
            due += chance.expovariate(self._options.rate / ENDPOINTS_EACH)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            merchant = merchants[number % len(merchants)]
            await room.acquire()
            task = asyncio.create_task(self._pay_one(merchant))
            task.add_done_callback(lambda _: room.release())
            tasks.append(task)
            if number % 200 == 199:
                self._say(f"storm: {number + 1} bills, {(number + 1) * ENDPOINTS_EACH} events to tell")
        await asyncio.gather(*tasks)

    async def _pay_one(self, merchant: Merchant) -> None:
        try:
            async with self._api(merchant) as api:
                number = next(self._numbers)
                # Endings from 1000: below them are the magic values of the sandbox.
                phone = f"7701{number // 9_000:03d}{1_000 + number % 9_000:04d}"
                bill = {"amount": 100, "phone_number": phone}
                made = await api.json("POST", "/api/v1/invoices", bill, expected=201)
                await api.json("POST", f"/api/v1/sandbox/invoices/{made['id']}/simulate", {"status": "paid"})
        except (OSError, BadAnswer) as error:
            self._failures[f"making an event: {error}"] += 1

    async def _settled(self) -> None:
        ends = time.monotonic() + self._options.patience * 10
        while (left := await self._pending()) and time.monotonic() < ends:
            self._say(f"storm: {left} deliveries wait")
            await asyncio.sleep(LOOK_EVERY)

    async def _pending(self) -> int:
        pool = create_engine(self._stack.system.database.operator_url, pool_size=1)
        try:
            async with pool.connect() as connection:
                number: int = (await connection.execute(_OPEN)).scalar_one()
                return number
        finally:
            await pool.dispose()

    async def _books(self) -> list[Told]:
        pool = create_engine(self._stack.system.database.operator_url, pool_size=1)
        try:
            async with pool.connect() as connection:
                rows = (await connection.execute(_DELIVERIES)).mappings()
                return [msgspec.convert(row, Told) for row in rows]
        finally:
            await pool.dispose()

    def _judge(
        self,
        merchants: list[Merchant],
        books: list[Told],
        round_: int,
        *,
        ill: bool,
        sending: float,
        used: dict[str, float],
    ) -> Storm:
        receiver_of = {id_: receiver for merchant in merchants for id_, receiver in merchant.endpoints.items()}
        waits, problems, duplicates = [], Counter[str](self._failures), 0
        timed_from = min((told.made for told in books), default=0.0) + self._options.warm_up
        if len(books) != self._events - sum(self._failures.values()) * ENDPOINTS_EACH:
            problems[f"{len(books)} deliveries for {self._events} events"] += 1
        for told in books:
            if told.endpoint_id is None or told.state is None:
                if told.disabled_reason is None:
                    problems["an event without a delivery"] += 1
                continue
            receiver = receiver_of[told.endpoint_id]
            timed = receiver.illness is Illness.WELL and told.made >= timed_from
            if timed and told.event_id in receiver.first:
                waits.append(receiver.first[told.event_id] - told.made)
            for problem in _wrong(told, receiver):
                problems[problem] += 1
        for receiver in self._receivers:
            duplicates += sum(count - 1 for count in receiver.accepted.values())
        ends = Counter(
            f"{receiver_of[one.endpoint_id].illness}: {_end(one)}"
            if one.endpoint_id
            else f"kept without a delivery (endpoint disabled: {one.disabled_reason})"
            for one in books
        )
        return Storm(
            ill=ill,
            round=round_,
            events=len(books),
            rate=self._events / sending,
            p50=percentile(waits, 0.5),
            p99=percentile(waits, 0.99),
            max=max(waits, default=None),
            waits=[round(wait, 4) for wait in waits],
            duplicates=duplicates,
            requests=sum(receiver.requests for receiver in self._receivers),
            ends=dict(sorted(ends.items())),
            cpu_cores={name: cpu / sending for name, cpu in used.items()},
            problems=dict(problems),
        )

    def _api(self, merchant: Merchant) -> Connection:
        return Connection(self._stack.system.api_url, {"X-API-Key": merchant.key})


def _end(told: Told) -> str:
    return told.state if told.state == "delivered" else f"{told.state} ({told.last_error})"


def _wrong(told: Told, receiver: Receiver) -> list[str]:
    """What this delivery's end has against it, by the books and by what the receiver saw."""
    found = []
    if told.state == "pending":
        found.append("a delivery that is still pending")
    if told.state == "dead" and not told.last_error:
        found.append("a dead delivery without a reason")
    if told.state == "delivered" and (told.accepted < 1 or told.event_id not in receiver.accepted):
        found.append("called delivered, and the receiver knows nothing of it")
    if receiver.illness is Illness.WELL and told.state != "delivered":
        found.append("not delivered to a receiver that is well")
    return found
