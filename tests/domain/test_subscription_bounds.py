"""How much a subscription may ask for, at the edges."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.subscription_bounds import (
    EARLIEST_START,
    LATEST_START,
    LONGEST_ADVANCE,
    advance_fault,
    metadata_fault,
    start_fault,
)

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("start", [NOW, NOW - EARLIEST_START, NOW + LATEST_START])
def test_a_start_within_the_bounds_is_right(start: datetime) -> None:
    assert start_fault(start, NOW) is None


def test_a_start_too_long_ago_or_ahead_is_refused() -> None:
    assert start_fault(NOW - EARLIEST_START - SECOND, NOW) == "Must not be more than 366 days ago."
    assert start_fault(NOW + LATEST_START + SECOND, NOW) == "Must not be more than 1830 days ahead."


@pytest.mark.parametrize("metadata", [{}, {"k" * 40: "v" * 200}, {str(n): "" for n in range(20)}, {"тариф": "золото"}])
def test_metadata_within_the_bounds_is_right(metadata: dict[str, str]) -> None:
    assert metadata_fault(metadata) is None


@pytest.mark.parametrize(
    "metadata",
    [{str(n): "" for n in range(21)}, {"k" * 41: ""}, {"": "v"}, {"k": "v" * 201}, {"k": "a\x00"}, {"a\x00": "v"}],
    ids=["21-keys", "long-key", "no-key", "long-value", "nul-in-value", "nul-in-key"],
)
def test_metadata_beyond_them_is_refused(metadata: dict[str, str]) -> None:
    assert metadata_fault(metadata) is not None


def test_a_clock_goes_forward_and_not_too_far() -> None:
    assert advance_fault(NOW, NOW + SECOND) is None
    assert advance_fault(NOW, NOW + LONGEST_ADVANCE) is None
    for wrong in (NOW, NOW - SECOND, NOW + LONGEST_ADVANCE + SECOND):
        assert advance_fault(NOW, wrong) is not None
