"""The one poller of a bank connection: looks at due payments, signals an invoice only when its word changed."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import msgspec
import structlog
from temporalio import activity

from activities.bank_mood import BankMood, HealthNews
from db.errors import DatabaseUnavailable
from domain.bank import BankFact, Verdict, next_step
from domain.invoice import Attention, DeliveryRef, Kind, can_become
from domain.merchant import Health
from domain.policy import late_check, next_check
from kaspi.errors import KaspiError, KaspiNotFound, KaspiThrottled

if TYPE_CHECKING:
    from activities.gateways import Bank, Banks, Signals
    from db.deliveries import Deliveries
    from db.watches import Due, Looked, Watches

log = structlog.get_logger(__name__)

RETRY_AFTER_FAILURE = timedelta(seconds=5)
# The payer's time is over; only an ill bank, or a word we don't understand, keeps such a purchase open here.
AFTER_DEADLINE = timedelta(minutes=5)
LONGEST_WORD = 64


class PollLimits(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's limits: seconds, calls per second, calls at once.

    `health_grace` is how long the bank must have failed before it is called away.
    """

    tick: float = 0.25
    calls_per_second: float = 50.0
    concurrency: int = 32
    phone_polling: bool = True
    run_for: float = 1800.0
    late_watch: float = 900.0
    health_grace: float = 15.0
    ping_every: float = 60.0


class WatchConnection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which connection to watch; `telling` are the deliveries that its workflow has in hand."""

    merchant_id: str
    connection_id: str
    telling: list[str] = []


class WatchEnded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why the poller came back: its time is over, there is news to deliver, or (`finished`) nothing left to watch."""

    health: Health = Health.UNKNOWN
    deliveries: list[DeliveryRef] = []
    finished: bool = False


class Watching:
    """The poller activity with its gateways."""

    def __init__(
        self, watches: "Watches", banks: "Banks", deliveries: "Deliveries", signals: "Signals", limits: PollLimits
    ) -> None:
        self._watches = watches
        self._banks = banks
        self._deliveries = deliveries
        self._signals = signals
        self._limits = limits

    @activity.defn(name="kaspi.watch")
    async def watch(self, order: WatchConnection) -> WatchEnded:
        """Polls until its time is over, the worker stops or the connection's health changes; heartbeats each tick."""
        round_ = _Round(order, self._watches, self._banks, self._deliveries, self._signals, self._limits)
        ends = asyncio.get_running_loop().time() + self._limits.run_for
        try:
            while asyncio.get_running_loop().time() < ends and not activity.is_worker_shutdown():
                activity.heartbeat()
                try:
                    news = await round_.tick()
                except DatabaseUnavailable:
                    log.warning("poller_waits_for_database", connection=order.connection_id)
                    await asyncio.sleep(1)
                    continue
                if news is not None:
                    return news
                await asyncio.sleep(self._limits.tick)
            return WatchEnded()
        finally:
            await round_.close()


