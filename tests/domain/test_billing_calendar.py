import sys
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.billing_calendar import (
    ALMATY,
    LATEST,
    MOST_CYCLES,
    BillingPeriod,
    Calendar,
    Plan,
    calendar_from,
    day_fault,
    due,
    first_due,
    last_number,
    missed,
    newest_due,
    plan_faults,
    replanned,
    upcoming_from,
)
from tests.domain.billing_days import utc, walk, yearly_on_29_february

MONTHS = [BillingPeriod.MONTHLY, BillingPeriod.QUARTERLY, BillingPeriod.YEARLY]
TEN = time(10, 0)
SECONDS = st.integers(0, 86_399).map(lambda second: (datetime(2026, 1, 1) + timedelta(seconds=second)).time())  # noqa: DTZ001
STARTS = st.datetimes(datetime(2024, 3, 2), datetime(2035, 12, 31)).map(  # noqa: DTZ001
    lambda naive: naive.replace(microsecond=0, tzinfo=UTC)
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    period = draw(st.sampled_from(BillingPeriod))
    day = None
    if period is not BillingPeriod.DAILY:
        day = draw(st.none() | st.integers(1, 31 if period in MONTHS else 7))
    return Plan(period=period, day=day, at=draw(st.none() | SECONDS))


def expected(plan: Plan, start: datetime, count: int) -> list[datetime]:
    local = start + timedelta(hours=5)
    own = local.day if plan.period in MONTHS else local.isoweekday()
    at = plan.at or local.time()
    return list(islice(walk(plan.period, plan.day or own, at, start), count))


def local(moment: datetime) -> datetime:
    return moment.astimezone(ALMATY)


@given(plans(), STARTS)
def test_due_moments_are_those_of_a_walk_day_by_day(plan: Plan, start: datetime) -> None:
    calendar = calendar_from(start, plan)
    count = 5 if plan.period is BillingPeriod.YEARLY else 30
    assert [due(calendar, number) for number in range(1, count + 1)] == expected(plan, start, count)


def test_ten_years_of_days() -> None:
    start = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
    calendar = calendar_from(start, Plan(period=BillingPeriod.DAILY, at=TEN))
    days = [moment for _, moment in islice(upcoming_from(calendar, 1), 3653)]
    assert days == list(islice(walk("daily", 0, TEN, start), 3653))
    assert local(days[-1]).date() == date(2036, 11, 21)


def test_ten_years_of_the_31st_come_back_to_it_after_every_short_month() -> None:
    start = datetime(2027, 1, 31, 5, 0, tzinfo=UTC)
    calendar = calendar_from(start, Plan(day=31, at=TEN))
    moments = [due(calendar, number) for number in range(1, 121)]
    assert moments == list(islice(walk("monthly", 31, TEN, start), 120))
    assert [local(moment).day for moment in moments[:14]] == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29]


def test_a_29th_of_february_is_the_28th_in_common_years_and_comes_back() -> None:
    start = datetime(2028, 2, 29, 5, 0, tzinfo=UTC)
    calendar = calendar_from(start, Plan(period=BillingPeriod.YEARLY))
    moments = [due(calendar, number) for number in range(1, 81)]
    assert moments == list(islice(yearly_on_29_february(2028, TEN), 80))
    assert [local(moment).day for moment in moments[:5]] == [29, 28, 28, 28, 29]
    assert local(moments[72]).date() == date(2100, 2, 28)


@pytest.mark.parametrize(
    ("day", "moment"),
    [
        (date(2024, 2, 28), datetime(2024, 2, 28, 4, 0, tzinfo=UTC)),  # UTC+6
        (date(2024, 2, 29), datetime(2024, 2, 29, 4, 0, tzinfo=UTC)),
        (date(2024, 3, 1), datetime(2024, 3, 1, 5, 0, tzinfo=UTC)),  # UTC+5 since
        (date(2040, 7, 1), datetime(2040, 7, 1, 5, 0, tzinfo=UTC)),
    ],
)
def test_local_time_is_the_same_on_both_sides_of_the_change_of_zone(day: date, moment: datetime) -> None:
    calendar = calendar_from(datetime(2024, 2, 1, tzinfo=UTC), Plan(period=BillingPeriod.DAILY, at=TEN))
    assert due(calendar, 1 + (day - date(2024, 2, 1)).days) == moment == utc(day, TEN)


