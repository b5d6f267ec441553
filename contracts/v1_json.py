"""The JSON shapes of the v1 contract, answers and webhooks alike."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.catalog import Unit
from domain.errors import Code, FieldError
from domain.event import EventType
from domain.invoice import Attention, Kind, PublicStatus, Reason, State
from domain.money import CURRENCY
from domain.refund import RefundAttention, RefundReason, RefundState
from domain.subscription import PaidHow, SkipReason

Amount = Annotated[str, Meta(examples=["10000.00"], description="Tenge with two decimals.")]
Moment = Annotated[str, Meta(examples=["2026-11-22T06:17:33.120Z"], description="ISO 8601, UTC.")]


Count = Annotated[str, Meta(examples=["1.5"], description="As short as it is exact, at most three decimals.")]


class InvoiceItemJson(msgspec.Struct, frozen=True, kw_only=True):
    """A line as it was sold. `sum` is price times count, `amount` what is paid for it after the discount."""

    position: Annotated[int, Meta(description="From 1; refunds by item name it.")]
    catalog_item_id: str | None
    name: str
    unit: Unit
    count: Count
    price: Amount
    price_overridden: bool
    sum: Amount
    amount: Amount


class InvoiceJson(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice. `status` keeps the five published words, `state` is precise."""

    id: Annotated[str, Meta(examples=["inv_q3mjn2v7o5y3c6d2xk4wz7h5ua"])]
    number: int
    kind: Kind
    external_order_id: str | None
    amount: Amount
    currency: Annotated[str, Meta(examples=[CURRENCY])]
    status: PublicStatus
    state: State
    status_reason: Reason | None
    attention: Attention | None
    description: str
    phone_number: str
    kaspi_invoice_id: str | None
    payment_url: str | None
    qr_token: str | None
    is_sandbox: bool
    refunded_amount: Amount
    available_for_refund: Amount
    created_at: Moment
    updated_at: Moment
    paid_at: Moment | None
    expires_at: Moment | None
    discount_percentage: Annotated[str | None, Meta(examples=["10.00"])]
    items: Annotated[list[InvoiceItemJson], Meta(description="The cart; they add up to `amount`. Empty without one.")]
    subscription_id: Annotated[str | None, Meta(description="The subscription that made the bill.")]
    subscription_period: Annotated[int | None, Meta(description="Which of its periods it is for.")]


class QrJson(msgspec.Struct, frozen=True, kw_only=True):
    """A QR or link invoice with what the payer needs: the token, the link, the picture."""

    id: str
    invoice_id: str
    number: int
    kind: Kind
    qr_token: str | None
    payment_link: str | None
    payment_url: str | None
    qr_svg: str | None
    qr_png: Annotated[str | None, Meta(description="data: URI of a PNG.")]
    amount: Amount
    currency: str
    status: PublicStatus
    state: State
    status_reason: Reason | None
    attention: Attention | None
    comment: str
    external_order_id: str | None
    kaspi_invoice_id: str | None
    is_sandbox: bool
    refunded_amount: Amount
    available_for_refund: Amount
    created_at: Moment
    updated_at: Moment
    expires_at: Moment | None
    discount_percentage: str | None
    items: list[InvoiceItemJson]


class RefundItemJson(msgspec.Struct, frozen=True, kw_only=True):
    """What of one line of the invoice goes back; `count` is null where it is money only."""

    position: int
    count: Count | None
    amount: Amount


class RefundJson(msgspec.Struct, frozen=True, kw_only=True):
    """A refund. While `attention` is set an operator looks at it, and its outcome is not known yet."""

    id: Annotated[str, Meta(examples=["ref_n3qjm2v7o5y3c6d2xk4wz7h5ub"])]
    number: int
    invoice_id: str
    amount: Amount
    currency: Annotated[str, Meta(examples=[CURRENCY])]
    status: RefundState
    status_reason: RefundReason | None
    attention: RefundAttention | None
    reason: str
    kaspi_invoice_id: str | None
    kaspi_refund_id: str | None
    is_sandbox: bool
    created_at: Moment
    updated_at: Moment
    completed_at: Moment | None
    items: Annotated[list[RefundItemJson], Meta(description="Where it was asked for by item; they add up to `amount`.")]


class ErrorJson(msgspec.Struct, frozen=True, kw_only=True):
    """Every error of this API. `error` is stable, `message` is for people, `errors` names every wrong field."""

    error: Code
    message: str
    details: dict[str, str]
    errors: list[FieldError]
    retryable: bool
    request_id: str
    doc: str
    timestamp: Moment


class MerchantJson(msgspec.Struct, frozen=True, kw_only=True):
    """The merchant of the key."""

    id: str
    name: str
    bin: str
    mode: Annotated[str, Meta(description="Mode of the key: test or live.")]
    kaspi_connected: bool
    created_at: Moment


class SessionJson(msgspec.Struct, frozen=True, kw_only=True):
    """How the merchant's link to Kaspi is."""

    connected: bool
    status: Annotated[str, Meta(description="unknown, connected, degraded, lost or not_connected.")]
    reason: str | None
    scheme: str | None
    organization_bin: str | None
    trade_point: str | None
    last_ok_at: Moment | None
    changed_at: Moment | None


class PeriodNewsJson(msgspec.Struct, frozen=True, kw_only=True):
    """What an event of a subscription says beside it; null is what it says nothing about.

    `number` … `last` are the periods it is about. `until` is the next bill's moment after a failure, the end of the
    grace, or the next due moment after a resume.
    """

    number: int | None
    last: int | None
    invoice_id: str | None
    charge: Annotated[int | None, Meta(description="Which bill of the period, from 1.")]
    failed_attempts: int | None
    declined: bool | None
    reason: SkipReason | None
    paid: Annotated[
        PaidHow | None,
        Meta(
            description="Null for a payment in time. `late`: the bill was closed, or the period given up. `twice`: the"
            " period was paid already, and you owe a refund. `unclear`: too old to tell."
        ),
    ]
    until: Moment | None


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is about, as it was then. `previous_state` is null where nothing changed its state."""

    object: Annotated[
        Any, Meta(description="The invoice, refund, subscription or Kaspi session as its own GET showed it then.")
    ]
    previous_state: str | None
    period: Annotated[PeriodNewsJson, Meta(description="Of events of subscriptions only.")] | UnsetType = UNSET


class EventJson(msgspec.Struct, frozen=True, kw_only=True):
    """An event. Per object `sequence` grows."""

    id: Annotated[str, Meta(examples=["evt_5jq2m7v3o5y3c6d2xk4wz7h5uc"])]
    type: EventType
    api_version: str
    merchant_id: str
    is_sandbox: bool
    sequence: int
    created_at: Moment
    data: EventData


class WebhookJson(EventJson, frozen=True, kw_only=True):
    """The body of a webhook: the event, and the endpoint it is for."""

    endpoint_id: str
