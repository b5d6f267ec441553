"""The one list of error codes, and the one exception that carries them to a contract's words."""

from enum import StrEnum

import msgspec


class Code(StrEnum):
    """Stable codes; each contract owns a total table from these to its HTTP statuses."""

    INVALID_REQUEST = "invalid_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN_MODE = "test_key_cannot_do_live"
    TEST_KEY_REQUIRED = "test_key_required"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    KASPI_NOT_CONNECTED = "kaspi_not_connected"
    KASPI_SCHEME_UNSUPPORTED = "kaspi_scheme_unsupported"
    KASPI_REFUSED = "kaspi_refused"
    KASPI_MISCONFIGURED = "kaspi_misconfigured"
    KASPI_UNAVAILABLE = "kaspi_unavailable"
    KASPI_OUTCOME_UNKNOWN = "kaspi_outcome_unknown"
    INVOICE_NOT_CANCELABLE = "invoice_not_cancelable"
    INVOICE_ALREADY_PAID = "invoice_already_paid"
    INVOICE_CLOSED = "invoice_closed"
    INVOICE_NOT_PAID = "invoice_not_paid"
    REFUND_EXCEEDS_AVAILABLE = "refund_exceeds_available"
    REFUND_ITEM_EXCEEDS_AVAILABLE = "refund_item_exceeds_available"
    REFUND_UNSUPPORTED = "refund_not_supported_by_scheme"
    REFUND_CLOSED = "refund_closed"
    NOT_SANDBOX = "not_a_sandbox_invoice"
    RECONCILIATION_RUNNING = "reconciliation_running"
    WEBHOOK_ENDPOINT_DISABLED = "webhook_endpoint_disabled"
    REDELIVERY_RUNNING = "redelivery_running"
    LIMIT_REACHED = "limit_reached"
    RATE_LIMITED = "rate_limited"
    VERIFICATION_EXPIRED = "verification_expired"
    CATALOG_ITEMS_REFUSED = "catalog_items_refused"
    CART_AMOUNT_MISMATCH = "cart_amount_mismatch"
    SUBSCRIPTION_CLOSED = "subscription_closed"
    SUBSCRIPTION_PAUSED = "subscription_paused"
    SUBSCRIPTION_NOT_PAUSED = "subscription_not_paused"
    CHARGE_IN_FLIGHT = "charge_in_flight"
    BILLED_AHEAD = "already_billed_ahead"
    NO_PERIOD_LEFT = "no_period_left"
    TEST_CLOCK_ADVANCING = "test_clock_advancing"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    ENGINE_SLOW = "engine_slow"
    DATABASE_UNAVAILABLE = "database_unavailable"
    CREATION_IN_DOUBT = "creation_in_doubt"
    ILLEGAL_TRANSITION = "illegal_transition"
    INTERNAL = "internal_error"


