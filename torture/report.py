"""What a run prints and keeps."""

from pathlib import Path

import msgspec

from torture.evidence import Evidence
from torture.plan import Plan
from torture.run import Timing
from torture.verdict import Verdict

_MOST_SHOWN = 40


def report(plan: Plan, timing: Timing, verdict: Verdict) -> str:
    """A table of figures, a table of crimes, and the first findings; Markdown."""
    size = plan.size
    rows = {
        "seed": str(plan.seed),
        "planned": f"{size.invoices} invoices, {sum(len(bill.refunds) for bill in plan.bills)} refunds,"
        f" {size.subscriptions} subscriptions, {size.kills} kills, {len(plan.faults)} bank faults",
        "load, settling": f"{timing.load:.0f} s, {timing.settle:.0f} s",
        **verdict.figures,
    }
    parts = [
        _table("figure", rows),
        _table("must be 0", {str(crime): str(count) for crime, count in verdict.counts.items()}),
    ]
    if verdict.violations:
        shown = verdict.violations[:_MOST_SHOWN]
        more = len(verdict.violations) - len(shown)
        parts.append(
            "\n".join(f"* {one.crime}: {one.what}" for one in shown) + (f"\n* and {more} more" if more else "")
        )
    return "\n\n".join(parts) + "\n"


def keep_plan(plan: Plan, folder: Path) -> None:
    """`plan.json`: what was going to be done."""
    (folder / "plan.json").write_bytes(msgspec.json.format(msgspec.json.encode(plan)))


def keep_results(evidence: Evidence, text: str, folder: Path) -> None:
    """`evidence.json` and `report.md`."""
    (folder / "evidence.json").write_bytes(msgspec.json.format(msgspec.json.encode(evidence)))
    (folder / "report.md").write_text(text, encoding="utf-8")


def _table(title: str, rows: dict[str, str]) -> str:
    width = max(len(name) for name in (title, *rows))
    lines = [f"| {title:<{width}} | |", f"| {'-' * width} | --- |"]
    lines += [f"| {name:<{width}} | {value} |" for name, value in rows.items()]
    return "\n".join(lines)
