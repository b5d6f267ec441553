"""Standard Webhooks `v1a`: ed25519 signatures, which a receiver checks with a key that can sign nothing."""

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
VERSION = "v1a,"
_SEED_BYTES = 32
_PUBLIC_BYTES = 32
_SIGNATURE_BYTES = 64


def new_signing_key() -> tuple[str, str]:
    """A fresh key pair: the private text (ours, to be sealed) and the public one (the merchant's).

    `whsk_` and the base64 of seed and public key, 64 bytes together; `whpk_` and the base64 of the public key. The
    specification says "standard ed25519 key pair", Svix and others read it so.
    """
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    return _text(PRIVATE_PREFIX, key.private_bytes_raw() + public), _text(PUBLIC_PREFIX, public)


def sign_v1a(private: str, content: bytes) -> str:
    """`v1a,` and the base64 of the signature over `content`. Raises ValueError for what is no `whsk_` text."""
    raw = _bytes(PRIVATE_PREFIX, private)
    if len(raw) != _SEED_BYTES + _PUBLIC_BYTES:
        raise ValueError("a webhook signing key is whsk_ and the base64 of 64 bytes")
    key = Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])
    if key.public_key().public_bytes_raw() != raw[_SEED_BYTES:]:
        # A pair of two keys would sign what its owner's public key never confirms.
        raise ValueError("the two halves of the webhook signing key do not belong together")
    return VERSION + base64.b64encode(key.sign(content)).decode()


def confirms_v1a(public: str, content: bytes, signatures: list[str]) -> bool:
    """Is one of `signatures` a `v1a` over `content` by this key? Raises ValueError for what is no `whpk_` text."""
    raw = _bytes(PUBLIC_PREFIX, public)
    if len(raw) != _PUBLIC_BYTES:
        raise ValueError("a webhook public key is whpk_ and the base64 of 32 bytes")
    key = Ed25519PublicKey.from_public_bytes(raw)
    return any(_confirms(key, content, one) for one in signatures)


def _confirms(key: Ed25519PublicKey, content: bytes, given: str) -> bool:
    signature = _strict(given.removeprefix(VERSION)) if given.startswith(VERSION) else b""
    if len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _text(prefix: str, raw: bytes) -> str:
    return prefix + base64.b64encode(raw).decode()


def _bytes(prefix: str, text: str) -> bytes:
    return _strict(text.removeprefix(prefix)) if text.startswith(prefix) else b""


def _strict(text: str) -> bytes:
    """Base64 in its one canonical spelling; empty for anything else, so that a changed bit is never the same bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if base64.b64encode(raw).decode() == text else b""
