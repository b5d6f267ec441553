"""Receives webhooks in ApiPay's words ("dialect": "apipay") and checks their signature. Standard library only.

WEBHOOK_SECRET=whsec_… PORT=8090 python3 webhook.py
"""

import hashlib
import hmac
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["WEBHOOK_SECRET"]
PORT = int(os.environ.get("PORT", "8090"))


def is_ours(signature, body):
    """`signature` is the header X-Webhook-Signature, `body` as it came: bytes."""
    # The key is the secret's whole text, "whsec_" included.
    expected = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode())


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if not is_ours(self.headers.get("x-webhook-signature", ""), body):
            self.answer(400)
            return
        self.answer(200)  # answer first, work afterwards
        told = json.loads(body)
        # The same may come twice, and this signature does not show its age: a real shop remembers webhook-id, or
        # invoice["id"] with invoice["status"], and skips what it knows. Events about something else have no invoice.
        invoice = told.get("invoice", {})
        print("verified", told["event"], invoice.get("id", ""), invoice.get("status", ""), flush=True)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()
        self.wfile.flush()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Hook).serve_forever()
