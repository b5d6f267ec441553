"""The v1 contract as bytes: what integrations of the published contract rely on, and what we add."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from contracts.qr_image import qr_png, qr_svg
from contracts.times import show, show_optional
from contracts.v1 import STATUS, V1, merchant, session
from contracts.v1_webhooks import endpoint
from domain.errors import RETRYABLE, Code, FieldError, TolemError, invalid
from domain.event import DisabledReason, Endpoint, EndpointSecret, EventType
from domain.invoice import Attention, Invoice, Kind, PublicStatus, Reason, State, public_status
from domain.merchant import Connection, Health, Merchant
from domain.rendering import Event
from tests.contracts.samples import MADE, PUBLIC_URL, connection, invoice
from tests.contracts.samples import endpoint as sample_endpoint

V = V1(f"{PUBLIC_URL}/")
PUBLISHED = Path(__file__).parents[3] / "shared" / "contracts" / "arzan-openapi.json"
# The published contract's Invoice, written down here because its file is not part of this repository.
INVOICE_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "external_order_id": (str, type(None)),
    "amount": (str,),
    "currency": (str,),
    "status": (str,),
    "description": (str,),
    "phone_number": (str,),
    "kaspi_invoice_id": (str, type(None)),
    "payment_url": (str, type(None)),
    "is_sandbox": (bool,),
    "created_at": (str,),
    "updated_at": (str,),
}
WORDS = {"pending", "processing", "paid", "canceled", "refunded"}


def as_json(thing: object) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(thing))
    return decoded


BARE = invoice(
    kind=Kind.QR,
    phone=None,
    description=None,
    external_order_id=None,
    bank_payment_id=None,
    state=State.PROCESSING,
    sequence=0,
)


@pytest.mark.parametrize("sample", [BARE, *(invoice(state=state) for state in State)], ids=lambda one: one.state)
def test_every_published_field_of_an_invoice_is_there_with_its_type(sample: Invoice) -> None:
    shown = as_json(V.invoice(sample))
    for field, types in INVOICE_TYPES.items():
        assert type(shown[field]) in types, field
    assert shown["status"] in WORDS
    assert datetime.fromisoformat(shown["created_at"]).tzinfo is not None


def test_the_types_written_down_here_are_those_of_the_published_file() -> None:
    if not PUBLISHED.exists():
        pytest.skip("shared/contracts/arzan-openapi.json is not beside this repository: nothing to compare with")
    schemas = json.loads(PUBLISHED.read_text())["components"]["schemas"]
    names = {"string": str, "boolean": bool, "number": float, "object": dict}
    published = {
        field: (names[about["type"]], *((type(None),) if about.get("nullable") else ()))
        for field, about in schemas["Invoice"]["properties"].items()
    }
    assert published == INVOICE_TYPES
    assert set(schemas["Invoice"]["properties"]["status"]["enum"]) == WORDS
    assert set(schemas["Error"]["properties"]) <= as_json(V.error(TolemError(Code.NOT_FOUND), "r", MADE)).keys()


def test_an_invoice_byte_for_byte() -> None:
    assert as_json(V.invoice(invoice(paid_at=None))) == {
        "id": "inv_q3mjn2v7o5y3c6d2xk4wz7h5ua",
        "number": 42,
        "kind": "phone",
        "external_order_id": "order_42",
        "amount": "10000.00",
        "currency": "KZT",
        "status": "pending",
        "state": "pending",
        "status_reason": None,
        "attention": None,
        "description": "Заказ №42",
        "phone_number": "77011234567",
        "kaspi_invoice_id": "12812345678",
        "payment_url": "https://pay.example/pay/inv_q3mjn2v7o5y3c6d2xk4wz7h5ua",
        "qr_token": None,
        "is_sandbox": False,
        "refunded_amount": "0.00",
        "available_for_refund": "0.00",
        "created_at": "2026-11-22T06:17:33.120Z",
        "updated_at": "2026-11-22T06:17:33.120Z",
        "paid_at": None,
        "expires_at": None,
        "discount_percentage": None,
        "items": [],
        "subscription_id": None,
        "subscription_period": None,
    }


@pytest.mark.parametrize("state", State)
def test_the_five_words_and_the_precise_state_stand_side_by_side(state: State) -> None:
    shown = as_json(V.invoice(invoice(state=state)))
    assert (shown["state"], shown["status"]) == (state.value, public_status(state).value)
    assert {word.value for word in PublicStatus} == WORDS


def test_nothing_internal_is_shown() -> None:
    text = msgspec.json.encode(V.invoice(invoice())).decode()
    assert "con_1" not in text
    assert "mer_1" not in text


def test_where_the_payer_goes() -> None:
    assert V.payment_url(BARE) is None  # not issued yet: there is nothing to pay
    linked = invoice(kind=Kind.LINK, phone=None, payment_link="https://pay.kaspi.kz/pay/x")
    assert V.payment_url(linked) == "https://pay.kaspi.kz/pay/x"
    qr = invoice(kind=Kind.QR, phone=None, qr_token="0123456789")
    assert V.payment_url(qr) == f"{PUBLIC_URL}/pay/{qr.id}"


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"kind": Kind.QR, "qr_token": "01234567890123456789"}, "01234567890123456789"),
        ({"kind": Kind.LINK, "payment_link": "https://pay.kaspi.kz/pay/x"}, "https://pay.kaspi.kz/pay/x"),
    ],
)
def test_a_qr_answer_carries_its_pictures(fields: dict[str, Any], content: str) -> None:
    shown = as_json(V.qr(invoice(phone=None, **fields)))
    assert shown["id"] == shown["invoice_id"]
    assert shown["comment"] == "Заказ №42"
    assert shown["qr_svg"] == qr_svg(content)
    assert shown["qr_svg"].startswith("<svg")
    kind, _, picture = shown["qr_png"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_other_contents_give_other_pictures() -> None:
    assert qr_svg("a") != qr_svg("b")
    assert qr_png("a") != qr_png("b")


def test_a_qr_that_is_not_issued_has_no_picture() -> None:
    shown = as_json(V.qr(BARE))
    assert (shown["qr_svg"], shown["qr_png"], shown["qr_token"], shown["payment_url"]) == (None, None, None, None)


# --- errors


def test_every_code_has_its_http_status() -> None:
    assert set(STATUS) == set(Code)
    assert all(400 <= status < 600 for status in STATUS.values())


@pytest.mark.parametrize("code", Code)
def test_the_body_of_every_error(code: Code) -> None:
    body = as_json(V.error(TolemError(code, details={"a": "b"}), "req_1", MADE))
    assert body == {
        "error": code.value,
        "message": body["message"],
        "details": {"a": "b"},
        "errors": [],
        "retryable": code in RETRYABLE,
        "request_id": "req_1",
        "doc": f"{PUBLIC_URL}/api/docs/errors#{code.value}",
        "timestamp": "2026-11-22T06:17:33.120Z",
    }
    assert body["message"]


def test_an_invalid_request_names_every_wrong_field() -> None:
    error = invalid(FieldError("amount", "invalid", "must be a number"), FieldError("phone_number", "missing", "…"))
    body = as_json(V.error(error, "req_1", MADE))
    assert body["errors"] == [
        {"field": "amount", "code": "invalid", "message": "must be a number"},
        {"field": "phone_number", "code": "missing", "message": "…"},
    ]


# --- the answer to a creation

NOT_ISSUED = {
    Reason.REFUSED: "kaspi_refused",
    Reason.MISCONFIGURED: "kaspi_misconfigured",
    Reason.UNAVAILABLE: "kaspi_unavailable",
}


@pytest.mark.parametrize("reason", [None, *Reason])
def test_a_bill_that_failed_before_it_was_issued_is_the_error_that_says_why(reason: Reason | None) -> None:
    status, body = V.creation_answer(invoice(state=State.FAILED, status_reason=reason, bank_payment_id=None), "req_1")
    said = json.loads(body)
    if reason in NOT_ISSUED:
        assert (status, said["error"]) == (502, NOT_ISSUED[reason])
        assert (said["details"], said["request_id"]) == ({"invoice_id": invoice().id}, "req_1")
    else:
        assert (status, said["state"]) == (201, "failed")


def test_the_banks_own_code_is_told_but_not_its_words() -> None:
    refused = invoice(state=State.FAILED, status_reason=Reason.REFUSED, bank_code=-1404, bank_payment_id=None)
    _, body = V.creation_answer(refused, "req_1")
    assert json.loads(body)["details"] == {"invoice_id": refused.id, "kaspi_code": "-1404"}
    assert b"77011234567" not in body


@pytest.mark.parametrize("state", [State.PROCESSING, State.PENDING, State.PAID])
@pytest.mark.parametrize("attention", [None, Attention.OUTCOME_UNKNOWN])
def test_a_bill_that_may_exist_is_a_201_whatever_is_unknown_about_it(state: State, attention: Attention | None) -> None:
    sample = invoice(state=state, attention=attention)
    status, body = V.creation_answer(sample, "req_1")
    assert (status, json.loads(body)) == (201, as_json(V.invoice(sample)))
    assert json.loads(body)["attention"] == (attention.value if attention else None)


@pytest.mark.parametrize("kind", [Kind.QR, Kind.LINK])
def test_the_creation_of_a_qr_or_link_answers_with_its_own_shape(kind: Kind) -> None:
    sample = invoice(kind=kind, phone=None, qr_token="0123456789")
    status, body = V.creation_answer(sample, "req_1")
    assert (status, json.loads(body)) == (201, as_json(V.qr(sample)))


def test_the_same_invoice_gives_the_same_bytes() -> None:
    assert V.creation_answer(invoice(), "r") == V.creation_answer(invoice(), "r")


# --- webhooks


def event(object_: Invoice | Connection | Endpoint | None, type_: EventType, **changes: Any) -> Event:
    fields: dict[str, Any] = {
        "id": "evt_1",
        "merchant_id": "mer_1",
        "type": type_,
        "object_id": object_.id if object_ is not None else "whe_1",
        "sequence": 3,
        "cause": "paid",
        "is_sandbox": False,
        "created_at": MADE,
        "object": object_,
    }
    return Event(**(fields | changes))


def test_the_envelope_of_an_invoices_webhook() -> None:
    paid = invoice(state=State.PAID, paid_at=MADE)
    told = event(paid, EventType.INVOICE_STATUS_CHANGED, previous_state="pending")
    assert json.loads(V.webhook(told, "whe_1")) == {
        "id": "evt_1",
        "type": "invoice.status_changed",
        "api_version": "v1",
        "merchant_id": "mer_1",
        "endpoint_id": "whe_1",
        "is_sandbox": False,
        "sequence": 3,
        "created_at": "2026-11-22T06:17:33.120Z",
        "data": {"object": as_json(V.invoice(paid)), "previous_state": "pending"},
    }


def test_a_webhook_about_the_bank_shows_the_session() -> None:
    lost = connection(health=Health.LOST, health_reason="kaspi_misconfigured")
    body = json.loads(V.webhook(event(lost, EventType.KASPI_SESSION_CHANGED), "whe_1"))
    assert body["data"] == {"object": as_json(session(lost)), "previous_state": None}


def test_a_test_webhook_says_that_it_is_one() -> None:
    body = json.loads(V.webhook(event(None, EventType.WEBHOOK_TEST), "whe_1"))
    assert body["data"]["object"] == {"endpoint_id": "whe_1", "message": "This is a test event."}


def test_a_webhook_shows_the_same_object_as_a_read() -> None:
    sample = invoice(state=State.PAID, paid_at=MADE)
    body = V.webhook(event(sample, EventType.INVOICE_STATUS_CHANGED), "whe_1")
    assert msgspec.json.encode(V.invoice(sample)) in body


# --- merchant, session, endpoints, times


@pytest.mark.parametrize("health", Health)
def test_a_session_is_connected_until_it_is_lost(health: Health) -> None:
    shown = session(connection(health=health))
    assert (shown.status, shown.connected) == (health.value, health is not Health.LOST)
    assert (shown.scheme, shown.trade_point) == ("r3", "Demo shop")


def test_without_a_link_the_session_says_so() -> None:
    shown = as_json(session(None))
    assert (shown["connected"], shown["status"]) == (False, "not_connected")
    assert set(shown) == set(as_json(session(connection())))


def test_an_endpoint_byte_for_byte() -> None:
    ill = sample_endpoint(
        description="Orders",
        enabled=False,
        disabled_at=MADE,
        disabled_reason=DisabledReason.FAILING,
        failing_since=MADE,
        failing_percent=100,
        last_failure_at=MADE,
        public_key="whpk_x",
    )
    at = "2026-11-22T06:17:33.120Z"
    assert as_json(endpoint(ill)) == {
        "id": "whe_1",
        "number": 0,
        "url": "https://shop.example/hook",
        "events": ["*"],
        "dialect": "v1",
        "description": "Orders",
        "is_sandbox": False,
        "enabled": False,
        "disabled_at": at,
        "disabled_reason": "failing",
        "failing_since": at,
        "failing_percent": 100,
        "last_success_at": None,
        "last_failure_at": at,
        "public_key": "whpk_x",
        "created_at": at,
        "updated_at": at,
    }
    assert as_json(endpoint(sample_endpoint()))["description"] == ""


def test_an_endpoints_secret_is_shown_only_where_it_is_given() -> None:
    known = sample_endpoint()
    assert "secret" not in as_json(endpoint(known))
    assert endpoint(known).secret is UNSET
    assert as_json(endpoint(known, "whsec_x"))["secret"] == "whsec_x"


def test_the_secrets_in_force_are_shown_without_themselves() -> None:
    secrets = [
        EndpointSecret(id="whs_2", created_at=MADE, expires_at=None),
        EndpointSecret(id="whs_1", created_at=MADE, expires_at=MADE + timedelta(days=1)),
    ]
    shown = as_json(endpoint(sample_endpoint(), secrets=secrets))
    assert "secret" not in shown
    assert shown["secrets"] == [
        {"id": "whs_2", "created_at": "2026-11-22T06:17:33.120Z", "expires_at": None},
        {"id": "whs_1", "created_at": "2026-11-22T06:17:33.120Z", "expires_at": "2026-11-23T06:17:33.120Z"},
    ]


def test_a_webhook_about_an_endpoint_shows_it_and_no_secret() -> None:
    failing = sample_endpoint(failing_since=MADE, failing_percent=70)
    body = json.loads(V.webhook(event(failing, EventType.WEBHOOK_ENDPOINT_FAILING), "whe_2"))
    assert (body["endpoint_id"], body["data"]["object"]) == ("whe_2", as_json(endpoint(failing)))


def test_a_merchant_is_shown_with_the_mode_of_its_key() -> None:
    known = Merchant(id="mer_1", name="Shop", bin="210140000016", created_at=MADE)
    assert as_json(merchant(known, "test", kaspi_connected=True)) == {
        "id": "mer_1",
        "name": "Shop",
        "bin": "210140000016",
        "mode": "test",
        "kaspi_connected": True,
        "created_at": "2026-11-22T06:17:33.120Z",
    }


def test_times_are_shown_in_utc_with_milliseconds_whatever_their_zone() -> None:
    almaty = MADE.astimezone(timezone(timedelta(hours=5)))
    assert show(almaty) == show(MADE) == "2026-11-22T06:17:33.120Z"
    assert show(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"
    assert show_optional(None) is None
