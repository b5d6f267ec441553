"""Secrets: the wrapper that hides them, the box that seals them, the API keys we hand out."""

import base64
import binascii
import hashlib
import os
import re
import secrets
import string
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.merchant import Mode

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12

_SEAL_VERSION: Final = 1
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_API_KEY_PREFIX: Final = {Mode.TEST: "tk_test_", Mode.LIVE: "tk_live_"}
_API_KEY_RANDOM: Final = 32
_API_KEY_CHECKSUM: Final = 6
_API_KEY = re.compile(
    rf"tk_(?P<mode>test|live)_[0-9A-Za-z]{{{_API_KEY_RANDOM}}}(?P<checksum>[0-9A-Za-z]{{{_API_KEY_CHECKSUM}}})"
)


class Secret:
    """A text that shows itself only when asked by name, so that a stray repr, log or f-string cannot."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        return self.__text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return secrets.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled: what is pickled gets written somewhere")


class KeyRing:
    """Named 32-byte keys: `primary` seals, every one of them opens. The repr shows ids only."""

    __slots__ = ("_keys", "primary")

    def __init__(self, primary: str, keys: Mapping[str, bytes]) -> None:
        if primary not in keys:
            raise ValueError("the primary key is not in the ring")
        for key_id, key in keys.items():
            if not _KEY_ID.fullmatch(key_id) or len(key) != KEY_BYTES:
                raise ValueError("each key needs an id of 1-32 letters, digits, - or _ and 32 bytes")
        self.primary: Final = primary
        self._keys = MappingProxyType(dict(keys))

    def key(self, key_id: str) -> bytes | None:
        return self._keys.get(key_id)

    @property
    def ids(self) -> tuple[str, ...]:
        """The primary first, then the older ones as they were given."""
        return self.primary, *(key_id for key_id in self._keys if key_id != self.primary)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.ids)})"


def parse_keyring(text: str) -> KeyRing:
    """``id:base64key,id2:base64key`` (the first is primary); `ValueError` whose text repeats no key."""
    keys: dict[str, bytes] = {}
    for place, entry in enumerate(text.split(","), start=1):
        key_id, colon, encoded = entry.strip().partition(":")
        if not colon or not _KEY_ID.fullmatch(key_id):
            raise ValueError(
                f"entry {place} must be id:base64key, the id 1-32 letters, digits, - or _ "
                "(a new one: echo k1:$(openssl rand -base64 32))"
            )
        if key_id in keys:
            raise ValueError(f"entry {place} repeats the id of an earlier one")
        keys[key_id] = _decode_key(encoded, place)
    return KeyRing(next(iter(keys)), keys)


def _decode_key(encoded: str, place: int) -> bytes:
    standard = encoded.translate(str.maketrans("-_", "+/"))
    try:
        key = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        # `from None`: the decoder's own message may quote the key.
        raise ValueError(f"the key of entry {place} is not base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key of entry {place} has {len(key)} bytes, it must have {KEY_BYTES}")
    return key


class SealBroken(Exception):
    """Sealed bytes did not open: unknown key id, another context, tampering, or not sealed by us at all."""


class SealBox:
    """AES-256-GCM for what stands in the database: bytes in, self-describing bytes out.

    Layout: version (1 byte) · length of the key id (1) · key id · nonce (12) · ciphertext with tag (16).
    The layout's head and the `context` (such as ``connection:con_x``) are authenticated, so bytes copied
    to another row do not open. Nonces are random: replace the primary key long before 2^32 seals.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._ciphers = {key_id: AESGCM(key) for key_id in ring.ids if (key := ring.key(key_id))}

    def seal(self, plaintext: bytes, context: str) -> bytes:
        key_id = self._ring.primary
        head = bytes((_SEAL_VERSION, len(key_id))) + key_id.encode()
        nonce = os.urandom(NONCE_BYTES)
        return head + nonce + self._ciphers[key_id].encrypt(nonce, plaintext, head + context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """`SealBroken` names the cause and, where it is known, the key id; never any content."""
        head, key_id, rest = _split(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealBroken(f"sealed with key {key_id!r}, which is not in the ring")
        nonce, ciphertext = rest[:NONCE_BYTES], rest[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, ciphertext, head + context.encode())
        except InvalidTag:
            raise SealBroken(
                f"does not open with key {key_id!r}: tampered, of another context, or the key differs"
            ) from None

    def needs_resealing(self, sealed: bytes) -> bool:
        """Whether an older key than the primary sealed these bytes; `SealBroken` if they are not ours."""
        return _split(sealed)[1] != self._ring.primary


def _split(sealed: bytes) -> tuple[bytes, str, bytes]:
    if len(sealed) < 2 or sealed[0] != _SEAL_VERSION:
        raise SealBroken("not sealed by us, or by a newer version")
    end = 2 + sealed[1]
    head, rest = sealed[:end], sealed[end:]
    if len(rest) < NONCE_BYTES + 16:
        raise SealBroken("too short: cut off")
    try:
        key_id = head[2:].decode("ascii")
    except UnicodeDecodeError:
        raise SealBroken("not sealed by us: the key id is damaged") from None
    if not _KEY_ID.fullmatch(key_id):
        raise SealBroken("not sealed by us: the key id is damaged")
    return head, key_id, rest


def new_api_key(mode: Mode) -> str:
    """A fresh ``tk_test_…`` or ``tk_live_…``: 32 random base62 characters (190 bits), then 6 of CRC-32.

    The checksum makes a typo cheap to refuse and lets secret scanners tell a key from noise; it is no secret.
    """
    body = _API_KEY_PREFIX[mode] + "".join(secrets.choice(_BASE62) for _ in range(_API_KEY_RANDOM))
    return body + _checksum(body)


def api_key_mode(key: str) -> Mode | None:
    """The mode a well-formed key claims, `None` for a typo or anything else. No proof that the key exists."""
    match = _API_KEY.fullmatch(key)
    if match is None or match["checksum"] != _checksum(key[:-_API_KEY_CHECKSUM]):
        return None
    return Mode(match["mode"])


def hash_api_key(key: str) -> bytes:
    """SHA-256, 32 bytes. No salt and no slow hash: 190 random bits cannot be guessed, and a salt would
    forbid finding the key by its hash in one indexed look-up.
    """
    return hashlib.sha256(key.encode()).digest()


def _checksum(body: str) -> str:
    rest = zlib.crc32(body.encode())
    digits = []
    for _ in range(_API_KEY_CHECKSUM):
        rest, digit = divmod(rest, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
