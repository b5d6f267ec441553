"""The audit log's hash chain: how one row is sealed to the row before it, and what is wrong with rows that are not.

The database computes the same hash in a trigger (migrations: audit_link). Nothing is shared between the two, so that
the one can judge the other.
"""

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec

from domain.audit import AuditRow

# What the first row of a chain names as the hash before it.
GENESIS = bytes(32)
# Leads the hashed text: other fields or another order would be another format.
FORMAT = "tolem-audit-1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The last row of a merchant's chain at some moment, `hash` in hex; kept elsewhere it proves what stood before."""

    merchant_id: str
    position: int
    hash: str
    created_at: datetime


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """The first place where a merchant's chain is not what it must be."""

    merchant_id: str
    position: int
    why: str


def link_hash(row: AuditRow) -> bytes:
    """SHA-256 over the hash before and every field of the row; 32 bytes."""
    return hashlib.sha256(row.previous_hash + canonical(row).encode()).digest()


def canonical(row: AuditRow) -> str:
    """Every field but the hashes, each with its length in bytes before it, so that no two rows give one text."""
    fields = (
        FORMAT,
        row.merchant_id,
        row.position,
        row.id,
        (row.created_at - _EPOCH) // _MICROSECOND,
        row.actor_kind,
        row.actor_id,
        row.action,
        row.object_type,
        row.object_id,
        "true" if row.is_sandbox else "false",
        row.before,
        row.after,
        row.request_id,
        row.note,
    )
    return "".join("~" if field is None else _measured(str(field)) for field in fields)


def _measured(text: str) -> str:
    return f"{len(text.encode())}:{text}"


class ChainCheck:
    """Reads one merchant's rows in the order of their positions and remembers the first break.

    `head` was taken earlier and kept elsewhere: without one, a tail that was cut off, and a history that was written
    anew with new hashes, look whole.
    """

    def __init__(self, merchant_id: str, head: Head | None = None) -> None:
        self._merchant_id = merchant_id
        self._head = head
        self._hash = GENESIS
        self.position = 0
        self.broken: Broken | None = None

    def read(self, row: AuditRow) -> None:
        """The next row; rows after a break are not judged."""
        if self.broken is not None:
            return
        expected = self.position + 1
        why = self._wrong(row, expected)
        if why is not None:
            self.broken = Broken(merchant_id=self._merchant_id, position=expected, why=why)
            return
        self.position, self._hash = expected, row.hash

    def finish(self) -> Broken | None:
        """After the last row; the break, if there is any."""
        head = self._head
        if self.broken is None and head is not None and head.position > self.position:
            why = f"the tail is cut off: the exported head is at position {head.position}"
            self.broken = Broken(merchant_id=self._merchant_id, position=self.position + 1, why=why)
        return self.broken

    def _wrong(self, row: AuditRow, expected: int) -> str | None:
        if row.position != expected:
            return f"a row is missing or doubled: the next one says position {row.position}"
        if row.previous_hash != self._hash:
            return "it does not follow the row before it: a row was changed, removed or moved"
        if row.hash != link_hash(row):
            return "its content is not what was written"
        head = self._head
        if head is not None and head.position == row.position and row.hash.hex() != head.hash:
            return "the history up to here was written anew: the exported head has another hash"
        return None
