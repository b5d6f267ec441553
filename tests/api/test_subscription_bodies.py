"""What requests about subscriptions may hold: every wrong field is named at once."""

import json
from datetime import UTC, datetime, time
from typing import Any

import pytest

from api.bodies import read_draft
from api.v1.cart_bodies import wrong_together
from api.v1.subscription_actions import kept_fields
from api.v1.subscription_bodies import (
    Apply,
    PeriodSkip,
    SubscriptionCancel,
    SubscriptionCreate,
    SubscriptionUpdate,
    wrong_change,
    wrong_day,
    wrong_with_the_clock,
)
from domain.billing_calendar import BillingPeriod, Plan
from domain.errors import TolemError
from domain.subscription import Change, Dunning, MissedPolicy, Terms
from domain.subscription_record import PayerAct
from domain.subscription_rules import begin, decide
from workflows.subscription_messages import ChangeSubscription, happening_of

PUBLISHED: dict[str, Any] = {"phone_number": "77011234567", "amount": 10000}


def created(**fields: Any) -> SubscriptionCreate:
    return read_draft(SubscriptionCreate, json.dumps(PUBLISHED | fields).encode()).finish()


def wrong(**fields: Any) -> list[str]:
    """The wrong fields, those that are wrong together included."""
    draft = read_draft(SubscriptionCreate, json.dumps(PUBLISHED | fields).encode())
    together = [*wrong_together(draft), *wrong_with_the_clock(draft), *wrong_day(draft)]
    return [error.field for error in [*draft.errors, *together]]


def wrong_to_change(**fields: Any) -> list[str]:
    draft = read_draft(SubscriptionUpdate, json.dumps(fields).encode())
    return [error.field for error in [*draft.errors, *wrong_change(draft), *wrong_day(draft)]]


def test_the_published_body_is_enough() -> None:
    asked = created()
    assert asked.plan == Plan(period=BillingPeriod.MONTHLY)
    assert asked.dunning == Dunning()
    assert (asked.bill_immediately, asked.is_sandbox, asked.metadata, asked.payer) == (False, None, None, None)


def test_everything_that_can_be_asked_for_is_taken() -> None:
    asked = created(
        billing_period="weekly",
        billing_day=7,
        billing_time="09:30",
        started_at="2026-12-01T00:00:00.750+05:00",
        ends_at="2027-12-01T00:00:00Z",
        total_cycles=3660,
        bill_immediately=True,
        max_retry_attempts=10,
        retry_interval_hours=168,
        grace_period_days=0,
        missed_periods="none",
        metadata={"plan": "gold"},
        is_sandbox=True,
        test_clock="clk_1",
        payer=["pays", "ignores", "declines"],
    )
    ends = datetime(2027, 12, 1, tzinfo=UTC)
    assert asked.plan == Plan(period=BillingPeriod.WEEKLY, day=7, at=time(9, 30), ends_at=ends, total_cycles=3660)
    assert asked.dunning == Dunning(
        max_retry_attempts=10, retry_interval_hours=168, grace_period_days=0, missed=MissedPolicy.NONE
    )
    assert asked.payer == [PayerAct.PAYS, PayerAct.IGNORES, PayerAct.DECLINES]


def test_every_wrong_field_is_named_at_once() -> None:
    fields: dict[str, Any] = {
        "phone_number": "123",
        "amount": 0.001,
        "billing_period": "hourly",
        "billing_day": 32,
        "billing_time": "25:00",
        "started_at": "2026-12-01",
        "ends_at": "2026-12-01T00:00:00",
        "total_cycles": 3661,
        "max_retry_attempts": 11,
        "retry_interval_hours": 0,
        "grace_period_days": 91,
        "missed_periods": "all",
        "metadata": {"k": 1},
        "payer": [],
        "bill_immediately": "yes",
        "is_sandbox": 1,
        "external_order_id": "x" * 256,
        "description": "x" * 501,
    }
    assert sorted(wrong(**fields)) == sorted(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"billing_day": 0},
        {"billing_day": 1.5},
        {"billing_time": "9:00"},
        {"billing_time": "09:00:60"},
        {"billing_time": "09:00\n"},
        {"billing_time": "٠٩:٠٠"},
        {"started_at": "0001-01-01T00:00:00+14:00"},
        {"ends_at": "9999-12-31T23:59:59-14:00"},
        {"total_cycles": 0},
        {"max_retry_attempts": -1},
        {"retry_interval_hours": 169},
        {"grace_period_days": -1},
        {"metadata": {str(n): "" for n in range(21)}},
        {"metadata": {"a\x00": "v"}},
        {"billing_period": "daily", "billing_day": 1},
        {"billing_period": "biweekly", "billing_day": 8},
        {"billing_period": None},
        {"bill_immediately": None},
    ],
    ids=str,
)
def test_what_is_out_of_bounds_is_named(fields: dict[str, Any]) -> None:
    assert wrong(**fields) == [list(fields)[-1]]


