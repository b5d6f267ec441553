"""Parameters of the ApiPay contract's lists."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from litestar.params import Parameter

from contracts.apipay_json import PaginationMeta, Status
from domain.errors import FieldError, TolemError, invalid

ALMATY = ZoneInfo("Asia/Almaty")
# Beyond this an offset reads and throws away too many rows.
MAX_OFFSET = 10_000

PageIn = Annotated[int, Parameter(ge=1, le=1_000_000)]
PerPageIn = Annotated[int, Parameter(ge=1, le=100)]
SearchIn = Annotated[str | None, Parameter(max_length=100, description="In description and order id.")]
DayIn = Annotated[date | None, Parameter(description="A day in Kazakhstan, inclusive.")]


def offset_of(page: int, per_page: int) -> int:
    """How many rows to skip; `TolemError` where the pages have ended."""
    offset = (page - 1) * per_page
    if offset > MAX_OFFSET:
        raise _wrong("page", f"Pages end at row {MAX_OFFSET}; narrow the list by date_from and date_to.")
    return offset


def meta(page: int, per_page: int, total: int, *, has_more: bool) -> PaginationMeta:
    """What a page says of itself."""
    return PaginationMeta(current_page=page, per_page=per_page, total=total, has_more=has_more)


def clean_search(text: str | None) -> str | None:
    """Without what Postgres cannot hold; blank means none."""
    if text is not None and "\x00" in text:
        raise _wrong("search", "Must not contain the NUL character.")
    return (text.strip() or None) if text is not None else None


def statuses(query: Iterable[tuple[str, str]]) -> list[Status] | None:
    """`status[]=paid&status[]=expired`, as PHP and Laravel also spell it: `status[0]=paid`, `status=paid`."""
    given = [word for name, word in query if _is_status(name) and word]
    if not set(given) <= set(Status):
        raise _wrong("status", f"Must be of {', '.join(Status)}.")
    return [Status(word) for word in dict.fromkeys(given)] or None


def _is_status(name: str) -> bool:
    inner = name.removeprefix("status[").removesuffix("]")
    return name == "status" or (name == f"status[{inner}]" and (inner == "" or inner.isdecimal()))


def days(first: date | None, last: date | None) -> tuple[datetime | None, datetime | None]:
    """From the first moment of the one day to the last of the other, as (from, before); `TolemError` if they cross."""
    if first is not None and last is not None and last < first:
        raise _wrong("date_to", "Must not be before date_from.")
    return _moment(first, 0, "date_from"), _moment(last, 1, "date_to")


def _moment(day: date | None, later: int, field: str) -> datetime | None:
    if day is None:
        return None
    try:
        return datetime.combine(day + timedelta(days=later), time(), ALMATY).astimezone(UTC)
    except OverflowError:
        raise _wrong(field, "Is out of range.") from None


def _wrong(field: str, message: str) -> TolemError:
    return invalid(FieldError(field, "invalid", message))
