"""The v1 contract (a superset of Arzan Pay's): JSON shapes of answers and webhooks, error statuses, renderer."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from contracts.qr_image import qr_png, qr_svg
from contracts.times import show, show_optional
from domain.errors import MESSAGES, RETRYABLE, Code, FieldError, TolemError
from domain.event import API_VERSION, Endpoint
from domain.invoice import Attention, Invoice, Kind, PublicStatus, Reason, State, public_status
from domain.merchant import Connection, Merchant
from domain.money import CURRENCY, format_amount
from domain.rendering import Event

Amount = Annotated[str, Meta(examples=["10000.00"], description="Tenge with two decimals.")]
Moment = Annotated[str, Meta(examples=["2026-11-22T06:17:33.120Z"], description="ISO 8601, UTC.")]


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
    created_at: Moment
    updated_at: Moment
    paid_at: Moment | None
    expires_at: Moment | None


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
    created_at: Moment
    updated_at: Moment
    expires_at: Moment | None


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


class EndpointJson(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A webhook endpoint; `secret` is shown once, in the answer that created it."""

    id: str
    url: str
    events: list[str]
    is_sandbox: bool
    enabled: bool
    created_at: Moment
    updated_at: Moment
    secret: str | UnsetType = UNSET


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook is about."""

    object: Any
    previous_state: str | None


class WebhookJson(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook."""

    id: str
    type: str
    api_version: str
    merchant_id: str
    endpoint_id: str
    is_sandbox: bool
    sequence: int
    created_at: Moment
    data: EventData


# Total: a test asserts that every code has its status.
STATUS: dict[Code, int] = {
    Code.INVALID_REQUEST: 400,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN_MODE: 403,
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
    Code.NOT_SANDBOX: 409,
    Code.ENGINE_UNAVAILABLE: 503,
    Code.ENGINE_SLOW: 503,
    Code.DATABASE_UNAVAILABLE: 503,
    Code.CREATION_IN_DOUBT: 503,
    Code.ILLEGAL_TRANSITION: 409,
    Code.INTERNAL: 500,
}

_NOT_ISSUED = {
    Reason.REFUSED: Code.KASPI_REFUSED,
    Reason.MISCONFIGURED: Code.KASPI_MISCONFIGURED,
    Reason.UNAVAILABLE: Code.KASPI_UNAVAILABLE,
}


class V1:
    """Renders the contract for one public address; the `Renderer` of the books."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url.rstrip("/")

    def payment_url(self, invoice: Invoice) -> str | None:
        """Where the payer goes: the bank's link, or our page that shows the QR or how to find the bill."""
        if invoice.bank_payment_id is None:
            return None  # not issued, or not known to be: there is nothing to pay
        return invoice.payment_link or f"{self._public_url}/pay/{invoice.id}"

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
            created_at=show(invoice.created_at),
            updated_at=show(invoice.updated_at),
            paid_at=show_optional(invoice.paid_at),
            expires_at=show_optional(invoice.expires_at),
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
            created_at=show(invoice.created_at),
            updated_at=show(invoice.updated_at),
            expires_at=show_optional(invoice.expires_at),
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
        code = _NOT_ISSUED.get(invoice.status_reason) if invoice.status_reason else None
        if invoice.state is not State.FAILED or code is None:
            shown = self.invoice(invoice) if invoice.kind is Kind.PHONE else self.qr(invoice)
            return 201, msgspec.json.encode(shown)
        details = {"invoice_id": invoice.id}
        if invoice.bank_code is not None:
            details["kaspi_code"] = str(invoice.bank_code)
        body = self.error(TolemError(code, MESSAGES[code], details=details), request_id, invoice.updated_at)
        return STATUS[code], msgspec.json.encode(body)

    def webhook(self, event: Event, endpoint_id: str) -> bytes:
        """The bytes that are stored, signed and sent."""
        return msgspec.json.encode(
            WebhookJson(
                id=event.id,
                type=event.type,
                api_version=API_VERSION,
                merchant_id=event.merchant_id,
                endpoint_id=endpoint_id,
                is_sandbox=event.is_sandbox,
                sequence=event.sequence,
                created_at=show(event.created_at),
                data=EventData(object=self._object(event), previous_state=event.previous_state),
            )
        )

    def _object(self, event: Event) -> InvoiceJson | SessionJson | dict[str, str]:
        if isinstance(event.object, Invoice):
            return self.invoice(event.object)
        if isinstance(event.object, Connection):
            return session(event.object)
        return {"endpoint_id": event.object_id, "message": "This is a test event."}


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


def endpoint(endpoint_: Endpoint, secret: str | UnsetType = UNSET) -> EndpointJson:
    """The JSON of an endpoint."""
    return EndpointJson(
        id=endpoint_.id,
        url=endpoint_.url,
        events=endpoint_.events,
        is_sandbox=endpoint_.is_sandbox,
        enabled=endpoint_.enabled,
        created_at=show(endpoint_.created_at),
        updated_at=show(endpoint_.updated_at),
        secret=secret,
    )
