"""Encrypts what Temporal stores, so that its database and its UI hold no personal data (decision 9)."""

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from runtime.secrets import NONCE_BYTES, KeyRing

ENCODING = b"binary/tolem-aes256gcm"
KEY_ID = "tolem-key-id"


class PayloadUnreadable(RuntimeError):
    """The key is not in the ring, or the bytes were changed. Says which key, never what was inside."""


class EncryptionCodec(PayloadCodec):
    """AES-256-GCM around whole payloads: metadata names the key, data is nonce (12 bytes) and ciphertext.

    The ring's primary key encrypts, all of them decrypt, so histories written before a rotation stay
    readable as long as the old key is kept. Payloads of another encoding pass through untouched: operators
    send plain JSON signals from the UI.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._primary = ring.primary.encode()
        self._ciphers = {key_id.encode(): AESGCM(key) for key_id in ring.ids if (key := ring.key(key_id))}

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self.decrypt(payload) for payload in payloads]

    def decrypt(self, payload: Payload) -> Payload:
        """`PayloadUnreadable` for a missing key or changed bytes; other encodings are returned as they are."""
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        key_id = payload.metadata.get(KEY_ID, b"")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise PayloadUnreadable(f"no key {key_id.decode('ascii', 'replace')!r} in TOLEM_PAYLOAD_KEYS")
        nonce, ciphertext = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            plain = cipher.decrypt(nonce, ciphertext, _bound(key_id))
        except (InvalidTag, ValueError):
            # ValueError: a nonce cut shorter than GCM allows.
            raise PayloadUnreadable(f"payload does not open with key {key_id.decode()!r}") from None
        return Payload.FromString(plain)

    def _encrypt(self, payload: Payload) -> Payload:
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._primary].encrypt(nonce, payload.SerializeToString(), _bound(self._primary))
        return Payload(metadata={"encoding": ENCODING, KEY_ID: self._primary}, data=nonce + sealed)


def _bound(key_id: bytes) -> bytes:
    return ENCODING + b":" + key_id