def test_a_monthly_rhythm_that_began_before_the_change_keeps_its_local_time() -> None:
    start = datetime(2023, 12, 31, 4, 0, tzinfo=UTC)
    calendar = calendar_from(start, Plan())
    assert [due(calendar, number) for number in range(1, 7)] == list(islice(walk("monthly", 31, TEN, start), 6))


@given(plans(), STARTS, st.integers(0, 4000), st.timedeltas(timedelta(0), timedelta(days=3)))
def test_the_newest_due_period_is_the_last_one_not_after_the_moment(
    plan: Plan, start: datetime, number: int, later: timedelta
) -> None:
    calendar = calendar_from(start, plan)
    number = min(number, 100) if plan.period is BillingPeriod.YEARLY else number
    moment = (due(calendar, number) if number else start - timedelta(days=400)) + later
    newest = newest_due(calendar, moment)
    assert newest == 0 or due(calendar, newest) <= moment
    assert due(calendar, newest + 1) > moment
    first = first_due(calendar, moment)
    assert due(calendar, first) >= moment
    assert first == 1 or due(calendar, first - 1) < moment


@given(plans(), STARTS)
def test_billed_immediately_is_once_at_the_start_and_then_at_the_nearest_date_to_a_whole_period(
    plan: Plan, start: datetime
) -> None:
    calendar = calendar_from(start, plan, bill_immediately=True)
    assert due(calendar, 1) == start
    assert newest_due(calendar, start - timedelta(seconds=1)) == 0
    assert newest_due(calendar, start) == 1
    whole = due(calendar_from(start, Plan(period=plan.period)), 2)
    # Every date of the grid, from the walk of its finest rhythm.
    finest = {BillingPeriod.BIWEEKLY: "weekly", BillingPeriod.QUARTERLY: "monthly", BillingPeriod.YEARLY: "monthly"}
    shown = start + timedelta(hours=5)
    day = plan.day or (shown.day if plan.period in MONTHS else shown.isoweekday())
    grid = walk(finest.get(plan.period, plan.period), day, plan.at or shown.time(), start - timedelta(days=40))
    near = min(islice(grid, 60), key=lambda moment: (abs(moment - whole), -moment.timestamp()))
    assert due(calendar, 2) == near
    following = walk(plan.period, day, plan.at or shown.time(), near)
    assert [due(calendar, number) for number in range(2, 6)] == list(islice(following, 4))


@pytest.mark.parametrize(
    ("start", "second"),
    [
        (datetime(2026, 1, 2, 9, 0, tzinfo=UTC), date(2026, 2, 1)),
        (datetime(2026, 1, 14, 9, 0, tzinfo=UTC), date(2026, 2, 1)),
        (datetime(2026, 1, 15, 9, 0, tzinfo=UTC), date(2026, 3, 1)),  # 15 February is nearer to 1 March
        (datetime(2026, 1, 31, 9, 0, tzinfo=UTC), date(2026, 3, 1)),
    ],
)
def test_nobody_is_billed_twice_within_half_a_month(start: datetime, second: date) -> None:
    calendar = calendar_from(start, Plan(day=1, at=TEN), bill_immediately=True)
    assert local(due(calendar, 2)).date() == second


def test_of_two_equally_near_moments_the_later_is_taken() -> None:
    evening = datetime(2026, 1, 2, 22, 0, tzinfo=ALMATY)
    calendar = calendar_from(evening, Plan(period=BillingPeriod.DAILY, at=TEN), bill_immediately=True)
    assert local(due(calendar, 2)) == datetime(2026, 1, 4, 10, 0, tzinfo=ALMATY)


def test_without_a_day_the_first_period_is_due_at_the_start() -> None:
    start = datetime(2026, 11, 22, 17, 3, 9, 123456, tzinfo=UTC)
    for period in BillingPeriod:
        assert due(calendar_from(start, Plan(period=period)), 1) == start.replace(microsecond=0)


