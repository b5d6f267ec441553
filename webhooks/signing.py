"""Signatures on webhook requests: Standard Webhooks v1 and v1a, and the published `X-Webhook-Signature` beside them."""

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

from webhooks.asymmetric import PUBLIC_PREFIX, confirms_v1a, new_signing_key, sign_v1a
from webhooks.errors import SignatureMismatch

__all__ = ["MAX_SECRETS", "new_secret", "new_signing_key", "sign", "verify"]

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


def sign(
    secrets: Sequence[str], event_id: str, sent_at: datetime, body: bytes, *, signing_key: str | None = None
) -> dict[str, str]:
    """Headers that prove `body` is ours. `secrets` are those in force, the newest first.

    `webhook-signature` carries one `v1` signature per secret, in their order, so a receiver with any of them can
    check it while secrets rotate, and behind them one `v1a` where there is a `signing_key` (`whsk_…`).
    `X-Webhook-Signature` can carry one only. It is keyed by the UTF-8 bytes of the whole **oldest** secret (with its
    `whsec_`), over the body alone: a rotation breaks no receiver of this form before its overlap is over. `sent_at`
    is aware, cut to whole seconds; `body` is UTF-8.
    Raises ValueError for no or too many or malformed secrets, a malformed key, a naive time, an id that is empty or
    has a dot (it could be read as the end of the id), a body that is not UTF-8.
    """
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValueError(f"sign with 1 to {MAX_SECRETS} secrets, not {len(secrets)}")
    if not event_id or "." in event_id:
        raise ValueError("an event id cannot be empty or have a dot")
    if sent_at.tzinfo is None:
        raise ValueError("sent_at must be an aware datetime")
    # The library relabels whatever zone it gets as UTC, so it must be UTC already.
    moment = sent_at.astimezone(UTC)
    text = _text(body)
    signatures = [_v1(secret, event_id, moment, text) for secret in secrets]
    if signing_key is not None:
        signatures.append(sign_v1a(signing_key, _content(event_id, moment, body)))
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(_seconds(moment)),
        "webhook-signature": " ".join(signatures),
        "X-Webhook-Signature": "sha256=" + hmac.new(secrets[-1].encode(), body, hashlib.sha256).hexdigest(),
    }


def verify(key: str, headers: Mapping[str, str], body: bytes, now: datetime, tolerance: timedelta) -> None:
    """Check a received request by Standard Webhooks: v1 with a secret (`whsec_…`), v1a with a public key (`whpk_…`).

    Header names in any case. Raises SignatureMismatch for a missing header, a time further than `tolerance` from
    `now` (aware) in either direction, or no signature by this key; ValueError for a malformed key, which is the
    caller's own.
    """
    given = {name.lower(): value for name, value in headers.items()}
    event_id = given.get("webhook-id")
    timestamp = given.get("webhook-timestamp", "")
    signatures = given.get("webhook-signature")
    if not event_id or not timestamp or not signatures:
        raise SignatureMismatch("webhook-id, webhook-timestamp or webhook-signature is missing")
    if not event_id.isascii() or "." in event_id:
        # A dot could move the border between id, time and body without changing what is signed.
        raise SignatureMismatch("webhook-id is not one of ours")
    # One spelling only ("007" has two): what is signed is the number, so another spelling would pass unsigned.
    if not re.fullmatch(f"[1-9][0-9]{{0,{MAX_TIMESTAMP_DIGITS - 1}}}", timestamp, re.ASCII):
        raise SignatureMismatch("webhook-timestamp is not a number of seconds")
    sent_at = datetime.fromtimestamp(int(timestamp), tz=UTC)
    if abs(now - sent_at) > tolerance:
        raise SignatureMismatch("webhook-timestamp is too far from the present")
    candidates = signatures.split(" ")
    if key.startswith(PUBLIC_PREFIX):
        proven = confirms_v1a(key, _content(event_id, sent_at, body), candidates)
    else:
        proven = _confirms_v1(key, event_id, sent_at, body, candidates)
    if not proven:
        raise SignatureMismatch("no signature by this key matches")


def _confirms_v1(secret: str, event_id: str, sent_at: datetime, body: bytes, candidates: list[str]) -> bool:
    try:
        expected = _v1(secret, event_id, sent_at, body.decode()).encode()
    except UnicodeDecodeError:
        raise SignatureMismatch("the body is not UTF-8") from None
    # Compared as text, not as decoded base64, which has several spellings of the same bytes.
    return any(hmac.compare_digest(expected, candidate.encode("utf-8", "replace")) for candidate in candidates)


def _content(event_id: str, moment: datetime, body: bytes) -> bytes:
    """What Standard Webhooks signs."""
    return f"{event_id}.{_seconds(moment)}.".encode() + body


def _seconds(moment: datetime) -> int:
    return math.floor(moment.timestamp())


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
