"""The v1 contract (a superset of Arzan Pay's): error statuses, and the renderer of its shapes (contracts.v1_json)."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from contracts import v1_subscriptions
from contracts.issuing import not_issued, payment_url
from contracts.qr_image import qr_png, qr_svg
from contracts.times import show, show_optional
from contracts.v1_items import sold
from contracts.v1_json import (
    ErrorJson,
    EventData,
    EventJson,
    InvoiceJson,
    MerchantJson,
    PeriodNewsJson,
    QrJson,
    RefundItemJson,
    RefundJson,
    SessionJson,
    WebhookJson,
)
from contracts.v1_subscriptions import SubscriptionJson
from contracts.v1_webhooks import EndpointJson, endpoint
from domain.cart import RefundItem
from domain.catalog import format_count
from domain.errors import MESSAGES, RETRYABLE, Code, TolemError
from domain.event import API_VERSION, Endpoint
from domain.invoice import Invoice, Kind, public_status
from domain.merchant import Connection, Merchant
from domain.money import CURRENCY, format_amount
from domain.refund import Refund, available_for_refund
from domain.rendering import Event
from domain.subscription_record import Subscription, SubscriptionNews

# Total: a test asserts that every code has its status.
STATUS: dict[Code, int] = {
    Code.INVALID_REQUEST: 400,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN_MODE: 403,
    Code.TEST_KEY_REQUIRED: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.IDEMPOTENCY_KEY_REUSED: 422,
    Code.KASPI_NOT_CONNECTED: 409,
    Code.KASPI_SCHEME_UNSUPPORTED: 409,
    Code.KASPI_REFUSED: 502,
    Code.KASPI_MISCONFIGURED: 502,
    Code.KASPI_UNAVAILABLE: 502,
    Code.KASPI_OUTCOME_UNKNOWN: 502,
    Code.INVOICE_NOT_CANCELABLE: 409,
    Code.INVOICE_ALREADY_PAID: 409,
    Code.INVOICE_CLOSED: 409,
    Code.INVOICE_NOT_PAID: 409,
    Code.REFUND_EXCEEDS_AVAILABLE: 409,
    Code.REFUND_ITEM_EXCEEDS_AVAILABLE: 409,
    Code.REFUND_UNSUPPORTED: 409,
    Code.REFUND_CLOSED: 409,
    Code.NOT_SANDBOX: 409,
    Code.RECONCILIATION_RUNNING: 409,
    Code.WEBHOOK_ENDPOINT_DISABLED: 409,
    Code.REDELIVERY_RUNNING: 409,
    Code.LIMIT_REACHED: 409,
    Code.RATE_LIMITED: 429,
    Code.VERIFICATION_EXPIRED: 410,
    Code.CATALOG_ITEMS_REFUSED: 422,
    Code.CART_AMOUNT_MISMATCH: 422,
    Code.SUBSCRIPTION_CLOSED: 409,
    Code.SUBSCRIPTION_PAUSED: 409,
    Code.SUBSCRIPTION_NOT_PAUSED: 409,
    Code.CHARGE_IN_FLIGHT: 409,
    Code.BILLED_AHEAD: 409,
    Code.NO_PERIOD_LEFT: 409,
    Code.TEST_CLOCK_ADVANCING: 409,
    Code.ENGINE_UNAVAILABLE: 503,
    Code.ENGINE_SLOW: 503,
    Code.DATABASE_UNAVAILABLE: 503,
    Code.CREATION_IN_DOUBT: 503,
    Code.ILLEGAL_TRANSITION: 409,
    Code.INTERNAL: 500,
}


class V1:
    """Renders the contract for one public address; the `Renderer` of the books."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url.rstrip("/")

    def payment_url(self, invoice: Invoice) -> str | None:
        """Where the payer goes: the bank's link, or our page that shows the QR or how to find the bill."""
        return payment_url(self._public_url, invoice)

    def invoice(self, invoice: Invoice) -> InvoiceJson:
        """The JSON of an invoice."""
        return InvoiceJson(
            id=invoice.id,
            number=invoice.number,
            kind=invoice.kind,
            external_order_id=invoice.external_order_id,
            amount=format_amount(invoice.amount),
            currency=CURRENCY,
            status=public_status(invoice.state),
            state=invoice.state,
            status_reason=invoice.status_reason,
            attention=invoice.attention,
            description=invoice.description or "",
            phone_number=invoice.phone or "",
            kaspi_invoice_id=None if invoice.bank_payment_id is None else str(invoice.bank_payment_id),
            payment_url=self.payment_url(invoice),
            qr_token=invoice.qr_token,
            is_sandbox=invoice.is_sandbox,
            refunded_amount=format_amount(invoice.refunded),
            available_for_refund=format_amount(available_for_refund(invoice)),
            created_at=show(invoice.created_at),
            updated_at=show(invoice.updated_at),
            paid_at=show_optional(invoice.paid_at),
            expires_at=show_optional(invoice.expires_at),
            discount_percentage=_discount(invoice),
            items=[sold(item) for item in invoice.items],
            subscription_id=invoice.subscription_id,
            subscription_period=invoice.subscription_period,
        )

    def qr(self, invoice: Invoice) -> QrJson:
        """The JSON of a QR or link invoice, with its pictures."""
        content = invoice.qr_token or invoice.payment_link
        return QrJson(
            id=invoice.id,
            invoice_id=invoice.id,
            number=invoice.number,
            kind=invoice.kind,
            qr_token=invoice.qr_token,
            payment_link=invoice.payment_link,
            payment_url=self.payment_url(invoice),
            qr_svg=None if content is None else qr_svg(content),
            qr_png=None if content is None else qr_png(content),
            amount=format_amount(invoice.amount),
            currency=CURRENCY,
            status=public_status(invoice.state),
            state=invoice.state,
            status_reason=invoice.status_reason,
            attention=invoice.attention,
            comment=invoice.description or "",
            external_order_id=invoice.external_order_id,
            kaspi_invoice_id=None if invoice.bank_payment_id is None else str(invoice.bank_payment_id),
            is_sandbox=invoice.is_sandbox,
            refunded_amount=format_amount(invoice.refunded),
            available_for_refund=format_amount(available_for_refund(invoice)),
            created_at=show(invoice.created_at),
            updated_at=show(invoice.updated_at),
            expires_at=show_optional(invoice.expires_at),
            discount_percentage=_discount(invoice),
            items=[sold(item) for item in invoice.items],
        )

    def refund(self, refund: Refund) -> RefundJson:
        """The JSON of a refund."""
        return RefundJson(
            id=refund.id,
            number=refund.number,
            invoice_id=refund.invoice_id,
            amount=format_amount(refund.amount),
            currency=CURRENCY,
            status=refund.state,
            status_reason=refund.status_reason,
            attention=refund.attention,
            reason=refund.reason or "",
            kaspi_invoice_id=None if refund.bank_payment_id is None else str(refund.bank_payment_id),
            kaspi_refund_id=None if refund.bank_return_id is None else str(refund.bank_return_id),
            is_sandbox=refund.is_sandbox,
            created_at=show(refund.created_at),
            updated_at=show(refund.updated_at),
            completed_at=show_optional(refund.completed_at),
            items=[_returned(item) for item in refund.items],
        )

    def error(self, error: TolemError, request_id: str, at: datetime) -> ErrorJson:
        """The JSON of an error."""
        return ErrorJson(
            error=error.code,
            message=error.message,
            details=error.details,
            errors=error.errors,
            retryable=error.code in RETRYABLE,
            request_id=request_id,
            doc=f"{self._public_url}/api/docs/errors#{error.code.value}",
            timestamp=show(at),
        )

    def creation_answer(self, invoice: Invoice, request_id: str) -> tuple[int, bytes]:
        """201 with the invoice, or the error that says why the bank has no such bill."""
        refused = not_issued(invoice)
        if refused is None:
            shown = self.invoice(invoice) if invoice.kind is Kind.PHONE else self.qr(invoice)
            return 201, msgspec.json.encode(shown)
        code, details = refused
        body = self.error(TolemError(code, MESSAGES[code], details=details), request_id, invoice.updated_at)
        return STATUS[code], msgspec.json.encode(body)

    def refund_answer(self, refund: Refund, request_id: str) -> tuple[int, bytes]:
        """201 with the refund as it was recorded; its outcome comes as an event."""
        return 201, msgspec.json.encode(self.refund(refund))

    def subscription_answer(self, subscription: Subscription, request_id: str) -> bytes:
        """The subscription, as it stands after what was asked."""
        return msgspec.json.encode(v1_subscriptions.subscription(subscription))

    def webhook(self, event: Event, endpoint_id: str) -> bytes:
        """The bytes that are stored, signed and sent."""
        body = WebhookJson(**msgspec.structs.asdict(self.event(event)), endpoint_id=endpoint_id)
        return msgspec.json.encode(body)

    def event(self, event: Event) -> EventJson:
        """The JSON of an event, as the feed shows it."""
        return EventJson(
            id=event.id,
            type=event.type,
            api_version=API_VERSION,
            merchant_id=event.merchant_id,
            is_sandbox=event.is_sandbox,
            sequence=event.sequence,
            created_at=show(event.created_at),
            data=EventData(object=self._object(event), previous_state=event.previous_state, period=_period(event)),
        )

    def _object(
        self, event: Event
    ) -> InvoiceJson | RefundJson | SubscriptionJson | SessionJson | EndpointJson | dict[str, str]:
        if isinstance(event.object, Invoice):
            return self.invoice(event.object)
        if isinstance(event.object, Refund):
            return self.refund(event.object)
        if isinstance(event.object, SubscriptionNews):
            return v1_subscriptions.subscription(event.object.subscription)
        if isinstance(event.object, Connection):
            return session(event.object)
        if isinstance(event.object, Endpoint):
            return endpoint(event.object)
        return {"endpoint_id": event.object_id, "message": "This is a test event."}


