"""An example for every operation, rendered by the contract itself, so that they are what one really gets."""

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import msgspec
from litestar.openapi.spec import Example, OpenAPI, OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody

from api import (
    catalog_examples,
    delivery_examples,
    reconciliation_examples,
    redelivery_examples,
    subscription_examples,
)
from contracts import v1
from contracts.v1 import STATUS, V1
from contracts.v1_audit import audit_log
from contracts.v1_webhooks import endpoint
from domain.audit import ActorKind, AuditRow
from domain.bank import Scheme
from domain.errors import Code, FieldError, TolemError
from domain.event import Dialect, DisabledReason, Endpoint, EndpointSecret, EventType
from domain.invoice import Invoice, Kind, Reason, State
from domain.merchant import Connection, Health, Merchant
from domain.refund import Refund, RefundReason, RefundState
from domain.rendering import Event

_AT = datetime(2026, 11, 22, 6, 17, 33, 120000, tzinfo=UTC)
_LATER = datetime(2026, 11, 22, 6, 18, 2, 480000, tzinfo=UTC)
_DAY_LATER = datetime(2026, 11, 23, 6, 17, 33, 120000, tzinfo=UTC)
_REQUEST_ID = "req_0e2f4c1b9a8d4f6e8b7a6c5d4e3f2a1b"

