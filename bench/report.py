"""A run's results as Markdown: what is printed at the end and what docs/performance.md shows."""

from collections.abc import Iterable, Sequence
from statistics import median

from bench.options import Options
from bench.results_file import Load, Paid, Results, Storm, Told, medians, pooled, ratios

_NONE = "–"


def markdown(results: Results) -> str:
    """Every table of a run, and its problems first if it has any."""
    parts = [f"Run of {results.started}."]
    if results.problems:
        parts += ["**Not a good run:**", "\n".join(f"* {problem}" for problem in results.problems)]
    if results.create is not None:
        parts += _create(results.create, results.options)
    if results.paid is not None:
        parts += _paid(results.paid, results.options)
    if results.storm is not None:
        parts += _storm(results.storm, results.options)
    if results.told is not None:
        parts += _told(results.told)
    parts += ["### Where", _table(("", ""), results.environment.items())]
    return "\n\n".join(parts) + "\n"


def _storm(storms: Sequence[Storm], options: Options) -> list[str]:
    well, ill = (
        pooled(storm for storm in storms if not storm.ill),
        pooled(storm for storm in storms if storm.ill),
    )
    one_by_one = storms if len(storms) > 2 else ()
    return [
        "### Webhooks with ill receivers",
        f"{options.events} events to {options.receivers} receivers, five a merchant, while bills are made and paid. "
        "Seconds from the event to its first request at receivers that are well:",
        _table(
            ("", "events", "events /s", "timed", "p50", "p99", "max", "requests", "duplicates", "cores busy"),
            (_storm_row(storm) for storm in (well, ill, *one_by_one)),
        ),
        f"With the ill ones the p50 of the well ones grows by {_growth(well.p50, ill.p50)}, "
        f"their p99 by {_growth(well.p99, ill.p99)}.",
        "How deliveries ended where some are ill:",
        _table(("receiver and end", "deliveries"), ill.ends.items()),
    ]


def _storm_row(storm: Storm) -> tuple[object, ...]:
    name = "with the ill ones" if storm.ill else "all well"
    return (
        f"{name}, round {storm.round}" if storm.round else f"**{name}**",
        storm.events,
        _figure(storm.rate, 1),
        len(storm.waits),
        _figure(storm.p50, 3),
        _figure(storm.p99, 3),
        _figure(storm.max, 3),
        storm.requests,
        storm.duplicates,
        ", ".join(f"{name} {cores:.2f}" for name, cores in storm.cpu_cores.items()),
    )


def _growth(well: float | None, ill: float | None) -> str:
    return _NONE if not well or ill is None else f"{100 * (ill / well - 1):+.0f} %"


def _told(told: Told) -> list[str]:
    cores = ", ".join(f"{name} {busy:.2f}" for name, busy in told.cpu_cores.items())
    row = (
        told.events,
        told.bills,
        _figure(told.rate, 1),
        _figure(told.p50, 3),
        _figure(told.p99, 3),
        _figure(told.max, 3),
        cores,
    )
    return [
        "### From an event's commit to its first request",
        _table(("events", "bills made and paid", "events /s", "p50 s", "p99 s", "max s", "cores busy"), [row]),
    ]


def _create(loads: Sequence[Load], options: Options) -> list[str]:
    cells = [
        (in_flight, subject, [one for one in loads if (one.subject, one.in_flight) == (subject, in_flight)])
        for in_flight in options.in_flight
        for subject in dict.fromkeys(one.subject for one in loads)
    ]
    rates = (
        (
            in_flight,
            subject,
            _figure(medians(group, "rate"), 1),
            _figure(medians(group, "p50_ms"), 1),
            _figure(medians(group, "p99_ms"), 1),
            *(_spread(ratios(loads, subject, in_flight, field)) for field in ("rate", "p50_ms")),
        )
        for in_flight, subject, group in cells
    )
    processes = list(dict.fromkeys(name for one in loads for name in one.cpu_ms))
    cpu = (
        (in_flight, subject, *(_figure(_median_cpu(group, name), 2) for name in processes))
        for in_flight, subject, group in cells
    )
    return [
        "### Creating a bill",
        f"Medians of {options.rounds} rounds of {options.seconds:g} s. `raw` is a bare update-with-start; ÷ raw is "
        "computed within each round: median (lowest–highest).",
        _table(("in flight", "subject", "rate /s", "p50 ms", "p99 ms", "rate ÷ raw", "p50 ÷ raw"), rates),
        "CPU per create, milliseconds:",
        _table(("in flight", "subject", *processes), cpu),
    ]


def _paid(paid: Paid, options: Options) -> list[str]:
    interval = paid.polls.interval_seconds
    groups = (
        (
            group.name,
            group.paid,
            group.arrived,
            group.repeated,
            _figure(group.p50, 2),
            _figure(group.p99, 2),
            _figure(group.max, 2),
            _figure(None if group.p50 is None else group.p50 / interval, 2),
            _figure(None if group.p99 is None else group.p99 / interval, 2),
        )
        for group in paid.groups
    )
    share = _NONE if paid.polls.qr_of_wanted is None else f"{paid.polls.qr_of_wanted:.0%}"
    opened = " and ".join(f"{number} {kind}" for kind, number in paid.opened.items())
    return [
        "### Paid → webhook",
        f"{opened} bills open (opened in {paid.opening_seconds:.0f} s), the bank takes {options.latency_ms} ms a call; "
        f"{options.poll_connections} calls at once, at most {options.bank_calls_per_second} a second. Seconds:",
        _table(
            ("noticed by", "paid", "webhooks", "repeated", "p50", "p99", "max", "p50 ÷ interval", "p99 ÷ interval"),
            groups,
        ),
        f"Interval: the bank's {interval:g} s for QR. Status calls {paid.polls.per_second:.1f}/s; "
        f"QR looks made of those wanted: {share}.",
        "Cores busy meanwhile:",
        _table(paid.cpu_cores.keys(), [[_figure(cores, 3) for cores in paid.cpu_cores.values()]]),
    ]


def _table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    titles = list(head)
    lines: list[Iterable[object]] = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _figure(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})" if values else _NONE


def _median_cpu(group: Sequence[Load], name: str) -> float | None:
    values = [one.cpu_ms[name] for one in group if name in one.cpu_ms]
    return median(values) if values else None
