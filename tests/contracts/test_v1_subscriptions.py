"""Subscriptions in the v1 contract and in ApiPay's words, as bytes."""

import json
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from contracts.rendering import Contracts
from contracts.v1 import V1
from contracts.v1_subscriptions import (
    SubscriptionStatus,
    clock,
    detail,
    due_dates,
    newest_bill,
    period,
    subscription,
)
from domain.billing_calendar import BillingPeriod
from domain.cart import InvoiceItem
from domain.catalog import Unit
from domain.event import EventType
from domain.rendering import Event
from domain.subscription import (
    CLOSED,
    BillNow,
    ChargeFailed,
    ChargeFaulted,
    ChargeRef,
    ChargeUnknown,
    Happening,
    PaidHow,
    PeriodState,
    SkipReason,
    Standing,
    State,
    Tell,
    TimeReached,
    Told,
)
from domain.subscription_record import ClockState, PayerAct, SubscriptionPeriod, TestClock
from domain.subscription_rules import decide
from domain.subscription_statistics import LastPayment, Statistics
from tests.contracts import samples
from tests.contracts.samples import MADE, PUBLIC_URL, begun
from tests.contracts.samples import subscription_event as event

V = V1(PUBLIC_URL)
AT = "2026-11-22T06:17:33.120Z"
DUE = datetime(2026, 11, 30, 5, tzinfo=UTC)
FIRST = ChargeRef(number=1, charge=1)


def as_json(thing: object) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(thing))
    return decoded


def after(*happenings: Happening, at: datetime = DUE) -> Standing:
    standing = begun()
    for happening in happenings:
        standing = decide(standing, happening, at).standing
    return standing


def opened(*happenings: Happening) -> dict[str, Any]:
    """The open period as it is shown after the first bill went out and this happened."""
    shown = as_json(subscription(samples.subscription(after(TimeReached(), *happenings), invoice_id="inv_1")))
    found: dict[str, Any] = shown["open_period"]
    return found


def test_a_subscription_byte_for_byte() -> None:
    assert as_json(subscription(samples.subscription(next_billing_at=DUE))) == {
        "id": "sub_2k4wz7h5ud7jq2m5v3o5y3c6dx",
        "number": 7,
        "external_order_id": "member_42",
        "phone_number": "77011234567",
        "amount": "10000.00",
        "currency": "KZT",
        "description": "Абонплата",
        "discount_percentage": None,
        "items": [],
        "status": "active",
        "billing_period": "monthly",
        "billing_day": 31,
        "billing_time": "10:00",
        "bill_immediately": False,
        "started_at": "2026-11-22T06:17:33.000Z",
        "ends_at": None,
        "total_cycles": 12,
        "next_billing_at": "2026-11-30T05:00:00.000Z",
        "upcoming": [
            {"number": 1, "due_at": "2026-11-30T05:00:00.000Z"},
            {"number": 2, "due_at": "2026-12-31T05:00:00.000Z"},
            {"number": 3, "due_at": "2027-01-31T05:00:00.000Z"},
        ],
        "open_period": None,
        "cancel_at_period_end": False,
        "max_retry_attempts": 3,
        "retry_interval_hours": 24,
        "grace_period_days": 3,
        "missed_periods": "newest",
        "metadata": {"plan": "gold"},
        "is_sandbox": False,
        "test_clock": None,
        "payer": [],
        "created_at": AT,
        "updated_at": AT,
        "ended_at": None,
    }


def test_nothing_internal_is_shown() -> None:
    text = msgspec.json.encode(subscription(samples.subscription())).decode()
    assert "mer_1" not in text
    assert "standing" not in text


def test_the_answer_to_a_creation_is_the_subscription_itself() -> None:
    one = samples.subscription()
    assert Contracts(PUBLIC_URL).subscription_answer(one, "req_1") == msgspec.json.encode(subscription(one))


def test_what_has_no_billing_day_shows_none_and_seconds_only_where_there_are_some() -> None:
    daily = samples.subscription(begun(period=BillingPeriod.DAILY), billing_day=0)
    shown = as_json(subscription(daily))
    assert (shown["billing_period"], shown["billing_day"], shown["billing_time"]) == ("daily", None, "11:17:33")
    assert as_json(subscription(samples.subscription(billing_time=time(0, 0))))["billing_time"] == "00:00"


