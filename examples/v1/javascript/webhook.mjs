// Receives Tölem's webhooks and checks their signature. Node 18 or newer, no packages.
//
//   WEBHOOK_SECRET=whsec_… PORT=8090 node webhook.mjs

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const SECRET = process.env.WEBHOOK_SECRET;
const PORT = Number(process.env.PORT ?? 8090);
const TOLERANCE_SECONDS = 300;

// True where one of the signatures is right and the request is fresh. `body` is the raw Buffer.
function isOurs(headers, body) {
  const sentAt = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]{1,11}$/.test(sentAt) || Math.abs(Date.now() / 1000 - Number(sentAt)) > TOLERANCE_SECONDS) return false;
  const key = Buffer.from(SECRET.replace(/^whsec_/, ""), "base64");
  const mac = createHmac("sha256", key).update(`${headers["webhook-id"]}.${sentAt}.`).update(body);
  const expected = Buffer.from("v1," + mac.digest("base64"));
  return (headers["webhook-signature"] ?? "").split(" ").some((one) => {
    const given = Buffer.from(one);
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  if (!isOurs(request.headers, body)) return response.writeHead(400).end();
  response.writeHead(204).end(); // answer first, work afterwards
  const event = JSON.parse(body);
  // The same event may come twice: a real shop remembers event.id, and skips what it knows.
  const about = event.data.object;
  console.log("verified", event.id, event.type, about.id, about.state ?? about.status);
}).listen(PORT, "127.0.0.1");
