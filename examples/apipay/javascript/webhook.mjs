// Receives webhooks in ApiPay's words ("dialect": "apipay") and checks their signature. Node 18 or newer, no packages.
//
//   WEBHOOK_SECRET=whsec_… PORT=8090 node webhook.mjs

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const SECRET = process.env.WEBHOOK_SECRET;
const PORT = Number(process.env.PORT ?? 8090);

// `signature` is the header X-Webhook-Signature, `body` the raw Buffer.
function isOurs(signature, body) {
  // The key is the secret's whole text, "whsec_" included.
  const expected = Buffer.from("sha256=" + createHmac("sha256", SECRET).update(body).digest("hex"));
  const given = Buffer.from(signature ?? "");
  return given.length === expected.length && timingSafeEqual(given, expected);
}

createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  if (!isOurs(request.headers["x-webhook-signature"], body)) return response.writeHead(400).end();
  response.writeHead(200).end(); // answer first, work afterwards
  const told = JSON.parse(body);
  // The same may come twice, and this signature does not show its age: a real shop remembers webhook-id, or
  // invoice.id with invoice.status, and skips what it knows. Events about something else have no invoice.
  console.log("verified", told.event, told.invoice?.id ?? "", told.invoice?.status ?? "");
}).listen(PORT, "127.0.0.1");
