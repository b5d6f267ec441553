"""Days of Asia/Almaty as moments, for the date filters of lists."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from api.v1 import fields

ALMATY = ZoneInfo("Asia/Almaty")


def first_moment(day: date | None, field: str) -> datetime | None:
    """When the day begins (UTC); `TolemError` names `field` where no such moment exists."""
    return _moment(day, 0, field)


def moment_after(day: date | None, field: str) -> datetime | None:
    """When the day is over (UTC)."""
    return _moment(day, 1, field)


def _moment(day: date | None, later: int, field: str) -> datetime | None:
    if day is None:
        return None
    try:
        return datetime.combine(day + timedelta(days=later), time(), ALMATY).astimezone(UTC)
    except OverflowError:
        raise fields.wrong(field, "Is out of range.") from None
