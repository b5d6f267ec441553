"""A shop that was written against ApiPay's published documentation, and nothing else; needs httpx.

Against Tölem only the two variables change:

    APIPAY_URL=http://127.0.0.1:8000/api API_KEY=tk_test_… python examples/apipay_readme.py

It bills a phone, prints the bill and waits until somebody pays it, refunds it in two parts, and cancels another bill.
"""

import os
import sys
import time
from typing import Any

import httpx

BASE_URL = os.environ.get("APIPAY_URL", "https://bpapi.bazarbay.site/api")
API_KEY = os.environ["API_KEY"]
PHONE = os.environ.get("PHONE", "87001234567")
IDN = os.environ.get("IDN")
PATIENCE_SECONDS = 120

client = httpx.Client(headers={"X-API-Key": API_KEY}, timeout=90, trust_env=False)


def call(method: str, path: str, expected: int = 200, **options: Any) -> Any:
    """The JSON of an answer that must have this status; a 429 is waited out, as the documentation asks."""
    while True:
        answer = client.request(method, f"{BASE_URL}{path}", **options)
        if answer.status_code != 429:
            break
        time.sleep(answer.json()["retry_after"])
    body = answer.json()
    if answer.status_code != expected:
        sys.exit(f"{method} {path}: {answer.status_code} {body.get('message')} {body.get('errors')}")
    return body


def verify(idn: str) -> None:
    """Start, then poll every two seconds until verified."""
    organization = call("POST", "/organizations/verify", json={"idn": idn})["organization"]
    while organization["status"] == "pending":
        time.sleep(2)
        organization = call("GET", f"/organizations/{organization['id']}/status")["organization"]
    if organization["status"] != "verified":
        sys.exit("verification failed")
    print(f"verified {organization['idn']}", flush=True)


def sell() -> Any:
    """A bill, once it is paid."""
    order = {
        "amount": 10000,
        "phone_number": PHONE,
        "description": "Оплата заказа #123",
        "external_order_id": "order_123",
    }
    invoice = call("POST", "/invoices", json=order)
    assert isinstance(invoice["id"], int), invoice
    assert invoice["status"] == "pending", invoice
    assert invoice["amount"] == "10000.00", invoice
    # The shop sends its customer to invoice["payment_url"].
    print(f"created {invoice['id']} {invoice['kaspi_invoice_id']} {invoice['payment_url']}", flush=True)
    pending = call("GET", "/invoices?page=1&per_page=20&status[]=pending&status[]=paid&search=order_123")
    assert invoice["id"] in [one["id"] for one in pending["data"]], pending
    assert {"current_page", "per_page", "total"} <= set(pending["meta"]), pending
    until = time.monotonic() + PATIENCE_SECONDS
    while (invoice := call("GET", f"/invoices/{invoice['id']}"))["status"] == "pending":
        if time.monotonic() > until:
            sys.exit("nobody paid")
        time.sleep(0.5)
    assert invoice["status"] == "paid", invoice
    assert invoice["client_phone"] == PHONE, invoice
    print(f"paid {invoice['id']} at {invoice['paid_at']}", flush=True)
    return invoice


def give_back(invoice: Any) -> None:
    """In two parts; then there is nothing left."""
    first = call("POST", f"/invoices/{invoice['id']}/refund", json={"amount": 3000, "reason": "Первый возврат"})
    assert first["amount"] == "3000.00", first
    assert (first["invoice_id"], first["status"]) == (invoice["id"], "completed"), first
    rest = call("POST", f"/invoices/{invoice['id']}/refund", json={"reason": "По запросу клиента"})
    assert rest["amount"] == "7000.00", rest
    call("POST", f"/invoices/{invoice['id']}/refund", 400, json={"amount": 0.01})
    ids = {first["id"], rest["id"]}
    assert {one["id"] for one in call("GET", f"/invoices/{invoice['id']}/refunds")["data"]} == ids
    assert ids <= {one["id"] for one in call("GET", "/refunds?page=1&per_page=20")["data"]}
    assert call("GET", f"/refunds/{first['id']}") == first
    print(f"refunded {first['id']} {rest['id']}", flush=True)


def change_my_mind() -> None:
    """A bill that is cancelled can't be cancelled again."""
    invoice = call("POST", "/invoices", json={"amount": 500.5, "phone_number": PHONE})
    cancelled = call("POST", f"/invoices/{invoice['id']}/cancel")
    assert cancelled["status"] == "cancelled", cancelled
    assert cancelled["cancelled_at"], cancelled
    call("POST", f"/invoices/{invoice['id']}/cancel", 400)
    print(f"cancelled {invoice['id']}", flush=True)


def make_mistakes() -> None:
    """What the documentation says of errors."""
    errors = call("POST", "/invoices", 422, json={"amount": 0, "phone_number": "12345"})["errors"]
    assert set(errors) == {"amount", "phone_number"}, errors
    assert isinstance(errors["amount"][0], str), errors
    assert call("GET", "/invoices/999999999", 404)["message"]
    client.headers["X-API-Key"] = "wrong"
    assert call("GET", "/invoices", 401)["message"]
    client.headers["X-API-Key"] = API_KEY
    print("mistakes are explained", flush=True)


def main() -> None:
    """The whole day of a shop."""
    if IDN:
        verify(IDN)
    give_back(sell())
    change_my_mind()
    make_mistakes()
    print("done", flush=True)


if __name__ == "__main__":
    main()