def test_without_an_amount_there_is_a_cart() -> None:
    assert wrong(amount=None) == ["amount"]
    cart = [{"catalog_item_id": "cat_1", "count": 2}]
    assert wrong(amount=None, cart_items=cart, discount_percentage=10) == []
    assert wrong(discount_percentage=10) == ["discount_percentage"]
    assert wrong(cart_items=[{"count": -1}]) == ["cart_items.0.catalog_item_id", "cart_items.0.count"]


def test_a_scripted_payer_needs_a_clock_and_a_clock_the_sandbox() -> None:
    assert wrong(payer=["pays"]) == ["payer"]
    assert wrong(test_clock="clk_1", is_sandbox=False) == ["test_clock"]
    assert wrong(test_clock="clk_1", payer=["pays"] * 101) == ["payer"]
    assert wrong(test_clock="clk_1", payer=["pays"], is_sandbox=True) == []


def test_a_change_of_nothing_is_none() -> None:
    assert wrong_to_change() == []
    asked = read_draft(SubscriptionUpdate, b"{}").finish()
    assert asked.apply is Apply.NEXT_PERIOD


def test_wrong_changes_are_named_at_once() -> None:
    fields: dict[str, Any] = {
        "amount": None,
        "cart_items": [],
        "apply": "later",
        "billing_period": None,
        "billing_day": None,
        "billing_time": "noon",
        "ends_at": "soon",
        "max_retry_attempts": 99,
        "phone_number": "77011234567",
        "is_sandbox": True,
        "started_at": "2026-12-01T00:00:00Z",
    }
    assert sorted(wrong_to_change(**fields)) == sorted(fields)
    assert wrong_to_change(discount_percentage=10) == ["discount_percentage"]
    assert wrong_to_change(billing_period="daily", billing_day=3) == ["billing_day"]


def test_what_may_be_taken_away_is_null() -> None:
    nothing = {"ends_at": None, "total_cycles": None, "description": None, "metadata": None}
    assert wrong_to_change(**nothing) == []


@pytest.mark.parametrize("type_", [SubscriptionCancel, PeriodSkip])
def test_a_misspelt_wish_is_not_passed_over(type_: Any) -> None:
    with pytest.raises(TolemError) as refused:
        read_draft(type_, b'{"atPeriodEnd": true}').finish()
    assert [error.code for error in refused.value.errors] == ["unknown"]


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"amount": 5}, ["amount"]),
        ({"cart_items": [{"catalog_item_id": "cat_1", "count": 1}]}, ["amount"]),
        ({"description": None}, ["description"]),
        ({"ends_at": None, "billing_period": "weekly"}, ["ends_at", "period"]),
        ({"billing_day": 31}, ["period"]),
        ({"total_cycles": 3, "missed_periods": "none"}, ["total_cycles", "missed"]),
        ({"max_retry_attempts": 1, "retry_interval_hours": 2}, ["max_retry_attempts", "retry_interval_hours"]),
        ({"grace_period_days": 1}, ["grace_period_days"]),
    ],
    ids=str,
)
def test_what_a_change_does_not_ask_for_is_kept_as_it_stands(fields: dict[str, Any], asked: list[str]) -> None:
    together = {
        "amount", "description", "period", "ends_at", "total_cycles",
        "max_retry_attempts", "retry_interval_hours", "grace_period_days", "missed",
    }  # fmt: skip
    change = read_draft(SubscriptionUpdate, json.dumps(fields).encode()).finish()
    assert set(kept_fields(change)) == together - set(asked)


def test_a_day_and_another_rhythm_at_once_leave_dates_that_there_are() -> None:
    """Both were right when they were read; what a workflow can't decide would stop it for good."""
    now = datetime(2026, 1, 10, 5, tzinfo=UTC)
    monthly = begin(now, Plan(), Terms(amount=1))
    weekly = decide(monthly, Change(plan=Plan(period=BillingPeriod.WEEKLY)), now).standing
    asked = read_draft(SubscriptionUpdate, b'{"billing_day": 31}').finish()
    change = ChangeSubscription(plan=Plan(period=BillingPeriod.MONTHLY, day=31), kept=kept_fields(asked))
    calendar = decide(weekly, happening_of(change, weekly), now).standing.calendar
    assert (calendar.period, calendar.day) == (BillingPeriod.MONTHLY, 31)
