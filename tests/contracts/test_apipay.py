"""The ApiPay dialect as bytes: what an integration written against ApiPay's documentation relies on."""

import ast
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from contracts import apipay
from contracts.apipay import STATUS, ApiPay, show
from contracts.rendering import Contracts
from domain.event import Dialect, DisabledReason, Endpoint, EventType
from domain.invoice import Attention, Invoice, State
from domain.merchant import Connection, Health
from domain.refund import Refund, RefundAttention, RefundReason, RefundState
from domain.rendering import Event
from domain.subscription import Tell, Told
from domain.subscription_record import SubscriptionNews
from tests.contracts.samples import MADE, PUBLIC_URL, connection, endpoint, invoice, refund, subscription

PAY = ApiPay()
AT = "2026-11-22T06:17:33Z"
# ApiPay's documentation, "Webhooks": what its own examples show, by event. Written down here because it is not ours.
CHANGED_FIELDS = {"id", "external_order_id", "amount", "status", "description", "client_name", "paid_at"}
REFUNDED_FIELDS = {"id", "amount", "status", "total_refunded", "external_order_id"}
WORDS = {"pending", "paid", "cancelled", "expired", "partially_refunded", "refunded"}
# Words of v1 that ApiPay spells otherwise or does not have.
FOREIGN = ('"canceled"', "api_version", "merchant_id", "kaspi_unknown", "sequence", "is_sandbox", '"object"')


def event(
    thing: Invoice | Refund | Connection | Endpoint | SubscriptionNews | None, type_: EventType, **changes: Any
) -> Event:
    fields: dict[str, Any] = {
        "id": "evt_1",
        "merchant_id": "mer_1",
        "type": type_,
        "object_id": "whe_1" if thing is None else thing.id,
        "sequence": 3,
        "cause": "c",
        "is_sandbox": False,
        "created_at": MADE,
        "object": thing,
    }
    return Event(**(fields | changes))


