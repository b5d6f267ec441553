"""What a reconciliation does about a discrepancy: hand news to the invoice's own story, or call a human."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import structlog

from domain.invoice import Change
from domain.reconciliation import LONGEST_WORD, Detail, Finding, LineVerdict, Ours, Theirs, is_paid, judge
from domain.reconciliation_run import Action, Batch, Line, Run, Source, Tally

if TYPE_CHECKING:
    from activities.comparing import Comparing
    from activities.gateways import Stories
    from db.ledger import Ledger
    from db.reconciliation_books import ReconciliationBooks
    from db.reconciliations import Reconciliations
    from db.watches import Watches

log = structlog.get_logger(__name__)

BOOKS_STEP_SECONDS = 0.2


class Suspect(msgspec.Struct):
    """A payment whose two records differ, as last looked at; `first` is what was found before anything was done."""

    ours: Ours
    theirs: Theirs | None
    finding: Finding
    first: Finding | None = None


class Repairing:
    """Works for one reconciliation. It never moves money: it books only through the ledger and the stories.

    `pause` is the time between a look that differs and the second one that counts; `patience` how long a story that
    was told is waited for. Both in seconds.
    """

    def __init__(
        self,
        run: Run,
        records: "Reconciliations",
        books: "ReconciliationBooks",
        comparing: "Comparing",
        ledger: "Ledger",
        watches: "Watches",
        stories: "Stories",
        *,
        pause: float,
        patience: float,
    ) -> None:
        self._run = run
        self._records = records
        self._books = books
        self._comparing = comparing
        self._ledger = ledger
        self._watches = watches
        self._stories = stories
        self._pause = pause
        self._patience = patience

    async def settle(self, source: Source, looked: Sequence[tuple[Ours, Theirs | None]]) -> Batch:
        """The batch's lines and counts. What differs is looked at twice, and books are read anew before a verdict."""
        noted = await self._noted(source, [ours for ours, _ in looked])
        suspects, batch = [], Batch(source=source)
        for ours, theirs in looked:
            found = judge(ours, theirs, datetime.now(UTC))
            # Repaired before a crash, both sides agree by now: only the note remembers what was found.
            if found.verdict is LineVerdict.MATCHED and ours.bank_payment_id not in noted:
                batch = counted(batch, ours, unjudged=_unjudged(ours, theirs, found))
            else:
                suspects.append(Suspect(ours=ours, theirs=theirs, finding=found))
        if not suspects:
            return batch
        await self._tell(source, suspects)
        await asyncio.sleep(self._pause)
        await self._look_again(suspects)
        await self._tell(source, suspects)
        await self._wait_for_stories(suspects)
        # Read anew behind the books: what another walker has repaired since, it has noted before.
        noted = await self._noted(source, [one.ours for one in suspects])
        return await self._conclude(source, suspects, noted, batch)

    async def _noted(self, source: Source, payments: Sequence[Ours]) -> dict[int, Line]:
        return await self._records.noted(self._run, source, [ours.bank_payment_id for ours in payments])

    async def _look_again(self, suspects: list[Suspect]) -> None:
        await self._read_books(suspects)
        theirs = await self._comparing.look_at(self._run.merchant_id, [one.ours for one in suspects])
        for one in suspects:
            one.theirs = theirs[one.ours.bank_payment_id]
        await self._read_books(suspects)

    async def _read_books(self, suspects: list[Suspect]) -> None:
        fresh = await self._books.fresh(self._run.merchant_id, [one.ours.bank_payment_id for one in suspects])
        for one in suspects:
            one.ours = fresh[one.ours.bank_payment_id]
            one.finding = judge(one.ours, one.theirs, datetime.now(UTC))

    async def _tell(self, source: Source, suspects: list[Suspect]) -> None:
        """Hands news to the stories, each once. Late money is noted before: once booked it is not to be seen."""
        untold = [one for one in suspects if one.finding.news and one.first is None and one.theirs is not None]
        late = [one for one in untold if one.finding.verdict is LineVerdict.PAID_AFTER_CLOSE]
        await self._records.note(self._run, [line_of(source, one, one.finding) for one in late])
        for one in untold:
            one.first = one.finding
            if one.theirs is not None:
                await self._hand_over(one.ours, one.theirs)

    async def _hand_over(self, ours: Ours, theirs: Theirs) -> None:
        # v01 tells no amount with the status; the story must not book another amount as paid.
        fact = msgspec.structs.replace(theirs.fact, amount=theirs.total)
        if await self._stories.bank_said(ours.invoice_id, fact):
            return
        log.warning("story_resumed", invoice=ours.invoice_id, verdict=fact.verdict)
        await self._stories.resume(await self._watches.order(self._run.merchant_id, ours.invoice_id), fact)

    async def _wait_for_stories(self, suspects: list[Suspect]) -> None:
        """Until the books follow, or for so long that somebody has to look why they don't."""
        ends = asyncio.get_running_loop().time() + self._patience
        waiting = [one for one in suspects if one.finding.news]
        while waiting and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(BOOKS_STEP_SECONDS)
            await self._read_books(waiting)
            waiting = [one for one in waiting if one.finding.news]

    async def _conclude(self, source: Source, suspects: list[Suspect], noted: dict[int, Line], batch: Batch) -> Batch:
        lines = []
        for one in suspects:
            line = await self._line(source, one, noted.get(one.ours.bank_payment_id))
            if line is None:
                batch = counted(batch, one.ours, unjudged=_unjudged(one.ours, one.theirs, one.finding))
            else:
                lines.append(line)
        return msgspec.structs.replace(batch, lines=[*batch.lines, *lines])

    async def _line(self, source: Source, one: Suspect, noted: Line | None) -> Line | None:
        """The payment's line, None where nothing differs; the human is called here."""
        told = noted.verdict if noted else one.first.verdict if one.first else None
        if told is LineVerdict.PAID_AFTER_CLOSE and is_paid(one.ours.state):
            late = Finding(verdict=LineVerdict.PAID_AFTER_CLOSE, detail=Detail.LATE_MONEY)
            return line_of(source, one, late, Action.BOOKED)
        if one.finding.verdict is not LineVerdict.MATCHED:
            return line_of(source, one, one.finding, await self.call_human(source, one))
        # Where nothing is noted, the bank was ahead by a moment, and the story has caught up.
        return repaired(noted, one.ours) if noted else None

    async def call_human(self, source: Source, one: Suspect) -> Action:
        """Sets the invoice's attention, once per fact, where no other case of it stands; its story runs afterwards."""
        found, ours = one.finding, one.ours
        if found.attention is None or ours.attention not in {None, found.attention}:
            return Action.NONE
        await self._records.note(self._run, [line_of(source, one, found)])
        booked = await self._ledger.book(
            Change(
                invoice_id=ours.invoice_id,
                merchant_id=self._run.merchant_id,
                cause=found.cause,
                attention=found.attention,
                refunded_outside=found.refunded_outside,
            )
        )
        if booked.attention is None:
            return Action.NONE  # an operator has settled this very fact
        await self._stories.resume_invoice(await self._watches.order(self._run.merchant_id, ours.invoice_id))
        return Action.ATTENTION


