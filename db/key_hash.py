"""How an idempotency key is kept: merchants put order numbers and worse into keys, so only a hash stands here."""

import hashlib


def key_hash(key: str) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(key.encode()).digest()
