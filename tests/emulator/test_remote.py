from tests.emulator.process import Admin, Bank, code, ok

PHONE = "87011234567"


def invoice(bank: Bank, **more: object) -> int:
    body = {"Amount": 100, "PhoneNumber": PHONE, "DeviceToken": bank.register()} | more
    answer = ok(bank.post("remote/create", **body))
    assert set(answer) == {"QrPaymentId"}
    return int(answer["QrPaymentId"])


def test_paid(r3: Bank, admin: Admin) -> None:
    purchase = invoice(r3, Comment="Заказ inv_1")
    assert r3.word(purchase) == "RemotePaymentCreated"
    (shown,) = admin.purchases(phone="+77011234567", comment_contains="inv_1")
    assert (shown["id"], shown["kind"], shown["phone"]) == (purchase, "remote", "77011234567")
    admin.post(f"purchases/{purchase}/pay")
    assert r3.word(purchase) == "Processed"
    assert admin.purchases(comment_contains="inv_2") == []


def test_canceled(r3: Bank, admin: Admin) -> None:
    purchase, token = invoice(r3), r3.register()
    for _ in range(2):
        answer = ok(r3.post("remote/cancel", QrPaymentId=purchase, DeviceToken=token))
        assert answer == {"Status": "RemotePaymentCanceled"}
    assert r3.word(purchase) == "RemotePaymentCanceled"
    assert admin.http.post(f"purchases/{purchase}/pay").status_code == 409


def test_cancel_after_the_payment_is_refused(r3: Bank, admin: Admin) -> None:
    purchase, token = invoice(r3), r3.register()
    admin.post(f"purchases/{purchase}/pay")
    assert code(r3.post("remote/cancel", QrPaymentId=purchase, DeviceToken=token)) == -99000011
    assert r3.word(purchase) == "Processed"


def test_cancel_of_what_is_no_invoice(r3: Bank) -> None:
    token = r3.register()
    assert code(r3.post("remote/cancel", QrPaymentId=12345678901, DeviceToken=token)) == -99000001
    qr = ok(r3.post("qr/create", Amount=1, DeviceToken=token))["QrPaymentId"]
    assert code(r3.post("remote/cancel", QrPaymentId=qr, DeviceToken=token)) == -99000001
    assert r3.word(qr) == "QrTokenCreated"


def test_rejected_and_expired_use_the_knobs_words(r3: Bank, admin: Admin) -> None:
    rejected, expired = invoice(r3), invoice(r3)
    admin.settings(reject_word="Nope", expire_word="Gone")
    admin.post(f"purchases/{rejected}/reject")
    admin.post(f"purchases/{expired}/expire")
    assert (r3.word(rejected), r3.word(expired)) == ("Nope", "Gone")
    # What the payer did keeps its word; what the clock did follows the knob.
    admin.settings(reject_word="Other", expire_word="RemotePaymentExpired")
    assert (r3.word(rejected), r3.word(expired)) == ("Nope", "RemotePaymentExpired")


def test_late_processed(r3: Bank, admin: Admin) -> None:
    token = r3.register()
    canceled, expired, failed = invoice(r3), invoice(r3), invoice(r3)
    ok(r3.post("remote/cancel", QrPaymentId=canceled, DeviceToken=token))
    admin.post(f"purchases/{expired}/expire")
    admin.post(f"purchases/{failed}/fail")
    for purchase in (canceled, expired, failed):
        assert admin.http.post(f"purchases/{purchase}/pay").status_code == 409
        assert admin.post(f"purchases/{purchase}/pay?late=true")["payments"] == 1
        assert r3.word(purchase) == "Processed"


def test_unknown_and_malformed_phones(r3: Bank, admin: Admin) -> None:
    token = r3.register()
    for phone in ("77000000000", "87000000000", "+77011234567", "7701", "8701123456a"):
        body = {"Amount": 1, "PhoneNumber": phone, "DeviceToken": token}
        assert code(r3.post("remote/create", **body)) == -1404
        assert code(r3.get("remote/client-info", phoneNumber=phone, deviceToken=token)) == -1404
    assert r3.post("remote/create", Amount=1, DeviceToken=token).status_code == 400
    assert admin.purchases() == []


def test_client_info_is_limited_per_device_and_minute(r3: Bank) -> None:
    first, second = r3.register("limited-1"), r3.register("limited-2")
    name = ok(r3.get("remote/client-info", PhoneNumber=PHONE, DeviceToken=first))["ClientName"]
    assert " " in name
    codes = [code(r3.get("remote/client-info", phoneNumber=PHONE, deviceToken=first)) for _ in range(51)]
    assert codes == [0] * 49 + [-999] * 2
    assert code(r3.get("remote/client-info", phoneNumber=PHONE, deviceToken=second)) == 0


def test_poll_guard(r3: Bank, admin: Admin) -> None:
    purchase = invoice(r3)
    qr = ok(r3.post("qr/create", Amount=1, DeviceToken=r3.register()))["QrPaymentId"]
    guard = {"enabled": True, "min_interval_s": 600}
    admin.settings(remote_poll_guard=guard)
    assert r3.word(purchase) == "RemotePaymentCreated"
    assert code(r3.get(f"payment/status/{purchase}")) == -999
    admin.settings(remote_poll_guard={"answer": "429"})
    assert r3.get(f"payment/status/{purchase}").status_code == 429
    admin.settings(remote_poll_guard={"answer": "html"})
    page = r3.get(f"payment/status/{purchase}")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert [r3.word(qr) for _ in range(3)] == ["QrTokenCreated"] * 3
    assert r3.word(invoice(r3)) == "RemotePaymentCreated"
