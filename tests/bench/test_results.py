"""The figures of a benchmark: what counts as lost, what is compared with what, and that they are kept whole."""

from pathlib import Path

import pytest

from bench.options import Options
from bench.report import markdown
from bench.results_file import Load, Paid, PaidGroup, Polls, Results, Storm, percentile, pooled, ratios, read, write


def load(subject: str, round_: int, rate: float, failures: dict[str, int] | None = None) -> Load:
    return Load(
        subject=subject,
        round=round_,
        in_flight=8,
        created=100,
        failures=failures or {},
        seconds=1.0,
        rate=rate,
        p50_ms=1000 / rate,
        p99_ms=3000 / rate,
        cpu_ms={"api": 1.5},
    )


def results(loads: list[Load], *, arrived: int = 3, polls: float | None = 0.9) -> Results:
    group = PaidGroup(name="qr", paid=3, arrived=arrived, repeated=0, p50=2.0, p99=5.0, max=5.0)
    return Results(
        started="2026-11-22T07:00:00Z",
        environment={"cores": "2"},
        options=Options(in_flight=(8,)),
        create=loads,
        paid=Paid(
            opened={"phone": 2, "qr": 3},
            opening_seconds=1.0,
            groups=[group],
            polls=Polls(interval_seconds=5.0, per_second=1.0, qr_of_wanted=polls),
            cpu_cores={"worker": 0.1},
            failures={},
        ),
    )


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.01, 1), (0.0, 1)])
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(share: float, value: int) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == value


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 0.5) is None


def test_ratios_compare_only_within_a_round() -> None:
    loads = [load("raw", 1, 100), load("live", 1, 80), load("raw", 2, 50), load("live", 2, 45), load("live", 3, 1)]
    assert ratios(loads, "live", 8, "rate") == [0.8, 0.9]
    assert ratios(loads, "live", 8, "p50_ms") == pytest.approx([1.25, 50 / 45])


def test_a_good_run_has_no_problems() -> None:
    assert results([load("raw", 1, 100)]).problems == []


def test_a_failed_create_and_a_missing_webhook_are_problems() -> None:
    bad = results([load("live", 1, 100, {"HTTP 503 engine_unavailable": 2})], arrived=2)
    assert bad.problems == [
        "create: live, 8 in flight, round 1: 2 × HTTP 503 engine_unavailable",
        "paid: 1 of 3 webhooks missing (qr)",
    ]
    assert all(problem in markdown(bad) for problem in bad.problems)


def test_what_is_kept_reads_back_the_same(tmp_path: Path) -> None:
    whole = results([load("raw", 1, 100), load("live", 1, 80)])
    assert read(write(whole, tmp_path)) == whole


@pytest.mark.parametrize("polls", [0.9, None])
def test_every_table_has_as_many_cells_in_each_row(polls: float | None) -> None:
    shown = markdown(results([load("raw", 1, 100), load("live", 1, 80)], polls=polls))
    tables = [part.splitlines() for part in shown.split("\n\n") if part.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    assert "0.80 (0.80–0.80)" in shown


def storm(round_: int, waits: list[float], *, ill: bool = False) -> Storm:
    return Storm(
        ill=ill,
        round=round_,
        events=10,
        rate=float(round_),
        p50=percentile(waits, 0.5),
        p99=percentile(waits, 0.99),
        max=max(waits, default=None),
        waits=waits,
        requests=20,
        duplicates=round_ - 1,
        ends={"well: delivered": 4} if round_ == 1 else {"hangs: dead (timeout)": 1, "well: delivered": 3},
        cpu_cores={"worker": 0.1 * round_},
        problems={"lost": round_ - 1} if round_ > 1 else {},
    )


def test_rounds_are_pooled_by_their_waits_and_not_by_their_percentiles() -> None:
    whole = pooled([storm(1, [0.1] * 99), storm(2, [0.3])])
    assert (whole.p50, whole.p99, whole.max, len(whole.waits)) == (0.1, 0.1, 0.3, 100)
    assert (whole.events, whole.requests, whole.duplicates, whole.rate) == (20, 40, 1, 1.5)
    assert whole.ends == {"hangs: dead (timeout)": 1, "well: delivered": 7}
    assert whole.cpu_cores["worker"] == pytest.approx(0.15)
    assert whole.problems == {"lost": 1}
    assert pooled([storm(1, [0.2])]) == storm(1, [0.2])


def test_a_storm_is_shown_whole_and_round_by_round_with_its_growth() -> None:
    rounds = [storm(1, [0.1]), storm(1, [0.12], ill=True), storm(2, [0.1]), storm(2, [0.12], ill=True)]
    shown = markdown(Results(started="now", environment={}, options=Options(), storm=rounds))
    assert "their p99 by +20 %" in shown
    assert shown.count("| **all well** |") == shown.count("| **with the ill ones** |") == 1
    assert "| with the ill ones, round 2 |" in shown
    assert "storm: 1 × lost" in shown


def test_a_storm_of_which_nothing_was_timed_has_no_growth() -> None:
    shown = markdown(
        Results(started="now", environment={}, options=Options(), storm=[storm(1, []), storm(1, [], ill=True)])
    )
    assert "their p99 by –" in shown