_PENDING = Invoice(
    id="inv_q3mjn2v7o5y3c6d2xk4wz7h5ua",
    merchant_id="mer_6rzpebtuombeggmvdqnbyeugjy",
    number=1042,
    kind=Kind.PHONE,
    is_sandbox=False,
    amount=1_000_000,
    state=State.PENDING,
    description="Заказ #1042",
    phone="77011234567",
    external_order_id="order_1042",
    bank_payment_id=12800012345,
    created_at=_AT,
    updated_at=_AT,
    expires_at=_DAY_LATER,
)
_PAID = msgspec.structs.replace(_PENDING, state=State.PAID, paid_at=_LATER, updated_at=_LATER)
_CANCELED = msgspec.structs.replace(
    _PENDING, state=State.CANCELED, status_reason=Reason.CANCELED_BY_MERCHANT, updated_at=_LATER
)
_SANDBOX_PAID = msgspec.structs.replace(_PAID, is_sandbox=True, status_reason=Reason.SIMULATED)
_OF_SUBSCRIPTION = msgspec.structs.replace(
    _PAID, subscription_id=subscription_examples.PAID.id, subscription_period=1, subscription_charge=1
)
_QR = msgspec.structs.replace(
    _PENDING,
    id="inv_w5tq4c3kz2y7m6d1xk9vz8h3ub",
    kind=Kind.QR,
    phone=None,
    qr_token="20860012345678901234567890123456789012345",  # noqa: S106 -- an example
)
_REFUND = Refund(
    id="ref_n3qjm2v7o5y3c6d2xk4wz7h5ub",
    merchant_id=_PENDING.merchant_id,
    number=17,
    invoice_id=_PENDING.id,
    position=1,
    is_sandbox=False,
    amount=250_000,
    state=RefundState.PENDING,
    reason="Нет в наличии",
    bank_payment_id=_PENDING.bank_payment_id,
    created_at=_LATER,
    updated_at=_LATER,
)
_REFUNDED = msgspec.structs.replace(
    _REFUND,
    state=RefundState.COMPLETED,
    bank_return_id=9_100_000_042,
    updated_at=_DAY_LATER,
    completed_at=_DAY_LATER,
)
_SANDBOX_REFUNDED = msgspec.structs.replace(_REFUNDED, is_sandbox=True, status_reason=RefundReason.SIMULATED)
_MERCHANT = Merchant(id=_PENDING.merchant_id, name="Demo shop", bin="210140000016", created_at=_AT)
_CONNECTION = Connection(
    id="con_iewhsdauauk3efv2ffg5mhzst4",
    merchant_id=_MERCHANT.id,
    scheme=Scheme.R3,
    base_url="",
    organization_bin=_MERCHANT.bin,
    trade_point_id=10001,
    trade_point_name="Demo shop",
    device_id="tolem",
    version=1,
    health=Health.CONNECTED,
    health_reason=None,
    health_changed_at=_AT,
    last_ok_at=_LATER,
    created_at=_AT,
)
_ENDPOINT = Endpoint(
    id="whe_653vh3ije5qrecxrt6nxeos5ru",
    merchant_id=_MERCHANT.id,
    url="https://example.kz/webhooks/kaspi",
    events=["invoice.status_changed", "invoice.refunded"],
    dialect=Dialect.V1,
    description="Orders of the web shop",
    is_sandbox=False,
    enabled=True,
    disabled_at=None,
    disabled_reason=None,
    failing_since=None,
    failing_percent=0,
    last_success_at=_LATER,
    last_failure_at=None,
    public_key=None,
    created_at=_AT,
    updated_at=_AT,
)
_CHANGED_ENDPOINT = msgspec.structs.replace(
    _ENDPOINT, events=["invoice.*"], description="Orders and refunds of the web shop", updated_at=_LATER
)
_DISABLED_ENDPOINT = msgspec.structs.replace(
    _ENDPOINT, enabled=False, disabled_at=_LATER, disabled_reason=DisabledReason.MERCHANT, updated_at=_LATER
)
_OLD_SECRET = EndpointSecret(id="whs_7jq2m5v3o5y3c6d2xk4wz7h5ud", created_at=_AT, expires_at=None)
_ROTATED_SECRETS = [
    EndpointSecret(id="whs_2k4wz7h5ud7jq2m5v3o5y3c6dx", created_at=_LATER, expires_at=None),
    msgspec.structs.replace(_OLD_SECRET, expires_at=_LATER + timedelta(hours=48)),
]
_EVENT = Event(
    id="evt_5jq2m7v3o5y3c6d2xk4wz7h5uc",
    merchant_id=_MERCHANT.id,
    type=EventType.INVOICE_STATUS_CHANGED,
    object_id=_PAID.id,
    sequence=2,
    cause="paid",
    is_sandbox=False,
    created_at=_LATER,
    object=_PAID,
    previous_state=State.PENDING,
)
_AUDIT_ROW = AuditRow(
    id="aud_2m7v3o5y3c6d2xk4wz7h5uc5jq",
    merchant_id=_MERCHANT.id,
    position=87,
    actor_kind=ActorKind.WORKFLOW,
    actor_id=f"invoice-{_PAID.id}",
    action="invoice.paid",
    object_type="invoice",
    object_id=_PAID.id,
    is_sandbox=False,
    created_at=_LATER,
    previous_hash=bytes.fromhex("5f" * 32),
    hash=bytes.fromhex("c4" * 32),
    before=State.PENDING,
    after=State.PAID,
)
_SECRET = "whsec_" + "A" * 43 + "="
_BAD = [
    FieldError("amount", "invalid", "Must have at most two decimals."),
    FieldError("phone_number", "required", "This field is required."),
]
_ERROR_OF_STATUS = {
    400: TolemError(Code.INVALID_REQUEST, errors=_BAD),
    401: TolemError(Code.UNAUTHORIZED),
    403: TolemError(Code.FORBIDDEN_MODE),
    404: TolemError(Code.NOT_FOUND),
    409: TolemError(Code.KASPI_NOT_CONNECTED),
    422: TolemError(Code.IDEMPOTENCY_KEY_REUSED),
    429: TolemError(Code.RATE_LIMITED, details={"retry_after": "7", "per_minute": "60"}),
    502: TolemError(Code.KASPI_REFUSED, details={"invoice_id": _PENDING.id, "kaspi_code": "990000028"}),
    503: TolemError(Code.ENGINE_UNAVAILABLE),
}
_CONFLICTS = {
    **delivery_examples.CONFLICTS,
    **subscription_examples.CONFLICTS,
    "cancelInvoice": TolemError(Code.INVOICE_ALREADY_PAID, details={"state": "paid"}),
    "refundInvoice": TolemError(Code.REFUND_EXCEEDS_AVAILABLE, details={"available": "7500.00"}),
    "createRefund": TolemError(Code.INVOICE_NOT_PAID, details={"state": "pending"}),
    "simulateRefund": TolemError(Code.ILLEGAL_TRANSITION, details={"state": "completed"}),
    "simulateInvoice": TolemError(Code.ILLEGAL_TRANSITION, details={"state": "canceled"}),
    "testWebhook": TolemError(Code.WEBHOOK_ENDPOINT_DISABLED),
    "createReconciliation": TolemError(
        Code.RECONCILIATION_RUNNING, details={"reconciliation_id": reconciliation_examples.RUNNING.id}
    ),
    "redeliverWebhooks": TolemError(Code.REDELIVERY_RUNNING, details={"redelivery_id": redelivery_examples.RUNNING.id}),
    "createWebhook": TolemError(Code.LIMIT_REACHED, details={"limit": "50"}),
    "rotateWebhookSecret": TolemError(
        Code.LIMIT_REACHED, details={"limit": "10", "room_at": "2026-11-23T06:17:33.120Z"}
    ),
}

