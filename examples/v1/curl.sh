#!/usr/bin/env bash
# A sandbox invoice with curl: webhook registered, bill created, paid, and partly refunded.
#
#   TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… PORT=8090 ./curl.sh
#
# Needs curl and python3 (to read JSON, and as the webhook's receiver: curl cannot listen).
set -euo pipefail
here=$(dirname "$0")
PORT=${PORT:-8090}

api() { curl --silent --show-error --fail-with-body -H "X-API-Key: $TOLEM_API_KEY" -H 'Content-Type: application/json' "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# The secret is shown once: keep it.
endpoint=$(api "$TOLEM_API_URL/api/v1/webhooks" -d '{"url": "http://127.0.0.1:'"$PORT"'/", "events": ["invoice.*", "refund.*"]}')
WEBHOOK_SECRET=$(field secret <<<"$endpoint") PORT=$PORT python3 "$here/python/webhook.py" &
receiver=$!
trap 'kill $receiver; api -X DELETE "$TOLEM_API_URL/api/v1/webhooks/$(field id <<<"$endpoint")"' EXIT

# The key is the order's own: however often this is repeated, there is one bill.
order=order-$(date +%s)-$$
wanted='{"amount": 10000, "phone_number": "77011234567", "description": "Order 1042", "external_order_id": "'$order'"}'
invoice=$(api "$TOLEM_API_URL/api/v1/invoices" -H "Idempotency-Key: $order" -d "$wanted" | field id)
again=$(api "$TOLEM_API_URL/api/v1/invoices" -H "Idempotency-Key: $order" -d "$wanted" | field id)
[ "$invoice" = "$again" ]
echo "created $invoice"

# In the sandbox you are the payer. Live, the customer pays in the Kaspi app, and a webhook tells.
echo "paid $(api "$TOLEM_API_URL/api/v1/sandbox/invoices/$invoice/simulate" -d '{"status": "paid"}' | field state)"

# The answer only says that it is recorded; the webhook tells the outcome, and so does a look.
refund=$(api "$TOLEM_API_URL/api/v1/invoices/$invoice/refund" -H "Idempotency-Key: return-$order" \
  -d '{"amount": 2500, "reason": "Out of stock"}' | field id)
for _ in $(seq 60); do
  status=$(api "$TOLEM_API_URL/api/v1/refunds/$refund" | field status)
  case $status in completed | failed) break ;; esac
  sleep 0.5
done
echo "refunded $status"

# Each event is on its way to each endpoint once: none is pending when all have arrived.
pending="$TOLEM_API_URL/api/v1/webhook-deliveries?state=pending&endpoint_id=$(field id <<<"$endpoint")"
for _ in $(seq 60); do
  case $(api "$pending" | field items) in '[]') break ;; esac
  sleep 0.5
done
