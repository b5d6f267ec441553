"""The ApiPay v1.0 contract: the bodies of its webhooks, for integrations that were written against ApiPay.

Source: ApiPay's public documentation ("Webhooks", "Возвраты") and its OpenAPI file (schemas Invoice and Refund). What
it does not have stands in `data`, as its own subscription events do: a handler that knows `event` words passes it by.
Ids are the merchant's own numbers, times have whole seconds.
"""

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import UNSET, UnsetType

from domain import subscription
from domain.billing_calendar import ALMATY, BillingPeriod
from domain.event import Endpoint, EventType
from domain.invoice import Invoice, State
from domain.merchant import Connection, Health
from domain.money import format_amount
from domain.refund import Refund, RefundState
from domain.rendering import Event
from domain.subscription_record import Subscription, SubscriptionNews

# Where an event comes from, in their words; theirs about subscriptions say "subscription".
SOURCE = "api"
SOURCE_SUBSCRIPTION = "subscription"

# Their words for a bill's state; the two open states are one to them, and so are canceled and never issued.
STATUS: dict[State, str] = {
    State.PROCESSING: "pending",
    State.PENDING: "pending",
    State.PAID: "paid",
    State.CANCELED: "cancelled",
    State.FAILED: "cancelled",
    State.EXPIRED: "expired",
    State.PARTIALLY_REFUNDED: "partially_refunded",
    State.REFUNDED: "refunded",
}
# Theirs of a recurring invoice: what is over is cancelled, whatever ended it.
_RECURRING = {
    subscription.State.ACTIVE: "active",
    subscription.State.PAST_DUE: "active",
    subscription.State.PAUSED: "paused",
    subscription.State.CANCELED: "cancelled",
    subscription.State.EXPIRED: "cancelled",
    subscription.State.COMPLETED: "cancelled",
}
# What their `invoice.status_changed` ever says.
TOLD = frozenset({"paid", "cancelled", "expired"})


class ChangedInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """A bill whose status changed. One of the moments stands there: the one that its status is about.

    The bank does not tell us who pays, so `client_name` is null.
    """

    id: int
    external_order_id: str | None
    amount: str
    status: str
    description: str
    kaspi_invoice_id: str | None
    client_name: str | None
    client_phone: str | None
    paid_at: str | UnsetType = UNSET
    cancelled_at: str | UnsetType = UNSET
    expired_at: str | UnsetType = UNSET


class RefundedInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """A bill whose money went back, wholly or in part."""

    id: int
    amount: str
    status: str
    total_refunded: str
    external_order_id: str | None


class InvoiceWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the two events that ApiPay sends about invoices."""

    event: EventType
    invoice: ChangedInvoice | RefundedInvoice
    source: str
    timestamp: str


class AttentionData(msgspec.Struct, frozen=True, kw_only=True):
    """A bill that somebody has to look at, and why."""

    invoice: ChangedInvoice
    reason: str | None


class RefundJson(msgspec.Struct, frozen=True, kw_only=True):
    """A refund. `invoice` is our own id of the bill: a refund does not know the bill's number."""

    id: int
    invoice: str
    kaspi_invoice_id: str | None
    amount: str
    status: RefundState
    reason: str
    kaspi_refund_id: str | None
    error_message: str | None
    created_at: str


class RefundData(msgspec.Struct, frozen=True, kw_only=True):
    """A refund; `reason` says why somebody has to look at it."""

    refund: RefundJson
    reason: str | None


class SessionJson(msgspec.Struct, frozen=True, kw_only=True):
    """The link to Kaspi."""

    connected: bool
    status: Health
    reason: str | None


class SessionData(msgspec.Struct, frozen=True, kw_only=True):
    """How Kaspi answers."""

    session: SessionJson


