"""Signatures on webhook requests: Standard Webhooks v1, and the published `X-Webhook-Signature` beside it."""

import base64
import binascii
import hashlib
import hmac
import math
import re
import secrets as randomness
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from standardwebhooks.webhooks import Webhook

from webhooks.errors import SignatureMismatch

PREFIX = "whsec_"
NEW_SECRET_BYTES = 32
MAX_SECRETS = 10
# Standard Webhooks, "Signature scheme": between 24 and 64 bytes of key.
KEY_BYTES = range(24, 65)
# 11 digits reach the year 5138; more would only make datetime overflow.
MAX_TIMESTAMP_DIGITS = 11


def new_secret() -> str:
    """A fresh signing secret as the merchant sees it: `whsec_` and the base64 of 32 random bytes."""
    return PREFIX + base64.b64encode(randomness.token_bytes(NEW_SECRET_BYTES)).decode()


def sign(secrets: Sequence[str], event_id: str, sent_at: datetime, body: bytes) -> dict[str, str]:
    """Headers that prove `body` is ours.

    `webhook-signature` carries one `v1` signature per secret, so a receiver with any of them can check it while
    secrets rotate. `X-Webhook-Signature` can carry one only: it is keyed by the UTF-8 bytes of the whole first
    secret (with its `whsec_`), over the body alone. `sent_at` is aware, cut to whole seconds; `body` is UTF-8.
    Raises ValueError for no or too many or malformed secrets, a naive time, an empty id, a body that is not UTF-8.
    """
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValueError(f"sign with 1 to {MAX_SECRETS} secrets, not {len(secrets)}")
    if not event_id:
        raise ValueError("an event id cannot be empty")
    if sent_at.tzinfo is None:
        raise ValueError("sent_at must be an aware datetime")
    # The library relabels whatever zone it gets as UTC, so it must be UTC already.
    moment = sent_at.astimezone(UTC)
    text = _text(body)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(math.floor(moment.timestamp())),
        "webhook-signature": " ".join(_v1(secret, event_id, moment, text) for secret in secrets),
        "X-Webhook-Signature": "sha256=" + hmac.new(secrets[0].encode(), body, hashlib.sha256).hexdigest(),
    }


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: datetime, tolerance: timedelta) -> None:
    """Check a received request by Standard Webhooks v1; header names in any case.

    Raises SignatureMismatch for a missing header, a time further than `tolerance` from `now` (aware) in either
    direction, or no signature by this secret; ValueError for a malformed secret, which is the caller's own.
    """
    given = {name.lower(): value for name, value in headers.items()}
    event_id = given.get("webhook-id")
    timestamp = given.get("webhook-timestamp", "")
    signatures = given.get("webhook-signature")
    if not event_id or not timestamp or not signatures:
        raise SignatureMismatch("webhook-id, webhook-timestamp or webhook-signature is missing")
    # One spelling only ("007" has two): what is signed is the number, so another spelling would pass unsigned.
    if not re.fullmatch(f"[1-9][0-9]{{0,{MAX_TIMESTAMP_DIGITS - 1}}}", timestamp, re.ASCII):
        raise SignatureMismatch("webhook-timestamp is not a number of seconds")
    sent_at = datetime.fromtimestamp(int(timestamp), tz=UTC)
    if abs(now - sent_at) > tolerance:
        raise SignatureMismatch("webhook-timestamp is too far from the present")
    try:
        expected = _v1(secret, event_id, sent_at, body.decode()).encode()
    except UnicodeDecodeError:
        raise SignatureMismatch("the body is not UTF-8") from None
    # Compared as text, not as decoded base64, which has several spellings of the same bytes.
    candidates = [candidate.encode("utf-8", "replace") for candidate in signatures.split(" ")]
    if not any(hmac.compare_digest(expected, candidate) for candidate in candidates):
        raise SignatureMismatch("no signature by this secret matches")


def _v1(secret: str, event_id: str, moment: datetime, text: str) -> str:
    signature: str = Webhook(_key(secret)).sign(event_id, moment, text)
    return signature


def _key(secret: str) -> bytes:
    """The key inside a secret. Strict, because the library skips what is not base64 and signs with less."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise ValueError("a webhook secret is whsec_ and the base64 of 24 to 64 bytes")
    return key


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        # The original error carries the whole body along.
        raise ValueError("a webhook body must be UTF-8") from None
