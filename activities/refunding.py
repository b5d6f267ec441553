"""Refunding: the books' steps, the bank's sums, and the one call of payment/return with its intent written first."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4
from weakref import WeakValueDictionary

import msgspec
import structlog
from temporalio import activity

from activities.bank_calls import translated
from activities.failures import REFUND_REFUSED, WINDOW_MISSED, failure
from activities.heartbeats import beating
from db.errors import DatabaseUnavailable, IssueWindowMissed, RefundRefused
from domain.money import format_amount
from domain.refund import OpenRefund, RefundChange, RefundReason, RefundStanding, Returned, ReturnOutcome, Sums
from domain.scenario import Scene
from kaspi.errors import KaspiError, KaspiMisconfigured, KaspiOutcomeUnknown, KaspiRefused, KaspiUnavailable

if TYPE_CHECKING:
    from activities.gateways import Bank, Banks
    from db.refunds import RefundLedger

log = structlog.get_logger(__name__)

# A refusal to connect is known not to have executed; a few quick tries hide a restart of the bank's gateway.
NOT_SENT_PAUSES = (0.2, 0.5, 1.0)
INTEND_PAUSES = (0.1, 0.3, 1.0)
# The bank's answer is worth more than the activity's time: keep trying to write it down before handing it back.
ANSWER_PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)
# A process that stood still between its intent and its call (a paused machine) must not send any more: by then
# somebody may have read back "not executed".
SEND_WITHIN_SECONDS = 10.0

_REASONS = {-99000005: RefundReason.ABOVE_AVAILABLE, -99000020: RefundReason.PARTIAL_IMPOSSIBLE}


class PaymentSums(msgspec.Struct, frozen=True, kw_only=True):
    """Which payment's sums to read; `scene` is what the sandbox acts out."""

    merchant_id: str
    connection_id: str | None
    payment_id: int
    scene: Scene | None = None


class GiveBack(msgspec.Struct, frozen=True, kw_only=True):
    """The `number`-th try to refund `amount` tiyn; `available` and `outside` as in `RefundLedger.intend`.

    `scene` is what the sandbox acts out.
    """

    refund_id: str
    merchant_id: str
    connection_id: str | None
    payment_id: int
    amount: int
    number: int
    available: int
    outside: int
    scene: Scene | None = None


class NoteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank said to an attempt, where the attempt itself could not write it down."""

    refund_id: str
    merchant_id: str
    number: int
    answer: Returned


class RefundRef(msgspec.Struct, frozen=True, kw_only=True):
    """Which refund."""

    merchant_id: str
    refund_id: str


class Refunding:
    """Activities of refunds."""

    def __init__(self, ledger: "RefundLedger", banks: "Banks", *, clock: Callable[[], float] = monotonic) -> None:
        self._ledger = ledger
        self._banks = banks
        self._clock = clock
        # Refunds of one invoice wait for each other here, not with a connection of the pool in hand.
        self._at_the_desk: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._running: dict[tuple[str, int], asyncio.Task[Returned]] = {}

    @activity.defn(name="refund.open")
    async def open(self, order: OpenRefund) -> RefundStanding:
        """Records the refund; fails with `RefundRefused` or `IssueWindowMissed`: nothing was written."""
        desk = self._at_the_desk.setdefault(order.invoice_id, asyncio.Lock())
        try:
            async with desk:
                return await self._ledger.open(order)
        except IssueWindowMissed as error:
            raise failure(error, WINDOW_MISSED, retryable=False) from error
        except RefundRefused as error:
            available = "" if error.available is None else format_amount(error.available)
            said = (error.code.value, available, *([] if error.position is None else [str(error.position)]))
            raise failure(error, REFUND_REFUSED, retryable=False, details=said) from error

    @activity.defn(name="refund.turn")
    async def turn(self, ref: RefundRef) -> RefundStanding:
        """See `RefundLedger.turn`."""
        return await self._ledger.turn(ref.merchant_id, ref.refund_id)

    @activity.defn(name="refund.standing")
    async def standing(self, ref: RefundRef) -> RefundStanding:
        """See `RefundLedger.standing`."""
        return await self._ledger.standing(ref.merchant_id, ref.refund_id)

    @activity.defn(name="refund.book")
    async def book(self, change: RefundChange) -> RefundStanding:
        """See `RefundLedger.book`."""
        return await self._ledger.book(change)

    @activity.defn(name="refund.note")
    async def note(self, order: NoteAnswer) -> RefundStanding:
        """Keeps an answer that only the story heard; says what stands."""
        await self._ledger.answered(order.merchant_id, order.refund_id, order.number, order.answer)
        return await self._ledger.standing(order.merchant_id, order.refund_id)

    @activity.defn(name="kaspi.read_sums")
    async def read_sums(self, payment: PaymentSums) -> Sums:
        """Reads payment/details; retryable except for refusals."""
        try:
            async with beating():
                bank = await self._banks.of(payment.merchant_id, payment.connection_id, payment.scene)
                return await bank.sums(payment.payment_id)
        except KaspiError as error:
            raise translated(error, writing=False) from error

    @activity.defn(name="kaspi.give_back")
    async def give_back(self, order: GiveBack) -> Returned:
        """Calls payment/return at most once for this number, for ever; safe to lose at any moment.

        The intent is committed before the call, what the bank said after it. Whoever finds an intent without an
        answer must read the sums (fact sheet §5).
        """
        key = (order.refund_id, order.number)
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._give_back(order))
            task.add_done_callback(lambda _: self._running.pop(key, None))
        # Shielded: a worker that stops must not cut a call whose answer is on its way; `drain` waits for it.
        async with beating():
            return await asyncio.shield(task)

    async def drain(self) -> None:
        """Returns when every call that was begun has been written down; for a worker that stops."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _give_back(self, order: GiveBack) -> Returned:
        # Before the intent: what fails while looking up the connection must not look like a lost call.
        try:
            bank = await self._banks.of(order.merchant_id, order.connection_id, order.scene)
        except KaspiError as error:
            raise translated(error, writing=False) from error
        claimed_at = await self._intend(order)
        if claimed_at is None:
            log.warning("refund_attempt_taken", refund=order.refund_id, attempt=order.number)
            return Returned(outcome=ReturnOutcome.UNKNOWN)
        answer = await self._send(bank, order, claimed_at)
        if answer.outcome is ReturnOutcome.UNKNOWN:
            log.warning("refund_outcome_unknown", refund=order.refund_id, attempt=order.number)
        await self._note(order, answer)
        return answer

    async def _intend(self, order: GiveBack) -> float | None:
        """When the intent was begun to be written, None where somebody else has it."""
        token, begun = uuid4().hex, self._clock()

        async def claim() -> bool:
            return await self._ledger.intend(
                order.merchant_id,
                order.refund_id,
                order.number,
                token=token,
                available=order.available,
                outside=order.outside,
            )

        # Perhaps committed, perhaps not: the token tells our own intent from somebody else's.
        return begun if await _persistently(claim, INTEND_PAUSES) else None

    async def _send(self, bank: "Bank", order: GiveBack, claimed_at: float) -> Returned:
        for pause in (*NOT_SENT_PAUSES, None):
            if self._clock() - claimed_at > SEND_WITHIN_SECONDS:
                return Returned(outcome=ReturnOutcome.NOT_SENT)
            try:
                bank_return_id = await bank.give_back(order.payment_id, order.amount)
            except KaspiRefused as error:
                reason = _REASONS.get(error.code or 0, RefundReason.REFUSED)
                return Returned(outcome=ReturnOutcome.REFUSED, reason=reason, bank_code=error.code)
            except KaspiMisconfigured as error:
                return Returned(outcome=ReturnOutcome.REFUSED, reason=RefundReason.MISCONFIGURED, bank_code=error.code)
            except KaspiOutcomeUnknown as error:
                return Returned(outcome=ReturnOutcome.UNKNOWN, bank_code=error.code)
            except KaspiUnavailable:
                if pause is not None:
                    await asyncio.sleep(pause)
            else:
                return Returned(outcome=ReturnOutcome.DONE, bank_return_id=bank_return_id)
        return Returned(outcome=ReturnOutcome.NOT_SENT)

    async def _note(self, order: GiveBack, answer: Returned) -> None:
        async def write() -> None:
            await self._ledger.answered(order.merchant_id, order.refund_id, order.number, answer)

        try:
            await _persistently(write, ANSWER_PAUSES)
        except DatabaseUnavailable:
            # The story has the answer too, if it hears it; otherwise it reads the sums.
            log.error("bank_answer_not_kept", refund=order.refund_id, outcome=answer.outcome)


async def _persistently(write: Callable[[], Awaitable[object]], pauses: tuple[float, ...]) -> object:
    for pause in (*pauses, None):
        try:
            return await write()
        except DatabaseUnavailable:
            if pause is None:
                raise
            await asyncio.sleep(pause)
    raise AssertionError("unreachable")
