"""One object of each sort, with every field set."""

from datetime import UTC, datetime
from typing import Any

from domain.bank import Scheme
from domain.event import Dialect, Endpoint
from domain.invoice import Invoice, Kind, State
from domain.merchant import Connection, Health
from domain.refund import Refund, RefundState

MADE = datetime(2026, 11, 22, 6, 17, 33, 120_999, tzinfo=UTC)
PUBLIC_URL = "https://pay.example"


def invoice(**changes: Any) -> Invoice:
    fields: dict[str, Any] = {
        "id": "inv_q3mjn2v7o5y3c6d2xk4wz7h5ua",
        "merchant_id": "mer_1",
        "number": 42,
        "kind": Kind.PHONE,
        "is_sandbox": False,
        "amount": 1_000_000,
        "state": State.PENDING,
        "created_at": MADE,
        "updated_at": MADE,
        "description": "Заказ №42",
        "phone": "77011234567",
        "external_order_id": "order_42",
        "connection_id": "con_1",
        "bank_payment_id": 12_812_345_678,
        "sequence": 1,
    }
    return Invoice(**(fields | changes))


def connection(**changes: Any) -> Connection:
    fields: dict[str, Any] = {
        "id": "con_1",
        "merchant_id": "mer_1",
        "scheme": Scheme.R3,
        "base_url": "https://bank.invalid/r3/v01",
        "organization_bin": "210140000016",
        "trade_point_id": 10001,
        "trade_point_name": "Demo shop",
        "device_id": "till-1",
        "version": 1,
        "health": Health.CONNECTED,
        "health_reason": None,
        "health_changed_at": MADE,
        "last_ok_at": MADE,
        "created_at": MADE,
    }
    return Connection(**(fields | changes))


def refund(**changes: Any) -> Refund:
    fields: dict[str, Any] = {
        "id": "ref_n3qjm2v7o5y3c6d2xk4wz7h5ub",
        "merchant_id": "mer_1",
        "number": 17,
        "invoice_id": "inv_q3mjn2v7o5y3c6d2xk4wz7h5ua",
        "position": 1,
        "is_sandbox": False,
        "amount": 250_000,
        "state": RefundState.PENDING,
        "created_at": MADE,
        "updated_at": MADE,
        "reason": "Нет в наличии",
        "bank_payment_id": 12_812_345_678,
    }
    return Refund(**(fields | changes))


def endpoint(**changes: Any) -> Endpoint:
    fields: dict[str, Any] = {
        "id": "whe_1",
        "merchant_id": "mer_1",
        "url": "https://shop.example/hook",
        "events": ["*"],
        "dialect": Dialect.V1,
        "description": None,
        "is_sandbox": False,
        "enabled": True,
        "disabled_at": None,
        "disabled_reason": None,
        "failing_since": None,
        "failing_percent": 0,
        "last_success_at": None,
        "last_failure_at": None,
        "public_key": None,
        "created_at": MADE,
        "updated_at": MADE,
    }
    return Endpoint(**(fields | changes))
