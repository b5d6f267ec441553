"""A recurring invoice by the ApiPay contract: billed early and paid, changed, paused, resumed. Standard library only.

TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… python3 subscription.py
"""

import time
import uuid

from payment import call


def main():
    # Every period is a bill that the payer confirms: Kaspi has no auto-debit.
    wanted = {"amount": 10000, "phone_number": "87011234567", "description": "Membership", "interval": "monthly"}
    wanted["start_date"] = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 30 * 86400))
    recurring = call("POST", "/api/recurring-invoices", wanted, idempotency_key=f"member-{uuid.uuid4()}")
    print("created", recurring["id"], recurring["status"], recurring["next_billing_date"])
    path = f"/api/recurring-invoices/{recurring['id']}"

    # The first period, before its date.
    invoice = call("POST", f"{path}/bill-now")
    print("billed", invoice["id"], invoice["amount"], invoice["status"])

    # You are the payer: ApiPay has no sandbox, so this one request is of the other contract, by its id there.
    call("POST", f"/api/v1/sandbox/invoices/{invoice['tolem_id']}/simulate", {"status": "paid"})
    invoice = call("GET", f"/api/invoices/{invoice['id']}")
    print("paid", invoice["id"], invoice["status"])

    # It holds from the next period.
    recurring = call("PUT", path, {"amount": 12000})
    print("changed", recurring["id"], recurring["amount"])
    for action in ("pause", "resume", "cancel"):
        recurring = call("POST", f"{path}/{action}")
        print(action, recurring["id"], recurring["status"])


if __name__ == "__main__":
    main()
