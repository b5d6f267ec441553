"""Answers kept for idempotency keys, in the transaction of what they answer."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.key_hash import key_hash
from domain.merchant import Mode

# One that is older than a key is kept for gives way; a younger one stands.
_KEEP = text(
    "insert into idempotency_keys"
    " (merchant_id, mode, operation, key_hash, fingerprint, resource_id, answer_status, answer_body)"
    " values (:merchant, :mode, :operation, :hash, :fingerprint, :id, :status, :body)"
    " on conflict on constraint pk_idempotency_keys do update set fingerprint = excluded.fingerprint,"
    "   resource_id = excluded.resource_id, created_at = now(), answer_status = excluded.answer_status,"
    "   answer_body = excluded.answer_body"
    " where idempotency_keys.created_at < now() - interval '30 days' returning 1"
)


class KeyedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotency key, and the answer to keep for it."""

    mode: Mode
    operation: str
    key: str
    fingerprint: str
    status: int
    body: bytes


async def keep_answer(connection: AsyncConnection, merchant_id: str, resource_id: str, keyed: KeyedAnswer) -> bool:
    """False where another answer stands for the key."""
    values = {
        "merchant": merchant_id,
        "mode": keyed.mode,
        "operation": keyed.operation,
        "hash": key_hash(keyed.key),
        "fingerprint": keyed.fingerprint,
        "id": resource_id,
        "status": keyed.status,
        "body": keyed.body,
    }
    return (await connection.execute(_KEEP, values)).one_or_none() is not None