def body(thing: Invoice | Refund | Connection | Endpoint | None, type_: EventType, **changes: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(PAY.webhook(event(thing, type_, **changes)))
    return read


def test_a_paid_invoice_byte_for_byte() -> None:
    paid = invoice(state=State.PAID, paid_at=MADE - timedelta(seconds=2))
    assert PAY.webhook(event(paid, EventType.INVOICE_STATUS_CHANGED)).decode() == (
        '{"event":"invoice.status_changed","invoice":{"id":42,"external_order_id":"order_42","amount":"10000.00",'
        '"status":"paid","description":"Заказ №42","kaspi_invoice_id":"12812345678","client_name":null,'
        '"client_phone":"87011234567","paid_at":"2026-11-22T06:17:31Z"},'
        '"source":"api","timestamp":"2026-11-22T06:17:33Z"}'
    )


def test_a_refunded_invoice_byte_for_byte() -> None:
    part = invoice(state=State.PARTIALLY_REFUNDED, paid_at=MADE, refunded=250_000)
    assert PAY.webhook(event(part, EventType.INVOICE_REFUNDED)).decode() == (
        '{"event":"invoice.refunded","invoice":{"id":42,"amount":"10000.00","status":"partially_refunded",'
        '"total_refunded":"2500.00","external_order_id":"order_42"},"source":"api","timestamp":"2026-11-22T06:17:33Z"}'
    )
    whole = invoice(state=State.REFUNDED, paid_at=MADE, refunded=1_000_000)
    shown = body(whole, EventType.INVOICE_REFUNDED)["invoice"]
    assert (shown["status"], shown["total_refunded"]) == ("refunded", "10000.00")


def test_every_field_of_their_own_examples_is_there() -> None:
    paid = body(invoice(state=State.PAID, paid_at=MADE), EventType.INVOICE_STATUS_CHANGED)
    assert set(paid) == {"event", "invoice", "source", "timestamp"}
    assert set(paid["invoice"]) >= CHANGED_FIELDS
    refunded = body(invoice(state=State.REFUNDED, paid_at=MADE), EventType.INVOICE_REFUNDED)
    assert set(refunded) == {"event", "invoice", "source", "timestamp"}
    assert set(refunded["invoice"]) == REFUNDED_FIELDS


@pytest.mark.parametrize(
    ("state", "word", "moment"),
    [
        (State.PAID, "paid", "paid_at"),
        (State.CANCELED, "cancelled", "cancelled_at"),
        (State.FAILED, "cancelled", "cancelled_at"),
        (State.EXPIRED, "expired", "expired_at"),
    ],
)
def test_a_closed_invoice_has_its_word_and_the_one_moment_it_is_about(state: State, word: str, moment: str) -> None:
    closed = invoice(state=state, paid_at=MADE if state is State.PAID else None)
    shown = body(closed, EventType.INVOICE_STATUS_CHANGED)["invoice"]
    assert shown["status"] == word
    assert {name: shown[name] for name in shown if name.endswith("_at")} == {moment: AT}


def test_what_an_invoice_lacks_is_empty_as_theirs_is() -> None:
    bare = invoice(phone=None, description=None, external_order_id=None, bank_payment_id=None, state=State.CANCELED)
    shown = body(bare, EventType.INVOICE_STATUS_CHANGED)["invoice"]
    assert (shown["client_phone"], shown["external_order_id"], shown["kaspi_invoice_id"]) == (None, None, None)
    assert shown["description"] == ""


def test_every_state_has_one_of_their_words() -> None:
    assert set(STATUS) == set(State)
    assert set(STATUS.values()) == WORDS


# --- which changes are told


def tells(state: State, before: State | None) -> bool:
    return PAY.tells(event(invoice(state=state), EventType.INVOICE_STATUS_CHANGED, previous_state=before))


@pytest.mark.parametrize("before", [State.PENDING, State.PROCESSING, None])
@pytest.mark.parametrize("state", [State.PAID, State.CANCELED, State.EXPIRED, State.FAILED])
def test_a_bill_that_is_paid_or_closed_is_told(state: State, before: State | None) -> None:
    assert tells(state, before)


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING])
@pytest.mark.parametrize("before", [State.PENDING, State.PROCESSING, None])
def test_a_payer_who_is_confirming_is_no_change_in_their_words(state: State, before: State | None) -> None:
    assert not tells(state, before)


def test_late_money_is_told_and_the_same_word_again_is_not() -> None:
    assert tells(State.PAID, State.CANCELED)
    assert tells(State.PAID, State.EXPIRED)
    assert not tells(State.PAID, State.PAID)
    assert not tells(State.PARTIALLY_REFUNDED, State.PARTIALLY_REFUNDED)


@pytest.mark.parametrize("type_", [one for one in EventType if one is not EventType.INVOICE_STATUS_CHANGED])
def test_every_other_event_is_told_to_who_subscribed(type_: EventType) -> None:
    assert PAY.tells(event(invoice(state=State.PENDING), type_))


def test_the_dialect_decides_which_contract_speaks() -> None:
    both = Contracts(PUBLIC_URL)
    scanned = event(invoice(state=State.PROCESSING), EventType.INVOICE_STATUS_CHANGED, previous_state="pending")
    assert both.tells(scanned, Dialect.V1)
    assert not both.tells(scanned, Dialect.APIPAY)
    # Asked for by hand it can be shown all the same.
    assert json.loads(both.webhook(scanned, "whe_1", Dialect.APIPAY))["invoice"]["status"] == "pending"
    assert json.loads(both.webhook(scanned, "whe_1", Dialect.V1))["endpoint_id"] == "whe_1"


# --- what ApiPay does not have


def test_attention_is_not_an_invoice_event_of_theirs() -> None:
    told = body(invoice(attention=Attention.OUTCOME_UNKNOWN), EventType.INVOICE_ATTENTION_REQUIRED)
    # Under `invoice` a handler that looks at the status only would act on it.
    assert set(told) == {"event", "data", "source", "timestamp"}
    assert (told["data"]["reason"], told["data"]["invoice"]["id"]) == ("kaspi_outcome_unknown", 42)


