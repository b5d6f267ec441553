"""A sandbox invoice: created, paid, and partly refunded. Standard library only.

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
        # error["retryable"] says whether the same request may succeed later: repeat it with the same key then.
        raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from None


def main():
    order = f"order-{uuid.uuid4()}"

    # The key is the order's own: however often this is repeated, there is one bill.
    wanted = {"amount": 10000, "phone_number": "77011234567", "description": "Order 1042", "external_order_id": order}
    invoice = call("POST", "/api/v1/invoices", wanted, idempotency_key=order)
    again = call("POST", "/api/v1/invoices", wanted, idempotency_key=order)
    assert again["id"] == invoice["id"]
    print("created", invoice["id"], invoice["amount"], invoice["state"])

    # In the sandbox you are the payer. Live, the customer pays in the Kaspi app, and a webhook tells.
    invoice = call("POST", f"/api/v1/sandbox/invoices/{invoice['id']}/simulate", {"status": "paid"})
    print("paid", invoice["id"], invoice["state"])

    refund = call(
        "POST",
        f"/api/v1/invoices/{invoice['id']}/refund",
        {"amount": 2500, "reason": "Out of stock"},
        idempotency_key=f"return-{order}",
    )
    # The answer only says that it is recorded. A webhook tells the outcome; a program without one looks.
    for _ in range(60):
        if refund["status"] in ("completed", "failed"):
            break
        time.sleep(0.5)
        refund = call("GET", f"/api/v1/refunds/{refund['id']}")
    print("refunded", refund["id"], refund["amount"], refund["status"])

    invoice = call("GET", f"/api/v1/invoices/{invoice['id']}")
    print("left", invoice["available_for_refund"], invoice["state"])


if __name__ == "__main__":
    main()
