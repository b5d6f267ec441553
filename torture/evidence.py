"""What the judge looks at: the bank's ledger, our books, what the receiver heard, what was asked and what was broken.

Plain facts, gathered apart by who knows them (`bank.py`, `books.py`, `receiver.py`, `merchant.py`, `chaos.py`), so that
no side is judged by its own word. Money in tiyn, times aware UTC.
"""

from datetime import datetime

import msgspec

from domain.ids import INVOICE
from domain.invoice import Kind, bank_reference

# The operation of a refund's idempotency key, beside "invoices" and "qr".
REFUNDS = "refunds"
# That of a subscription's, and how those of what is done with one begin; an action's path follows.
SUBSCRIPTIONS = "subscriptions"
ACTIONS = "subscriptions."


class BankBill(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase at the bank. `open`: the payer could pay it now; `payments`: how often money was taken."""

    id: int
    kind: str
    amount_tiyn: int
    status: str
    open: bool
    payments: int
    refunded_tiyn: int
    comment: str | None
    external_id: str | None
    created_at: datetime
    paid_at: datetime | None

    def is_for(self, invoice_id: str) -> bool:
        """Bills to a phone carry our reference in the comment, QR and links the id itself."""
        if self.external_id is not None:
            return self.external_id == invoice_id
        return (self.comment or "").endswith(bank_reference(invoice_id))


class BankRefund(msgspec.Struct, frozen=True, kw_only=True):
    """Money the bank gave back; `source` is api (us) or cashier."""

    id: int
    purchase_id: int
    amount_tiyn: int
    source: str


class BankCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of the bank that a fault hit."""

    at: datetime
    call: str
    fault: str
    executed: bool
    purchase_id: int | None


class InvoiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice in our books."""

    id: str
    kind: Kind
    amount: int
    refunded: int
    refund_pending: int
    state: str
    status_reason: str | None
    attention: str | None
    bank_payment_id: int | None
    claimed_at: datetime
    updated_at: datetime
    subscription_id: str | None = None
    subscription_period: int | None = None
    subscription_charge: int | None = None


class RefundRow(msgspec.Struct, frozen=True, kw_only=True):
    """A refund in our books."""

    id: str
    invoice_id: str
    amount: int
    state: str
    attention: str | None
    bank_return_id: int | None
    created_at: datetime
    updated_at: datetime


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event in our books; `state` and `attention` of its object at that moment.

    Of a subscription: which periods it is about, which bill of the period, how a payment came.
    """

    id: str
    type: str
    object_id: str
    sequence: int
    state: str | None
    attention: str | None
    number: int | None = None
    last: int | None = None
    charge: int | None = None
    paid: str | None = None


class OpenRow(msgspec.Struct, frozen=True, kw_only=True):
    """The period a subscription is billing. `overdue`: the moment of its next bill has passed."""

    number: int
    charge: int
    phase: str
    unknown: bool
    overdue: bool


class SubscriptionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription in our books. `next`: the first period nothing was decided about; `sequence` counts its events."""

    id: str
    state: str
    next: int
    sequence: int
    open: OpenRow | None


class PeriodRow(msgspec.Struct, frozen=True, kw_only=True):
    """A period in our books."""

    subscription_id: str
    number: int
    state: str


class ActRow(msgspec.Struct, frozen=True, kw_only=True):
    """How often an action asked for by API is in the audit log; `action` as `subscription.skip_period`."""

    subscription_id: str
    action: str
    times: int


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook delivery in our books, with the bytes it has to send."""

    event_id: str
    state: str
    body: bytes


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A request that reached the receiver; `wrong` says what is wrong with its signatures."""

    event_id: str
    body: bytes
    wrong: str | None


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request of the merchant. Without `status` no answer came; `made` is the id of the object in a 201."""

    began: datetime
    ended: datetime
    status: int | None
    code: str | None = None
    made: str | None = None


class Asked(msgspec.Struct, kw_only=True):
    """All requests under one idempotency key, which must lead to `expected_id`; `amount` None: all that is left."""

    key: str
    operation: str
    bill: int
    amount: int | None
    expected_id: str
    exchanges: list[Exchange] = []

    @property
    def last(self) -> Exchange | None:
        """The answer that ended last, if its request also began last: what the merchant believes in the end."""
        if not self.exchanges:
            return None
        last = max(self.exchanges, key=lambda one: one.ended)
        return last if last.began == max(one.began for one in self.exchanges) else None

    @property
    def made(self) -> set[str]:
        """Ids of everything that answers to this key said to be made."""
        return {one.made for one in self.exchanges if one.made is not None}


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """SIGKILL to a part that ran, and when it served again."""

    part: str
    at: datetime
    back_at: datetime


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """Something a payer or a cashier really did at the bank."""

    purchase_id: int
    deed: str
    at: datetime


class Evidence(msgspec.Struct, kw_only=True):
    """Everything about one run."""

    bank_bills: list[BankBill]
    bank_refunds: list[BankRefund]
    bank_calls: list[BankCall]
    invoices: list[InvoiceRow]
    refunds: list[RefundRow]
    events: list[EventRow]
    deliveries: list[DeliveryRow]
    heard: list[Heard]
    asked: list[Asked]
    killed: list[Killed]
    done: list[Done]
    defects: list[str]
    subscriptions: list[SubscriptionRow] = []
    periods: list[PeriodRow] = []
    acts: list[ActRow] = []

    def bills_of(self, invoice_id: str) -> list[BankBill]:
        """The bank's bills for one invoice."""
        return [bill for bill in self.bank_bills if bill.is_for(invoice_id)]

    def events_of(self, object_id: str) -> list[EventRow]:
        """What was booked to be told about an object, in order."""
        found = [event for event in self.events if event.object_id == object_id]
        return sorted(found, key=lambda event: event.sequence)

    def late_deeds(self) -> set[int]:
        """Purchases that the run paid after they were over."""
        return {one.purchase_id for one in self.done if one.deed == "late"}

    def cashier_deeds(self) -> set[int]:
        """Purchases of which somebody gave money back at the till."""
        return {one.purchase_id for one in self.done if one.deed == "cashier"}


def is_invoice(object_id: str) -> bool:
    """Whether an event's object is an invoice."""
    return object_id.startswith(f"{INVOICE}_")
