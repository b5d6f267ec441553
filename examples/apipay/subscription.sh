#!/usr/bin/env bash
# A recurring invoice by the ApiPay contract: billed early and paid, changed, paused, resumed.
# Needs curl, and python3 to read JSON.
#
#   TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… ./subscription.sh
set -euo pipefail

api() { curl --silent --show-error --fail-with-body -H "X-API-Key: $TOLEM_API_KEY" -H 'Content-Type: application/json' "$@"; }
fields() { python3 -c 'import json, sys; said = json.load(sys.stdin); print(*(said[name] for name in sys.argv[1:]))' "$@"; }

# Every period is a bill that the payer confirms: Kaspi has no auto-debit.
start=$(python3 -c 'from datetime import date, timedelta; print(date.today() + timedelta(days=30))')
recurring=$(api "$TOLEM_API_URL/api/recurring-invoices" -H "Idempotency-Key: member-$(date +%s)-$$" -d '{
  "amount": 10000, "phone_number": "87011234567", "description": "Membership", "interval": "monthly",
  "start_date": "'"$start"'"}')
echo "created $(fields id status next_billing_date <<<"$recurring")"
one=$TOLEM_API_URL/api/recurring-invoices/$(fields id <<<"$recurring")

# The first period, before its date.
invoice=$(api -X POST "$one/bill-now")
echo "billed $(fields id amount status <<<"$invoice")"

# You are the payer: ApiPay has no sandbox, so this one request is of the other contract, by its id there.
api "$TOLEM_API_URL/api/v1/sandbox/invoices/$(fields tolem_id <<<"$invoice")/simulate" -d '{"status": "paid"}' >/dev/null
echo "paid $(api "$TOLEM_API_URL/api/invoices/$(fields id <<<"$invoice")" | fields id status)"

# It holds from the next period.
echo "changed $(api -X PUT "$one" -d '{"amount": 12000}' | fields id amount)"
for action in pause resume cancel; do
  echo "$action $(api -X POST "$one/$action" | fields id status)"
done
