"""What is told of an allowance."""

import pytest

from domain.rate_limit import Allowance, RateLimit


def allowance(limit: RateLimit, *, retry_after: float | None = None) -> Allowance:
    return Allowance(limit=limit, remaining=0, full_after=1.0, retry_after=retry_after)


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [(RateLimit(60, 60), 60), (RateLimit(60, 10), 10), (RateLimit(7, 1), 9), (RateLimit(1_000_000, 1), 1)],
)
def test_the_window_is_the_time_in_which_the_whole_burst_comes_back(limit: RateLimit, seconds: int) -> None:
    assert allowance(limit).window == seconds


@pytest.mark.parametrize(("retry_after", "seconds"), [(None, 0), (0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2)])
def test_a_wait_is_told_in_whole_seconds_and_never_too_short(retry_after: float | None, seconds: int) -> None:
    assert allowance(RateLimit(60, 60), retry_after=retry_after).wait == seconds
