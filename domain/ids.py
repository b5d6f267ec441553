"""Public identifiers: a prefix that names the kind and 128 bits in lower-case base32."""

import base64
import hashlib
import hmac
import secrets

INVOICE = "inv"
EVENT = "evt"
ENDPOINT = "whe"
DELIVERY = "whd"
MERCHANT = "mer"
API_KEY = "key"
CONNECTION = "con"
REFUND = "ref"
AUDIT = "aud"
RECONCILIATION = "rec"
SECRET_OF_ENDPOINT = "whs"  # noqa: S105 -- the prefix of an id
REDELIVERY = "rdl"
CATALOG_ITEM = "cat"
SUBSCRIPTION = "sub"
TEST_CLOCK = "clk"


def _text(prefix: str, raw: bytes) -> str:
    return f"{prefix}_{base64.b32encode(raw).decode().rstrip('=').lower()}"


def new_id(prefix: str) -> str:
    """A fresh random id such as ``inv_4k6…`` (26 characters after the prefix)."""
    return _text(prefix, secrets.token_bytes(16))


def derived_id(prefix: str, salt: bytes, *parts: str) -> str:
    """The same parts under the same salt give the same id for ever; nobody without the salt can guess it.

    An idempotency key becomes a resource id this way (decision 3), so two processes that race agree
    on the id without talking to each other.
    """
    message = "\x1f".join(parts).encode()
    return _text(prefix, hmac.new(salt, message, hashlib.sha256).digest()[:16])
