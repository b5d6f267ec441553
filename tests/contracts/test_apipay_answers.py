"""The ApiPay contract's answers as bytes: what an integration written against its documentation relies on."""

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from contracts.apipay_answers import (
    STATUS,
    ApiPayAnswers,
    error_answer,
    organization_state,
    states_of,
    status_of,
    verification_started,
)
from contracts.apipay_json import Status
from contracts.issuing import not_issued
from domain.errors import MESSAGES, Code, FieldError, TolemError, invalid
from domain.invoice import Kind, Reason, State
from domain.organization import Organization, OrganizationStatus
from domain.refund import RefundState
from tests.contracts.samples import MADE, PUBLIC_URL, invoice, refund

PAY = ApiPayAnswers(PUBLIC_URL)


def shown(thing: msgspec.Struct) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(msgspec.json.encode(thing))
    return read


def test_a_pending_bill_byte_for_byte() -> None:
    assert msgspec.json.encode(PAY.invoice(invoice())).decode() == (
        '{"id":42,"kaspi_invoice_id":"12812345678","payment_url":"https://pay.example/pay/inv_q3mjn2v7o5y3c6d2xk4wz7h5ua",'
        '"amount":"10000.00","status":"pending","description":"Заказ №42","external_order_id":"order_42",'
        '"client_phone":"87011234567","created_at":"2026-11-22T06:17:33Z","total_refunded":"0.00","is_sandbox":false,'
        '"tolem_id":"inv_q3mjn2v7o5y3c6d2xk4wz7h5ua"}'
    )


def test_what_is_not_there_is_left_out_because_the_published_schema_knows_no_null() -> None:
    bare = invoice(
        kind=Kind.QR, phone=None, description=None, external_order_id=None, bank_payment_id=None, state=State.PROCESSING
    )
    body = shown(PAY.invoice(bare))
    assert None not in body.values()
    assert set(body) == {
        "id", "amount", "status", "description", "created_at", "total_refunded", "is_sandbox", "tolem_id",
    }  # fmt: skip
    assert (body["status"], body["description"]) == ("pending", "")
    assert shown(PAY.invoice(invoice(kind=Kind.QR, phone=None, qr_token="2086")))["kaspi_qr_token"] == "2086"


@pytest.mark.parametrize("state", State)
def test_every_state_has_one_of_the_four_published_words_and_is_found_by_it(state: State) -> None:
    word = shown(PAY.invoice(invoice(state=state)))["status"]
    assert word in {"pending", "paid", "cancelled", "expired"}
    assert state in states_of([Status(word)])
    assert sum(state in states_of([one]) for one in Status) == 1


def test_a_refunded_bill_stays_paid_and_says_how_much_went_back() -> None:
    body = shown(PAY.invoice(invoice(state=State.PARTIALLY_REFUNDED, refunded=250_000, paid_at=MADE)))
    assert (body["status"], body["total_refunded"], body["paid_at"]) == ("paid", "2500.00", "2026-11-22T06:17:33Z")


@pytest.mark.parametrize(
    ("state", "moment"),
    [(State.CANCELED, "cancelled_at"), (State.FAILED, "cancelled_at"), (State.EXPIRED, "expired_at")],
)
def test_a_closed_bill_tells_when_and_not_when_it_last_changed(state: State, moment: str) -> None:
    closed = invoice(state=state, closed_at=MADE, updated_at=MADE + timedelta(days=3))
    body = shown(PAY.invoice(closed))
    assert body[moment] == "2026-11-22T06:17:33Z"
    assert not ({"cancelled_at", "expired_at"} - {moment}) & set(body)
    older = shown(PAY.invoice(invoice(state=state, updated_at=MADE + timedelta(days=3))))
    assert older[moment] == "2026-11-25T06:17:33Z"


def test_a_refund_names_its_bill_by_number() -> None:
    body = shown(PAY.refund(refund(state=RefundState.COMPLETED), 42))
    assert {"id", "invoice_id", "amount", "status", "reason", "created_at"} <= set(body)
    assert (body["invoice_id"], body["status"]) == (42, "completed")
    assert isinstance(body["id"], int)
    assert shown(PAY.refund(refund(reason=None), 42))["reason"] == ""


def test_every_code_has_its_status_and_a_body_in_their_shape() -> None:
    assert set(STATUS) == set(Code)
    for code in Code:
        body = shown(error_answer(TolemError(code), "req_1"))
        assert body["message"]
        assert body["code"] == code
        assert isinstance(body.get("errors", {}), dict)


def test_every_wrong_field_is_named_with_all_that_is_wrong_with_it() -> None:
    error = invalid(
        FieldError("amount", "invalid", "One."), FieldError("amount", "invalid", "Two."), FieldError("", "x", "Three.")
    )
    assert status_of(error) == 422
    assert shown(error_answer(error, "req_1")) == {
        "message": "Validation failed",
        "errors": {"amount": ["One.", "Two."], "body": ["Three."]},
        "code": "invalid_request",
        "request_id": "req_1",
    }


def test_what_is_no_json_is_400() -> None:
    assert status_of(invalid(FieldError("", "malformed_json", "The body is not valid JSON."))) == 400


def test_a_limited_request_says_when_to_come_back() -> None:
    body = shown(error_answer(TolemError(Code.RATE_LIMITED, details={"retry_after": "7"}), "req_1"))
    assert body["retry_after"] == 7
    assert body["message"] == "Too many requests. Retry after 7 seconds."


@pytest.mark.parametrize("code", [code for code, status in STATUS.items() if status == 422])
def test_every_422_has_fields_because_their_examples_list_them(code: Code) -> None:
    if code in {Code.INVALID_REQUEST, Code.CATALOG_ITEMS_REFUSED, Code.CART_AMOUNT_MISMATCH}:
        return  # these carry their own, or never stand at /api
    (messages,) = shown(error_answer(TolemError(code), "req_1"))["errors"].values()
    assert messages == [MESSAGES[code]]


def test_a_refusal_of_the_bank_is_told_by_both_contracts_from_one_place() -> None:
    refused = invoice(state=State.FAILED, status_reason=Reason.REFUSED, bank_payment_id=None, bank_code=990000028)
    assert not_issued(refused) == (Code.KASPI_REFUSED, {"invoice_id": refused.id, "kaspi_code": "990000028"})
    assert not_issued(invoice()) is None
    assert not_issued(invoice(state=State.FAILED, status_reason=Reason.DECLARED_ABSENT)) is None


def test_an_organisation_counts_down() -> None:
    one = Organization(merchant_id="mer_1", number=1, is_sandbox=False, idn="210140000016", started_at=MADE)
    started = shown(verification_started(one, OrganizationStatus.PENDING, MADE))
    assert started["organization"] == {"id": 1, "idn": "210140000016", "status": "pending", "time_remaining": 120}
    assert started["message"].startswith("Verification started.")
    later = shown(organization_state(one, OrganizationStatus.VERIFIED, MADE + timedelta(seconds=25.5)))
    assert later == {"organization": {**started["organization"], "status": "verified", "time_remaining": 95}}
