"""Durations on the calendar of Asia/Almaty."""

from datetime import UTC, datetime

import pytest

from domain.iso_duration import BadDuration, Duration, moment_after, parse_duration

JANUARY_31 = datetime(2026, 1, 31, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("P1Y", Duration(months=12)),
        ("P1M", Duration(months=1)),
        ("P1Y2M3W4DT5H6M7S", Duration(months=14, days=25, seconds=5 * 3600 + 6 * 60 + 7)),
        ("PT1M", Duration(seconds=60)),
        ("P0D", Duration()),
    ],
)
def test_what_iso_8601_writes_is_read(text: str, wanted: Duration) -> None:
    assert parse_duration(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1YT", "1M", "-P1M", "P-1M", "P1.5D", "P1D\n", "p1m", "P12345D", "P1M2Y", "P١M"]
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadDuration):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("P1M", datetime(2026, 2, 28, 5, tzinfo=UTC)),
        ("P2M", datetime(2026, 3, 31, 5, tzinfo=UTC)),
        ("P11M", datetime(2026, 12, 31, 5, tzinfo=UTC)),
        ("P12M", datetime(2027, 1, 31, 5, tzinfo=UTC)),
        ("P1Y1M1D", datetime(2027, 3, 1, 5, tzinfo=UTC)),
        ("PT20H", datetime(2026, 2, 1, 1, tzinfo=UTC)),
    ],
)
def test_months_keep_the_day_where_they_have_it(text: str, wanted: datetime) -> None:
    assert moment_after(JANUARY_31, parse_duration(text)) == wanted


def test_a_day_is_almatys_and_not_utcs() -> None:
    # 20:30 UTC is the next day in Almaty: the 31st there, while it is the 30th here.
    evening = datetime(2026, 1, 30, 20, 30, tzinfo=UTC)
    assert moment_after(evening, parse_duration("P1M")) == datetime(2026, 2, 27, 20, 30, tzinfo=UTC)


def test_before_the_change_of_zone_a_day_kept_its_local_time() -> None:
    # Almaty went from UTC+6 to UTC+5 on 1 March 2024, so this day had 25 hours.
    before = datetime(2024, 2, 29, 4, tzinfo=UTC)
    assert moment_after(before, parse_duration("P1D")) == datetime(2024, 3, 1, 5, tzinfo=UTC)
    assert moment_after(before, parse_duration("PT24H")) == datetime(2024, 3, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize("text", ["P9000Y", "P8000YT1S"])
def test_past_the_last_year_there_is_no_moment(text: str) -> None:
    with pytest.raises(OverflowError):
        moment_after(JANUARY_31, parse_duration(text))
