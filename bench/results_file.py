"""The figures of a run: what is measured, what is derived from it, and the file they are kept in."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median

import msgspec

from bench.options import Options


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement: creates by one subject with `in_flight` at a time.

    `failures` counts by what was answered instead. `cpu_ms` is CPU per create, by process, in milliseconds.
    """

    subject: str
    round: int
    in_flight: int
    created: int
    failures: dict[str, int]
    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: dict[str, float]


class PaidGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Payments of one way to be noticed: from the bank's "paid" to the webhook, in seconds. None: none arrived."""

    name: str
    paid: int
    arrived: int
    repeated: int
    p50: float | None
    p99: float | None
    max: float | None


class Polls(msgspec.Struct, frozen=True, kw_only=True):
    """Status calls the bank saw while payments were made.

    `qr_of_wanted`: those for QR payments ÷ what the bank's interval asks for; None where the bank's log was too short.
    """

    interval_seconds: float
    per_second: float
    qr_of_wanted: float | None


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """The second scenario. `cpu_cores`: cores busy while payments were made, by process."""

    opened: dict[str, int]
    opening_seconds: float
    groups: list[PaidGroup]
    polls: Polls
    cpu_cores: dict[str, float]
    failures: dict[str, int]


class Storm(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the third scenario, with the `ill` receivers or without. Seconds from the event to the first request,
    of those receivers that are well, after the run's warm-up: all of them in `waits`. `ends` counts deliveries by their
    receiver's illness and how they ended; `duplicates` are requests accepted beyond the first for their event.
    """

    ill: bool
    round: int = 1
    events: int
    rate: float
    p50: float | None
    p99: float | None
    max: float | None
    waits: list[float] = []
    requests: int
    duplicates: int
    ends: dict[str, int]
    cpu_cores: dict[str, float]
    problems: dict[str, int]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The fourth scenario. Seconds from an event's commit to its first request; `bills` made them."""

    events: int
    bills: int
    rate: float
    p50: float | None
    p99: float | None
    max: float | None
    cpu_cores: dict[str, float]
    failures: dict[str, int]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. Scenarios that were not run are None."""

    started: str
    environment: dict[str, str]
    options: Options
    create: list[Load] | None = None
    paid: Paid | None = None
    storm: list[Storm] | None = None
    told: Told | None = None

    @property
    def problems(self) -> list[str]:
        """What did not happen as it must, in words; empty for a good run."""
        found = [
            f"create: {one.subject}, {one.in_flight} in flight, round {one.round}: {count} × {what}"
            for one in self.create or []
            for what, count in one.failures.items()
        ]
        if self.paid is not None:
            found += [f"paid: {count} × {what}" for what, count in self.paid.failures.items()]
            found += [
                f"paid: {group.paid - group.arrived} of {group.paid} webhooks missing ({group.name})"
                for group in self.paid.groups
                if group.arrived < group.paid
            ]
        if self.told is not None:
            found += [f"told: {count} × {what}" for what, count in self.told.failures.items()]
        for storm in self.storm or []:
            found += [f"storm: {count} × {what}" for what, count in storm.problems.items()]
        return found


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` (0…1) of the values do not exceed; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    # Counted in thousandths: 0.99 × 100 is a little more than 99 in floating point.
    rank = -(-round(share * 1000) * len(ordered) // 1000)
    return ordered[max(0, rank - 1)]


def pooled(storms: Iterable[Storm]) -> Storm:
    """Runs of one kind as if they were one: waits together, counts added, rates and cores on average."""
    runs = list(storms)
    if len(runs) == 1:
        return runs[0]
    waits = [wait for run in runs for wait in run.waits]
    return Storm(
        ill=runs[0].ill,
        round=0,
        events=sum(run.events for run in runs),
        rate=mean(run.rate for run in runs),
        p50=percentile(waits, 0.5),
        p99=percentile(waits, 0.99),
        max=max(waits, default=None),
        waits=waits,
        requests=sum(run.requests for run in runs),
        duplicates=sum(run.duplicates for run in runs),
        ends=_added(run.ends for run in runs),
        cpu_cores={name: mean(run.cpu_cores.get(name, 0.0) for run in runs) for name in runs[0].cpu_cores},
        problems=_added(run.problems for run in runs),
    )


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def medians(loads: Iterable[Load], field: str) -> float | None:
    """The median over rounds of `rate`, `p50_ms` or `p99_ms`."""
    values = [getattr(one, field) for one in loads]
    return median(values) if values else None


def ratios(loads: Sequence[Load], subject: str, in_flight: int, field: str) -> list[float]:
    """`subject` ÷ raw, round by round: only figures taken within minutes of each other are compared."""
    of = {(one.subject, one.round): getattr(one, field) for one in loads if one.in_flight == in_flight}
    rounds = sorted(number for name, number in of if name == subject)
    return [of[subject, one] / of["raw", one] for one in rounds if of.get(("raw", one))]


def write(results: Results, folder: Path) -> Path:
    """Keeps the results as `<date>.json` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{results.started.replace(':', '')}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return path


def read(path: Path) -> Results:
    """The results kept in `path`."""
    return msgspec.json.decode(path.read_bytes(), type=Results)
