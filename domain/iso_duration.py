"""Durations as ISO 8601 writes them (`P1M`, `P2W`, `P1DT12H`), with calendar months and years.

Years, months, weeks and days are counted on the calendar of Asia/Almaty, hours and smaller ones on the clock.
"""

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

import msgspec

from domain.billing_calendar import ALMATY

# Four digits each: more is a typing error, and would have to be refused as too long anyway.
_FORM = re.compile(
    r"P(?=[0-9T])(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,4})D)?"
    r"(?:T(?=\d)(?:(\d{1,4})H)?(?:(\d{1,4})M)?(?:(\d{1,4})S)?)?",
    re.ASCII,
)


class BadDuration(ValueError):
    """The text of the exception is fit to show to a merchant."""


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """So many months, then days, then seconds."""

    months: int = 0
    days: int = 0
    seconds: int = 0


def parse_duration(text: str) -> Duration:
    """`BadDuration` for what is none, or is longer than four digits of a unit."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise BadDuration("must be an ISO 8601 duration such as P1M, P2W, P1DT12H or PT90S")
    years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return Duration(months=12 * years + months, days=7 * weeks + days, seconds=3600 * hours + 60 * minutes + seconds)


def moment_after(start: datetime, duration: Duration) -> datetime:
    """The moment that much later (UTC); the 31st and a month is the next one's last day. `OverflowError` past 9999."""
    local = start.astimezone(ALMATY)
    month = local.year * 12 + local.month - 1 + duration.months
    year, month0 = divmod(month, 12)
    if year > date.max.year:
        raise OverflowError("past the last year")
    day = date(year, month0 + 1, min(local.day, monthrange(year, month0 + 1)[1])) + timedelta(days=duration.days)
    return datetime.combine(day, local.time(), ALMATY).astimezone(UTC) + timedelta(seconds=duration.seconds)
