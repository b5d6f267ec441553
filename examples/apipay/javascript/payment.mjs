// A sandbox invoice by the ApiPay contract: created, paid, and partly refunded. Node 18 or newer, no packages.
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
  // said.errors names the wrong fields; after a 429 repeat the same request in said.retry_after seconds.
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(said)}`);
  return said;
}

const order = `order-${randomUUID()}`;

// In the sandbox a phone that ends in 0001 pays by itself. Live, the customer pays in the Kaspi app.
const wanted = { amount: 10000, phone_number: "87010000001", description: "Order 1042", external_order_id: order };
// The key, which ApiPay does not have, is the order's own: however often this is repeated, there is one bill.
let invoice = await call("POST", "/api/invoices", wanted, order);
const again = await call("POST", "/api/invoices", wanted, order);
if (again.id !== invoice.id) throw new Error("two bills for one order");
console.log("created", invoice.id, invoice.amount, invoice.status);

// A webhook tells; a program without one looks.
for (let look = 0; look < 60 && invoice.status === "pending"; look++) {
  await sleep(1000);
  invoice = await call("GET", `/api/invoices/${invoice.id}`);
}
console.log("paid", invoice.id, invoice.status);

const asked = { amount: 2500, reason: "Out of stock" };
let refund = await call("POST", `/api/invoices/${invoice.id}/refund`, asked, `return-${order}`);
// Mostly the answer says how it went. Where the bank is slow, look again.
for (let look = 0; look < 60 && !["completed", "failed"].includes(refund.status); look++) {
  await sleep(1000);
  refund = await call("GET", `/api/refunds/${refund.id}`);
}
console.log("refunded", refund.id, refund.amount, refund.status);

invoice = await call("GET", `/api/invoices/${invoice.id}`);
console.log("total_refunded", invoice.total_refunded, invoice.status);
