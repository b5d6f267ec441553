"""Issuing a bill: claim, call the bank once, book. The money protocol in one activity.

The three steps stand together on purpose (docs/decisions/0004): the claim commits before the call, so a process
that dies anywhere leaves a claim behind, and whoever comes next knows that the bank may have acted.
"""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import structlog
from temporalio import activity

from activities.failures import WINDOW_MISSED, failure
from db.errors import BankPaymentTaken, DatabaseUnavailable, IssueWindowMissed
from domain.invoice import Attention, Booked, Change, Issued, Kind, OpenInvoice, Reason, State
from kaspi.errors import KaspiError, KaspiMisconfigured, KaspiOutcomeUnknown, KaspiRefused, KaspiUnavailable

if TYPE_CHECKING:
    from activities.gateways import Bank, Banks
    from db.ledger import Ledger, Opening

log = structlog.get_logger(__name__)

# A refusal to connect is known not to have executed; a few quick tries hide a restart of the bank's gateway.
NOT_SENT_PAUSES = (0.2, 0.5, 1.0)
OPEN_PAUSES = (0.1, 0.3, 1.0)
# The bank's answer is worth more than the activity's time: keep trying to write it down before handing it back.
BOOK_PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)


class IssueOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`booked`, or the change that could not be written yet and must be."""

    booked: Booked | None = None
    unwritten: Change | None = None


class Issuing:
    """Activities that create bills."""

    def __init__(self, ledger: "Ledger", banks: "Banks") -> None:
        self._ledger = ledger
        self._banks = banks
        self._running: set[asyncio.Task[IssueOutcome]] = set()

    @activity.defn(name="invoice.issue")
    async def issue(self, order: OpenInvoice) -> IssueOutcome:
        """Issues the bill at most once; safe to run again after any crash.

        Fails with type `IssueWindowMissed` (not retryable: nothing was written) or a retryable database error.
        """
        # Shielded: a worker that stops must not cut a call whose answer is on its way; `drain` waits for it.
        task = asyncio.create_task(self._issue(order))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Returns when every call that was begun is booked; for a worker that stops."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _issue(self, order: OpenInvoice) -> IssueOutcome:
        # Before the claim: a database that fails while looking up the connection must not look like a lost call.
        bank = await self._bank(order)
        opening = await self._open(order)
        if opening.invoice.sequence > 0:
            return IssueOutcome(booked=await self._ledger.standing(order.merchant_id, order.invoice_id))
        if not opening.claimed and order.kind is Kind.PHONE and not order.is_sandbox:
            # Somebody claimed and died: the payer may hold a bill we cannot see. Never a second one.
            return await self._book(order, _unknown(order))
        if isinstance(bank, KaspiError):
            return await self._book(order, _failed(order, Reason.MISCONFIGURED, bank))
        return await self._book(order, await _call(bank, order))

    async def _open(self, order: OpenInvoice) -> "Opening":
        token = uuid4().hex
        for pause in (*OPEN_PAUSES, None):
            try:
                return await self._ledger.open_invoice(order, token)
            except IssueWindowMissed as error:
                raise failure(error, WINDOW_MISSED, retryable=False) from error
            except DatabaseUnavailable:
                # Perhaps committed, perhaps not: the token tells our own claim from somebody else's.
                if pause is None:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _bank(self, order: OpenInvoice) -> "Bank | KaspiError":
        try:
            return await self._banks.of(order.merchant_id, order.connection_id)
        except KaspiError as error:
            return error

    async def _book(self, order: OpenInvoice, change: Change) -> IssueOutcome:
        for pause in (*BOOK_PAUSES, None):
            try:
                return IssueOutcome(booked=await self._ledger.book(change))
            except BankPaymentTaken:
                # The bank gave an id that another invoice has: nobody here can tell whose the bill is.
                log.error("bank_gave_a_taken_payment_id", invoice=order.invoice_id)
                return IssueOutcome(booked=await self._ledger.book(_unknown(order)))
            except DatabaseUnavailable:
                if pause is not None:
                    await asyncio.sleep(pause)
        log.error("bank_answer_not_booked_yet", invoice=change.invoice_id, cause=change.cause)
        return IssueOutcome(unwritten=change)


def _issued(order: OpenInvoice, issued: Issued) -> Change:
    # The HTTP answer tells a bill that was issued in time; one that came later is told by an event.
    late = datetime.now(UTC) > order.answer_by
    return Change(
        invoice_id=order.invoice_id,
        merchant_id=order.merchant_id,
        cause="issued",
        state=State.PENDING,
        issued=issued,
        clear_attention=True,  # another run may have given this one up as unknown meanwhile
        announce=late,
    )


def _failed(order: OpenInvoice, reason: Reason, error: KaspiError | None) -> Change:
    return Change(
        invoice_id=order.invoice_id,
        merchant_id=order.merchant_id,
        cause="not_issued",
        state=State.FAILED,
        reason=reason,
        bank_code=error.code if error else None,
        announce=datetime.now(UTC) > order.answer_by,
    )


def _unknown(order: OpenInvoice) -> Change:
    return Change(
        invoice_id=order.invoice_id,
        merchant_id=order.merchant_id,
        cause="outcome_unknown",
        attention=Attention.OUTCOME_UNKNOWN,
    )


async def _call(bank: "Bank", order: OpenInvoice) -> Change:
    harmless = order.kind is not Kind.PHONE  # a token that reached nobody cannot be paid (fact sheet §5)
    change = _failed(order, Reason.UNAVAILABLE, None)
    for pause in (*NOT_SENT_PAUSES, None):
        try:
            return _issued(order, await bank.create(order))
        except KaspiRefused as error:
            return _failed(order, Reason.REFUSED, error)
        except KaspiMisconfigured as error:
            return _failed(order, Reason.MISCONFIGURED, error)
        except KaspiUnavailable as error:
            change = _failed(order, Reason.UNAVAILABLE, error)
        except KaspiOutcomeUnknown as error:
            log.warning("bank_outcome_unknown", invoice=order.invoice_id, kind=order.kind, reason=error.reason)
            if not harmless:
                return _unknown(order)
            change = _failed(order, Reason.UNAVAILABLE, error)
        if pause is not None:
            await asyncio.sleep(pause)
    return change