def test_a_cart_is_shown_with_its_discount() -> None:
    item = InvoiceItem(position=1, name="Тариф", unit=Unit.PIECE, count_milli=2000, price=500, sum=1000, amount=900)
    shown = as_json(subscription(samples.subscription(items=[item], discount_percentage=Decimal(10))))
    assert (shown["discount_percentage"], [one["amount"] for one in shown["items"]]) == ("10.00", ["9.00"])


# --- the open period


def test_a_bill_that_is_out() -> None:
    assert opened() == {
        "number": 1,
        "due_at": "2026-11-30T05:00:00.000Z",
        "amount": "10000.00",
        "phase": "live",
        "next_bill_at": None,
        "grace_until": None,
        "bills": 1,
        "failed_attempts": 0,
        "bank_faults": 0,
        "outcome_unknown": False,
        "invoice_id": "inv_1",
    }


def test_what_holds_a_period_up_is_shown() -> None:
    failed = opened(ChargeFailed(ref=FIRST))
    assert (failed["phase"], failed["failed_attempts"]) == ("waiting", 1)
    assert failed["next_bill_at"] == "2026-12-01T05:00:00.000Z"
    faulted = opened(ChargeFaulted(ref=FIRST))
    assert (faulted["phase"], faulted["bank_faults"], faulted["failed_attempts"]) == ("waiting", 1, 0)
    assert faulted["next_bill_at"] == "2026-11-30T05:05:00.000Z"
    unknown = opened(ChargeUnknown(ref=FIRST))
    assert (unknown["phase"], unknown["outcome_unknown"]) == ("live", True)


def test_the_words_for_a_state_are_the_states() -> None:
    assert {one.value for one in SubscriptionStatus} == {one.value for one in State}


@pytest.mark.parametrize("state", State)
def test_dates_are_shown_only_where_bills_will_be_made(state: State) -> None:
    standing = msgspec.structs.replace(begun(), state=state)
    shown = as_json(subscription(samples.subscription(standing)))
    assert shown["status"] == state.value
    assert bool(shown["upcoming"]) is (state not in CLOSED and state is not State.PAUSED)


def test_what_will_be_canceled_has_no_dates() -> None:
    standing = msgspec.structs.replace(begun(), cancel_at_period_end=True)
    assert as_json(subscription(samples.subscription(standing)))["upcoming"] == []


def test_the_last_periods_are_all_there_are() -> None:
    shown = as_json(subscription(samples.subscription(begun(total_cycles=2))))
    assert [one["number"] for one in shown["upcoming"]] == [1, 2]
    paid_ahead = decide(begun(total_cycles=2), BillNow(), MADE).standing
    assert [one["number"] for one in as_json(subscription(samples.subscription(paid_ahead)))["upcoming"]] == [2]


def test_a_subscription_on_a_test_clock_says_so() -> None:
    shown = as_json(subscription(samples.subscription(test_clock_id="clk_1", payer=[PayerAct.PAYS, PayerAct.DECLINES])))
    assert (shown["test_clock"], shown["payer"]) == ("clk_1", ["pays", "declines"])


# --- statistics, periods, dates, clocks


def test_statistics_are_net_of_refunds() -> None:
    counted = Statistics(
        periods_billed=3,
        periods_paid=2,
        periods_failed=0,
        periods_skipped=1,
        bills=4,
        paid=2_000_000,
        refunded=250_050,
        last_payment=LastPayment(invoice_id="inv_1", period=3, amount=1_000_000, paid_at=MADE),
    )
    one = samples.subscription()
    shown = as_json(detail(one, counted))
    assert shown.pop("statistics") == {
        "periods_billed": 3,
        "periods_paid": 2,
        "periods_failed": 0,
        "periods_skipped": 1,
        "bills": 4,
        "paid_amount": "20000.00",
        "refunded_amount": "2500.50",
        "net_amount": "17499.50",
    }
    assert shown.pop("last_payment") == {"invoice_id": "inv_1", "period": 3, "amount": "10000.00", "paid_at": AT}
    assert shown == as_json(subscription(one))
    never = msgspec.structs.replace(counted, last_payment=None)
    assert as_json(detail(one, never))["last_payment"] is None


