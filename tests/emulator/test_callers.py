import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.emulator.process import BIN, CAFE, OTHER_BIN, ROOT, SHOP, Admin, Bank, Running, code, ok


def test_r1_needs_a_known_key(r1: Bank, shared: Running) -> None:
    assert ok(r1.get("partner/tradepoints")) == [
        {"TradePointId": SHOP, "TradePointName": "Demo shop"},
        {"TradePointId": CAFE, "TradePointName": "Demo cafe"},
    ]
    for key in (None, "test_00000000-0000-0000-0000-000000000000"):
        nobody = Bank(shared, "r1", None, key)
        assert nobody.get("health/ping").status_code == 401
        nobody.http.close()


def test_ping_has_a_message_and_no_data(r1: Bank, r2: Bank, r3: Bank) -> None:
    for bank in (r1, r2, r3):
        assert bank.get("health/ping").json() == {"StatusCode": 0, "Message": "OK"}


def test_no_certificate_is_a_code_and_nothing_is_executed(stranger: Bank, r3: Bank, admin: Admin) -> None:
    token = r3.register()
    assert code(stranger.get("health/ping")) == -10000
    made = stranger.post("remote/create", Amount=1, PhoneNumber="87011234567", DeviceToken=token)
    assert code(made) == -10000
    assert admin.purchases() == []


def test_certificate_of_another_ca_is_refused_in_the_handshake(shared: Running, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "emulator", "certs", tmp_path], cwd=ROOT, check=True)
    context = ssl.create_default_context(cafile=shared.certificates / "ca.pem")
    context.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    with httpx.Client(verify=context, trust_env=False) as http, pytest.raises(httpx.ConnectError):
        http.get(f"{shared.bank_url}/r3/v01/health/ping")


def test_r3_acts_only_for_its_own_organisations(r3: Bank, other: Bank) -> None:
    token = r3.register()
    foreign = other.post("remote/create", OrganizationBin=BIN, Amount=1, PhoneNumber="87011234567", DeviceToken=token)
    assert code(foreign) == -10000
    mine = {"OrganizationBin": OTHER_BIN, "Amount": 1, "PhoneNumber": "87011234567"}
    assert code(other.post("remote/create", **mine, DeviceToken=token)) == -1501
    purchase = ok(r3.post("qr/create", Amount=1, DeviceToken=token))["QrPaymentId"]
    assert code(other.get(f"payment/status/{purchase}")) == -1601
    assert r3.word(purchase) == "QrTokenCreated"
    assert code(r3.get(f"partner/tradepoints/{OTHER_BIN}")) == -10000


def test_calls_exist_only_on_their_schemes(r1: Bank, r2: Bank, r3: Bank) -> None:
    assert r1.post("remote/create").status_code == 404
    assert r2.get("remote/client-info").status_code == 404
    assert r3.post("return/create").status_code == 404
    assert r1.get("payment/details").status_code == 404
    assert r3.get("remote/create").status_code == 405
    assert r3.http.get("v02/health/ping").status_code == 404


def test_trailing_slash_case_and_text_numbers_are_tolerated(r3: Bank) -> None:
    body = {"organizationbin": BIN, "deviceID": "till-case", "tradePointId": str(SHOP)}
    token = ok(r3.http.post("v01/device/register/", json=body))["DeviceToken"]
    assert token == r3.register("till-case")
    made = ok(r3.post("qr/create/", Amount="10.50", deviceToken=token))
    assert r3.http.get(f"v01/payment/status/{made['QrPaymentId']}/").json()["Data"] == {"Status": "QrTokenCreated"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"DeviceId": "a"}',
        b'{"DeviceId": "a", "TradePointId": true}',
        b'{"DeviceId": "a b", "TradePointId": 1}',
        b'{"DeviceId": "a", "TradePointId": 1e999999999}',
        b'{"DeviceId": "a", "TradePointId": NaN}',
    ],
)
def test_unreadable_requests_are_400(r1: Bank, content: bytes) -> None:
    answer = r1.http.post("v01/device/register", content=content)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")


def test_devices(r3: Bank, r1: Bank) -> None:
    token = r3.register("till-9")
    assert r3.register("till-9") == token
    assert code(r3.post("device/register", DeviceId="till-9", TradePointId=CAFE)) == -1503
    assert code(r3.post("device/register", DeviceId="till-9", TradePointId=777)) == -99000002
    assert code(r3.post("device/delete", DeviceToken=token)) == 0
    again = r3.post("device/delete", DeviceToken=token)
    assert (code(again), "Message" in again.json()) == (-1501, False)
    assert code(r3.post("qr/create", Amount=1, DeviceToken=token)) == -1502
    assert code(r3.post("qr/create", Amount=1, DeviceToken="00000000-0000-0000-0000-000000000000")) == -1501
    assert r3.register("till-9", CAFE) != token


def test_trade_points_that_are_missing_closed_or_without_qr(other: Bank, admin: Admin) -> None:
    mine = {"OrganizationBin": OTHER_BIN}
    points = [{"name": "Closed", "enabled": True}, {"name": "No QR", "qr_enabled": False}]
    known = admin.post("organizations", bin=OTHER_BIN, name="Other LLP", trade_points=points, partner_cn="other")
    ids = {point["name"]: point["id"] for point in known["trade_points"]}
    assert code(other.post("device/register", **mine, DeviceId="x", TradePointId=ids["No QR"])) == 990000026
    token = other.register("closing", ids["Closed"], **mine)
    points[0]["enabled"] = False
    admin.post("organizations", bin=OTHER_BIN, name="Other LLP", trade_points=points, partner_cn="other")
    assert code(other.post("qr/create", **mine, Amount=1, DeviceToken=token)) == 990000018
    admin.post("organizations", bin="210140000115", name="Bare LLP", partner_cn="other")
    assert code(other.get("partner/tradepoints/210140000115")) == -14000002