class _Round:
    """The state of one run: looks in flight, results to write, how the bank behaves."""

    def __init__(
        self,
        order: WatchConnection,
        watches: "Watches",
        banks: "Banks",
        deliveries: "Deliveries",
        signals: "Signals",
        limits: PollLimits,
    ) -> None:
        self._order = order
        self._watches = watches
        self._banks = banks
        self._deliveries = deliveries
        self._signals = signals
        self._limits = limits
        self._chance = Random()  # noqa: S311 -- jitter
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._results: list[Looked] = []
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._allowance = limits.calls_per_second
        self._allowed_at = asyncio.get_running_loop().time()
        self._mood = BankMood(health_grace=limits.health_grace, chance=self._chance)
        self._told: HealthNews | None = None
        self._postpone: dict[Kind, datetime] = {}
        self._idle_every = timedelta(seconds=limits.ping_every)
        self._pinged = self._noted = datetime.min.replace(tzinfo=UTC)
        self._pinging: asyncio.Task[None] | None = None
        self._unneeded = False

    async def tick(self) -> WatchEnded | None:
        """One step: write results, start looks that are due, notice health."""
        await self._flush()
        room = min(self._limits.concurrency * 4 - len(self._in_flight), int(self._refill()))
        if room > 0:
            due = await self._watches.due(
                self._order.merchant_id,
                self._order.connection_id,
                limit=room + len(self._in_flight),
                phone_polling=self._limits.phone_polling,
            )
            fresh = [one for one in due if one.invoice_id not in self._in_flight][:room]
            self._allowance -= len(fresh)
            for one in fresh:
                self._in_flight[one.invoice_id] = asyncio.create_task(self._look(one))
        idle = not self._in_flight and (self._pinging is None or self._pinging.done())
        if idle and datetime.now(UTC) - self._pinged > self._idle_every:
            self._pinged = datetime.now(UTC)
            if await self._finished():
                return WatchEnded(finished=True)
            # Never awaited here: a bank that hangs would stop the heartbeats, and with them the looks.
            self._pinging = asyncio.create_task(self._ping())
        return await self._news()

    async def _finished(self) -> bool:
        """Twice running, because a create with a link that has just been replaced may be on its way."""
        before = self._unneeded
        self._unneeded = not await self._watches.needed(self._order.merchant_id, self._order.connection_id)
        return before and self._unneeded

    async def close(self) -> None:
        """Lets no look outlive the activity; what was seen is written if the database answers."""
        tasks = [*self._in_flight.values(), *([self._pinging] if self._pinging else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._flush()
        except DatabaseUnavailable:
            log.warning("looks_not_written", connection=self._order.connection_id)

    def _refill(self) -> float:
        now = asyncio.get_running_loop().time()
        rate = self._limits.calls_per_second
        self._allowance = min(rate, self._allowance + (now - self._allowed_at) * rate)
        self._allowed_at = now
        return self._allowance

    async def _flush(self) -> None:
        results, self._results = self._results, []
        try:
            await self._watches.looked(self._order.merchant_id, results)
            for kind, until in list(self._postpone.items()):
                kinds: list[Kind] = [Kind.PHONE] if kind is Kind.PHONE else list(Kind)
                await self._watches.postpone(
                    self._order.merchant_id, self._order.connection_id, kinds=kinds, until=until
                )
                del self._postpone[kind]
        except DatabaseUnavailable:
            self._results = results + self._results
            raise
        for result in results:
            self._in_flight.pop(result.invoice_id, None)

    async def _bank(self) -> "Bank":
        return await self._banks.of(self._order.merchant_id, self._order.connection_id)

    async def _ping(self) -> None:
        begun = self._mood.clock()
        try:
            await (await self._bank()).ping()
        except KaspiError as error:
            self._note_failure(begun, error)
        except Exception:
            log.exception("ping_failed", connection=self._order.connection_id)
        else:
            self._mood.answered(begun)

    async def _look(self, due: "Due") -> None:
        begun = self._mood.clock()
        try:
            result = await self._ask(due, begun)
        except KaspiThrottled as error:
            self._note_rejection(begun, due.kind, error)
            result = self._looked(due, due.last_word, due.checks, answered=False)
        except KaspiNotFound as error:
            log.error("bank_does_not_know_payment", invoice=due.invoice_id, code=error.code)
            result = self._looked(due, due.last_word, self._spent(due), answered=False)
        except KaspiError as error:
            self._note_failure(begun, error)
            result = self._looked(due, due.last_word, due.checks, answered=False, retry_soon=True)
        except Exception:
            # The bank's word that could not be told was not heard: the next look brings it again.
            log.exception("look_failed", invoice=due.invoice_id)
            result = self._looked(due, due.last_word, due.checks, answered=False, retry_soon=True)
        self._results.append(result)

    async def _ask(self, due: "Due", begun: float) -> "Looked":
        async with self._slots:
            pause = self._mood.paused_until(due.kind)
            if pause is not None and due.requested_at is None:
                return due.after(word=due.last_word, checks=due.checks, next_check_at=pause, answered=False)
            fact = await (await self._bank()).status(due.bank_payment_id, due.kind)
        self._mood.answered(begun, due.kind)
        news = fact.word != due.last_word and _is_news(fact, closed=due.closed)
        if news:
            await self._tell(due, fact)
        if fact.verdict is Verdict.UNKNOWN and fact.word != due.last_word:
            log.warning("bank_said_unknown_word", invoice=due.invoice_id, word=fact.word[:LONGEST_WORD])
        return self._looked(
            due, fact.word, self._spent(due), answered=True, news=news and _changes_the_books(due, fact)
        )

    async def _tell(self, due: "Due", fact: BankFact) -> None:
        if await self._signals.bank_said(due.invoice_id, fact):
            return
        log.warning("story_resumed", invoice=due.invoice_id, verdict=fact.verdict)
        await self._signals.resume(await self._watches.order(self._order.merchant_id, due.invoice_id), fact)

    def _spent(self, due: "Due") -> int:
        """The checks after this one; a merchant's question takes none of the few that late money is watched with."""
        return due.checks if due.closed and due.requested_at is not None else due.checks + 1

    def _looked(
        self,
        due: "Due",
        word: str | None,
        checks: int,
        *,
        answered: bool,
        retry_soon: bool = False,
        news: bool = False,
    ) -> "Looked":
        following = self._following(due, checks)
        pause = self._mood.paused_until(due.kind)
        if pause is not None and following is not None:
            following = max(following, pause)
        if retry_soon and following is not None:
            following = max(following, datetime.now(UTC) + RETRY_AFTER_FAILURE)
        return due.after(word=word, checks=checks, next_check_at=following, answered=answered, news=news)

    def _following(self, due: "Due", checks: int) -> datetime | None:
        now = datetime.now(UTC)
        phone = due.kind is Kind.PHONE
        if phone and not self._limits.phone_polling:
            return None
        if due.closed:
            return late_check(checks, now=now, chance=self._chance, late_watch=self._limits.late_watch)
        if not phone and due.deadline_at is not None and due.deadline_at < now:
            return now + AFTER_DEADLINE
        # A QR's next look is counted from when this one was due: the time that the look took is not lost.
        following = next_check(
            due.kind,
            created_at=due.created_at,
            now=now if phone else due.next_check_at,
            poll_interval=due.poll_interval,
            phone_polling=self._limits.phone_polling,
            chance=self._chance,
        )
        return following and max(following, now)

    def _note_rejection(self, begun: float, kind: Kind, error: KaspiThrottled) -> None:
        until = self._mood.rejected(begun, kind)
        if until is None:
            return
        self._postpone[kind] = until
        pause = (until - datetime.now(UTC)).total_seconds()
        log.warning("bank_rejects_polling", connection=self._order.connection_id, pause=pause, code=error.code)

    def _note_failure(self, begun: float, error: KaspiError) -> None:
        self._mood.failed(begun, error)
        log.warning(
            "bank_read_failed",
            connection=self._order.connection_id,
            call=error.call,
            code=error.code,
            reason=error.reason,
        )

    async def _news(self) -> WatchEnded | None:
        now, current = datetime.now(UTC), self._mood.health
        if current is None or (current == self._told and now - self._noted < self._idle_every):
            return None
        health, reason = current
        deliveries = await self._deliveries.connection_health(
            self._order.merchant_id,
            self._order.connection_id,
            health,
            reason,
            retell=self._told is None,
            telling=self._order.telling,
        )
        self._told, self._noted = current, now
        if not deliveries:
            return None
        return WatchEnded(health=health, deliveries=deliveries)


def _is_news(fact: BankFact, *, closed: bool) -> bool:
    """A word that only says "still waiting" would cost four events and change nothing; late, only money matters."""
    return fact.verdict is Verdict.PAID if closed else fact.verdict is not Verdict.WAITING


def _changes_the_books(due: "Due", fact: BankFact) -> bool:
    """True when the story will book a step for this news (it keeps a state, or an attention, that already stands)."""
    if fact.verdict is Verdict.UNKNOWN:
        return due.attention is not Attention.UNKNOWN_WORD
    if fact.verdict is Verdict.PAID and fact.amount is not None and fact.amount != due.amount:
        return due.attention is not Attention.AMOUNT_MISMATCH
    step = next_step(fact.verdict, cancel_requested=due.cancel_requested)
    return step is not None and can_become(due.state, step[0])