_REQUESTS: dict[str, Any] = {
    "createInvoice": {
        "amount": 10000,
        "phone_number": "77011234567",
        "description": "Заказ #1042",
        "external_order_id": "order_1042",
        "is_sandbox": True,
    },
    "createQr": {"amount": 2500.5, "comment": "Заказ #1042", "external_order_id": "order_1042", "is_sandbox": True},
    "checkInvoiceStatuses": {"ids": [_PENDING.id]},
    "simulateInvoice": {"status": "paid"},
    "refundInvoice": {"amount": 2500, "reason": "Нет в наличии"},
    "createRefund": {"invoice_id": _PENDING.id, "amount": 2500, "reason": "Нет в наличии"},
    "simulateRefund": {"status": "completed"},
    "createWebhook": {"url": _ENDPOINT.url, "events": _ENDPOINT.events, "description": _ENDPOINT.description},
    "updateWebhook": {"events": ["invoice.*"], "description": "Orders and refunds of the web shop"},
    "rotateWebhookSecret": {"overlap_hours": 48},
    **delivery_examples.REQUESTS,
    **reconciliation_examples.REQUESTS,
    **redelivery_examples.REQUESTS,
    **catalog_examples.REQUESTS,
    **subscription_examples.REQUESTS,
}


def _answers(shape: V1) -> dict[str, Any]:
    page = {"page": 1, "page_size": 20, "total": 1, "has_more": False, "next_cursor": None}
    checked = {"id": _PAID.id, "checked": True, "invoice": shape.invoice(_PAID)}
    organization = v1.merchant(_MERCHANT, "live", kaspi_connected=True)
    return {
        "createInvoice": shape.invoice(_PENDING),
        "createQr": shape.qr(_QR),
        "listInvoices": {"items": [shape.invoice(_PAID)], **page},
        "getInvoice": shape.invoice(_PAID),
        "cancelInvoice": shape.invoice(_CANCELED),
        "checkInvoiceStatuses": {"items": [checked], "not_found": []},
        "simulateInvoice": shape.invoice(_SANDBOX_PAID),
        "refundInvoice": shape.refund(_REFUND),
        "createRefund": shape.refund(_REFUND),
        "getRefund": shape.refund(_REFUNDED),
        "listRefunds": {"items": [shape.refund(_REFUNDED)], **page},
        "listInvoiceRefunds": {"items": [shape.refund(_REFUNDED)]},
        "simulateRefund": shape.refund(_SANDBOX_REFUNDED),
        "verifyOrganization": {"verified": True, "organization": organization},
        "getMe": organization,
        "getKaspiSession": v1.session(_CONNECTION),
        "listWebhooks": {"items": [endpoint(_ENDPOINT)]},
        "createWebhook": endpoint(_ENDPOINT, _SECRET),
        "getWebhook": endpoint(_ENDPOINT, secrets=[_OLD_SECRET]),
        "updateWebhook": endpoint(_CHANGED_ENDPOINT, secrets=[_OLD_SECRET]),
        "deleteWebhook": None,
        "enableWebhook": endpoint(_ENDPOINT, secrets=[_OLD_SECRET]),
        "disableWebhook": endpoint(_DISABLED_ENDPOINT, secrets=[_OLD_SECRET]),
        "rotateWebhookSecret": endpoint(_ENDPOINT, _SECRET, _ROTATED_SECRETS),
        "testWebhook": {"status": "queued", "endpoint_id": _ENDPOINT.id},
        "listEvents": {"items": [shape.event(_EVENT)], "page_size": 20, "has_more": False, "next_cursor": None},
        "getEvent": shape.event(_EVENT),
        "streamEvents": f"id: {_EVENT.id}\nevent: {_EVENT.type}\ndata: {_json(shape.event(_EVENT))}\n\n",
        **delivery_examples.ANSWERS,
        **reconciliation_examples.ANSWERS,
        **redelivery_examples.ANSWERS,
        **catalog_examples.ANSWERS,
        **subscription_examples.ANSWERS,
        "listSubscriptionInvoices": {"items": [shape.invoice(_OF_SUBSCRIPTION)], **page},
        "listAuditLogs": {"items": [audit_log(_AUDIT_ROW)], **page},
        "live": {"status": "ok"},
        "ready": {"status": "ok", "database": "ok", "engine": "ok"},
    }


