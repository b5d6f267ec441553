"""When an endpoint is warned of and disabled, against a plain reading of the rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.endpoint_health import LONGEST_PROOF, SHORTEST_SPREAD, WARNINGS, Health, Verdict, failed

DAY = 86_400.0
LIMIT = 5 * DAY


def story(gaps: list[float], limit: float = LIMIT) -> list[Verdict]:
    """The verdicts of failures with these gaps, the first one right after a success."""
    verdicts, health, age = [failed(Health(), since_first=None, since_last=None, limit=limit)], Health(), 0.0
    for gap in gaps:
        age += gap
        verdict = failed(health, since_first=age, since_last=gap, limit=limit)
        health = verdict.health
        verdicts.append(verdict)
    return verdicts


def test_the_first_failure_proves_nothing() -> None:
    assert story([]) == [Verdict(health=Health(), warning=None, disable=False)]


def test_five_days_of_failures_warn_at_50_70_and_90_percent_and_then_disable() -> None:
    verdicts = story([3600.0] * 120)
    assert [(index, one.warning) for index, one in enumerate(verdicts) if one.warning] == [
        (60, 50),
        (84, 70),
        (108, 90),
    ]
    assert [index for index, one in enumerate(verdicts) if one.disable] == [120]


def test_the_published_schedule_of_one_delivery_disables_on_the_fifth_day() -> None:
    waits = [5, 30, 120, 600, 1800, 7200, 18000, 36000, 50400, 72000, 86400, 86400, 86400, 86400]
    verdicts = story([float(wait) for wait in waits])
    disabled = next(index for index, one in enumerate(verdicts) if one.disable)
    assert LIMIT <= sum(waits[:disabled]) < LIMIT + DAY


def test_days_in_which_we_sent_nothing_count_against_nobody() -> None:
    (_, after_a_week) = story([7 * DAY])
    assert after_a_week.health.failing == LONGEST_PROOF
    assert not after_a_week.disable


def test_one_bad_hour_disables_nothing_even_with_the_smallest_limit() -> None:
    assert not any(one.disable for one in story([60.0] * 60, limit=3600.0))
    assert story([3600.0] * 12, limit=3600.0)[-1].disable


def test_a_jump_past_several_warnings_tells_the_last_of_them() -> None:
    verdict = failed(Health(failing=0.4 * LIMIT, percent=40), since_first=3 * DAY, since_last=DAY * 1.6, limit=LIMIT)
    assert verdict.warning == max(step for step in WARNINGS if step <= verdict.health.percent)


def test_a_clock_that_went_backwards_takes_nothing_away() -> None:
    assert failed(Health(failing=100.0), since_first=-5.0, since_last=-5.0, limit=LIMIT).health.failing == 100.0


@given(st.lists(st.floats(0, 3 * DAY), max_size=80), st.floats(SHORTEST_SPREAD, 30 * DAY))
def test_the_rule_for_any_failures(gaps: list[float], limit: float) -> None:
    verdicts = story(gaps, limit)
    proven = 0.0
    for gap, verdict in zip([0.0, *gaps], verdicts, strict=True):
        proven += min(gap, LONGEST_PROOF)
        assert verdict.health.failing == pytest.approx(proven)
        assert verdict.disable == (verdict.health.failing >= limit)
        assert 0 <= verdict.health.percent <= 100
    warned = [one.warning for one in verdicts if one.warning]
    assert warned == sorted(set(warned))
