"""Pages: by number near the start, by cursor anywhere."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from api.v1 import fields

# Beyond this an offset reads and throws away too many rows; a cursor costs the same everywhere.
MAX_OFFSET = 10_000
_POSITION = msgspec.json.Decoder(Annotated[int, Meta(ge=0, le=2**63 - 1)])


def start(cursor_: str | None, page: int, page_size: int) -> tuple[tuple[datetime, str] | None, int]:
    """(after, offset): the last row of the page before, or how many rows to skip."""
    if cursor_:
        return _decode(cursor_), 0
    offset = (page - 1) * page_size
    if offset > MAX_OFFSET:
        raise fields.wrong("page", f"Pages end at row {MAX_OFFSET}; go on with next_cursor.")
    return None, offset


def cursor(created_at: datetime, id_: str) -> str:
    """An opaque place in a list that runs from new to old."""
    raw = msgspec.json.encode([created_at.astimezone(UTC).isoformat(), id_])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> tuple[datetime, str]:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        moment, id_ = msgspec.json.decode(raw, type=tuple[datetime, str])
        if moment.tzinfo is None or "\x00" in id_:
            raise ValueError("no zone")
        moment.astimezone(UTC)
    except (ValueError, OverflowError, binascii.Error, UnicodeError, msgspec.MsgspecError):
        raise fields.wrong("cursor", "Is not a cursor of this API.") from None
    return moment, id_


def place(position: int) -> str:
    """An opaque place in a list that runs by position."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def start_by_place(cursor_: str | None, page: int, page_size: int) -> tuple[int | None, int]:
    """(before, offset): the position of the last row of the page before, or how many rows to skip."""
    if not cursor_:
        return None, start(None, page, page_size)[1]
    try:
        raw = base64.urlsafe_b64decode(cursor_ + "=" * (-len(cursor_) % 4))
        return _POSITION.decode(raw), 0
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise fields.wrong("cursor", "Is not a cursor of this API.") from None


def clean(text: str | None, field: str) -> str | None:
    """The text without what Postgres cannot hold."""
    if text is None or not text.strip():
        return None
    if "\x00" in text:
        raise fields.wrong(field, "Must not contain the NUL character.")
    return text.strip()
