"""The refund: its states, which changes are legal, what the bank's sums say about a return whose answer was lost."""

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.cart import AskedItem, RefundItem
from domain.errors import Code
from domain.invoice import DeliveryRef, Invoice, State
from domain.scenario import AT_REFUNDS, Scenario


class RefundState(StrEnum):
    """`PENDING` waits for its turn, `PROCESSING` is at the bank (or with an operator, see `attention`)."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class RefundAttention(StrEnum):
    """Why a human has to look at a refund; orthogonal to its state, and the state stays `PROCESSING` meanwhile."""

    OUTCOME_UNKNOWN = "kaspi_outcome_unknown"
    REFUNDED_OUTSIDE = "kaspi_refunded_outside"
    AVAILABLE_TOO_HIGH = "kaspi_available_too_high"


class RefundReason(StrEnum):
    """Why a refund is in its state, in a stable word for programs."""

    REFUSED = "kaspi_refused"
    MISCONFIGURED = "kaspi_misconfigured"
    ABOVE_AVAILABLE = "above_available_at_kaspi"
    PARTIAL_IMPOSSIBLE = "kaspi_refunds_only_in_full"
    READ_BACK = "confirmed_by_read_back"
    DECLARED_EXECUTED = "declared_executed_by_operator"
    DECLARED_NOT_EXECUTED = "declared_not_executed_by_operator"
    SIMULATED = "simulated"


OPEN_REFUNDS = frozenset({RefundState.PENDING, RefundState.PROCESSING})
REFUNDABLE = frozenset({State.PAID, State.PARTIALLY_REFUNDED})

# The database enforces the same table (migration 0002: refund_transitions).
REFUND_TRANSITIONS: dict[RefundState, frozenset[RefundState]] = {
    RefundState.PENDING: frozenset({RefundState.PROCESSING, RefundState.FAILED}),
    RefundState.PROCESSING: frozenset({RefundState.COMPLETED, RefundState.FAILED}),
    RefundState.COMPLETED: frozenset(),
    RefundState.FAILED: frozenset(),
}


def refund_can_become(old: RefundState, new: RefundState) -> bool:
    """True for a legal change; staying in the same state is not a change."""
    return new in REFUND_TRANSITIONS[old]


def available_for_refund(invoice: Invoice) -> int:
    """Tiyn that a new refund may ask for: paid, less what went back (by us or by a cashier) or is on its way."""
    if invoice.state not in REFUNDABLE:
        return 0
    return max(0, invoice.amount - invoice.refunded - invoice.refund_pending - invoice.refunded_outside)


def refund_refusal(invoice: Invoice, asked: int | None) -> tuple[Code, int | None] | None:
    """Why the books allow no such refund (code, and what could be refunded in tiyn), None when they do.

    `asked` None is all that is left.
    """
    available = available_for_refund(invoice)
    if invoice.state not in REFUNDABLE and invoice.state is not State.REFUNDED:
        return Code.INVOICE_NOT_PAID, None
    if available < (1 if asked is None else asked):
        return Code.REFUND_EXCEEDS_AVAILABLE, available
    return None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Money on its way back. Amounts in tiyn, times aware UTC. `position` is its place among its invoice's refunds.

    `items` are the lines of the invoice that it is for, where it was asked for by line; they add up to `amount`.
    """

    id: str
    merchant_id: str
    number: int
    invoice_id: str
    position: int
    is_sandbox: bool
    amount: int
    state: RefundState
    created_at: datetime
    updated_at: datetime
    reason: str | None = None
    attention: RefundAttention | None = None
    status_reason: RefundReason | None = None
    connection_id: str | None = None
    bank_payment_id: int | None = None
    bank_return_id: int | None = None
    bank_code: int | None = None
    completed_at: datetime | None = None
    sequence: int = 0
    items: list[RefundItem] = []


def as_recorded(refund: Refund) -> Refund:
    """The refund as it was when it was recorded: what the answer to its creation shows, whenever it is asked for."""
    return msgspec.structs.replace(
        refund,
        state=RefundState.PENDING,
        attention=None,
        status_reason=None,
        bank_return_id=None,
        bank_code=None,
        updated_at=refund.created_at,
        completed_at=None,
    )


class SimulatedRefund(StrEnum):
    """What the simulated bank does with a sandbox refund; `PENDING` waits for the `simulate` call."""

    COMPLETED = "completed"
    FAILED = "failed"
    ATTENTION = "attention"
    PENDING = "pending"