def test_a_period_and_a_date() -> None:
    skipped = SubscriptionPeriod(
        subscription_id="sub_1",
        number=4,
        due_at=DUE,
        state=PeriodState.SKIPPED,
        reason=SkipReason.MERCHANT,
        revision=2,
        amount=1,
        updated_at=MADE,
    )
    assert as_json(period(skipped)) == {
        "number": 4,
        "due_at": "2026-11-30T05:00:00.000Z",
        "status": "skipped",
        "reason": "merchant",
        "amount": "0.01",
        "updated_at": AT,
    }
    assert [as_json(one) for one in due_dates([(5, DUE)])] == [{"number": 5, "due_at": "2026-11-30T05:00:00.000Z"}]


def test_a_test_clock() -> None:
    advancing = TestClock(
        id="clk_1",
        merchant_id="mer_1",
        name="a year",
        state=ClockState.ADVANCING,
        now_at=MADE,
        created_at=MADE,
        updated_at=MADE,
        target_at=DUE,
    )
    assert as_json(clock(advancing)) == {
        "id": "clk_1",
        "name": "a year",
        "state": "advancing",
        "now": AT,
        "target": "2026-11-30T05:00:00.000Z",
        "created_at": AT,
        "updated_at": AT,
    }


# --- events


def news(told: Told, **about: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(V.webhook(event(told, **about), "whe_1"))["data"]["period"]
    return found


def test_every_event_of_the_rules_has_its_type() -> None:
    ours = {one.value for one in EventType if one.value.startswith("subscription.")}
    assert ours == {one.value for one in Tell}


def test_the_webhook_of_a_failed_payment() -> None:
    told = Told(what=Tell.PAYMENT_FAILED, number=1, charge=2, attempt=2, declined=True, until=DUE)
    body = json.loads(V.webhook(event(told, invoice_id="inv_1"), "whe_1"))
    data = body.pop("data")
    assert body == {
        "id": "evt_1",
        "type": "subscription.payment_failed",
        "api_version": "v1",
        "merchant_id": "mer_1",
        "endpoint_id": "whe_1",
        "is_sandbox": False,
        "sequence": 3,
        "created_at": AT,
    }
    assert data == {
        "object": as_json(subscription(samples.subscription())),
        "previous_state": "active",
        "period": {
            "number": 1,
            "last": None,
            "invoice_id": "inv_1",
            "charge": 2,
            "failed_attempts": 2,
            "declined": True,
            "reason": None,
            "paid": None,
            "until": "2026-11-30T05:00:00.000Z",
        },
    }


def test_what_an_event_says_nothing_about_is_null() -> None:
    skipped = news(Told(what=Tell.PERIOD_SKIPPED, number=2, last=5, reason=SkipReason.OUTAGE))
    assert (skipped["number"], skipped["last"], skipped["reason"]) == (2, 5, "outage")
    assert (skipped["declined"], skipped["failed_attempts"], skipped["charge"]) == (None, None, None)
    late = news(Told(what=Tell.PAYMENT_SUCCEEDED, number=1, charge=1, paid=PaidHow.LATE))
    assert (late["paid"], late["declined"]) == ("late", None)
    expired = news(Told(what=Tell.PAYMENT_FAILED, number=1, charge=1, attempt=1))
    assert expired["declined"] is False


def test_other_events_have_no_period() -> None:
    paid = Event(
        id="evt_1",
        merchant_id="mer_1",
        type=EventType.INVOICE_STATUS_CHANGED,
        object_id="inv_1",
        sequence=1,
        cause="paid",
        is_sandbox=False,
        created_at=MADE,
        object=samples.invoice(),
    )
    assert "period" not in json.loads(V.webhook(paid, "whe_1"))["data"]


def test_the_bill_of_a_subscription_names_it() -> None:
    bill = samples.invoice(subscription_id="sub_1", subscription_period=3, subscription_charge=2)
    shown = as_json(V.invoice(bill))
    assert (shown["subscription_id"], shown["subscription_period"]) == ("sub_1", 3)


def test_the_newest_bill_is_read_from_an_answer() -> None:
    billed = after(TimeReached())
    answers = [
        V.subscription_answer(samples.subscription(standing=standing, invoice_id="inv_7"), "req_1")
        for standing in (begun(), billed)
    ]
    assert [newest_bill(answer) for answer in answers] == [None, "inv_7"]
