"""Idempotency keys: their form, the fingerprint of a body, and the replay of a kept answer."""

import hashlib
import hmac
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Response
from litestar.params import HeaderParameter

from db.reads import KeptAnswer
from domain.errors import Code, FieldError, TolemError, invalid

MAX_LENGTH = 255
REPLAYED = {"Idempotent-Replayed": "true"}

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        required=False,
        description="Up to 255 printable ASCII characters. Repeating a request with the same key gives the same "
        "answer and makes no second object; kept for 30 days.",
        examples=[],
    ),
]


def checked(key: str | None) -> str | None:
    """The key, None without one; `TolemError` for one that cannot be a key."""
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_LENGTH or not all("!" <= ch <= "~" or ch == " " for ch in key) or not key.strip():
        raise invalid(FieldError("Idempotency-Key", "invalid", "Must be 1 to 255 printable ASCII characters."))
    return key


def fingerprint(salt: bytes, operation: str, *parts: object) -> str:
    """The same for bodies that mean the same, whatever their spelling (order of fields, 100 or 100.00).

    Salted, because it stands in places that are not encrypted, and a phone number is quickly guessed.
    """
    canonical = msgspec.json.encode([operation, *parts], order="deterministic")
    return hmac.new(salt, canonical, hashlib.sha256).hexdigest()


def replay(kept: KeptAnswer, wanted: str) -> Response[Any] | None:
    """The kept answer byte by byte, None while the first request is still being handled."""
    if kept.fingerprint != wanted:
        raise TolemError(Code.IDEMPOTENCY_KEY_REUSED)
    return None if kept.status is None else replayed(kept)


def replayed(kept: KeptAnswer) -> Response[Any]:
    """The kept answer byte by byte; its body is known to be of the same request, which has been handled."""
    if kept.status is None:
        raise AssertionError("nothing is kept yet")
    return Response(kept.body, status_code=kept.status, headers=REPLAYED, media_type=MediaType.JSON)