def _period(event: Event) -> PeriodNewsJson | UnsetType:
    return v1_subscriptions.news(event.object) if isinstance(event.object, SubscriptionNews) else UNSET


def _discount(invoice: Invoice) -> str | None:
    return None if invoice.discount_percentage is None else f"{invoice.discount_percentage:.2f}"


def _returned(item: RefundItem) -> RefundItemJson:
    return RefundItemJson(
        position=item.position,
        count=None if item.count_milli is None else format_count(item.count_milli),
        amount=format_amount(item.amount),
    )


def merchant(merchant_: Merchant, mode: str, *, kaspi_connected: bool) -> MerchantJson:
    """The JSON of a merchant as seen by one of its keys."""
    return MerchantJson(
        id=merchant_.id,
        name=merchant_.name,
        bin=merchant_.bin,
        mode=mode,
        kaspi_connected=kaspi_connected,
        created_at=show(merchant_.created_at),
    )


def session(connection: Connection | None) -> SessionJson:
    """The JSON of the link to the bank; none at all is `not_connected`."""
    if connection is None:
        return SessionJson(
            connected=False,
            status="not_connected",
            reason=None,
            scheme=None,
            organization_bin=None,
            trade_point=None,
            last_ok_at=None,
            changed_at=None,
        )
    return SessionJson(
        connected=connection.health in {"connected", "degraded", "unknown"},
        status=connection.health,
        reason=connection.health_reason,
        scheme=connection.scheme,
        organization_bin=connection.organization_bin,
        trade_point=connection.trade_point_name,
        last_ok_at=show_optional(connection.last_ok_at),
        changed_at=show(connection.health_changed_at),
    )
