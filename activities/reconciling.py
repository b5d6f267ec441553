"""Walking through a reconciliation, batch by batch; whoever comes after a crash goes on at the last batch written."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import structlog
from temporalio import activity

from activities.comparing import Comparing
from activities.heartbeats import beating
from activities.reading_statement import ReadingStatement, absent
from activities.repairing import Repairing
from db.errors import Overtaken, ReconciliationRuns
from domain.ids import RECONCILIATION, derived_id
from domain.reconciliation import Ours
from domain.reconciliation_run import Batch, NewRun, Phase, Place, Run, RunState, Source, Trigger
from kaspi.errors import KaspiError, KaspiMisconfigured

if TYPE_CHECKING:
    from activities.gateways import Banks, Links, Stories
    from db.ledger import Ledger
    from db.reconciliation_books import ReconciliationBooks
    from db.reconciliations import Reconciliations
    from db.watches import Watches

log = structlog.get_logger(__name__)

BATCH = 100
AWAY_PAUSE_SECONDS = 15.0
_NEXT_PHASE = {Phase.PAYMENTS: Phase.STATEMENT, Phase.STATEMENT: Phase.ABSENT}


class ReconcileLimits(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's limits: seconds, days, calls per second, calls at once.

    `pause` lies between a look that differs and the one that counts; `story_patience` is how long a story may take to
    book what it was told; `bank_patience` how long a bank may be away before the run fails; `run_for` ends an
    activity, so that others get its slot.
    """

    days: int = 3
    calls_per_second: float = 20.0
    concurrency: int = 8
    pause: float = 5.0
    story_patience: float = 30.0
    bank_patience: float = 1800.0
    away_pause: float = AWAY_PAUSE_SECONDS
    run_for: float = 60.0


class Reconcile(msgspec.Struct, frozen=True, kw_only=True):
    """Which reconciliation."""

    merchant_id: str
    reconciliation_id: str


class Walked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`over` is the whole run's end; `wait` are seconds to the next try of a bank that is away."""

    over: bool = False
    wait: float = 0.0


class PlanReconciliations(msgspec.Struct, frozen=True, kw_only=True):
    """The next connections after this one, for the schedule's run `cause`."""

    cause: str
    after: str = ""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """Reconciliations to run, and the last connection looked at; None when there are no more."""

    runs: list[Reconcile]
    last: str | None


class Reconciling:
    """The reconciliation's activities with their gateways."""

    def __init__(
        self,
        records: "Reconciliations",
        books: "ReconciliationBooks",
        banks: "Banks",
        ledger: "Ledger",
        watches: "Watches",
        stories: "Stories",
        links: "Links",
        limits: ReconcileLimits,
    ) -> None:
        self._records = records
        self._books = books
        self._banks = banks
        self._ledger = ledger
        self._watches = watches
        self._stories = stories
        self._links = links
        self._limits = limits

    @activity.defn(name="reconciliation.plan")
    async def plan(self, ask: PlanReconciliations) -> Planned:
        """Opens the nightly run of the next connections; one that still runs is named instead. Safe to repeat."""
        found = await self._links.to_reconcile(after=ask.after, days=self._limits.days)
        now = datetime.now(UTC)
        runs = []
        for link in found:
            new = NewRun(
                id=derived_id(RECONCILIATION, hashlib.sha256(ask.cause.encode()).digest(), link.connection_id),
                merchant_id=link.merchant_id,
                connection_id=link.connection_id,
                trigger=Trigger.SCHEDULE,
                asked_by=ask.cause,
                period_from=now - timedelta(days=self._limits.days),
                period_to=now,
                created_at=now,
            )
            try:
                run_id = (await self._records.open(new, None)).id
            except ReconciliationRuns as running:
                run_id = running.run_id
            runs.append(Reconcile(merchant_id=link.merchant_id, reconciliation_id=run_id))
        return Planned(runs=runs, last=found[-1].connection_id if found else None)

    @activity.defn(name="reconciliation.walk")
    async def walk(self, order: Reconcile) -> Walked:
        """Goes on for a while. A bank that is away is told as a wait, and after the patience as the run's failure."""
        async with beating():
            run = await self._records.run(order.merchant_id, order.reconciliation_id)
            if run is None or run.state is not RunState.RUNNING:
                return Walked(over=True)
            try:
                return await self._walk(run)
            except Overtaken:
                log.warning("reconciliation_overtaken", reconciliation=run.id)
                return Walked()
            except KaspiMisconfigured as error:
                log.error("reconciliation_failed", reconciliation=run.id, call=error.call, reason=error.reason)
                await self._records.finish(run, RunState.FAILED, "kaspi_misconfigured")
                return Walked(over=True)
            except KaspiError as error:
                return await self._away(run, error)

    async def _away(self, run: Run, error: KaspiError) -> Walked:
        since = await self._records.troubled(run)
        log.warning("reconciliation_waits_for_bank", reconciliation=run.id, call=error.call, reason=error.reason)
        if since < self._limits.bank_patience:
            return Walked(wait=self._limits.away_pause)
        await self._records.finish(run, RunState.FAILED, "kaspi_unavailable")
        return Walked(over=True)

    async def _walk(self, run: Run) -> Walked:
        limits = self._limits
        comparing = Comparing(self._banks, calls_per_second=limits.calls_per_second, concurrency=limits.concurrency)
        ends = asyncio.get_running_loop().time() + limits.run_for
        while asyncio.get_running_loop().time() < ends and not activity.is_worker_shutdown():
            batch, following = await self._batch(run, comparing)
            if following is None:
                following = _next_phase(run)
                if following is None:
                    await self._records.finish(run, RunState.COMPLETED)
                    return Walked(over=True)
            await self._records.commit(run, batch, following)
            run = msgspec.structs.replace(run, place=following)
        return Walked()

    async def _batch(self, run: Run, comparing: Comparing) -> tuple[Batch, Place | None]:
        """What stands behind the run's place, settled; and the place behind that, None at the phase's end."""
        place = run.place
        if place.phase is Phase.ABSENT:
            lacking = await self._books.absent(run, place, limit=BATCH)
            return Batch(source=Source.STATEMENT, lines=[absent(one) for one in lacking]), _after(place, lacking)
        repairing = Repairing(
            run,
            self._records,
            self._books,
            comparing,
            self._ledger,
            self._watches,
            self._stories,
            pause=self._limits.pause,
            patience=self._limits.story_patience,
        )
        if place.phase is Phase.STATEMENT:
            said = await self._books.statement(run, place, limit=BATCH)
            batch = await ReadingStatement(run, self._records, self._books, comparing, repairing).compare(said)
            return batch, Place(phase=Phase.STATEMENT, payment=said[-1].bank_payment_id) if said else None
        payments = await self._books.payments(run, place, limit=BATCH)
        theirs = await comparing.look_at(run.merchant_id, payments)
        batch = await repairing.settle(Source.BANK, [(one, theirs[one.bank_payment_id]) for one in payments])
        return batch, _after(place, payments)


def _after(place: Place, payments: Sequence[Ours]) -> Place | None:
    if not payments:
        return None
    return Place(phase=place.phase, created_at=payments[-1].created_at, id=payments[-1].invoice_id)


def _next_phase(run: Run) -> Place | None:
    phase = _NEXT_PHASE.get(run.place.phase) if run.statement_rows else None
    return None if phase is None else Place(phase=phase)