def test_with_a_day_a_quarter_begins_at_its_first_one_after_the_start() -> None:
    calendar = calendar_from(datetime(2026, 1, 15, tzinfo=UTC), Plan(period=BillingPeriod.QUARTERLY, day=10, at=TEN))
    assert [local(due(calendar, number)).date() for number in (1, 2)] == [date(2026, 2, 10), date(2026, 5, 10)]


@pytest.mark.parametrize("period", BillingPeriod)
def test_a_billing_day_is_a_day_of_the_month_or_an_iso_weekday_and_never_one_of_a_daily_rhythm(
    period: BillingPeriod,
) -> None:
    right = range(1, 32) if period in MONTHS else range(1, 8) if period is not BillingPeriod.DAILY else range(0)
    assert [day for day in range(-1, 40) if day_fault(period, day) is None] == list(right)
    with pytest.raises(ValueError, match="billing day" if period is BillingPeriod.DAILY else "Must be from 1"):
        calendar_from(datetime(2026, 1, 1, tzinfo=UTC), Plan(period=period, day=32))


# The end.


@given(plans(), STARTS, st.integers(1, 60), st.timedeltas(timedelta(seconds=-1), timedelta(seconds=1)))
def test_a_period_exists_when_it_is_due_before_the_end(
    plan: Plan, start: datetime, number: int, off: timedelta
) -> None:
    end = due(calendar_from(start, plan), number) + off
    calendar = calendar_from(start, msgspec.structs.replace(plan, ends_at=end))
    assert last_number(calendar) == (number if off > timedelta(0) else number - 1)
    assert [one for one, _ in upcoming_from(calendar, 1)] == list(range(1, (last_number(calendar) or 0) + 1))


def test_of_an_end_and_a_count_the_earlier_one_holds() -> None:
    start = datetime(2026, 1, 1, 5, 0, tzinfo=UTC)
    until = Plan(total_cycles=3, ends_at=start + timedelta(days=45))
    assert last_number(calendar_from(start, until)) == 2
    assert last_number(calendar_from(start, Plan(total_cycles=3))) == 3
    assert last_number(calendar_from(start, Plan())) is None
    assert last_number(calendar_from(start, Plan(total_cycles=3), bill_immediately=True)) == 3


def test_what_was_missed_ends_with_the_limits() -> None:
    start = datetime(2026, 1, 1, 5, 0, tzinfo=UTC)
    calendar = calendar_from(start, Plan(period=BillingPeriod.DAILY, total_cycles=10))
    assert missed(calendar, 4, start + timedelta(days=6)) == (4, 7)
    assert missed(calendar, 4, start + timedelta(days=3)) == (4, 4)
    assert missed(calendar, 4, start + timedelta(days=3, seconds=-1)) is None
    assert missed(calendar, 4, start + timedelta(days=400)) == (4, 10)
    assert missed(calendar, 11, start + timedelta(days=400)) is None


@pytest.mark.parametrize(
    ("plan", "fields"),
    [
        (Plan(), []),
        (Plan(total_cycles=3660, day=31), []),
        (Plan(total_cycles=0, day=32), ["billing_day", "total_cycles"]),
        (Plan(total_cycles=3661), ["total_cycles"]),
        (Plan(period=BillingPeriod.DAILY, day=1), ["billing_day"]),
        (Plan(ends_at=datetime(2026, 1, 15, tzinfo=UTC)), ["ends_at"]),
        (Plan(day=14, ends_at=datetime(2026, 2, 14, tzinfo=UTC)), ["ends_at"]),
        (Plan(ends_at=datetime(2200, 1, 1, tzinfo=UTC)), ["ends_at"]),
    ],
)
def test_every_fault_of_a_plan_is_named(plan: Plan, fields: list[str]) -> None:
    assert [fault.field for fault in plan_faults(plan, datetime(2026, 1, 15, tzinfo=UTC))] == fields


