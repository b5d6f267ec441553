// A sandbox subscription that lives three months in seconds, by a test clock. Node 18 or newer, no packages.
//
//   TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… node subscription.mjs

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const { TOLEM_API_URL, TOLEM_API_KEY } = process.env;

async function call(method, path, body, idempotencyKey) {
  const headers = { "X-API-Key": TOLEM_API_KEY, "Content-Type": "application/json" };
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  const answer = await fetch(TOLEM_API_URL + path, { method, headers, body: body && JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(said)}`);
  return said;
}

let clock = await call("POST", "/api/v1/sandbox/test-clocks", { name: "example", now: "2026-01-31T10:00:00+05:00" });

// Every period is a bill that the payer confirms: Kaspi has no auto-debit.
const wanted = { phone_number: "77011234567", amount: 10000, billing_period: "monthly", description: "Membership" };
const asked = { ...wanted, test_clock: clock.id };
const subscription = await call("POST", "/api/v1/subscriptions", asked, `member-${randomUUID()}`);
console.log("created", subscription.id, subscription.status);

clock = await call("POST", `/api/v1/sandbox/test-clocks/${clock.id}/advance`, { by: "P3M" });
while (clock.state !== "ready") {
  await sleep(200);
  clock = await call("GET", `/api/v1/sandbox/test-clocks/${clock.id}`);
}

for (const invoice of (await call("GET", `/api/v1/subscriptions/${subscription.id}/invoices`)).items) {
  console.log("billed", invoice.id, invoice.amount, invoice.state);
}
const canceled = await call("POST", `/api/v1/subscriptions/${subscription.id}/cancel`);
console.log("canceled", canceled.id, canceled.status);
