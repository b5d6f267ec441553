"""The billing calendar: which period is due when. Pure arithmetic from an anchor; no clock is read.

A due moment is computed from the anchor and the period's number, never from the moment before it, so that a
subscription of the 31st comes back to the 31st after February. Local time is Asia/Almaty, moments are aware UTC.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from importlib import resources
from zoneinfo import ZoneInfo

import msgspec

from domain.errors import FieldError


def _almaty() -> ZoneInfo:
    # The pinned tzdata, not the host's: two workers must agree on a due moment, whatever image they run in.
    with resources.files("tzdata.zoneinfo.Asia").joinpath("Almaty").open("rb") as file:
        return ZoneInfo.from_file(file, key="Asia/Almaty")


ALMATY = _almaty()

# Ten years of days and a little. The bounds also keep every due moment within what a datetime can hold.
MOST_CYCLES = 3660
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


class BillingPeriod(StrEnum):
    """How often a bill is made."""

    DAILY = "daily"
    WEEKLY = "weekly"
    BIWEEKLY = "biweekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"


_MONTHS = {BillingPeriod.MONTHLY: 1, BillingPeriod.QUARTERLY: 3, BillingPeriod.YEARLY: 12}
_DAYS = {BillingPeriod.DAILY: 1, BillingPeriod.WEEKLY: 7, BillingPeriod.BIWEEKLY: 14}


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a merchant asks for.

    `day` is the day of the month (1-31, clamped to the month's end), or for weekly and biweekly the ISO weekday
    (1 Monday … 7 Sunday). `at` is a local time to the second. None takes day or time from the start. A period exists
    when it is due before `ends_at`; `total_cycles` counts periods, skipped ones too.
    """

    period: BillingPeriod = BillingPeriod.MONTHLY
    day: int | None = None
    at: time | None = None
    ends_at: datetime | None = None
    total_cycles: int | None = None