class OpenRefund(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The command to refund. `amount` None asks for what `items` come to, or without them for all that is left;
    `open_before` is a moment of the database's clock after which nothing may be recorded any more. `asked_by` is the
    API key's id. `read_back_window` is how many seconds a lost answer is looked for before it counts as not executed,
    `longest_call` how many seconds a call can last in a process of which nothing is heard any more. `resumed` is a
    story told again from the books, because its first telling is gone. `scenario` is what its sandbox bill acts out.
    """

    refund_id: str
    merchant_id: str
    invoice_id: str
    is_sandbox: bool
    open_before: datetime
    fingerprint: str
    operation: str
    request_id: str
    asked_by: str = ""
    amount: int | None = None
    reason: str | None = None
    idempotency_key: str | None = None
    simulate: SimulatedRefund = SimulatedRefund.COMPLETED
    read_back_window: float = 300.0
    longest_call: float = 60.0
    resumed: bool = False
    items: list[AskedItem] = []
    scenario: Scenario | None = None

    @property
    def asks_a_bank(self) -> bool:
        """False where the simulator decides. A `simulate` of the request's own outweighs the scenario."""
        scripted = self.scenario in AT_REFUNDS and self.simulate is SimulatedRefund.COMPLETED
        return not self.is_sandbox or scripted


class ReturnOutcome(StrEnum):
    """What is known of one payment/return. `UNKNOWN` is everything that is not the bank's own word."""

    DONE = "done"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class Returned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one payment/return, or the lack of it."""

    outcome: ReturnOutcome
    bank_return_id: int | None = None
    reason: RefundReason | None = None
    bank_code: int | None = None


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """A payment's sums at the bank, in tiyn: what was paid and what can still be refunded (Kaspi guide §2.4)."""

    total: int
    available: int


class ReadBack(StrEnum):
    """What the bank's sums say about a return whose answer was lost (fact sheet §5)."""

    EXECUTED = "executed"
    NOT_EXECUTED = "not_executed"
    SOMEBODY_ELSE = "somebody_else"


def read_back(before: int, now: int, amount: int) -> ReadBack:
    """Judges `available` before the return and now, in tiyn.

    A cashier's refund of exactly this amount looks like ours: the sums can't tell the two apart.
    """
    if before - now == amount:
        return ReadBack.EXECUTED
    return ReadBack.NOT_EXECUTED if now == before else ReadBack.SOMEBODY_ELSE


class RefundChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a refund's life as the ledger books it; the same `cause` is booked once.

    `requires` is the attention that must still stand, for decisions of people who may have seen an old picture.
    `operator` is who decided, where a person did. `refunded_outside` is what somebody else has refunded of the
    payment by now, in tiyn, where the bank's sums tell it.
    """

    refund_id: str
    merchant_id: str
    cause: str
    state: RefundState | None = None
    reason: RefundReason | None = None
    attention: RefundAttention | None = None
    clear_attention: bool = False
    requires: RefundAttention | None = None
    bank_return_id: int | None = None
    bank_code: int | None = None
    refunded_outside: int | None = None
    operator: str | None = None
    note: str | None = None


class RefundAttempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One payment/return: what was available before it, when it was about to be sent, what came back and when."""

    number: int
    available_before: int
    intended_at: datetime
    outcome: ReturnOutcome | None = None
    bank_return_id: int | None = None
    reason: RefundReason | None = None
    bank_code: int | None = None
    answered_at: datetime | None = None


class RefundStanding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the books say of a refund; small, because it goes into workflow histories.

    `expected` is what the bank should have available by our books, in tiyn, this refund not counted, of the `paid`
    amount that we asked for (a person may have accepted another one at the bank); `next_refund`
    the refund of the same invoice whose turn it is, where this one is over; `blocked` says that an earlier one is not.
    """

    state: RefundState
    amount: int
    sequence: int = 0
    attention: RefundAttention | None = None
    bank_payment_id: int | None = None
    connection_id: str | None = None
    expected: int = 0
    paid: int = 0
    refunded_outside: int = 0
    attempts: list[RefundAttempt] = []
    deliveries: list[DeliveryRef] = []
    next_refund: str | None = None
    blocked: bool = False
    created: bool = True