MESSAGES: dict[Code, str] = {
    Code.INVALID_REQUEST: "The request has wrong or missing fields; see errors.",
    Code.UNAUTHORIZED: "The X-API-Key header is missing, wrong or revoked.",
    Code.FORBIDDEN_MODE: "A test key works with sandbox objects only; use a live key.",
    Code.TEST_KEY_REQUIRED: "This needs a test key (tk_test_…).",
    Code.NOT_FOUND: "There is no such object.",
    Code.METHOD_NOT_ALLOWED: "This path does not take this method.",
    Code.UNSUPPORTED_MEDIA_TYPE: "Send the body as application/json.",
    Code.PAYLOAD_TOO_LARGE: "The body is too large.",
    Code.IDEMPOTENCY_KEY_REUSED: "This Idempotency-Key was used with another body; use a new key.",
    Code.KASPI_NOT_CONNECTED: "Kaspi is not connected for this merchant.",
    Code.KASPI_SCHEME_UNSUPPORTED: "The merchant's Kaspi scheme cannot do this."
    " Invoices to a phone need scheme r3; use a QR or a link.",
    Code.KASPI_REFUSED: "Kaspi refused the operation; nothing was issued.",
    Code.KASPI_MISCONFIGURED: "The Kaspi connection is misconfigured; nothing was issued. An operator must act.",
    Code.KASPI_UNAVAILABLE: "Kaspi could not be reached; nothing was issued. Repeat with a new Idempotency-Key.",
    Code.KASPI_OUTCOME_UNKNOWN: "Kaspi's answer was lost, so the outcome is not known yet; read the object later.",
    Code.INVOICE_NOT_CANCELABLE: "This invoice cannot be canceled.",
    Code.INVOICE_ALREADY_PAID: "The invoice is already paid.",
    Code.INVOICE_CLOSED: "The invoice's story is over; it takes no more changes.",
    Code.INVOICE_NOT_PAID: "The invoice is not paid, so there is nothing to refund.",
    Code.REFUND_EXCEEDS_AVAILABLE: "The amount is more than what can still be refunded; see details.available.",
    Code.REFUND_ITEM_EXCEEDS_AVAILABLE: "That is more than what is left of a line of the invoice, or comes to less than"
    " 0.01; see details.position and details.available.",
    Code.REFUND_UNSUPPORTED: "The Kaspi scheme of this payment cannot refund without the customer; refund it in the"
    " Kaspi Pay app.",
    Code.REFUND_CLOSED: "The refund's story is over; it takes no more changes.",
    Code.NOT_SANDBOX: "Only sandbox objects can be simulated.",
    Code.RECONCILIATION_RUNNING: "A reconciliation of this Kaspi connection is not over yet; see"
    " details.reconciliation_id.",
    Code.WEBHOOK_ENDPOINT_DISABLED: "The webhook endpoint is disabled or deleted; nothing is sent to it.",
    Code.REDELIVERY_RUNNING: "A redelivery to this endpoint is not over yet; see details.redelivery_id.",
    Code.LIMIT_REACHED: "There are as many of these as there may be; see details.limit.",
    Code.RATE_LIMITED: "This key has made too many requests; nothing was done. Repeat after Retry-After seconds.",
    Code.VERIFICATION_EXPIRED: "The verification was not confirmed within 120 seconds; start it again.",
    Code.CATALOG_ITEMS_REFUSED: "None of the items was made; what is wrong with each stands in errors.",
    Code.CART_AMOUNT_MISMATCH: "The amount is not what the cart comes to; see details.cart_amount. Leave amount out, or"
    " send that.",
    Code.SUBSCRIPTION_CLOSED: "The subscription is over; it takes no more changes.",
    Code.SUBSCRIPTION_PAUSED: "The subscription is paused; resume it first.",
    Code.SUBSCRIPTION_NOT_PAUSED: "The subscription is neither paused nor about to be canceled.",
    Code.CHARGE_IN_FLIGHT: "A bill of this period is out; it has to end before the next one.",
    Code.BILLED_AHEAD: "The next period is billed ahead already; one ahead is the most.",
    Code.NO_PERIOD_LEFT: "The subscription has no further period.",
    Code.TEST_CLOCK_ADVANCING: "The test clock is still advancing; wait until its state is ready.",
    Code.ENGINE_UNAVAILABLE: "The engine or its worker is unavailable; nothing was issued."
    " Repeat with the same Idempotency-Key.",
    Code.ENGINE_SLOW: "The engine or its worker did not answer in time; nothing was lost, read the object later.",
    Code.DATABASE_UNAVAILABLE: "The database is unavailable. Repeat later, a creation with the same Idempotency-Key.",
    Code.CREATION_IN_DOUBT: "The books cannot be read now, and it may have been made. Read the object in details"
    " later, or repeat with the same Idempotency-Key; never repeat without a key.",
    Code.ILLEGAL_TRANSITION: "The object cannot go to this state from its present one.",
    Code.INTERNAL: "An unexpected error happened on our side; quote request_id to the operator.",
}

RETRYABLE = frozenset(
    {
        Code.RATE_LIMITED,
        Code.ENGINE_UNAVAILABLE,
        Code.ENGINE_SLOW,
        Code.DATABASE_UNAVAILABLE,
        Code.KASPI_UNAVAILABLE,
    }
)


class FieldError(msgspec.Struct, frozen=True):
    """One wrong field: where it stands (dotted path), a stable code, and what is wrong in a sentence."""

    field: str
    code: str
    message: str


class TolemError(Exception):
    """A failure with a stable code. `details` and `message` are public: never personal data or upstream text."""

    def __init__(
        self,
        code: Code,
        message: str | None = None,
        *,
        errors: list[FieldError] | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        self.code = code
        self.message = message or MESSAGES[code]
        self.errors = errors or []
        self.details = details or {}
        super().__init__(f"{code}: {self.message}")


def invalid(*errors: FieldError) -> TolemError:
    """The error that names every wrong field."""
    return TolemError(Code.INVALID_REQUEST, errors=list(errors))