def test_a_first_period_at_the_start_itself_lies_before_an_end_that_no_billing_day_does() -> None:
    start = datetime(2026, 1, 15, 5, tzinfo=UTC)
    plan = Plan(day=14, ends_at=datetime(2026, 2, 1, tzinfo=UTC))
    assert [fault.field for fault in plan_faults(plan, start)] == ["ends_at"]
    assert plan_faults(plan, start, bill_immediately=True) == []
    nothing = Plan(day=14, ends_at=start)
    assert [fault.field for fault in plan_faults(nothing, start, bill_immediately=True)] == ["ends_at"]


def test_the_longest_plan_has_dates_to_its_end() -> None:
    start = LATEST - timedelta(seconds=1)
    plan = Plan(period=BillingPeriod.YEARLY, total_cycles=MOST_CYCLES)
    assert plan_faults(plan, start) == []
    assert due(calendar_from(start, plan), MOST_CYCLES).year == 2199 + MOST_CYCLES - 1
    assert [fault.field for fault in plan_faults(plan, LATEST)] == ["started_at"]


# Changes.


@given(plans(), plans(), STARTS, st.integers(2, 40), st.booleans())
def test_a_new_rhythm_begins_with_its_first_date_after_the_paid_time(
    old: Plan, new: Plan, start: datetime, number: int, immediately: bool
) -> None:
    before = calendar_from(start, old, bill_immediately=immediately)
    after = replanned(before, new, number)
    paid_until = due(before, number)
    first = due(after, number)
    # The paid dates are over, and the wait for the new rhythm is at most one turn of its grid.
    if new.period is BillingPeriod.DAILY:
        assert timedelta(0) <= first - paid_until < timedelta(days=1)
    else:
        assert local(first).date() >= local(paid_until).date()
        assert first - paid_until < timedelta(days=8 if new.period not in MONTHS else 32)
    assert first > due(before, number - 1)
    assert local(first).time() == (new.at or before.at)
    following = [due(after, one) for one in range(number, number + 4)]
    assert following == list(islice(walk(new.period, after.day, after.at, following[0]), 4))


@given(plans(), STARTS, st.integers(1, 60))
def test_a_change_of_the_limits_moves_no_date(plan: Plan, start: datetime, number: int) -> None:
    before = calendar_from(start, plan, bill_immediately=True)
    after = replanned(before, Plan(period=plan.period, total_cycles=7), number)
    assert after == msgspec.structs.replace(before, total_cycles=7)


def test_a_change_of_period_keeps_the_31st() -> None:
    monthly = calendar_from(datetime(2027, 1, 31, 5, 0, tzinfo=UTC), Plan())
    quarterly = replanned(monthly, Plan(period=BillingPeriod.QUARTERLY), 2)
    dates = [local(due(quarterly, number)).date() for number in (2, 3, 4)]
    assert dates == [date(2027, 2, 28), date(2027, 5, 31), date(2027, 8, 31)]


def test_an_earlier_hour_costs_no_month() -> None:
    monthly = calendar_from(datetime(2027, 1, 31, 5, 0, tzinfo=UTC), Plan())
    earlier = replanned(monthly, Plan(at=time(9, 0)), 2)
    assert local(due(earlier, 2)) == datetime(2027, 2, 28, 9, 0, tzinfo=ALMATY)


def test_ten_years_of_days_after_an_outage_cost_no_walk() -> None:
    calendar = calendar_from(datetime(2026, 1, 1, tzinfo=UTC), Plan(period=BillingPeriod.DAILY))
    moment = datetime(2036, 1, 1, tzinfo=UTC)
    calls = []

    def count(frame: object, event: str, arg: object) -> None:
        calls.append(event)

    sys.setprofile(count)
    try:
        assert missed(calendar, 1, moment) == (1, 3653)
    finally:
        sys.setprofile(None)
    assert len(calls) < 200


@given(plans(), STARTS, st.booleans())
def test_a_calendar_goes_through_json(plan: Plan, start: datetime, immediately: bool) -> None:
    calendar = calendar_from(start, plan, bill_immediately=immediately)
    text = msgspec.json.encode(calendar)
    assert msgspec.json.decode(text, type=Calendar) == calendar
    assert len(text) < 300
