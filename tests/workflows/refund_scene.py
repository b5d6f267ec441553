"""One refund on the stage: its books and its bank in memory, what the bank will do, and what both were asked."""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias

import msgspec
from temporalio.exceptions import ApplicationError

from activities.refunding import GiveBack
from domain.event import Attempted
from domain.invoice import DeliveryRef
from domain.refund import (
    OPEN_REFUNDS,
    OpenRefund,
    RefundAttempt,
    RefundAttention,
    RefundChange,
    RefundReason,
    RefundStanding,
    RefundState,
    Returned,
    ReturnOutcome,
    SimulatedRefund,
    Sums,
    refund_can_become,
)
from tests.workflows.scene import DELIVERED

PAID = 100_000
AMOUNT = 40_000
PAYMENT = 7_001
RETURN_ID = 9_009
# The last looks in it are after 60 and 120 seconds: the clocks run on by themselves too, and a slow machine must not
# come to a look before its test does.
WINDOW = timedelta(seconds=100)
LONGEST_CALL = timedelta(seconds=4)
# Later than the look that ends the window, of an answer that was lost with its process too.
AFTER = timedelta(seconds=125)

DONE = Returned(outcome=ReturnOutcome.DONE, bank_return_id=RETURN_ID)
REFUSED = Returned(outcome=ReturnOutcome.REFUSED, reason=RefundReason.REFUSED, bank_code=-99000011)
TOO_LARGE = Returned(outcome=ReturnOutcome.REFUSED, reason=RefundReason.ABOVE_AVAILABLE, bank_code=-99000005)
NOT_SENT = Returned(outcome=ReturnOutcome.NOT_SENT)
UNKNOWN = Returned(outcome=ReturnOutcome.UNKNOWN)


class Act(msgspec.Struct, frozen=True):
    """What becomes of one payment/return: what is heard (None: the process dies), and whether the bank executes it."""

    heard: Returned | None
    executed: bool = False
    kept: bool = True  # the answer is written down by the activity itself


LOST = Act(UNKNOWN)
LOST_EXECUTED = Act(UNKNOWN, executed=True)
DEAD = Act(None)
DEAD_EXECUTED = Act(None, executed=True)

Read: TypeAlias = int | ApplicationError


class Line(NamedTuple):
    """One line of the book, as a test expects it."""

    cause: str
    state: RefundState
    attention: RefundAttention | None = None
    reason: RefundReason | None = None


