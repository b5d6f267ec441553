"""Issuing a bill: claim, call the bank once, book. The money protocol in one activity.

The three steps stand together on purpose (docs/decisions/0004): the claim commits before the call, so a process
that dies anywhere leaves a claim behind, and whoever comes next knows that the bank may have acted.
"""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import structlog
from temporalio import activity

from activities.failures import WINDOW_MISSED, failure
from db.errors import BankPaymentTaken, ChargeRefused, DatabaseUnavailable, IssueWindowMissed
from domain.invoice import Attention, Booked, Change, Issued, Kind, OpenInvoice, Reason, State
from kaspi.errors import KaspiError, KaspiMisconfigured, KaspiOutcomeUnknown, KaspiRefused, KaspiUnavailable

if TYPE_CHECKING:
    from activities.gateways import Bank, Banks
    from db.ledger import Ledger, Opening

log = structlog.get_logger(__name__)

# A refusal to connect is known not to have executed; a few quick tries hide a restart of the bank's gateway.
NOT_SENT_PAUSES = (0.2, 0.5, 1.0)
OPEN_PAUSES = (0.1, 0.3, 1.0)
CLAIMER_STEP = 1.0
# The bank's answer is worth more than the activity's time: keep trying to write it down before handing it back.
BOOK_PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)


class IssueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`longest_call` is the seconds a call of the bank can last; `per_connection` the creates at once at one bank."""

    longest_call: float = 45.0
    per_connection: int = 100


class IssueOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`booked`, or the change that could not be written yet and must be."""

    booked: Booked | None = None
    unwritten: Change | None = None


class Issuing:
    """Activities that create bills."""

    def __init__(self, ledger: "Ledger", banks: "Banks", limits: IssueLimits | None = None) -> None:
        limits = limits or IssueLimits()
        self._ledger = ledger
        self._banks = banks
        self._limits = limits
        self._running: dict[str, asyncio.Task[IssueOutcome]] = {}
        self._crowds: Counter[str | None] = Counter()

    @activity.defn(name="invoice.issue")
    async def issue(self, order: OpenInvoice) -> IssueOutcome:
        """Issues the bill at most once; safe to run again after any crash.

        A resumed order never calls the bank: the first telling of its story may have, and what it did is read. Fails
        with type `IssueWindowMissed` (not retryable: nothing was written) or a retryable database error.
        """
        # Shielded: a worker that stops must not cut a call whose answer is on its way; `drain` waits for it.
        # A second run of the same step in this process (the engine lost the first) joins it.
        task = self._running.get(order.invoice_id)
        if task is None:
            task = self._running[order.invoice_id] = asyncio.create_task(self._issue(order))
            task.add_done_callback(lambda _: self._running.pop(order.invoice_id, None))
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Returns when every call that was begun is booked; for a worker that stops."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _issue(self, order: OpenInvoice) -> IssueOutcome:
        if order.resumed:
            return await self._resume(order)
        crowded = self._crowds[order.connection_id] >= self._limits.per_connection
        if crowded and not await self._ledger.knows(order.merchant_id, order.invoice_id):
            # One ill bank must not fill the worker and stop everybody else's stories. A bill that somebody has
            # claimed goes on all the same: it may exist, and "nothing was issued" would be untrue.
            raise failure(RuntimeError("too many creates wait for this bank"), WINDOW_MISSED, retryable=False)
        self._crowds[order.connection_id] += 1
        try:
            return await self._claim_and_call(order)
        finally:
            self._crowds[order.connection_id] -= 1

    async def _resume(self, order: OpenInvoice) -> IssueOutcome:
        if not await self._ledger.knows(order.merchant_id, order.invoice_id):
            raise failure(RuntimeError("the books know no such invoice"), WINDOW_MISSED, retryable=False)
        harmless = order.is_sandbox or order.kind is not Kind.PHONE
        # Of a QR or link whose creation has no outcome the token reached nobody, so nobody can pay it.
        never_seen = _failed(order, Reason.UNAVAILABLE, None)
        return await self._after_another(order, otherwise=never_seen if harmless else _unknown(order))

    async def _claim_and_call(self, order: OpenInvoice) -> IssueOutcome:
        # Before the claim: a database that fails while looking up the connection must not look like a lost call.
        bank = await self._bank(order)
        opening = await self._open(order)
        if opening.invoice.sequence > 0:
            return IssueOutcome(booked=(await self._ledger.standing(order.merchant_id, order.invoice_id)).booked)
        if not opening.claimed and order.kind is Kind.PHONE and not order.is_sandbox:
            return await self._after_another(order, otherwise=_unknown(order))
        if isinstance(bank, KaspiError):
            return await self._book(order, _failed(order, Reason.MISCONFIGURED, bank))
        return await self._book(order, await _call(bank, order))

    async def _after_another(self, order: OpenInvoice, *, otherwise: Change) -> IssueOutcome:
        """Somebody else claimed: waits as long as its call can last, then it has died and nobody knows the outcome.

        The payer may hold a bill we cannot see: never a second one. `otherwise` is booked where the dead told nothing.
        """
        for _ in range(int(self._limits.longest_call / CLAIMER_STEP) + 1):
            standing = await self._ledger.standing(order.merchant_id, order.invoice_id)
            if standing.told or standing.claim_age > self._limits.longest_call:
                break
            await asyncio.sleep(CLAIMER_STEP)
        else:
            standing = await self._ledger.standing(order.merchant_id, order.invoice_id)
        if standing.told:
            return IssueOutcome(booked=standing.booked)
        return await self._book(order, otherwise)

    async def _open(self, order: OpenInvoice) -> "Opening":
        token = uuid4().hex
        for pause in (*OPEN_PAUSES, None):
            try:
                return await self._ledger.open_invoice(order, token)
            except (IssueWindowMissed, ChargeRefused) as error:
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
    return Change(
        invoice_id=order.invoice_id,
        merchant_id=order.merchant_id,
        cause="issued",
        state=State.PENDING,
        issued=issued,
        clear_attention=True,  # another run may have given this one up as unknown meanwhile
        announce_after=order.answer_by,  # the HTTP answer tells what was in time; an event tells the rest
    )


def _failed(order: OpenInvoice, reason: Reason, error: KaspiError | None) -> Change:
    return Change(
        invoice_id=order.invoice_id,
        merchant_id=order.merchant_id,
        cause="not_issued",
        state=State.FAILED,
        reason=reason,
        bank_code=error.code if error else None,
        announce_after=order.answer_by,
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
