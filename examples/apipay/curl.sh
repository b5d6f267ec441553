#!/usr/bin/env bash
# A sandbox invoice by the ApiPay contract, with curl: webhook registered, bill created, paid, and partly refunded.
#
#   TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… PORT=8090 ./curl.sh
#
# Needs curl and python3 (to read JSON, and as the webhook's receiver: curl cannot listen).
set -euo pipefail
here=$(dirname "$0")
PORT=${PORT:-8090}

api() { curl --silent --show-error --fail-with-body -H "X-API-Key: $TOLEM_API_KEY" -H 'Content-Type: application/json' "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# ApiPay's contract has no request for this. The secret is shown once: keep it.
endpoint=$(api "$TOLEM_API_URL/api/v1/webhooks" \
  -d '{"url": "http://127.0.0.1:'"$PORT"'/", "dialect": "apipay", "events": ["invoice.status_changed", "invoice.refunded"]}')
WEBHOOK_SECRET=$(field secret <<<"$endpoint") PORT=$PORT python3 "$here/python/webhook.py" &
receiver=$!
trap 'kill $receiver; api -X DELETE "$TOLEM_API_URL/api/v1/webhooks/$(field id <<<"$endpoint")"' EXIT

# In the sandbox a phone that ends in 0001 pays by itself. Live, the customer pays in the Kaspi app.
# The key, which ApiPay does not have, is the order's own: however often this is repeated, there is one bill.
order=order-$(date +%s)-$$
wanted='{"amount": 10000, "phone_number": "87010000001", "description": "Order 1042", "external_order_id": "'$order'",
  "webhook_id": '$(field number <<<"$endpoint")'}'
invoice=$(api "$TOLEM_API_URL/api/invoices" -H "Idempotency-Key: $order" -d "$wanted" | field id)
again=$(api "$TOLEM_API_URL/api/invoices" -H "Idempotency-Key: $order" -d "$wanted" | field id)
[ "$invoice" = "$again" ]
echo "created $invoice"

# The webhook tells, and so does a look.
for _ in $(seq 60); do
  status=$(api "$TOLEM_API_URL/api/invoices/$invoice" | field status)
  [ "$status" = pending ] || break
  sleep 1
done
echo "paid $status"

# Mostly the answer says how it went. Where the bank is slow, look again.
refund=$(api "$TOLEM_API_URL/api/invoices/$invoice/refund" -H "Idempotency-Key: return-$order" \
  -d '{"amount": 2500, "reason": "Out of stock"}' | field id)
for _ in $(seq 60); do
  status=$(api "$TOLEM_API_URL/api/refunds/$refund" | field status)
  case $status in completed | failed) break ;; esac
  sleep 1
done
echo "refunded $status"

# Each event is on its way to each endpoint once: none is pending when all have arrived.
pending="$TOLEM_API_URL/api/v1/webhook-deliveries?state=pending&endpoint_id=$(field id <<<"$endpoint")"
for _ in $(seq 60); do
  case $(api "$pending" | field items) in '[]') break ;; esac
  sleep 0.5
done
