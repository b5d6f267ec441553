#!/usr/bin/env bash
# A sandbox subscription that lives three months in seconds, by a test clock. Needs curl, and python3 to read JSON.
#
#   TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… ./subscription.sh
set -euo pipefail

api() { curl --silent --show-error --fail-with-body -H "X-API-Key: $TOLEM_API_KEY" -H 'Content-Type: application/json' "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

clock=$(api "$TOLEM_API_URL/api/v1/sandbox/test-clocks" -d '{"name": "example", "now": "2026-01-31T10:00:00+05:00"}' | field id)

# Every period is a bill that the payer confirms: Kaspi has no auto-debit.
subscription=$(api "$TOLEM_API_URL/api/v1/subscriptions" -H "Idempotency-Key: member-$(date +%s)-$$" -d '{
  "phone_number": "77011234567", "amount": 10000, "billing_period": "monthly", "description": "Membership",
  "test_clock": "'"$clock"'"}' | field id)
echo "created $subscription"

api "$TOLEM_API_URL/api/v1/sandbox/test-clocks/$clock/advance" -d '{"by": "P3M"}' >/dev/null
until [ "$(api "$TOLEM_API_URL/api/v1/sandbox/test-clocks/$clock" | field state)" = ready ]; do sleep 0.2; done

api "$TOLEM_API_URL/api/v1/subscriptions/$subscription/invoices" |
  python3 -c 'import json, sys; [print("billed", one["id"], one["amount"], one["state"]) for one in json.load(sys.stdin)["items"]]'
echo "canceled $(api -X POST "$TOLEM_API_URL/api/v1/subscriptions/$subscription/cancel" | field status)"
