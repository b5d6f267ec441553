"""A sandbox invoice by the ApiPay contract: created, paid, and partly refunded. Standard library only.

TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… python3 payment.py
"""

import json
import os
import time
import uuid
from urllib.error import HTTPError
from urllib.request import Request, urlopen

API, KEY = os.environ["TOLEM_API_URL"], os.environ["TOLEM_API_KEY"]


def call(method, path, body=None, idempotency_key=None):
    """The answer's JSON. An error stops the program with what the API says."""
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    if idempotency_key:
        headers["Idempotency-Key"] = idempotency_key
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(API + path, data, headers, method=method), timeout=30) as answer:
            return json.load(answer)
    except HTTPError as error:
        # error["errors"] names the wrong fields; after a 429 repeat the same request in error["retry_after"] seconds.
        raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from None


def main():
    order = f"order-{uuid.uuid4()}"

    # In the sandbox a phone that ends in 0001 pays by itself. Live, the customer pays in the Kaspi app.
    wanted = {"amount": 10000, "phone_number": "87010000001", "description": "Order 1042", "external_order_id": order}
    # The key, which ApiPay does not have, is the order's own: however often this is repeated, there is one bill.
    invoice = call("POST", "/api/invoices", wanted, idempotency_key=order)
    again = call("POST", "/api/invoices", wanted, idempotency_key=order)
    assert again["id"] == invoice["id"]
    print("created", invoice["id"], invoice["amount"], invoice["status"])

    # A webhook tells; a program without one looks.
    for _ in range(60):
        if invoice["status"] != "pending":
            break
        time.sleep(1)
        invoice = call("GET", f"/api/invoices/{invoice['id']}")
    print("paid", invoice["id"], invoice["status"])

    refund = call(
        "POST",
        f"/api/invoices/{invoice['id']}/refund",
        {"amount": 2500, "reason": "Out of stock"},
        idempotency_key=f"return-{order}",
    )
    # Mostly the answer says how it went. Where the bank is slow, look again.
    for _ in range(60):
        if refund["status"] in ("completed", "failed"):
            break
        time.sleep(1)
        refund = call("GET", f"/api/refunds/{refund['id']}")
    print("refunded", refund["id"], refund["amount"], refund["status"])

    invoice = call("GET", f"/api/invoices/{invoice['id']}")
    print("total_refunded", invoice["total_refunded"], invoice["status"])


if __name__ == "__main__":
    main()
