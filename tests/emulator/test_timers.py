"""Lives scaled down to a fraction of a second; each test waits for the word, not for a time."""

import time
from collections.abc import Callable

from tests.emulator.process import Admin, Bank, code, ok


def until(check: Callable[[], bool]) -> None:
    """Bounded by pytest's own timeout."""
    while not check():
        time.sleep(0.01)


def over(admin: Admin, purchase: int) -> Callable[[], bool]:
    return lambda: not admin.get(f"purchases/{purchase}")["open"]


def test_unscanned_code_dies(r3: Bank, admin: Admin) -> None:
    admin.settings(time_scale=0.0005)
    made = ok(r3.post("qr/create", Amount=1, DeviceToken=r3.register()))
    purchase = made["QrPaymentId"]
    assert set(made["QrPaymentBehaviorOptions"].values()) == {1}
    until(over(admin, purchase))
    assert r3.word(purchase) == "QrTokenCreated"
    assert admin.http.post(f"purchases/{purchase}/scan").status_code == 409
    assert r3.http.post("v01/test/payment/scan", json={"qrPaymentId": purchase}).json()["StatusCode"] == -99000011
    assert r3.word(purchase) == "QrTokenCreated"
    admin.settings(scan_timeout_word="Error")
    assert r3.word(purchase) == "Error"
    assert admin.get(f"purchases/{purchase}")["payments"] == 0


def test_unconfirmed_payment_dies(r3: Bank, admin: Admin) -> None:
    purchase = ok(r3.post("qr/create", Amount=1, DeviceToken=r3.register()))["QrPaymentId"]
    admin.settings(time_scale=0.001)
    admin.post(f"purchases/{purchase}/scan")
    until(over(admin, purchase))
    assert r3.word(purchase) == "Wait"
    assert admin.http.post(f"purchases/{purchase}/confirm").status_code == 409
    admin.settings(confirm_timeout_word="Error")
    assert r3.word(purchase) == "Error"


def test_unpaid_invoice_dies(r3: Bank, admin: Admin) -> None:
    admin.settings(time_scale=0.000001)
    body = {"Amount": 1, "PhoneNumber": "87011234567", "DeviceToken": r3.register()}
    purchase = ok(r3.post("remote/create", **body))["QrPaymentId"]
    until(lambda: r3.word(purchase) == "Expired")
    assert admin.http.post(f"purchases/{purchase}/pay").status_code == 409
    assert code(r3.post("remote/cancel", QrPaymentId=purchase, DeviceToken=body["DeviceToken"])) == -99000011


def test_lives_already_begun_keep_their_length(r3: Bank, admin: Admin) -> None:
    purchase = ok(r3.post("qr/create", Amount=1, DeviceToken=r3.register()))["QrPaymentId"]
    before = admin.get(f"purchases/{purchase}")["expires_at"]
    admin.settings(time_scale=0.000001)
    assert admin.get(f"purchases/{purchase}")["expires_at"] == before
    assert admin.post(f"purchases/{purchase}/expire")["open"] is False


def test_refund_code_dies(r2: Bank, admin: Admin) -> None:
    admin.settings(time_scale=0.000001)
    made = ok(r2.post("return/create", DeviceToken=r2.register()))
    until(lambda: ok(r2.get(f"return/status/{made['QrReturnId']}"))["Status"] == "Error")
    assert admin.http.post(f"returns/{made['QrReturnId']}/scan").status_code == 409