def repaired(noted: Line, ours: Ours) -> Line:
    """The line of what was found and repaired before: both sides agree by now, and the note remembers."""
    if noted.verdict is LineVerdict.PAID_AFTER_CLOSE and is_paid(ours.state):
        return msgspec.structs.replace(noted, action=Action.BOOKED)
    standing = Action.ATTENTION if ours.attention is not None else Action.NONE
    return msgspec.structs.replace(noted, action=standing)


def _unjudged(ours: Ours, theirs: Theirs | None, found: Finding) -> bool:
    """True for a match whose refunds were not compared."""
    return is_paid(ours.state) and (found.detail is Detail.REFUND_IN_FLIGHT or theirs is None or theirs.sums is None)


def counted(batch: Batch, ours: Ours, *, unjudged: bool) -> Batch:
    """The batch with one more payment that matches."""
    before = batch.matched
    return msgspec.structs.replace(
        batch,
        matched=Tally(count=before.count + 1, amount=before.amount + ours.amount),
        refunds_unjudged=batch.refunds_unjudged + unjudged,
    )


def line_of(source: Source, one: Suspect, found: Finding, action: Action = Action.NONE) -> Line:
    """The line of a finding."""
    ours, theirs = one.ours, one.theirs
    sums = theirs.sums if theirs else None
    return Line(
        source=source,
        verdict=found.verdict,
        detail=found.detail,
        action=action,
        invoice_id=ours.invoice_id,
        bank_payment_id=ours.bank_payment_id,
        our_state=ours.state,
        our_amount=ours.amount,
        our_refunded=ours.refunded + ours.refunded_outside,
        bank_word=theirs.fact.word[:LONGEST_WORD] if theirs else None,
        bank_amount=theirs.total if theirs else None,
        bank_refunded=sums.total - sums.available if sums else None,
    )
