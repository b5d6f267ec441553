"""The one poller of a bank connection: looks at due payments, signals an invoice only when its word changed."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import msgspec
import structlog
from temporalio import activity

from db.errors import DatabaseUnavailable
from domain.bank import Verdict
from domain.invoice import DeliveryRef, Kind
from domain.merchant import Health
from domain.policy import late_check, next_check, rejected_backoff
from kaspi.errors import KaspiError, KaspiMisconfigured, KaspiNotFound, KaspiThrottled

if TYPE_CHECKING:
    from activities.gateways import Bank, Banks, Signals
    from db.deliveries import Deliveries
    from db.watches import Due, Looked, Watches

log = structlog.get_logger(__name__)

HEALTH_GRACE = 3  # failures in a row before we say that the bank is away
PING_EVERY = timedelta(seconds=60)
RETRY_AFTER_FAILURE = timedelta(seconds=5)


class PollLimits(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's limits: seconds, calls per second, calls at once."""

    tick: float = 0.25
    calls_per_second: float = 50.0
    concurrency: int = 32
    phone_polling: bool = True
    run_for: float = 1800.0
    late_watch: float = 900.0


class WatchConnection(msgspec.Struct, frozen=True, kw_only=True):
    """Which connection to watch."""

    merchant_id: str
    connection_id: str


class WatchEnded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why the poller came back: its time is over, or there is news to deliver."""

    health: Health = Health.UNKNOWN
    deliveries: list[DeliveryRef] = []


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
        self._failures = 0
        self._rejections = 0
        self._told: tuple[Health, str | None] | None = None
        self._health: tuple[Health, str | None] | None = None
        self._postpone: tuple[Kind, datetime] | None = None
        self._pinged = self._noted = datetime.min.replace(tzinfo=UTC)
        self._pinging: asyncio.Task[None] | None = None

    async def tick(self) -> WatchEnded | None:
        """One step: write results, start looks that are due, notice health."""
        await self._flush()
        room = min(self._limits.concurrency * 4 - len(self._in_flight), int(self._refill()))
        if room > 0:
            due = await self._watches.due(
                self._order.merchant_id, self._order.connection_id, limit=room + len(self._in_flight)
            )
            fresh = [one for one in due if one.invoice_id not in self._in_flight][:room]
            self._allowance -= len(fresh)
            for one in fresh:
                self._in_flight[one.invoice_id] = asyncio.create_task(self._look(one))
        idle = not self._in_flight and (self._pinging is None or self._pinging.done())
        if idle and datetime.now(UTC) - self._pinged > PING_EVERY:
            # Never awaited here: a bank that hangs would stop the heartbeats, and with them the looks.
            self._pinged = datetime.now(UTC)
            self._pinging = asyncio.create_task(self._ping())
        return await self._news()

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
            if self._postpone is not None:
                kind, until = self._postpone
                kinds: list[Kind] = [Kind.PHONE] if kind is Kind.PHONE else list(Kind)
                await self._watches.postpone(
                    self._order.merchant_id, self._order.connection_id, kinds=kinds, until=until
                )
                self._postpone = None
        except DatabaseUnavailable:
            self._results = results + self._results
            raise
        for result in results:
            self._in_flight.pop(result.invoice_id, None)

    async def _bank(self) -> "Bank":
        return await self._banks.of(self._order.merchant_id, self._order.connection_id)

    async def _ping(self) -> None:
        try:
            await (await self._bank()).ping()
        except KaspiError as error:
            self._note_failure(error)
        except Exception:
            log.exception("ping_failed", connection=self._order.connection_id)
        else:
            self._note_success()

    async def _look(self, due: "Due") -> None:
        # A look that the merchant asked for takes none of the few automatic ones that late money is watched with.
        asked_late = due.closed and due.requested_at is not None
        word, checks = due.last_word, due.checks if asked_late else due.checks + 1
        retry_soon, answered = False, True
        try:
            async with self._slots:
                fact = await (await self._bank()).status(due.bank_payment_id, due.kind)
            self._note_success()
            # "Still waiting" is no news: it would cost the workflow four events and change nothing.
            news = fact.verdict is not Verdict.WAITING and fact.word != due.last_word
            told = not news or await self._signals.bank_said(due.invoice_id, fact)
            word = fact.word if told else due.last_word
            if not told:
                log.error("no_workflow_for_payment", invoice=due.invoice_id, word=fact.word)
        except KaspiThrottled as error:
            self._note_rejection(due, error)
            checks, answered = due.checks, False
        except KaspiNotFound as error:
            log.error("bank_does_not_know_payment", invoice=due.invoice_id, code=error.code)
        except KaspiError as error:
            self._note_failure(error)
            retry_soon, answered, checks = True, False, due.checks
        except Exception:
            log.exception("look_failed", invoice=due.invoice_id)
            retry_soon, answered = True, False
        self._results.append(self._looked(due, word, checks, retry_soon=retry_soon, answered=answered))

    def _looked(self, due: "Due", word: str | None, checks: int, *, retry_soon: bool, answered: bool) -> "Looked":
        now = datetime.now(UTC)
        if due.closed:
            following = late_check(checks, now=now, chance=self._chance, late_watch=self._limits.late_watch)
        else:
            following = next_check(
                due.kind,
                created_at=due.created_at,
                now=now,
                poll_interval=due.poll_interval,
                phone_polling=self._limits.phone_polling,
                chance=self._chance,
            )
        if retry_soon and following is not None:
            following = max(following, now + RETRY_AFTER_FAILURE)
        return due.after(word=word, checks=checks, next_check_at=following, answered=answered)

    def _note_success(self) -> None:
        self._failures = self._rejections = 0
        self._health = (Health.CONNECTED, None)

    def _note_rejection(self, due: "Due", error: KaspiThrottled) -> None:
        self._rejections += 1
        pause = rejected_backoff(self._rejections - 1, chance=self._chance)
        if due.kind is not Kind.PHONE:
            pause = min(pause, timedelta(seconds=30))
        until = datetime.now(UTC) + pause
        if self._postpone is None or self._postpone[1] < until:
            self._postpone = (due.kind, until)
        log.warning(
            "bank_rejects_polling", connection=self._order.connection_id, pause=pause.total_seconds(), code=error.code
        )

    def _note_failure(self, error: KaspiError) -> None:
        self._failures += 1
        log.warning(
            "bank_read_failed",
            connection=self._order.connection_id,
            call=error.call,
            code=error.code,
            reason=error.reason,
        )
        if self._failures >= HEALTH_GRACE:
            lost = isinstance(error, KaspiMisconfigured)
            self._health = (Health.LOST, "kaspi_misconfigured") if lost else (Health.DEGRADED, "kaspi_unavailable")

    async def _news(self) -> WatchEnded | None:
        now = datetime.now(UTC)
        if self._health is None or (self._health == self._told and now - self._noted < PING_EVERY):
            return None
        health, reason = self._health
        deliveries = await self._deliveries.connection_health(
            self._order.merchant_id, self._order.connection_id, health, reason
        )
        self._told, self._noted = self._health, now
        if not deliveries:
            return None
        return WatchEnded(health=health, deliveries=deliveries)