class Calendar(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A plan tied to a date: period `first` is due on the local date `anchor` at `at`, the others follow from it.

    `day` is what the plan says, or what its start gave (0 for daily). `opening` is the due moment of period
    `first - 1`, which was billed at once and stands outside the rhythm.
    """

    period: BillingPeriod
    anchor: date
    at: time
    day: int = 0
    first: int = 1
    opening: datetime | None = None
    ends_at: datetime | None = None
    total_cycles: int | None = None


def day_fault(period: BillingPeriod, day: int) -> str | None:
    """Why this billing day can't be, in a sentence for the merchant; None when it can."""
    if period is BillingPeriod.DAILY:
        return "A daily subscription has no billing day."
    most = 31 if period in _MONTHS else 7
    if 1 <= day <= most:
        return None
    return f"Must be from 1 to {most}" + ("." if most == 31 else ": 1 is Monday, 7 is Sunday.")


def plan_faults(plan: Plan, start: datetime, *, bill_immediately: bool = False) -> list[FieldError]:
    """Everything a merchant has to put right before this plan can start at `start`; field names are the API's."""
    faults = []
    if start >= LATEST:
        faults.append(FieldError("started_at", "invalid", "Must be before the year 2200."))
    if plan.day is not None and (fault := day_fault(plan.period, plan.day)) is not None:
        faults.append(FieldError("billing_day", "invalid", fault))
    if plan.total_cycles is not None and not 1 <= plan.total_cycles <= MOST_CYCLES:
        faults.append(FieldError("total_cycles", "invalid", f"Must be from 1 to {MOST_CYCLES}."))
    if plan.ends_at is not None and plan.ends_at >= LATEST:
        faults.append(FieldError("ends_at", "invalid", "Must be before the year 2200."))
    if not faults and last_number(calendar_from(start, plan, bill_immediately=bill_immediately)) == 0:
        faults.append(FieldError("ends_at", "invalid", "No period is due before it."))
    return faults


def calendar_from(start: datetime, plan: Plan, *, bill_immediately: bool = False, number: int = 1) -> Calendar:
    """The calendar of a plan that starts at `start`; `number` is the first period's.

    Its first period is due at the first billing moment at or after the start: at the start itself, where the plan
    names neither day nor time. With `bill_immediately` the first period is due at the start and the second at the
    billing moment nearest to a whole period later (of two equally near ones, at the later).
    `ValueError` for a day that can't be.
    """
    start = start.replace(microsecond=0)
    local = start.astimezone(ALMATY)
    at = plan.at if plan.at is not None else local.time().replace(fold=0)
    own_day = _day_of(plan.period, local.date())
    day = plan.day if plan.day is not None else own_day
    if plan.day is not None and (fault := day_fault(plan.period, day)) is not None:
        raise ValueError(fault)
    if bill_immediately:
        whole = _moment(_stepped(plan.period, local.date(), own_day, 1), local.time())
        anchor = _nearest(plan.period, day, at, whole)
    else:
        anchor = _first_on(plan.period, day, at, start)
    return Calendar(
        period=plan.period,
        anchor=anchor,
        at=at,
        day=day,
        first=number + 1 if bill_immediately else number,
        opening=start if bill_immediately else None,
        ends_at=plan.ends_at,
        total_cycles=plan.total_cycles,
    )


def replanned(calendar: Calendar, plan: Plan, number: int, *, start: datetime | None = None) -> Calendar:
    """The calendar from period `number` on, under another plan. `ValueError` for a day that can't be.

    Everything before `number`'s old due date is paid for (or was skipped), so the new rhythm begins at its first
    billing day at or after that date: no day is billed twice. For a new daily rhythm the old moment counts, so that
    a new time of day can't bring two bills within minutes. What the plan leaves open stays as it was; a change of the
    limits alone moves no date. `start` is given where no period was decided about yet: the plan then begins there.
    """
    if keeps_dates(calendar, plan):
        return msgspec.structs.replace(calendar, ends_at=plan.ends_at, total_cycles=plan.total_cycles)
    wanted = _filled_in(calendar, plan)
    if start is not None:
        return calendar_from(start, wanted, bill_immediately=calendar.opening is not None, number=number)
    paid_until = due(calendar, number)
    if plan.period is not BillingPeriod.DAILY:
        paid_until = _moment(paid_until.astimezone(ALMATY).date(), time())
    return calendar_from(paid_until, wanted, number=number)


def keeps_dates(calendar: Calendar, plan: Plan) -> bool:
    """True where a plan changes the limits alone, so that every due moment stays."""
    wanted = _filled_in(calendar, plan)
    return (wanted.period, wanted.day or 0, wanted.at) == (calendar.period, calendar.day, calendar.at)


def _filled_in(calendar: Calendar, plan: Plan) -> Plan:
    """What the plan leaves open is as it was."""
    day = plan.day
    if day is None and _grid(plan.period) == _grid(calendar.period):
        day = calendar.day or None
    return msgspec.structs.replace(plan, day=day, at=plan.at if plan.at is not None else calendar.at)


def due(calendar: Calendar, number: int) -> datetime:
    """When a period is due, whether or not the limits let it exist. `ValueError` for one before this calendar."""
    if number == calendar.first - 1 and calendar.opening is not None:
        return calendar.opening
    if number < calendar.first:
        raise ValueError("this calendar begins later")
    day = _stepped(calendar.period, calendar.anchor, calendar.day, number - calendar.first)
    return _moment(day, calendar.at)


def _lowest(calendar: Calendar) -> int:
    """The first period this calendar can tell of."""
    return calendar.first if calendar.opening is None else calendar.first - 1


def newest_due(calendar: Calendar, moment: datetime) -> int:
    """The newest period due at or before a moment, whatever the limits; one less than the first where none is."""
    local = moment.astimezone(ALMATY).date()
    anchor = calendar.anchor
    if calendar.period in _MONTHS:
        months = (local.year - anchor.year) * 12 + local.month - anchor.month
        steps = months // _MONTHS[calendar.period]
    else:
        steps = (local - anchor).days // _DAYS[calendar.period]
    # The estimate is right to the local date; only a time later that day can make it one too many.
    number = calendar.first + steps
    if steps >= 0 and due(calendar, number) > moment:
        number -= 1
    if number >= calendar.first:
        return number
    opened = calendar.opening is not None and calendar.opening <= moment
    return calendar.first - 1 if opened else _lowest(calendar) - 1


def first_due(calendar: Calendar, moment: datetime) -> int:
    """The first period due at or after a moment, whatever the limits."""
    newest = newest_due(calendar, moment)
    return newest if newest >= _lowest(calendar) and due(calendar, newest) == moment else newest + 1


def last_number(calendar: Calendar) -> int | None:
    """The last period the limits let exist, None for a calendar without end."""
    limits = [] if calendar.total_cycles is None else [calendar.total_cycles]
    if calendar.ends_at is not None:
        limits.append(first_due(calendar, calendar.ends_at) - 1)
    return min(limits, default=None)


def missed(calendar: Calendar, number: int, moment: datetime) -> tuple[int, int] | None:
    """Of the periods from `number` on: the first and the newest that are due at a moment; None when none is."""
    newest = newest_due(calendar, moment)
    last = last_number(calendar)
    newest = newest if last is None else min(newest, last)
    return (number, newest) if newest >= number else None


def upcoming_from(calendar: Calendar, number: int) -> Iterator[tuple[int, datetime]]:
    """Periods and their due moments, from `number` on, as far as the limits go."""
    last = last_number(calendar)
    while last is None or number <= last:
        yield number, due(calendar, number)
        number += 1


def _moment(day: date, at: time) -> datetime:
    return datetime.combine(day, at, ALMATY).astimezone(UTC)


def _day_of(period: BillingPeriod, day: date) -> int:
    if period is BillingPeriod.DAILY:
        return 0
    return day.day if period in _MONTHS else day.isoweekday()


def _in_month(months: int, day: int) -> date:
    """The day in the month with this count since year 0, clamped to its end."""
    year, month = divmod(months, 12)
    return date(year, month + 1, min(day, monthrange(year, month + 1)[1]))


def _stepped(period: BillingPeriod, anchor: date, day: int, steps: int) -> date:
    if period in _MONTHS:
        return _in_month(anchor.year * 12 + anchor.month - 1 + steps * _MONTHS[period], day)
    return anchor + timedelta(days=steps * _DAYS[period])


def _grid(period: BillingPeriod) -> int:
    """The grid is every date a billing day allows: one in each month (0), week (7) or day (1).

    A rhythm takes every one of them, or every second, third or twelfth.
    """
    return 0 if period in _MONTHS else min(7, _DAYS[period])


def _beside(period: BillingPeriod, day: int, on: date, steps: int) -> date:
    if period in _MONTHS:
        return _in_month(on.year * 12 + on.month - 1 + steps, day)
    return on + timedelta(days=steps * _grid(period))


def _first_on(period: BillingPeriod, day: int, at: time, start: datetime) -> date:
    """The first date of the grid whose moment is at or after the start."""
    local = start.astimezone(ALMATY).date()
    if period in _MONTHS:
        found = _beside(period, day, local, 0)
    elif period is BillingPeriod.DAILY:
        found = local
    else:
        found = local + timedelta(days=(day - local.isoweekday()) % 7)
    return found if _moment(found, at) >= start else _beside(period, day, found, 1)


def _nearest(period: BillingPeriod, day: int, at: time, moment: datetime) -> date:
    """The date of the grid nearest to a moment."""
    after = _first_on(period, day, at, moment)
    before = _beside(period, day, after, -1)
    return before if moment - _moment(before, at) < _moment(after, at) - moment else after
