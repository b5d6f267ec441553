"""What the poller concludes from a bank's answers, on a clock of the test's own."""

from datetime import UTC, datetime
from random import Random

import pytest

from activities.bank_mood import BankMood, HealthNews
from domain.invoice import Kind
from domain.merchant import Health
from kaspi.errors import KaspiMisconfigured, KaspiUnavailable

AWAY = KaspiUnavailable("payment/status", "reset")
NO_KEY = KaspiMisconfigured("payment/status", "unknown_certificate")
CONNECTED = (Health.CONNECTED, None)
DEGRADED = (Health.DEGRADED, "kaspi_unavailable")
LOST = (Health.LOST, "kaspi_misconfigured")


class Day:
    """A mood and its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.mood = BankMood(health_grace=15.0, chance=Random(7), clock=lambda: self.now)

    def health(self) -> HealthNews | None:
        return self.mood.health

    def pause(self, begun: float, kind: Kind = Kind.PHONE) -> int | None:
        """The length of the pause in units of 30 s."""
        until = self.mood.rejected(begun, kind)
        return None if until is None else round((until - datetime.now(UTC)).total_seconds() / 30)


@pytest.fixture
def day() -> Day:
    return Day()


def test_calls_that_fail_together_do_not_make_a_bank_away(day: Day) -> None:
    for _ in range(50):
        day.mood.failed(day.now, AWAY)
    assert day.health() is None


def test_a_bank_that_goes_on_failing_is_away(day: Day) -> None:
    for after in (0, 7, 14.9):
        day.now = 1000.0 + after
        day.mood.failed(day.now, AWAY)
    assert day.health() is None
    day.now = 1015.0
    day.mood.failed(1014.0, AWAY)
    assert day.health() == DEGRADED


def test_two_failures_far_apart_are_not_yet_an_absence(day: Day) -> None:
    day.mood.failed(1000.0, AWAY)
    day.now = 1060.0
    day.mood.failed(1060.0, AWAY)
    assert day.health() is None


def test_an_answer_ends_the_absence_and_older_failures_do_not_bring_it_back(day: Day) -> None:
    for after in (0, 10, 20):
        day.now = 1000.0 + after
        day.mood.failed(day.now, AWAY)
    assert day.health() == DEGRADED
    day.now = 1025.0
    day.mood.answered(1024.0, Kind.QR)
    assert day.health() == CONNECTED
    for after in (30, 40, 50):  # timeouts of calls that were made before the answer
        day.now = 1000.0 + after
        day.mood.failed(1020.0, AWAY)
    assert day.health() == CONNECTED


def test_a_bank_that_does_not_know_us_is_lost_without_a_wait(day: Day) -> None:
    for _ in range(2):
        day.mood.failed(day.now, NO_KEY)
    assert day.health() is None
    day.mood.failed(day.now, NO_KEY)
    assert day.health() == LOST


def test_rejections_of_calls_decided_before_the_pause_belong_to_it(day: Day) -> None:
    assert day.pause(999.0) == 1
    day.now = 1001.0
    assert [day.pause(begun) for begun in (999.0, 999.5, 1000.0)] == [None, None, None]
    assert day.pause(1000.5) == 2


def test_only_an_answer_to_a_later_look_of_the_same_kind_ends_the_rejections(day: Day) -> None:
    assert day.pause(999.0) == 1
    day.now = 1001.0
    day.mood.answered(999.5, Kind.PHONE)  # on its way when the pause began
    day.mood.answered(1000.5, Kind.QR)
    day.mood.answered(1000.5)  # a ping
    assert day.pause(1000.6) == 2
    day.now = 1002.0
    day.mood.answered(1001.5, Kind.PHONE)
    assert day.pause(1001.6) == 1


def test_rejected_phone_bills_pause_alone_and_rejected_qrs_pause_everything_for_a_short_time(day: Day) -> None:
    assert day.mood.paused_until(Kind.PHONE) is None
    assert day.pause(999.0) == 1
    assert day.mood.paused_until(Kind.PHONE) is not None
    assert day.mood.paused_until(Kind.QR) is None
    for _ in range(4):
        day.now += 1
        assert day.pause(day.now, Kind.QR) == 1
    assert day.mood.paused_until(Kind.LINK) is not None
