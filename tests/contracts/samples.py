"""One object of each sort, with every field set."""

from datetime import UTC, datetime, time
from typing import Any

from domain.bank import Scheme
from domain.billing_calendar import BillingPeriod, Plan
from domain.event import Dialect, Endpoint
from domain.invoice import Invoice, Kind, State
from domain.merchant import Connection, Health
from domain.refund import Refund, RefundState
from domain.subscription import MissedPolicy, Standing, Terms
from domain.subscription_record import Subscription
from domain.subscription_rules import begin

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


# 11:17:33 in Almaty on 22 November; the first period is due on the 30th at 10:00 there.
SUBSCRIPTION_PLAN = Plan(period=BillingPeriod.MONTHLY, day=31, at=time(10), total_cycles=12)


def begun(**plan: Any) -> Standing:
    """A standing that nothing was decided about."""
    return begin(MADE.replace(microsecond=0), Plan(**plan) if plan else SUBSCRIPTION_PLAN, Terms(amount=1_000_000))


def subscription(standing: Standing | None = None, **changes: Any) -> Subscription:
    stands = begun() if standing is None else standing
    fields: dict[str, Any] = {
        "id": "sub_2k4wz7h5ud7jq2m5v3o5y3c6dx",
        "merchant_id": "mer_1",
        "number": 7,
        "is_sandbox": False,
        "state": stands.state,
        "phone": "77011234567",
        "amount": stands.terms.amount,
        "period": stands.calendar.period,
        "billing_day": stands.calendar.day or None,
        "billing_time": stands.calendar.at,
        "started_at": stands.started_at,
        "total_cycles": stands.calendar.total_cycles,
        "max_retry_attempts": 3,
        "retry_interval_hours": 24,
        "grace_period_days": 3,
        "missed": MissedPolicy.NEWEST,
        "standing": stands,
        "description": "Абонплата",
        "metadata": {"plan": "gold"},
        "external_order_id": "member_42",
        "created_at": MADE,
        "updated_at": MADE,
        "sequence": 1,
    }
    return Subscription(**(fields | changes))
