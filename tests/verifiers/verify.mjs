// Reads one request per line as JSON ({secret, public_key, headers, body: base64}), prints for each line what every
// verifier says of it: true for "this is from the owner of the secret, unchanged, and fresh where it has a time".
// Arguments name the verifiers to ask; none means all.

import { createPublicKey, verify as verifyBytes } from "node:crypto";
import { createInterface } from "node:readline";

import { verify as verifyHex } from "@octokit/webhooks-methods";
import OpenAI from "openai";
import { Webhook } from "standardwebhooks";

const client = new OpenAI({ apiKey: "not used: nothing is called" });

const verifiers = {
  // The reference library of Standard Webhooks for JavaScript: HMAC of its own.
  standardwebhooks: (one, body) => new Webhook(one.secret).verify(body, one.headers) !== undefined,
  // The same scheme by other authors, on WebCrypto.
  openai: async (one, body) => {
    await client.webhooks.verifySignature(body.toString("utf8"), one.headers, one.secret);
    return true;
  },
  // The older form: GitHub's, by GitHub's library.
  octokit: (one, body) => verifyHex(one.secret, body.toString("utf8"), one.headers["X-Webhook-Signature"]),
  // v1a by Node's OpenSSL; no library on npm does it.
  ed25519: (one, body) => confirms(one, body),
};

function confirms(one, body) {
  const x = Buffer.from(one.public_key.slice("whpk_".length), "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const sentAt = one.headers["webhook-timestamp"];
  if (!/^[1-9][0-9]*$/.test(sentAt) || Math.abs(Date.now() / 1000 - Number(sentAt)) > 300) {
    return false;
  }
  const content = Buffer.concat([Buffer.from(`${one.headers["webhook-id"]}.${sentAt}.`), body]);
  return one.headers["webhook-signature"]
    .split(" ")
    .filter((given) => given.startsWith("v1a,"))
    .some((given) => verifyBytes(null, content, key, Buffer.from(given.slice(4), "base64")));
}

async function says(verifier, one, body) {
  try {
    return (await verifier(one, body)) === true;
  } catch {
    return false; // each library has its own way to refuse
  }
}

const asked = Object.entries(verifiers).filter(([name]) => process.argv.length < 3 || process.argv.includes(name));

for await (const line of createInterface({ input: process.stdin })) {
  const one = JSON.parse(line);
  const body = Buffer.from(one.body, "base64");
  const verdicts = {};
  for (const [name, verifier] of asked) {
    verdicts[name] = await says(verifier, one, body);
  }
  console.log(JSON.stringify(verdicts));
}
