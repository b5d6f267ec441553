// A recurring invoice by the ApiPay contract: billed early and paid, changed, paused, resumed. Node 18, no packages.
//
//   TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… node subscription.mjs

import { randomUUID } from "node:crypto";

const { TOLEM_API_URL, TOLEM_API_KEY } = process.env;
const DAY = 24 * 60 * 60 * 1000;

async function call(method, path, body, idempotencyKey) {
  const headers = { "X-API-Key": TOLEM_API_KEY, "Content-Type": "application/json" };
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  const answer = await fetch(TOLEM_API_URL + path, { method, headers, body: body && JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(said)}`);
  return said;
}

// Every period is a bill that the payer confirms: Kaspi has no auto-debit.
const wanted = { amount: 10000, phone_number: "87011234567", description: "Membership", interval: "monthly" };
const asked = { ...wanted, start_date: new Date(Date.now() + 30 * DAY).toISOString().slice(0, 10) };
let recurring = await call("POST", "/api/recurring-invoices", asked, `member-${randomUUID()}`);
console.log("created", recurring.id, recurring.status, recurring.next_billing_date);
const path = `/api/recurring-invoices/${recurring.id}`;

// The first period, before its date.
let invoice = await call("POST", `${path}/bill-now`);
console.log("billed", invoice.id, invoice.amount, invoice.status);

// You are the payer: ApiPay has no sandbox, so this one request is of the other contract, by its id there.
await call("POST", `/api/v1/sandbox/invoices/${invoice.tolem_id}/simulate`, { status: "paid" });
invoice = await call("GET", `/api/invoices/${invoice.id}`);
console.log("paid", invoice.id, invoice.status);

// It holds from the next period.
recurring = await call("PUT", path, { amount: 12000 });
console.log("changed", recurring.id, recurring.amount);
for (const action of ["pause", "resume", "cancel"]) {
  recurring = await call("POST", `${path}/${action}`);
  console.log(action, recurring.id, recurring.status);
}
