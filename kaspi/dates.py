"""The bank's date spellings, all of them (fact sheet §1, "Format")."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_ALMATY = ZoneInfo("Asia/Almaty")
_SHAPE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[T ](\d{1,2}):(\d{1,2}):(\d{1,2})"
    r"(?:\.(\d{1,12}))?"
    r"(Z|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)


class BadDate(ValueError):
    """The text is no date in any spelling the bank is known to use."""


def parse_date(text: str) -> datetime:
    """Aware UTC. Hour-only offsets, unpadded days and seven decimals are read (cut to microseconds); a date
    without an offset is Asia/Almaty, which is our inference. `BadDate` for anything else.
    """
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        raise BadDate("not a date")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    micros = int((found[7] or "")[:6].ljust(6, "0"))
    try:
        local = datetime(year, month, day, hour, minute, second, micros, tzinfo=_zone(found[8]))
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        # OverflowError: .NET's "no date", 0001-01-01, does not exist in UTC.
        raise BadDate("no such date") from None


def _zone(text: str | None) -> tzinfo:
    if text is None:
        return _ALMATY
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return timezone(-offset if text[0] == "-" else offset)