class EndpointJson(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint; `failing_percent` is how far it is on its way to being disabled."""

    id: str
    url: str
    enabled: bool
    failing_percent: int


class EndpointData(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that fails; `reason` says why it is disabled, if it is."""

    webhook: EndpointJson
    reason: str | None


class RecurringJson(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription, as their recurring invoice. Ours have more words for a period than theirs; dates are Almaty's."""

    id: int
    amount: str
    phone_number: str
    description: str
    interval: BillingPeriod
    status: str
    start_date: str
    end_date: str | None
    next_billing_date: str | None
    created_at: str


class SubscriptionData(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription; `invoice` is our own id of the bill it is about, `reason` says why a period was skipped."""

    subscription: RecurringJson
    invoice: str | None
    reason: str | None


class TestData(msgspec.Struct, frozen=True, kw_only=True):
    """That it is a test."""

    message: str


OtherData = AttentionData | RefundData | SubscriptionData | SessionData | EndpointData | TestData


class OtherWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every event that ApiPay does not have."""

    event: EventType
    data: OtherData
    source: str
    timestamp: str


class ApiPay:
    """Renders the contract."""

    def tells(self, event: Event) -> bool:
        """Whether an endpoint in this dialect is told of the event at all.

        ApiPay tells of a status when the bill is paid, cancelled or expired. A payer who is confirming, or a bill that
        came late, is no change in its words, and a handler that takes every other status for "not paid" would cancel
        the order.
        """
        if event.type is not EventType.INVOICE_STATUS_CHANGED or not isinstance(event.object, Invoice):
            return True
        word = STATUS[event.object.state]
        before = None if event.previous_state is None else STATUS[State(event.previous_state)]
        return word in TOLD and word != before

    def webhook(self, event: Event) -> bytes:
        """The bytes that are stored, signed and sent; also of what `tells` would not tell, where somebody asks."""
        return msgspec.json.encode(self._body(event))

    def _body(self, event: Event) -> InvoiceWebhook | OtherWebhook:
        timestamp = show(event.created_at)
        if event.type is EventType.INVOICE_STATUS_CHANGED and isinstance(event.object, Invoice):
            changed = _changed(event.object)
            return InvoiceWebhook(event=event.type, invoice=changed, source=SOURCE, timestamp=timestamp)
        if event.type is EventType.INVOICE_REFUNDED and isinstance(event.object, Invoice):
            refunded = _refunded(event.object)
            return InvoiceWebhook(event=event.type, invoice=refunded, source=SOURCE, timestamp=timestamp)
        source = SOURCE_SUBSCRIPTION if isinstance(event.object, SubscriptionNews) else SOURCE
        return OtherWebhook(event=event.type, data=_data(event), source=source, timestamp=timestamp)


def show(moment: datetime) -> str:
    """``2025-12-25T14:35:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _changed(invoice: Invoice) -> ChangedInvoice:
    word = STATUS[invoice.state]
    # A closed bill has no moment of its own, and what closed it was its last change when this was told.
    closed = show(invoice.updated_at)
    return ChangedInvoice(
        id=invoice.number,
        external_order_id=invoice.external_order_id,
        amount=format_amount(invoice.amount),
        status=word,
        description=invoice.description or "",
        kaspi_invoice_id=_text(invoice.bank_payment_id),
        client_name=None,
        client_phone=None if invoice.phone is None else f"8{invoice.phone[1:]}",
        paid_at=UNSET if invoice.paid_at is None else show(invoice.paid_at),
        cancelled_at=closed if word == "cancelled" else UNSET,
        expired_at=closed if word == "expired" else UNSET,
    )


def _refunded(invoice: Invoice) -> RefundedInvoice:
    return RefundedInvoice(
        id=invoice.number,
        amount=format_amount(invoice.amount),
        status=STATUS[invoice.state],
        total_refunded=format_amount(invoice.refunded),
        external_order_id=invoice.external_order_id,
    )


def _data(event: Event) -> OtherData:
    thing = event.object
    if isinstance(thing, Invoice):
        return AttentionData(invoice=_changed(thing), reason=thing.attention)
    if isinstance(thing, Refund):
        return RefundData(refund=_refund(thing), reason=thing.attention)
    if isinstance(thing, SubscriptionNews):
        recurring = _recurring(thing.subscription)
        return SubscriptionData(subscription=recurring, invoice=thing.invoice_id, reason=thing.told.reason)
    if isinstance(thing, Connection):
        connected = thing.health is not Health.LOST
        return SessionData(session=SessionJson(connected=connected, status=thing.health, reason=thing.health_reason))
    if isinstance(thing, Endpoint):
        shown = EndpointJson(id=thing.id, url=thing.url, enabled=thing.enabled, failing_percent=thing.failing_percent)
        return EndpointData(webhook=shown, reason=thing.disabled_reason)
    return TestData(message="This is a test event.")


def _refund(refund: Refund) -> RefundJson:
    return RefundJson(
        id=refund.number,
        invoice=refund.invoice_id,
        kaspi_invoice_id=_text(refund.bank_payment_id),
        amount=format_amount(refund.amount),
        status=refund.state,
        reason=refund.reason or "",
        kaspi_refund_id=_text(refund.bank_return_id),
        error_message=refund.status_reason if refund.state is RefundState.FAILED else None,
        created_at=show(refund.created_at),
    )


def _recurring(one: Subscription) -> RecurringJson:
    return RecurringJson(
        id=one.number,
        amount=format_amount(one.amount),
        phone_number=f"8{one.phone[1:]}",
        description=one.description or "",
        interval=one.period,
        status=_RECURRING[one.state],
        start_date=_day(one.started_at),
        # It ends before that moment; their days are inclusive.
        end_date=None if one.ends_at is None else _day(one.ends_at - timedelta(microseconds=1)),
        next_billing_date=None if one.next_billing_at is None else _day(one.next_billing_at),
        created_at=show(one.created_at),
    )


def _day(moment: datetime) -> str:
    return moment.astimezone(ALMATY).date().isoformat()


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
