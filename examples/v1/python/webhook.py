"""Receives Tölem's webhooks and checks their signature. Standard library only.

WEBHOOK_SECRET=whsec_… PORT=8090 python3 webhook.py
"""

import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["WEBHOOK_SECRET"]
PORT = int(os.environ.get("PORT", "8090"))
TOLERANCE_SECONDS = 300


def is_ours(headers, body):
    """True where one of the signatures is right and the request is fresh. `body` as it came: bytes."""
    event_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent_at.isdigit() or abs(time.time() - int(sent_at)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    mac = hmac.new(key, f"{event_id}.{sent_at}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(mac.digest())
    given = headers.get("webhook-signature", "").encode().split(b" ")
    return any(hmac.compare_digest(expected, one) for one in given)


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if not is_ours(self.headers, body):
            self.answer(400)
            return
        self.answer(204)  # answer first, work afterwards
        event = json.loads(body)
        # The same event may come twice: a real shop remembers event["id"], and skips what it knows.
        about = event["data"]["object"]
        state = about.get("state") or about.get("status")
        print("verified", event["id"], event["type"], about.get("id"), state, flush=True)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()
        self.wfile.flush()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Hook).serve_forever()
