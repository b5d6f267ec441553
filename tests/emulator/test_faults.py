import json
import os
import socket
import ssl
from typing import Any

import httpx
import pytest

from tests.emulator.process import DROPPED, PATIENCE, Admin, Bank, Running, code, ok

CALL = "remote/create"


@pytest.fixture
def token(r3: Bank) -> str:
    return r3.register()


def create(bank: Bank, token: str) -> httpx.Response:
    return bank.post(CALL, Amount=10, PhoneNumber="87011234567", DeviceToken=token)


def last_call(admin: Admin) -> dict[str, Any]:
    return dict(admin.get("calls", call=CALL)["calls"][-1])


@pytest.mark.parametrize(("fault", "made"), [("drop_before", 0), ("execute_then_drop", 1)])
def test_drops(r3: Bank, admin: Admin, token: str, fault: str, made: int) -> None:
    admin.fault(CALL, fault)
    with pytest.raises(DROPPED):
        create(r3, token)
    assert len(admin.purchases()) == made
    logged = last_call(admin)
    assert (logged["fault"], logged["http_status"], logged["executed"]) == (fault, None, bool(made))
    assert [one["id"] for one in admin.purchases()] == [logged["purchase_id"]] * made
    assert code(create(r3, token)) == 0


def test_a_drop_is_a_tcp_reset_below_tls(shared: Running, admin: Admin) -> None:
    admin.fault("health/ping", "drop_before")
    context = ssl.create_default_context(cafile=shared.certificates / "ca.pem")
    host, port = shared.bank_url.removeprefix("https://").split(":")
    with context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host) as tls:
        tls.sendall(b"GET /r3/v01/health/ping HTTP/1.1\r\nHost: bank\r\n\r\n")
        # Below the TLS layer, because Python's reports a reset as an end of file.
        with pytest.raises(ConnectionResetError):
            os.read(tls.fileno(), 1)


@pytest.mark.parametrize(
    ("fault", "more", "status", "made"),
    [
        ("error_5xx_before", {}, 500, 0),
        ("error_5xx_after", {"code": 503}, 503, 1),
        ("throttle_429", {}, 429, 0),
        ("empty", {}, 200, 1),
        ("empty", {"execute": False}, 200, 0),
        ("html", {}, 200, 1),
        ("html", {"execute": False}, 200, 0),
        ("malformed", {}, 200, 1),
    ],
)
def test_unreadable_answers(
    r3: Bank, admin: Admin, token: str, fault: str, more: dict[str, Any], status: int, made: int
) -> None:
    admin.fault(CALL, fault, **more)
    answer = create(r3, token)
    assert answer.status_code == status
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert (answer.content == b"") == (fault == "empty")
    assert (b"<html>" in answer.content) == (fault == "html")
    assert len(admin.purchases()) == made
    assert last_call(admin)["executed"] is bool(made)
    assert code(create(r3, token)) == 0


@pytest.mark.parametrize("execute", [True, False])
def test_any_code_with_or_without_the_effect(r3: Bank, admin: Admin, token: str, execute: bool) -> None:
    admin.fault(CALL, "code", code=-31337, execute=execute)
    assert code(create(r3, token)) == -31337
    assert len(admin.purchases()) == int(execute)


def test_any_status_word(r3: Bank, admin: Admin, token: str) -> None:
    purchase = ok(create(r3, token))["QrPaymentId"]
    admin.fault("payment/status", "status_word", word="QrTokenBlessed")
    assert (r3.word(purchase), r3.word(purchase)) == ("QrTokenBlessed", "RemotePaymentCreated")
    admin.fault("remote/cancel", "status_word", word="RemotePaymentCreated")
    canceled = r3.post("remote/cancel", QrPaymentId=purchase, DeviceToken=token)
    assert ok(canceled) == {"Status": "RemotePaymentCreated"}
    assert r3.word(purchase) == "RemotePaymentCanceled"


def test_delayed_call_is_executed_although_the_client_left(r3: Bank, admin: Admin, token: str) -> None:
    admin.fault(CALL, "delay", delay_ms=1500)
    with pytest.raises(httpx.ReadTimeout):
        r3.http.post(
            f"v01/{CALL}",
            json={"OrganizationBin": "210140000016", "Amount": 1, "PhoneNumber": "87011234567", "DeviceToken": token},
            timeout=httpx.Timeout(PATIENCE, read=0.5),
        )
    while not admin.purchases():
        pass
    assert last_call(admin)["executed"] is True


def test_delay_goes_with_another_fault(r3: Bank, admin: Admin, token: str) -> None:
    slow = admin.fault("*", "delay", delay_ms=1, times=None)
    other = admin.fault(CALL, "code", code=-999)
    assert code(create(r3, token)) == -999
    hits = {fault["id"]: (fault["hits"], fault["remaining"]) for fault in admin.get("faults")["faults"]}
    assert hits == {slow: (1, None), other: (1, 0)}


def test_times_deletion_and_probability(r3: Bank, admin: Admin, token: str) -> None:
    admin.fault(CALL, "code", code=-1, times=2)
    assert [code(create(r3, token)) for _ in range(3)] == [-1, -1, 0]
    forever = admin.fault("*", "code", code=-2, times=None)
    assert [code(create(r3, token)) for _ in range(3)] == [-2, -2, -2]
    assert code(r3.get("health/ping")) == -2
    admin.http.delete(f"faults/{forever}").raise_for_status()
    assert code(create(r3, token)) == 0
    assert admin.http.delete(f"faults/{forever}").status_code == 404
    admin.fault(CALL, "code", code=-3, probability=0, times=None)
    assert code(create(r3, token)) == 0
    admin.fault(CALL, "code", code=-4, times=None)
    admin.http.delete("faults").raise_for_status()
    assert (admin.get("faults"), code(create(r3, token))) == ({"faults": []}, 0)


@pytest.mark.parametrize(
    "body",
    [
        {"call": "remote/creat", "fault": "empty"},
        {"call": CALL, "fault": "explode"},
        {"call": CALL, "fault": "code"},
        {"call": CALL, "fault": "status_word"},
        {"call": CALL, "fault": "empty", "times": 0},
        {"call": CALL, "fault": "empty", "probability": 2},
        {"call": CALL, "fault": "error_5xx_after", "code": 200},
        {"call": CALL, "fault": "empty", "tmes": 1},
    ],
)
def test_wrong_faults_are_refused(admin: Admin, body: dict[str, Any]) -> None:
    assert admin.http.post("faults", json=body).status_code == 400
    assert admin.get("faults") == {"faults": []}
