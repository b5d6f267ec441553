import re
from typing import Any

import pytest

from tests.emulator.process import BIN, Admin, Bank, code, ok


@pytest.mark.parametrize("scheme", ["r1", "r2", "r3"])
def test_life_of_a_qr_purchase(scheme: str, request: pytest.FixtureRequest, admin: Admin) -> None:
    bank: Bank = request.getfixturevalue(scheme)
    made = ok(bank.post("qr/create", Amount=100.1, DeviceToken=bank.register(), ExternalId="order-7"))
    assert re.fullmatch(r"\d{41}", made["QrToken"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+05:00", made["ExpireDate"])
    assert made["QrPaymentBehaviorOptions"] == {
        "StatusPollingInterval": 5,
        "QrCodeScanWaitTimeout": 180,
        "PaymentConfirmationTimeout": 65,
    }
    purchase = made["QrPaymentId"]
    assert len(str(purchase)) == 11
    assert bank.word(purchase) == "QrTokenCreated"
    assert admin.post(f"purchases/{purchase}/scan", phone="87770001122")["status"] == "Wait"
    assert bank.word(purchase) == "Wait"
    admin.post(f"purchases/{purchase}/confirm")
    assert bank.word(purchase) == "Processed"
    (booked,) = admin.purchases(external_id="order-7")
    assert (booked["kind"], booked["amount"], booked["amount_tiyn"]) == ("qr", "100.10", 10010)
    assert (booked["status"], booked["payments"], booked["phone"]) == ("Processed", 1, "77770001122")
    assert booked["paid_at"] is not None


def test_life_of_a_link(r3: Bank, admin: Admin) -> None:
    made = ok(r3.post("qr/create-link", Amount=5, DeviceToken=r3.register()))
    assert re.fullmatch(r"https://pay\.kaspi\.kz/pay/\d+", made["PaymentLink"])
    assert made["PaymentBehaviorOptions"]["LinkActivationWaitTimeout"] == 180
    assert "QrPaymentId" not in made
    admin.post(f"purchases/{made['PaymentId']}/pay")
    assert r3.word(made["PaymentId"]) == "Processed"


def test_v02_tells_more_once_it_is_paid(r3: Bank, admin: Admin) -> None:
    token = r3.register()
    made = [ok(r3.post("qr/create", Amount=0.29, DeviceToken=token))["QrPaymentId"] for _ in range(5)]
    assert ok(r3.get(f"v02/payment/status/{made[0]}")) == {"Status": "QrTokenCreated"}
    for purchase in made:
        admin.post(f"purchases/{purchase}/pay")
    answers = [r3.get(f"v02/payment/status/{purchase}") for purchase in made]
    assert all('"Amount":0.29,' in answer.text for answer in answers)
    products = [ok(answer)["ProductType"] for answer in answers]
    assert sorted(products) == ["Gold", "Gold", "Gold", "Gold", "Loan"]
    assert ok(r3.get(f"payment/status/{made[0]}")) == {"Status": "Processed"}


def test_the_test_contour_pays_without_a_phone(r1: Bank, admin: Admin) -> None:
    token = r1.register()

    def new() -> int:
        return int(ok(r1.post("qr/create", Amount=1, DeviceToken=token))["QrPaymentId"])

    def call(name: str, purchase: int) -> int:
        answer = r1.http.post(f"v01/test/payment/{name}", json={"qrPaymentId": str(purchase)}).json()
        assert set(answer) == {"StatusCode", "message"}
        return int(answer["StatusCode"])

    paid, unscanned, unconfirmed = new(), new(), new()
    assert call("confirm", paid) == -99000011
    assert (call("scan", paid), r1.word(paid)) == (0, "Wait")
    assert (call("confirm", paid), r1.word(paid)) == (0, "Processed")
    assert call("confirmerror", unscanned) == -99000011
    assert (call("scanerror", unscanned), r1.word(unscanned)) == (0, "Error")
    assert call("scan", unconfirmed) == 0
    assert (call("confirmerror", unconfirmed), r1.word(unconfirmed)) == (0, "Error")
    assert call("scan", 1) == -1601


@pytest.mark.parametrize("amount", [0, -1, 1.001, "0.001", 10**14, "1e-999999999", "1e999999999"])
def test_wrong_amounts(r3: Bank, admin: Admin, amount: Any) -> None:
    token = r3.register()
    assert code(r3.post("qr/create", Amount=amount, DeviceToken=token)) == 990000028
    assert code(r3.post("qr/create-link", Amount=amount, DeviceToken=token)) == 990000028
    remote = r3.post("remote/create", Amount=amount, DeviceToken=token, PhoneNumber="87011234567")
    assert code(remote) == 990000028
    assert admin.purchases() == []


@pytest.mark.parametrize("amount", [None, "ten", True, "NaN", "Infinity", [1]])
def test_amounts_that_are_no_numbers(r3: Bank, amount: Any) -> None:
    assert r3.post("qr/create", Amount=amount, DeviceToken=r3.register()).status_code == 400


def test_text_that_is_no_text(r3: Bank) -> None:
    body = rf'{{"OrganizationBin": "{BIN}", "Amount": 1, "ExternalId": "\ud800", "DeviceToken": "{r3.register()}"}}'
    assert r3.http.post("v01/qr/create", content=body).status_code == 400


def test_nothing_is_idempotent(r3: Bank, admin: Admin) -> None:
    body = {"Amount": 1, "DeviceToken": r3.register(), "ExternalId": "same"}
    r3.http.headers["X-Request-ID"] = "0123456789abcdef0123456789abcdef"
    ids = [ok(r3.post("qr/create", **body))["QrPaymentId"] for _ in range(2)]
    assert ids[0] != ids[1]
    assert [one["x_request_id"] for one in admin.purchases(external_id="same")] == [
        "0123456789abcdef0123456789abcdef"
    ] * 2


def test_a_payer_pays_once(r3: Bank, admin: Admin) -> None:
    purchase = ok(r3.post("qr/create", Amount=1, DeviceToken=r3.register()))["QrPaymentId"]
    admin.post(f"purchases/{purchase}/pay")
    for again in ("pay", "pay?late=true", "scan", "confirm", "fail", "reject", "expire"):
        assert admin.http.post(f"purchases/{purchase}/{again}").status_code == 409
    assert admin.get(f"purchases/{purchase}")["payments"] == 1
    assert admin.get("ledger")["totals"] == {"purchases": 1, "paid": 1, "paid_tiyn": 100, "refunded_tiyn": 0}


def test_unknown_purchases(r3: Bank, admin: Admin) -> None:
    assert code(r3.get("payment/status/12345678901")) == -1601
    assert r3.get("payment/status/abc").status_code == 400
    assert code(r3.get(f"payment/status/{2**63 - 1}")) == -1601
    assert r3.get(f"payment/status/{2**63}").status_code == 400
    assert admin.http.get("purchases/12345678901").status_code == 404
    assert admin.http.get(f"purchases/{2**70}").status_code == 404
    assert admin.http.post("purchases/12345678901/pay").status_code == 404


def test_messages_are_sometimes_absent(r1: Bank) -> None:
    answers = [r1.get("partner/tradepoints").json() for _ in range(4)]
    assert {"Message" in answer for answer in answers} == {True, False}
    refusals = [r1.get("payment/status/1").json() for _ in range(4)]
    assert {"Data" in answer for answer in refusals} == {True, False}
    assert all(answer["Message"] for answer in refusals)
