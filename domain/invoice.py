"""The invoice: its states, which changes are legal, and the five words merchants see."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from domain.cart import InvoiceItem
from domain.scenario import Scenario


class Kind(StrEnum):
    """How the payer gets the bill: remote/create, qr/create or qr/create-link (Kaspi guide §2.2, §2.4)."""

    PHONE = "phone"
    QR = "qr"
    LINK = "link"


class State(StrEnum):
    """Our precise state. `PROCESSING` is both "not yet issued" and "the payer is confirming"."""

    PROCESSING = "processing"
    PENDING = "pending"
    PAID = "paid"
    CANCELED = "canceled"
    EXPIRED = "expired"
    FAILED = "failed"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"


class Attention(StrEnum):
    """Why a human has to look at an invoice; orthogonal to its state."""

    OUTCOME_UNKNOWN = "kaspi_outcome_unknown"
    PAYMENT_NOT_FOUND = "kaspi_payment_not_found"
    AMOUNT_MISMATCH = "kaspi_amount_mismatch"
    UNKNOWN_WORD = "kaspi_unknown_status"
    PAID_LATE = "paid_after_close"
    REFUNDED_OUTSIDE = "kaspi_refunded_outside"
    STATUS_DIFFERS = "kaspi_status_differs"


class Reason(StrEnum):
    """Why an invoice is in its state, in a stable word for programs."""

    PAYER_CONFIRMING = "payer_confirming"
    CANCELED_BY_MERCHANT = "canceled_by_merchant"
    CANCELED_AT_BANK = "canceled_at_bank"
    REJECTED_BY_PAYER = "rejected_by_payer"
    DECLINED_OR_ERROR = "declined_or_error"
    EXPIRED = "not_paid_in_time"
    CONFIRMATION_TIMEOUT = "payer_did_not_confirm"
    REFUSED = "kaspi_refused"
    MISCONFIGURED = "kaspi_misconfigured"
    UNAVAILABLE = "kaspi_unavailable"
    DECLARED_ABSENT = "declared_absent_by_operator"
    PAID_LATE = "paid_after_close"
    SIMULATED = "simulated"


OPEN = frozenset({State.PROCESSING, State.PENDING})
CLOSED_UNPAID = frozenset({State.CANCELED, State.EXPIRED, State.FAILED})

# Late truth is allowed: the bank may take the money after we gave up. The database enforces the same table
# (migrations: invoice_transitions), so that no code path can break it.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.PROCESSING: frozenset({State.PENDING, State.PAID}) | CLOSED_UNPAID,
    State.PENDING: frozenset({State.PROCESSING, State.PAID}) | CLOSED_UNPAID,
    State.CANCELED: frozenset({State.PAID}),
    State.EXPIRED: frozenset({State.PAID}),
    State.FAILED: frozenset({State.PAID}),
    State.PAID: frozenset({State.PARTIALLY_REFUNDED, State.REFUNDED}),
    State.PARTIALLY_REFUNDED: frozenset({State.REFUNDED}),
    State.REFUNDED: frozenset(),
}


def can_become(old: State, new: State) -> bool:
    """True for a legal change; staying in the same state is not a change."""
    return new in TRANSITIONS[old]


class PublicStatus(StrEnum):
    """The published words of the v1 contract."""

    PENDING = "pending"
    PROCESSING = "processing"
    PAID = "paid"
    CANCELED = "canceled"
    REFUNDED = "refunded"


_PUBLIC = {
    State.PROCESSING: PublicStatus.PROCESSING,
    State.PENDING: PublicStatus.PENDING,
    State.PAID: PublicStatus.PAID,
    State.CANCELED: PublicStatus.CANCELED,
    State.EXPIRED: PublicStatus.CANCELED,
    State.FAILED: PublicStatus.CANCELED,
    State.PARTIALLY_REFUNDED: PublicStatus.PAID,
    State.REFUNDED: PublicStatus.REFUNDED,
}


def public_status(state: State) -> PublicStatus:
    """The five-word view: expired and failed show as canceled, partially refunded as paid."""
    return _PUBLIC[state]


def states_of(status: PublicStatus) -> list[State]:
    """Every state that shows as this public word."""
    return [state for state, word in _PUBLIC.items() if word is status]


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """One bill. Amounts in tiyn, times aware UTC.

    `refunded` went back through us, `refund_pending` is on its way, `refunded_outside` went back at a till of the bank.
    `items` are the cart as it was sold, after `discount_percentage`; they add up to `amount`. Most bills have none.
    `closed_at` is when it was last closed unpaid (None also for bills from before that was kept).
    """

    id: str
    merchant_id: str
    number: int
    kind: Kind
    is_sandbox: bool
    amount: int
    state: State
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    phone: str | None = None
    external_order_id: str | None = None
    attention: Attention | None = None
    status_reason: Reason | None = None
    connection_id: str | None = None
    bank_payment_id: int | None = None
    bank_code: int | None = None
    qr_token: str | None = None
    payment_link: str | None = None
    refunded: int = 0
    refund_pending: int = 0
    refunded_outside: int = 0
    paid_at: datetime | None = None
    closed_at: datetime | None = None
    expires_at: datetime | None = None
    sequence: int = 0
    discount_percentage: Decimal | None = None
    items: list[InvoiceItem] = []
    subscription_id: str | None = None
    subscription_period: int | None = None
    subscription_charge: int | None = None


class SubscriptionCharge(msgspec.Struct, frozen=True, kw_only=True):
    """Which bill of a subscription an invoice is: the `charge`-th of period `number`."""

    subscription_id: str
    number: int
    charge: int


class OpenInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """The command to open and issue one bill.

    `issue_before` is a moment of the database's clock: whoever asks was promised that nothing is issued
    after it. `answer_by` is when the HTTP answer went out at the latest; a later truth is told by an event.
    `late_watch` is how many seconds an unpaid close is watched for late money. `asked_by` is the API key's id.
    `resumed` is a story told again from the books, because its first telling is gone: it reads before it writes.
    `subscription` is told what becomes of the bill.
    `scenario` is what a sandbox bill acts out; bills of earlier versions have none.
    `endpoint_id` is the one webhook endpoint that is told of it; without one all are.
    `on_test_clock`: it expires when its subscription's test clock says so, and never by itself.
    """

    invoice_id: str
    merchant_id: str
    kind: Kind
    is_sandbox: bool
    amount: int
    issue_before: datetime
    answer_by: datetime
    fingerprint: str
    operation: str
    request_id: str
    late_watch: float
    asked_by: str = ""
    resumed: bool = False
    connection_id: str | None = None
    phone: str | None = None
    description: str | None = None
    external_order_id: str | None = None
    idempotency_key: str | None = None
    endpoint_id: str | None = None
    discount_percentage: Decimal | None = None
    items: list[InvoiceItem] = []
    subscription: SubscriptionCharge | None = None
    scenario: Scenario | None = None
    on_test_clock: bool = False

    @property
    def asks_a_bank(self) -> bool:
        """False for an ordinary sandbox bill: nobody but the `simulate` call has a word about it."""
        return not self.is_sandbox or self.scenario is not None


def bank_reference(invoice_id: str) -> str:
    """The short unique text in the bill's comment, by which a person finds it in the Kaspi Pay app."""
    return f"T-{invoice_id.removeprefix('inv_')[:10]}"


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank gave for a bill that now exists there. Lengths in seconds."""

    bank_payment_id: int
    expires_at: datetime
    deadline: datetime
    poll_interval: float
    qr_token: str | None = None
    payment_link: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of an invoice's life as the ledger books it: state, event and deliveries in one transaction.

    `cause` names the step within the invoice; booking the same cause again changes nothing and gives the
    first result. `state` None keeps the state (an attention set or cleared). `announce` False books silently, and so
    does a moment before `announce_after` (the database's clock): what the HTTP answer itself tells is no event.
    `requires` is the attention that must still stand, for decisions of people who may have seen an old picture.
    `operator` is who decided and `note` why, where a person did (for the audit log); `asked_by` is the API key's id
    where a request of the merchant did. `refunded_outside` is what others have refunded by now, in tiyn: it
    never falls.
    """

    invoice_id: str
    merchant_id: str
    cause: str
    state: State | None = None
    reason: Reason | None = None
    attention: Attention | None = None
    clear_attention: bool = False
    requires: Attention | None = None
    issued: Issued | None = None
    bank_code: int | None = None
    announce: bool = True
    announce_after: datetime | None = None
    operator: str | None = None
    note: str | None = None
    asked_by: str | None = None
    refunded_outside: int | None = None


class DeliveryRef(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook delivery that is due."""

    id: str
    endpoint_id: str


class Booked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands in the books after a change; small, because it goes into workflow histories."""

    state: State
    attention: Attention | None = None
    deadline: datetime | None = None
    bank_payment_id: int | None = None
    deliveries: list[DeliveryRef] = []
    created: bool = True
