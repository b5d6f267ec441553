"""A sandbox subscription that lives three months in seconds, by a test clock. Standard library only.

TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… python3 subscription.py
"""

import time
import uuid

from payment import call


def main():
    clock = call("POST", "/api/v1/sandbox/test-clocks", {"name": "example", "now": "2026-01-31T10:00:00+05:00"})

    # Every period is a bill that the payer confirms: Kaspi has no auto-debit.
    wanted = {"phone_number": "77011234567", "amount": 10000, "billing_period": "monthly", "description": "Membership"}
    wanted["test_clock"] = clock["id"]
    subscription = call("POST", "/api/v1/subscriptions", wanted, idempotency_key=f"member-{uuid.uuid4()}")
    print("created", subscription["id"], subscription["status"])

    clock = call("POST", f"/api/v1/sandbox/test-clocks/{clock['id']}/advance", {"by": "P3M"})
    while clock["state"] != "ready":
        time.sleep(0.2)
        clock = call("GET", f"/api/v1/sandbox/test-clocks/{clock['id']}")

    for invoice in call("GET", f"/api/v1/subscriptions/{subscription['id']}/invoices")["items"]:
        print("billed", invoice["id"], invoice["amount"], invoice["state"])
    canceled = call("POST", f"/api/v1/subscriptions/{subscription['id']}/cancel")
    print("canceled", canceled["id"], canceled["status"])


if __name__ == "__main__":
    main()
