"""Comparing our books with an imported statement; what it alone says is asked of the bank before it is believed."""

from typing import TYPE_CHECKING

import msgspec

from activities.repairing import Repairing, Suspect, counted, repaired
from domain.reconciliation import Detail, Finding, LineVerdict, Ours, StatementPayment, judge_statement
from domain.reconciliation_run import Batch, Line, Run, Source

if TYPE_CHECKING:
    from activities.comparing import Comparing
    from db.reconciliation_books import ReconciliationBooks
    from db.reconciliations import Reconciliations


class ReadingStatement:
    """Works for one reconciliation."""

    def __init__(
        self,
        run: Run,
        records: "Reconciliations",
        books: "ReconciliationBooks",
        comparing: "Comparing",
        repairing: Repairing,
    ) -> None:
        self._run = run
        self._records = records
        self._books = books
        self._comparing = comparing
        self._repairing = repairing

    async def compare(self, payments: list[StatementPayment]) -> Batch:
        """The lines and counts of these payments of the statement."""
        said = {one.bank_payment_id: one for one in payments}
        lines = await self._missing_here(said, await self._fresh(list(said)))
        known = [id_ for id_ in said if id_ not in {line.bank_payment_id for line in lines}]
        lines += await self._ask_bank(said, await self._fresh(known))
        open_ = [id_ for id_ in known if id_ not in {line.bank_payment_id for line in lines}]
        fresh = await self._fresh(open_)
        # Read behind the books: what was repaired by then, was noted before.
        noted = await self._records.noted(self._run, Source.STATEMENT, open_)
        batch = Batch(source=Source.STATEMENT, lines=lines)
        for ours in fresh.values():
            found = judge_statement(ours, said[ours.bank_payment_id])
            line = await self._line(ours, said[ours.bank_payment_id], found, noted.get(ours.bank_payment_id))
            if line is None:
                batch = counted(batch, ours, unjudged=found.detail is Detail.REFUND_IN_FLIGHT)
            else:
                batch = msgspec.structs.replace(batch, lines=[*batch.lines, line])
        return batch

    async def _fresh(self, payments: list[int]) -> dict[int, Ours]:
        return await self._books.fresh(self._run.merchant_id, payments)

    async def _missing_here(self, said: dict[int, StatementPayment], ours: dict[int, Ours]) -> list[Line]:
        missing = [one for id_, one in said.items() if id_ not in ours]
        wanted = [reference for one in missing for reference in one.references]
        referred = await self._books.referred(self._run.merchant_id, wanted)
        return [_unknown(one, next((referred[r] for r in one.references if r in referred), None)) for one in missing]

    async def _ask_bank(self, said: dict[int, StatementPayment], ours: dict[int, Ours]) -> list[Line]:
        """The bank's own word on what is paid only in the statement: it may be late money, and then it is booked."""
        asked = [one for id_, one in ours.items() if judge_statement(one, said[id_]).news]
        if not asked:
            return []
        theirs = await self._comparing.look_at(self._run.merchant_id, asked)
        looked = [(one, theirs[one.bank_payment_id]) for one in asked]
        return (await self._repairing.settle(Source.STATEMENT, looked)).lines

    async def _line(self, ours: Ours, said: StatementPayment, found: Finding, noted: Line | None) -> Line | None:
        if found.verdict is LineVerdict.MATCHED:
            return repaired(noted, ours) if noted else None
        action = await self._repairing.call_human(Source.STATEMENT, Suspect(ours=ours, theirs=None, finding=found))
        return Line(
            source=Source.STATEMENT,
            verdict=found.verdict,
            detail=found.detail,
            action=action,
            invoice_id=ours.invoice_id,
            bank_payment_id=ours.bank_payment_id,
            our_state=ours.state,
            our_amount=ours.amount,
            our_refunded=ours.refunded + ours.refunded_outside,
            bank_amount=said.paid,
            bank_refunded=said.refunded,
        )


def _unknown(said: StatementPayment, suggested: str | None) -> Line:
    return Line(
        source=Source.STATEMENT,
        verdict=LineVerdict.MISSING_HERE,
        detail=Detail.NO_INVOICE if suggested is None else Detail.REFERENCE_FITS,
        suggested_invoice_id=suggested,
        bank_payment_id=said.bank_payment_id,
        bank_amount=said.paid,
        bank_refunded=said.refunded,
    )


def absent(ours: Ours) -> Line:
    """Paid here within the statement's time, and not in it; the bank's own word stands in the other source's lines."""
    return Line(
        source=Source.STATEMENT,
        verdict=LineVerdict.MISSING_AT_BANK,
        detail=Detail.NOT_IN_STATEMENT,
        invoice_id=ours.invoice_id,
        bank_payment_id=ours.bank_payment_id,
        our_state=ours.state,
        our_amount=ours.amount,
        our_refunded=ours.refunded + ours.refunded_outside,
    )
