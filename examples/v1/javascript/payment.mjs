// A sandbox invoice: created, paid, and partly refunded. Node 18 or newer, no packages.
//
//   TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… node payment.mjs

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const { TOLEM_API_URL, TOLEM_API_KEY } = process.env;

// The answer's JSON. An error stops the program with what the API says.
async function call(method, path, body, idempotencyKey) {
  const headers = { "X-API-Key": TOLEM_API_KEY, "Content-Type": "application/json" };
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  const answer = await fetch(TOLEM_API_URL + path, { method, headers, body: body && JSON.stringify(body) });
  const said = await answer.json();
  // said.retryable says whether the same request may succeed later: repeat it with the same key then.
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(said)}`);
  return said;
}

const order = `order-${randomUUID()}`;

// The key is the order's own: however often this is repeated, there is one bill.
const wanted = { amount: 10000, phone_number: "77011234567", description: "Order 1042", external_order_id: order };
let invoice = await call("POST", "/api/v1/invoices", wanted, order);
const again = await call("POST", "/api/v1/invoices", wanted, order);
if (again.id !== invoice.id) throw new Error("two bills for one order");
console.log("created", invoice.id, invoice.amount, invoice.state);

// In the sandbox you are the payer. Live, the customer pays in the Kaspi app, and a webhook tells.
invoice = await call("POST", `/api/v1/sandbox/invoices/${invoice.id}/simulate`, { status: "paid" });
console.log("paid", invoice.id, invoice.state);

const asked = { amount: 2500, reason: "Out of stock" };
let refund = await call("POST", `/api/v1/invoices/${invoice.id}/refund`, asked, `return-${order}`);
// The answer only says that it is recorded. A webhook tells the outcome; a program without one looks.
for (let look = 0; look < 60 && !["completed", "failed"].includes(refund.status); look++) {
  await sleep(500);
  refund = await call("GET", `/api/v1/refunds/${refund.id}`);
}
console.log("refunded", refund.id, refund.amount, refund.status);

invoice = await call("GET", `/api/v1/invoices/${invoice.id}`);
console.log("left", invoice.available_for_refund, invoice.state);
