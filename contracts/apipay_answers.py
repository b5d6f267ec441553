"""The ApiPay v1.0 contract over HTTP: its words for states and errors, and the renderer of its answers.

Source: its OpenAPI file and README; where the two differ, both are served. Published statuses: 200, 400, 401, 404, 410,
422, 429, 500; what needs another one (405, 413, 415, 502, 503) has it.
"""

from datetime import datetime

from msgspec import UNSET, UnsetType

from contracts.apipay import show
from contracts.apipay_json import (
    ApiPayErrorJson,
    InvoiceJson,
    OrganizationJson,
    OrganizationState,
    RefundJson,
    Status,
    VerificationStarted,
)
from contracts.issuing import payment_url
from domain.errors import Code, FieldError, TolemError
from domain.invoice import Invoice, State
from domain.money import format_amount
from domain.organization import Organization, OrganizationStatus, time_remaining
from domain.refund import Refund

# Total: a test asserts that every code has its status.
STATUS: dict[Code, int] = {
    Code.INVALID_REQUEST: 422,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN_MODE: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.IDEMPOTENCY_KEY_REUSED: 422,
    Code.KASPI_NOT_CONNECTED: 422,
    Code.KASPI_SCHEME_UNSUPPORTED: 422,
    Code.KASPI_REFUSED: 422,
    Code.KASPI_MISCONFIGURED: 502,
    Code.KASPI_UNAVAILABLE: 502,
    Code.KASPI_OUTCOME_UNKNOWN: 502,
    Code.INVOICE_NOT_CANCELABLE: 400,
    Code.INVOICE_ALREADY_PAID: 400,
    Code.INVOICE_CLOSED: 400,
    Code.INVOICE_NOT_PAID: 400,
    Code.REFUND_EXCEEDS_AVAILABLE: 400,
    Code.REFUND_ITEM_EXCEEDS_AVAILABLE: 400,
    Code.REFUND_UNSUPPORTED: 400,
    Code.REFUND_CLOSED: 400,
    Code.NOT_SANDBOX: 400,
    Code.RECONCILIATION_RUNNING: 400,
    Code.WEBHOOK_ENDPOINT_DISABLED: 400,
    Code.REDELIVERY_RUNNING: 400,
    Code.LIMIT_REACHED: 422,
    Code.RATE_LIMITED: 429,
    Code.VERIFICATION_EXPIRED: 410,
    Code.CATALOG_ITEMS_REFUSED: 422,
    Code.CART_AMOUNT_MISMATCH: 422,
    Code.TEST_KEY_REQUIRED: 403,
    Code.SUBSCRIPTION_CLOSED: 400,
    Code.SUBSCRIPTION_PAUSED: 400,
    Code.SUBSCRIPTION_NOT_PAUSED: 400,
    Code.CHARGE_IN_FLIGHT: 400,
    Code.BILLED_AHEAD: 400,
    Code.NO_PERIOD_LEFT: 400,
    Code.TEST_CLOCK_ADVANCING: 400,
    Code.ENGINE_UNAVAILABLE: 503,
    Code.ENGINE_SLOW: 503,
    Code.DATABASE_UNAVAILABLE: 503,
    Code.CREATION_IN_DOUBT: 503,
    Code.ILLEGAL_TRANSITION: 400,
    Code.INTERNAL: 500,
}

# What ApiPay says itself; the rest is ours.
_MESSAGES = {
    Code.INVALID_REQUEST: "Validation failed",
    Code.UNAUTHORIZED: "Invalid API key",
    Code.NOT_FOUND: "Resource not found",
    Code.VERIFICATION_EXPIRED: "Verification expired. Please start again.",
}
# A 422 names fields, and its readers list them: which one these are about.
_FIELDS = {
    Code.KASPI_NOT_CONNECTED: "organization",
    Code.KASPI_SCHEME_UNSUPPORTED: "organization",
    Code.KASPI_REFUSED: "kaspi",
    Code.IDEMPOTENCY_KEY_REUSED: "Idempotency-Key",
    Code.REFUND_EXCEEDS_AVAILABLE: "amount",
    Code.LIMIT_REACHED: "idn",
}
# Rules that both contracts obey name fields as v1 does.
_THEIRS = {"started_at": "start_date", "ends_at": "end_date"}
_MALFORMED = "malformed_json"

