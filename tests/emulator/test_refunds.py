from typing import Any

from tests.emulator.process import CAFE, Admin, Bank, code, ok


def paid(bank: Bank, admin: Admin, amount: Any = 100) -> int:
    purchase = ok(bank.post("qr/create", Amount=amount, DeviceToken=bank.register()))["QrPaymentId"]
    admin.post(f"purchases/{purchase}/pay")
    return int(purchase)


def details(bank: Bank, purchase: int) -> tuple[float, float]:
    answer = ok(bank.get("payment/details", QrPaymentId=purchase, DeviceToken=bank.register()))
    assert answer["QrPaymentId"] == purchase
    return answer["TotalAmount"], answer["AvailableReturnAmount"]


def give_back(bank: Bank, purchase: int, amount: Any, **more: Any) -> int:
    body = {"QrPaymentId": purchase, "Amount": amount, "DeviceToken": bank.register()} | more
    return code(bank.post("payment/return", **body))


def test_partial_repeated_and_too_much(r3: Bank, admin: Admin) -> None:
    purchase = paid(r3, admin)
    assert details(r3, purchase) == (100, 100)
    first = ok(r3.post("payment/return", QrPaymentId=purchase, Amount=50, DeviceToken=r3.register()))
    assert set(first) == {"ReturnOperationId"}
    assert give_back(r3, purchase, 50.01) == -99000005
    assert details(r3, purchase) == (100, 50)
    assert give_back(r3, purchase, "50.00") == 0
    assert give_back(r3, purchase, 0.01) == -99000005
    assert details(r3, purchase) == (100, 0)
    assert r3.word(purchase) == "Processed"
    books = admin.get("ledger")
    assert [refund["amount_tiyn"] for refund in books["refunds"]] == [5000, 5000]
    assert books["refunds"][0]["id"] == first["ReturnOperationId"]
    assert books["totals"]["refunded_tiyn"] == 10000


def test_refusals(r3: Bank, admin: Admin) -> None:
    unpaid = ok(r3.post("qr/create", Amount=100, DeviceToken=r3.register()))["QrPaymentId"]
    assert details(r3, unpaid) == (100, 0)
    assert give_back(r3, unpaid, 1) == -99000011
    assert give_back(r3, 12345678901, 1) == -1601
    purchase = paid(r3, admin)
    cafe = r3.register("till-cafe", CAFE)
    assert give_back(r3, purchase, 1, DeviceToken=cafe) == -99000003
    assert give_back(r3, purchase, 1, DeviceToken="nobody") == -1501
    assert give_back(r3, purchase, 0) == 990000028
    missing = r3.get("payment/details", QrPaymentId=1, DeviceToken=cafe)
    assert code(missing) == -1601
    assert admin.get("ledger")["refunds"] == []


def test_cashier_refunds_behind_our_back(r3: Bank, admin: Admin) -> None:
    purchase = paid(r3, admin)
    made = admin.post(f"purchases/{purchase}/refund", amount="30.50")
    assert (made["source"], made["amount"]) == ("cashier", "30.50")
    assert details(r3, purchase) == (100, 69.5)
    assert give_back(r3, purchase, 70) == -99000005
    too_much = admin.http.post(f"purchases/{purchase}/refund", json={"amount": "69.51"})
    assert too_much.status_code == 409
    assert admin.http.post(f"purchases/{purchase}/refund", json={"amount": "x"}).status_code == 400


def test_available_amount_can_lag_but_the_bound_never_does(r3: Bank, admin: Admin) -> None:
    purchase = paid(r3, admin)
    admin.settings(refund_lag_s=600)
    assert give_back(r3, purchase, 100) == 0
    assert details(r3, purchase) == (100, 100)
    assert give_back(r3, purchase, 100) == -99000005
    admin.settings(refund_lag_s=0)
    assert details(r3, purchase) == (100, 0)


def test_refund_with_the_customer(r2: Bank, admin: Admin) -> None:
    purchase = paid(r2, admin)
    made = ok(r2.post("return/create", DeviceToken=r2.register(), ExternalId="ref-1"))
    request = made["QrReturnId"]
    assert made["QrReturnBehaviorOptions"] == {"QrCodeScanEventPollingInterval": 5, "QrCodeScanWaitTimeout": 180}
    assert ok(r2.get(f"return/status/{request}")) == {"Status": "QrTokenCreated"}
    assert give_back(r2, purchase, 1, QrReturnId=request) == -99000011
    body = {"QrPaymentId": purchase, "Amount": 1, "DeviceToken": r2.register()}
    assert r2.post("payment/return", **body).status_code == 400
    admin.post(f"returns/{request}/scan")
    assert ok(r2.get(f"return/status/{request}")) == {"Status": "CustomerIdentityObtained"}
    operations = ok(r2.post("return/operations", DeviceToken=r2.register(), QrReturnId=request))
    assert [(one["QrPaymentId"], one["Amount"]) for one in operations] == [(purchase, 100)]
    assert give_back(r2, purchase, 40, QrReturnId=request) == 0
    assert details(r2, purchase) == (100, 60)
    assert give_back(r2, purchase, 40, QrReturnId=1) == -1601


def test_another_customers_purchase_is_not_theirs(r2: Bank, admin: Admin) -> None:
    purchase = paid(r2, admin)
    request = ok(r2.post("return/create", DeviceToken=r2.register()))["QrReturnId"]
    admin.post(f"returns/{request}/scan", phone="77070000000")
    assert ok(r2.post("return/operations", DeviceToken=r2.register(), QrReturnId=request)) == []
    assert give_back(r2, purchase, 1, QrReturnId=request) == -1601


def test_operations_are_the_latest_ten(r2: Bank, admin: Admin) -> None:
    made = [paid(r2, admin, amount) for amount in range(1, 13)]
    request = ok(r2.post("return/create", DeviceToken=r2.register()))["QrReturnId"]
    admin.post(f"returns/{request}/scan")

    def listed(**more: Any) -> list[int]:
        found = ok(r2.post("return/operations", DeviceToken=r2.register(), QrReturnId=request, **more))
        return [one["QrPaymentId"] for one in found]

    assert listed() == made[:1:-1]
    assert listed(MaxResult=50) == made[:1:-1]
    assert listed(MaxResult="2") == made[:9:-1]