class RefundScene:
    """Acts and reads are used up in turn; when none is left the bank executes and tells the truth."""

    def __init__(self, name: str, *, is_sandbox: bool, simulate: SimulatedRefund, endpoints: Sequence[str]) -> None:
        self.name = name
        self.endpoints = list(endpoints)
        self.order = OpenRefund(
            refund_id=f"ref_{name}",
            merchant_id=f"mer_{name}",
            invoice_id=f"inv_{name}",
            is_sandbox=is_sandbox,
            open_before=datetime.now(UTC) + timedelta(seconds=20),
            fingerprint="f" * 64,
            operation="refunds",
            request_id="req_1",
            asked_by="key_1",
            amount=AMOUNT,
            reason="Нет в наличии",
            simulate=simulate,
            read_back_window=WINDOW.total_seconds(),
            longest_call=LONGEST_CALL.total_seconds(),
        )
        # The books.
        self.standing: RefundStanding | None = None
        self.lines: list[Line] = []
        self.changes: list[RefundChange] = []
        self.refusals: deque[ApplicationError] = deque()
        self.blocked = False
        self.next_refund: str | None = None
        self.moved = timedelta()  # how far the workflow's clock is ahead of ours
        # The bank.
        self.available = self.total = PAID
        self.acts: deque[Act] = deque()
        self.reads: deque[Read] = deque()
        self.shown: Read | None = None  # what it shows instead of the truth, for as long as it stands
        self.sent: list[GiveBack] = []
        self.bank_open = asyncio.Event()
        self.bank_open.set()
        self.reads_open = asyncio.Event()
        self.reads_open.set()
        self.asked: list[str] = []
        self._changed = asyncio.Condition()

    @property
    def executed(self) -> int:
        """How often the bank gave the money back for us."""
        return self._executed

    _executed = 0

    async def heard(self, what: str) -> None:
        """Notes that an outside room was asked."""
        async with self._changed:
            self.asked.append(what)
            self._changed.notify_all()

    async def until_asked(self, what: str, times: int = 1) -> None:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.asked.count(what) >= times)

    async def until_line(self, line: Line) -> None:
        """Returns when the book's last line is this one; the workflow may not have heard of it yet."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.lines[-1:] == [line])

    # --- the books, as RefundLedger promises

    def recorded(self, state: RefundState = RefundState.PENDING, **fields: object) -> None:
        """The refund stands already: somebody told this story before."""
        values = {
            "amount": AMOUNT,
            "bank_payment_id": PAYMENT,
            "connection_id": "con_1",
            "expected": PAID,
            "paid": PAID,
        }
        self.standing = msgspec.convert(values | {"state": state} | fields, RefundStanding)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.moved

    async def open(self, order: OpenRefund) -> RefundStanding:
        await self.heard("open")
        if self.standing is None:
            if self.refusals:
                raise self.refusals.popleft()
            self.recorded()
        return self._said()

    async def turn(self) -> RefundStanding:
        await self.heard("turn")
        now = self._now()
        if now.state is RefundState.PENDING and not self.blocked:
            self._stand(state=RefundState.PROCESSING, sequence=now.sequence + 1)
        return self._said()

    async def read_books(self) -> RefundStanding:
        return self._said()

    async def book(self, change: RefundChange) -> RefundStanding:
        await self.heard(f"book {change.cause}")
        async with self._changed:
            self._book(change)
            self._changed.notify_all()
        return self._said()

    def _book(self, change: RefundChange) -> None:
        now = self._now()
        state = change.state or now.state
        moves = state is not now.state
        if now.state not in OPEN_REFUNDS or (change.requires and now.attention is not change.requires):
            return
        if any(line.cause == change.cause for line in self.lines) or (
            moves and not refund_can_become(now.state, state)
        ):
            return
        if state is RefundState.FAILED and any(one.outcome is ReturnOutcome.DONE for one in now.attempts):
            return
        attention = change.attention or (None if change.clear_attention or moves else now.attention)
        if not moves and attention is now.attention:
            return
        self.changes.append(change)
        self.lines.append(Line(change.cause, state, attention, change.reason if moves else None))
        outside = max(now.refunded_outside, change.refunded_outside or 0)
        gone = now.amount if state is RefundState.COMPLETED else 0
        self._stand(
            state=state,
            attention=attention,
            sequence=now.sequence + 1,
            refunded_outside=outside,
            expected=now.expected - gone - (outside - now.refunded_outside),
        )

    async def note(self, number: int, answer: Returned) -> RefundStanding:
        await self.heard("note")
        self._answered(number, answer)
        return self._said()

    def late_word(self, number: int, answer: Returned) -> None:
        """A process that the story had given up writes down what it heard."""
        self._answered(number, answer)

    def attempt(self) -> GiveBack:
        """The first attempt's order."""
        return GiveBack(
            refund_id=self.order.refund_id,
            merchant_id=self.order.merchant_id,
            connection_id="con_1",
            payment_id=PAYMENT,
            amount=AMOUNT,
            number=1,
            available=PAID,
            outside=0,
        )

    def intend(self, order: GiveBack) -> bool:
        now = self._now()
        if now.state is not RefundState.PROCESSING or order.number != len(now.attempts) + 1:
            return False
        made = RefundAttempt(number=order.number, available_before=order.available, intended_at=self.now())
        grown = max(0, order.outside - now.refunded_outside)
        self._stand(
            attempts=[*now.attempts, made],
            refunded_outside=now.refunded_outside + grown,
            expected=now.expected - grown,
        )
        return True

    def _answered(self, number: int, answer: Returned) -> None:
        attempts = list(self._now().attempts)
        if attempts[number - 1].outcome in {None, ReturnOutcome.UNKNOWN}:
            attempts[number - 1] = msgspec.structs.replace(attempts[number - 1], **msgspec.structs.asdict(answer))
        self._stand(attempts=attempts)

    def _now(self) -> RefundStanding:
        assert self.standing is not None, "nothing was recorded"
        return self.standing

    def _stand(self, **changes: object) -> None:
        self.standing = msgspec.structs.replace(self._now(), **changes)

    def _said(self) -> RefundStanding:
        now = self._now()
        over = now.state not in OPEN_REFUNDS
        return msgspec.structs.replace(
            now,
            blocked=self.blocked and now.state is RefundState.PENDING,
            next_refund=self.next_refund if over else None,
            deliveries=[
                DeliveryRef(id=f"whd_{self.name}_{number}_{to}", endpoint_id=to)
                for number, line in enumerate(self.lines, start=1)
                for to in self.endpoints
                if line.attention or line.state not in OPEN_REFUNDS
            ],
        )

    # --- the bank

    async def sums(self) -> Sums:
        await self.heard("sums")
        await self.reads_open.wait()
        said = self.reads.popleft() if self.reads else self.available if self.shown is None else self.shown
        if isinstance(said, ApplicationError):
            raise said
        return Sums(total=self.total, available=said)

    async def give_back(self, order: GiveBack) -> Returned:
        claimed = self.intend(order)
        await self.heard("give back")
        if not claimed:
            return UNKNOWN
        self.sent.append(order)
        await self.bank_open.wait()
        act = self.acts.popleft() if self.acts else Act(DONE, executed=True)
        if act.executed:
            self.available -= order.amount
            self._executed += 1
        if act.heard is None:
            raise ApplicationError("the process died", type="Died", non_retryable=True)
        if act.kept:
            self._answered(order.number, act.heard)
        return act.heard

    # --- receivers

    async def post(self, delivery_id: str) -> Attempted:
        await self.heard(f"post {delivery_id.removeprefix(f'whd_{self.name}_')}")
        return DELIVERED