def add_examples(openapi: OpenAPI, shape: V1) -> None:
    """Puts the examples into a generated description; KeyError for an operation that has none."""
    answers = _answers(shape)
    for item in (openapi.paths or {}).values():
        for operation in (item.get, item.post, item.put, item.patch, item.delete):
            if operation is not None:
                _describe(operation, answers[operation.operation_id or ""], shape)


def _describe(operation: Operation, answer: Any, shape: V1) -> None:
    name = operation.operation_id or ""
    if isinstance(operation.request_body, RequestBody):
        put(operation.request_body.content, _REQUESTS[name])
    for status, response in (operation.responses or {}).items():
        if not isinstance(response, OpenAPIResponse) or not response.content:
            continue
        if status.startswith("2"):
            put(response.content, answer)
        elif name == "ready":
            put(response.content, {"status": "unavailable", "database": "ok", "engine": "unavailable"})
        elif int(status) in _ERROR_OF_STATUS:
            error = _ERROR_OF_STATUS[int(status)]
            if int(status) == STATUS[Code.INVOICE_ALREADY_PAID]:
                error = _CONFLICTS.get(name, error)
            if int(status) == STATUS[Code.TEST_KEY_REQUIRED] and name in subscription_examples.TEST_KEY_ONLY:
                error = TolemError(Code.TEST_KEY_REQUIRED)
            if int(status) == STATUS[Code.CATALOG_ITEMS_REFUSED] and name == "createCatalogItems":
                error = catalog_examples.REFUSED
            put(response.content, shape.error(error, _REQUEST_ID, _AT))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class _Kept(Enum):
    """The framework leaves None out of what it describes; an enumeration's value it takes as it is."""

    NULL = None


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_nulls(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_nulls(item) for item in value]
    return _Kept.NULL if value is None else value


def put(content: dict[str, OpenAPIMediaType], value: Any) -> None:
    """The one example of a body, nulls and all."""
    plain = _with_nulls(msgspec.to_builtins(value))
    for media in content.values():
        media.examples = {"example": Example(value=plain)}
