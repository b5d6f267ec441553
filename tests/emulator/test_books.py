"""The call log, the knobs, reset, the page."""

from tests.emulator.process import Admin, Bank, Running, ok


def test_calls_are_counted_and_listed(r3: Bank, admin: Admin) -> None:
    token = r3.register()
    r3.http.headers["X-Request-ID"] = "f" * 32
    purchase = ok(r3.post("qr/create", Amount=1, DeviceToken=token))["QrPaymentId"]
    r3.post("qr/create", Amount=0, DeviceToken=token)
    r3.post("qr/create", DeviceToken=token)
    log = admin.get("calls", call="qr/create")
    assert [(row["executed"], row["status_code"], row["http_status"]) for row in log["calls"]] == [
        (True, 0, 200),
        (False, 990000028, 200),
        (False, None, 400),
    ]
    assert (log["calls"][0]["purchase_id"], log["calls"][0]["x_request_id"]) == (purchase, "f" * 32)
    assert log["counts"] == {"device/register": 1, "qr/create": 3}
    assert log["executed"] == {"device/register": 1, "qr/create": 1}
    seq, at = log["calls"][1]["seq"], log["calls"][1]["at"]
    assert [row["http_status"] for row in admin.get("calls", since=seq)["calls"]] == [400]
    assert admin.get("calls", limit=1)["calls"] == log["calls"][-1:]
    assert admin.get("calls", limit=0) == log | {"calls": []}
    assert log["calls"][1] in admin.get("calls", since=at)["calls"]
    assert admin.http.get("calls", params={"since": "yesterday"}).status_code == 400


def test_settings_keep_what_is_not_named(admin: Admin) -> None:
    admin.settings(latency_ms=1, remote_poll_guard={"enabled": True})
    now = admin.get("settings")
    assert (now["latency_ms"], now["client_info_limit"]) == (1, 50)
    assert now["remote_poll_guard"] == {"enabled": True, "min_interval_s": 10.0, "answer": "-999"}
    for wrong in ({"latency": 1}, {"time_scale": 0}, {"remote_poll_guard": {"answer": "no"}}):
        assert admin.http.put("settings", json=wrong).status_code == 400
    assert admin.get("settings") == now


def test_reset_keeps_devices_and_never_gives_an_id_twice(r3: Bank, admin: Admin) -> None:
    token = r3.register()
    before = ok(r3.post("qr/create", Amount=1, DeviceToken=token))["QrPaymentId"]
    admin.fault("*", "empty", times=None)
    admin.post("reset")
    assert admin.get("ledger") == {
        "purchases": [],
        "refunds": [],
        "totals": {"purchases": 0, "paid": 0, "paid_tiyn": 0, "refunded_tiyn": 0},
    }
    assert admin.get("calls") == {"calls": [], "counts": {}, "executed": {}}
    after = ok(r3.post("qr/create", Amount=1, DeviceToken=token))["QrPaymentId"]
    assert after > before


def test_ledger_limit_keeps_the_newest(r3: Bank, admin: Admin) -> None:
    token = r3.register()
    made = [ok(r3.post("qr/create", Amount=1, DeviceToken=token))["QrPaymentId"] for _ in range(4)]
    books = admin.get("ledger", limit=2)
    assert [one["id"] for one in books["purchases"]] == made[2:]
    assert books["totals"]["purchases"] == 4


def test_page_needs_nothing_from_outside(shared: Running, admin: Admin) -> None:
    page = admin.http.get(f"{shared.admin_url}/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "Kaspi phone emulator" in page.text
    assert "://" not in page.text.replace("<!doctype html>", "")
    assert 'src="' not in page.text
    assert admin.get("health") == {"status": "ok"}
