"""An independent calendar: walks day by day and asks of each day whether it bills. Knows nothing of ours.

Offsets are the law's (one zone since 2024-03-01), not a library's.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

STEP = {"daily": 1, "weekly": 1, "biweekly": 2, "monthly": 1, "quarterly": 3, "yearly": 12}


def utc(day: date, at: time) -> datetime:
    hours = 5 if day >= date(2024, 3, 1) else 6
    return datetime.combine(day, at, UTC) - timedelta(hours=hours)


def bills(period: str, wanted: int, day: date) -> bool:
    """Is it a billing day of the period's grid?"""
    if period == "daily":
        return True
    if period in {"weekly", "biweekly"}:
        return day.weekday() == wanted - 1
    month_ends = (day + timedelta(days=1)).month != day.month
    return day.day == wanted or (month_ends and day.day < wanted)


def walk(period: str, wanted: int, at: time, start: datetime) -> Iterator[datetime]:
    """Due moments at or after the start, for ever."""
    day, passed = (start - timedelta(days=1)).date(), 0
    while True:
        if bills(period, wanted, day) and utc(day, at) >= start:
            if passed % STEP[period] == 0:
                yield utc(day, at)
            passed += 1
        day += timedelta(days=1)


def yearly_on_29_february(first_year: int, at: time) -> Iterator[datetime]:
    year = first_year
    while True:
        leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
        yield utc(date(year, 2, 29 if leap else 28), at)
        year += 1
