"""An example for every operation of the ApiPay contract, rendered by the contract itself."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPI, OpenAPIResponse, Operation, RequestBody

from api.examples import put
from contracts.apipay_answers import ApiPayAnswers, error_answer, organization_state, verification_started
from contracts.apipay_recurring import recurring
from domain.billing_calendar import BillingPeriod, Plan
from domain.errors import Code, FieldError, TolemError
from domain.invoice import Invoice, Kind, Reason, State
from domain.organization import Organization, OrganizationStatus
from domain.refund import Refund, RefundState
from domain.subscription import Dunning, MissedPolicy, Terms
from domain.subscription import State as SubscriptionState
from domain.subscription_record import Subscription
from domain.subscription_rules import begin

_AT = datetime(2026, 11, 22, 6, 17, 33, tzinfo=UTC)
_LATER = datetime(2026, 11, 22, 6, 18, 2, tzinfo=UTC)
_REQUEST_ID = "req_0e2f4c1b9a8d4f6e8b7a6c5d4e3f2a1b"
_PENDING = Invoice(
    id="inv_q3mjn2v7o5y3c6d2xk4wz7h5ua",
    merchant_id="mer_6rzpebtuombeggmvdqnbyeugjy",
    number=42,
    kind=Kind.PHONE,
    is_sandbox=False,
    amount=1_000_000,
    state=State.PENDING,
    description="Оплата заказа #123",
    phone="77001234567",
    external_order_id="order_123",
    bank_payment_id=13234689513,
    created_at=_AT,
    updated_at=_AT,
)
_PAID = msgspec.structs.replace(_PENDING, state=State.PAID, paid_at=_LATER, updated_at=_LATER)
_CANCELED = msgspec.structs.replace(
    _PENDING, state=State.CANCELED, status_reason=Reason.CANCELED_BY_MERCHANT, updated_at=_LATER, closed_at=_LATER
)
_REFUND = Refund(
    id="ref_n3qjm2v7o5y3c6d2xk4wz7h5ub",
    merchant_id=_PENDING.merchant_id,
    number=1,
    invoice_id=_PENDING.id,
    position=1,
    is_sandbox=False,
    amount=500_000,
    state=RefundState.COMPLETED,
    reason="Частичный возврат",
    bank_payment_id=_PENDING.bank_payment_id,
    created_at=_LATER,
    updated_at=_LATER,
)
_ORGANIZATION = Organization(
    merchant_id=_PENDING.merchant_id, number=1, is_sandbox=False, idn="210140000016", started_at=_AT
)
_STANDING = begin(_AT, Plan(), Terms(revision=1, amount=500_000), Dunning())
_RECURRING = Subscription(
    id="sub_q3mjn2v7o5y3c6d2xk4wz7h5ua",
    merchant_id=_PENDING.merchant_id,
    number=1,
    is_sandbox=False,
    state=_STANDING.state,
    phone=_PENDING.phone or "",
    amount=500_000,
    description="Ежемесячная подписка",
    period=BillingPeriod.MONTHLY,
    billing_time=time(10),
    started_at=_AT,
    max_retry_attempts=3,
    retry_interval_hours=24,
    grace_period_days=7,
    missed=MissedPolicy.NEWEST,
    standing=_STANDING,
    created_at=_AT,
    updated_at=_AT,
    next_billing_at=_AT + timedelta(days=30),
)
_PAUSED = msgspec.structs.replace(_RECURRING, state=SubscriptionState.PAUSED, next_billing_at=None)
_ENDED = msgspec.structs.replace(_RECURRING, state=SubscriptionState.CANCELED, next_billing_at=None)
_ERRORS = {
    400: TolemError(Code.INVOICE_NOT_CANCELABLE),
    401: TolemError(Code.UNAUTHORIZED),
    404: TolemError(Code.NOT_FOUND),
    410: TolemError(Code.VERIFICATION_EXPIRED),
    422: TolemError(
        Code.INVALID_REQUEST,
        errors=[FieldError("phone_number", "invalid", "Phone number must be in format 8XXXXXXXXXX.")],
    ),
    429: TolemError(Code.RATE_LIMITED, details={"retry_after": "7"}),
    502: TolemError(Code.KASPI_UNAVAILABLE),
    503: TolemError(Code.ENGINE_UNAVAILABLE),
}
_MALFORMED = TolemError(Code.INVALID_REQUEST, errors=[FieldError("", "malformed_json", "The body is not valid JSON.")])
_BAD_REQUESTS = {
    "createInvoice": _MALFORMED,
    "verifyOrganization": _MALFORMED,
    "createRefund": TolemError(Code.INVOICE_NOT_PAID),
    "createRecurringInvoice": _MALFORMED,
    "updateRecurringInvoice": TolemError(Code.SUBSCRIPTION_CLOSED),
    "pauseRecurringInvoice": TolemError(Code.SUBSCRIPTION_PAUSED),
    "resumeRecurringInvoice": TolemError(Code.SUBSCRIPTION_NOT_PAUSED),
    "cancelRecurringInvoice": TolemError(Code.SUBSCRIPTION_CLOSED),
    "billNowRecurringInvoice": TolemError(Code.CHARGE_IN_FLIGHT),
    "skipPeriodRecurringInvoice": TolemError(Code.NO_PERIOD_LEFT),
}
_REQUESTS: dict[str, Any] = {
    "createInvoice": {
        "amount": 10000,
        "phone_number": "87001234567",
        "description": "Оплата заказа #123",
        "external_order_id": "order_123",
        "webhook_id": 1,
    },
    "createRefund": {"amount": 5000, "reason": "Частичный возврат"},
    "verifyOrganization": {"idn": _ORGANIZATION.idn},
    "createRecurringInvoice": {
        "amount": 5000,
        "phone_number": "87001234567",
        "description": "Ежемесячная подписка",
        "interval": "monthly",
        "start_date": "2026-12-01",
        "end_date": "2027-11-30",
        "webhook_id": 1,
    },
    "updateRecurringInvoice": {"amount": 7500, "description": "Премиум ежемесячная подписка"},
}


def _answers(shape: ApiPayAnswers) -> dict[str, Any]:
    page = {"current_page": 1, "per_page": 10, "total": 1, "has_more": False}
    refund = shape.refund(_REFUND, _PENDING.number)
    return {
        "createInvoice": shape.invoice(_PENDING),
        "listInvoices": {"data": [shape.invoice(_PAID)], "meta": page},
        "getInvoice": shape.invoice(_PAID),
        "cancelInvoice": shape.invoice(_CANCELED),
        "createRefund": refund,
        "listInvoiceRefunds": {"data": [refund]},
        "listRefunds": {"data": [refund], "meta": page},
        "getRefund": refund,
        "verifyOrganization": verification_started(_ORGANIZATION, OrganizationStatus.PENDING, _AT),
        "createRecurringInvoice": recurring(_RECURRING),
        "listRecurringInvoices": {"data": [recurring(_RECURRING)], "meta": page},
        "getRecurringInvoice": recurring(_RECURRING),
        "updateRecurringInvoice": recurring(_RECURRING),
        "pauseRecurringInvoice": recurring(_PAUSED),
        "resumeRecurringInvoice": recurring(_RECURRING),
        "cancelRecurringInvoice": recurring(_ENDED),
        "billNowRecurringInvoice": shape.invoice(_PENDING),
        "skipPeriodRecurringInvoice": recurring(_RECURRING),
        "getOrganizationStatus": organization_state(_ORGANIZATION, OrganizationStatus.VERIFIED, _LATER),
    }


def add_examples(openapi: OpenAPI, shape: ApiPayAnswers) -> None:
    """Puts the examples into a generated description; KeyError for an operation that has none."""
    answers = _answers(shape)
    for item in (openapi.paths or {}).values():
        for operation in (item.get, item.post, item.put, item.patch, item.delete):
            if operation is not None:
                _describe(operation, answers[operation.operation_id or ""])


def _describe(operation: Operation, answer: Any) -> None:
    name = operation.operation_id or ""
    if isinstance(operation.request_body, RequestBody):
        put(operation.request_body.content, _REQUESTS[name])
    for status, response in (operation.responses or {}).items():
        if not isinstance(response, OpenAPIResponse) or not response.content:
            continue
        if status.startswith("2"):
            put(response.content, answer)
            continue
        error = _BAD_REQUESTS.get(name, _ERRORS[400]) if status == "400" else _ERRORS[int(status)]
        put(response.content, error_answer(error, _REQUEST_ID))