_WORDS: dict[State, Status] = {
    State.PROCESSING: Status.PENDING,
    State.PENDING: Status.PENDING,
    State.PAID: Status.PAID,
    State.PARTIALLY_REFUNDED: Status.PAID,
    State.REFUNDED: Status.PAID,
    State.CANCELED: Status.CANCELLED,
    State.FAILED: Status.CANCELLED,
    State.EXPIRED: Status.EXPIRED,
}


def states_of(statuses: list[Status]) -> list[State]:
    """Every state that shows as one of these words."""
    return [state for state, word in _WORDS.items() if word in statuses]


def phone_of(phone: str) -> str:
    """``77011234567`` to ``87011234567``."""
    return f"8{phone[1:]}"


def status_of(error: TolemError) -> int:
    """Wrong fields are 422, what is no JSON at all is 400."""
    if any(one.code == _MALFORMED for one in error.errors):
        return 400
    return STATUS[error.code]


def error_answer(error: TolemError, request_id: str) -> ApiPayErrorJson:
    """The JSON of an error."""
    wait = error.details.get("retry_after")
    message = _MESSAGES.get(error.code, error.message)
    if error.code is Code.RATE_LIMITED:
        message = f"Too many requests. Retry after {wait} seconds."
    return ApiPayErrorJson(
        message=message,
        errors=_errors(error),
        retry_after=UNSET if wait is None else int(wait),
        code=error.code,
        request_id=request_id,
    )


def _errors(error: TolemError) -> dict[str, list[str]] | UnsetType:
    wrong = list(error.errors)
    if not wrong and error.code in _FIELDS:
        wrong = [FieldError(_FIELDS[error.code], error.code, error.message)]
    found: dict[str, list[str]] = {}
    for one in wrong:
        found.setdefault(_THEIRS.get(one.field, one.field) or "body", []).append(one.message)
    return found or UNSET


class ApiPayAnswers:
    """Renders the contract for one public address."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url.rstrip("/")

    def invoice(self, invoice: Invoice) -> InvoiceJson:
        """The JSON of a bill."""
        word = _WORDS[invoice.state]
        # Bills from before that moment was kept tell their last change.
        closed = show(invoice.closed_at or invoice.updated_at)
        return InvoiceJson(
            id=invoice.number,
            kaspi_invoice_id=UNSET if invoice.bank_payment_id is None else str(invoice.bank_payment_id),
            kaspi_qr_token=invoice.qr_token or UNSET,
            payment_url=payment_url(self._public_url, invoice) or UNSET,
            amount=format_amount(invoice.amount),
            status=word,
            description=invoice.description or "",
            external_order_id=_given(invoice.external_order_id),
            client_phone=UNSET if invoice.phone is None else phone_of(invoice.phone),
            created_at=show(invoice.created_at),
            paid_at=_moment(invoice.paid_at),
            cancelled_at=closed if word is Status.CANCELLED else UNSET,
            expired_at=closed if word is Status.EXPIRED else UNSET,
            total_refunded=format_amount(invoice.refunded),
            is_sandbox=invoice.is_sandbox,
            tolem_id=invoice.id,
        )

    def refund(self, refund: Refund, invoice_number: int) -> RefundJson:
        """The JSON of a refund of the bill with that number."""
        return RefundJson(
            id=refund.number,
            invoice_id=invoice_number,
            amount=format_amount(refund.amount),
            status=refund.state,
            reason=refund.reason or "",
            created_at=show(refund.created_at),
            tolem_id=refund.id,
        )


_STARTED = {
    OrganizationStatus.PENDING: "Verification started. Ask your operator to connect the organisation to Kaspi.",
    OrganizationStatus.VERIFIED: "The organisation is verified.",
    OrganizationStatus.FAILED: "This API key belongs to another organisation.",
}


def verification_started(organization: Organization, status: OrganizationStatus, now: datetime) -> VerificationStarted:
    """The answer to a verification that has just begun."""
    return VerificationStarted(organization=_organization(organization, status, now), message=_STARTED[status])


def organization_state(organization: Organization, status: OrganizationStatus, now: datetime) -> OrganizationState:
    """The answer to whoever polls a verification."""
    return OrganizationState(organization=_organization(organization, status, now))


def _organization(organization: Organization, status: OrganizationStatus, now: datetime) -> OrganizationJson:
    return OrganizationJson(
        id=organization.number, idn=organization.idn, status=status, time_remaining=time_remaining(organization, now)
    )


def _given(text: str | None) -> str | UnsetType:
    return UNSET if text is None else text


def _moment(moment: datetime | None) -> str | UnsetType:
    return UNSET if moment is None else show(moment)