@pytest.mark.parametrize(
    ("type_", "fields", "reason", "message"),
    [
        (EventType.REFUND_COMPLETED, {"state": RefundState.COMPLETED, "bank_return_id": 91}, None, None),
        (
            EventType.REFUND_FAILED,
            {"state": RefundState.FAILED, "status_reason": RefundReason.REFUSED},
            None,
            "kaspi_refused",
        ),
        (
            EventType.REFUND_ATTENTION_REQUIRED,
            {"state": RefundState.PROCESSING, "attention": RefundAttention.OUTCOME_UNKNOWN},
            "kaspi_outcome_unknown",
            None,
        ),
    ],
)
def test_a_refund_byte_for_byte(
    type_: EventType, fields: dict[str, Any], reason: str | None, message: str | None
) -> None:
    assert body(refund(**fields), type_) == {
        "event": type_.value,
        "data": {
            "refund": {
                "id": 17,
                "invoice": "inv_q3mjn2v7o5y3c6d2xk4wz7h5ua",
                "kaspi_invoice_id": "12812345678",
                "amount": "2500.00",
                "status": fields["state"].value,
                "reason": "Нет в наличии",
                "kaspi_refund_id": "91" if "bank_return_id" in fields else None,
                "error_message": message,
                "created_at": AT,
            },
            "reason": reason,
        },
        "source": "api",
        "timestamp": AT,
    }


@pytest.mark.parametrize(
    ("health", "connected"), [(Health.CONNECTED, True), (Health.DEGRADED, True), (Health.LOST, False)]
)
def test_the_link_to_the_bank(health: Health, connected: bool) -> None:
    told = body(connection(health=health, health_reason="x"), EventType.KASPI_SESSION_CHANGED)
    assert told["data"] == {"session": {"connected": connected, "status": health.value, "reason": "x"}}


def test_an_endpoint_that_fails_and_one_that_is_disabled() -> None:
    failing = body(endpoint(failing_percent=70), EventType.WEBHOOK_ENDPOINT_FAILING)
    webhook = {"id": "whe_1", "url": "https://shop.example/hook", "enabled": True, "failing_percent": 70}
    assert failing["data"] == {"webhook": webhook, "reason": None}
    gone = endpoint(enabled=False, disabled_reason=DisabledReason.GONE)
    told = body(gone, EventType.WEBHOOK_ENDPOINT_DISABLED)
    assert (told["data"]["webhook"]["enabled"], told["data"]["reason"]) == (False, "gone")


def test_a_test_says_that_it_is_one() -> None:
    assert body(None, EventType.WEBHOOK_TEST)["data"] == {"message": "This is a test event."}


# --- all of it

THINGS: dict[str, Invoice | Refund | Connection | Endpoint | SubscriptionNews | None] = {
    "invoice": invoice(state=State.CANCELED),
    "refund": refund(),
    "kaspi": connection(),
    "webhook": endpoint(),
    "subscription": SubscriptionNews(subscription=subscription(), told=Told(what=Tell.PAUSED)),
}


@pytest.mark.parametrize("type_", EventType)
def test_no_body_has_what_only_v1_knows(type_: EventType) -> None:
    thing = None if type_ is EventType.WEBHOOK_TEST else THINGS[type_.partition(".")[0]]
    text = PAY.webhook(event(thing, type_)).decode()
    assert [word for word in FOREIGN if word in text] == []
    assert "mer_1" not in text
    assert "con_1" not in text


def test_times_are_whole_seconds_in_utc_whatever_their_zone() -> None:
    almaty = MADE.astimezone(timezone(timedelta(hours=5)))
    assert show(almaty) == show(MADE) == AT
    assert show(datetime(2025, 12, 25, 14, 35, tzinfo=UTC)) == "2025-12-25T14:35:00Z"


def test_the_two_contracts_do_not_know_each_other() -> None:
    folder = Path(apipay.__file__).parent
    for path in folder.glob("*.py"):
        if path.stem in {"rendering", "__init__"}:
            continue
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        }
        theirs = {name for name in imported if name.startswith("contracts.")}
        other = "contracts.v1" if path.stem.startswith("apipay") else "contracts.apipay"
        assert not [name for name in theirs if name.startswith(other)], path.stem
