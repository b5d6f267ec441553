"""Reading `Retry-After`, which a receiver may send as seconds or as a date."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 24 * 3600
SHORTEST_SECONDS = 1
# Above this, int() of a hostile header costs time and every value is past the longest wait anyway.
_MAX_DIGITS = 12


def parse_retry_after(value: str, now: datetime) -> int | None:
    """Seconds to wait (RFC 9110 §10.2.3), clamped to 1 … 86400; None for what is neither form. `now` is aware."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return LONGEST_SECONDS if len(text) > _MAX_DIGITS else _clamped(int(text))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _clamped(round((moment - now).total_seconds()))


def _clamped(seconds: int) -> int:
    return max(SHORTEST_SECONDS, min(seconds, LONGEST_SECONDS))
