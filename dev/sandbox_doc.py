"""`python -m dev.sandbox_doc [--check]`: writes the tables of docs/sandbox.md from `domain.scenarios`."""

import sys

from dev.migrations import ROOT
from domain.money import format_amount
from domain.scenarios import MAGIC_VALUES, Course, MagicValue, Request, Told

TARGET = ROOT / "docs" / "sandbox.md"
_BEGIN = "<!-- Written by `python -m dev.sandbox_doc`; change domain/scenarios.py instead. -->\n"
_END = "<!-- End of what is written. -->\n"
_OPERATIONS = {"cancel": "`POST …/cancel`", "refund": "`POST …/refund`"}


def tables() -> str:
    """The list, and what happens in each case."""
    head = "| Phone ends in | QR or link of exactly | What happens |\n| --- | --- | --- |\n"
    rows = "".join(
        f"| `{one.digits}` (`{one.phone_example}`) | `{format_amount(one.amount)}` | {one.title} |\n"
        for one in MAGIC_VALUES
    )
    return head + rows + "\n" + "\n".join(_case(one) for one in MAGIC_VALUES)


def _case(value: MagicValue) -> str:
    head = f"### {value.digits}: {value.title.lower()}\n\n"
    if value.phone == value.code:
        return head + _course(value.phone)
    return head + "**Invoice to a phone.** " + _course(value.phone) + "\n**QR and link.** " + _course(value.code)


def _course(course: Course) -> str:
    lines = [course.bank + "\n", f"* The creation answers {_answer(course)}."]
    lines += [f"* {_told(one)}" for one in course.events]
    lines += [_request(one) for one in course.requests]
    return "\n".join(lines) + "\n"


def _answer(course: Course) -> str:
    if course.error is not None:
        code = f", `details.kaspi_code` `{course.bank_code}`" if course.bank_code is not None else ""
        return f"**{course.status}** `{course.error}`{code}"
    attention = f", `attention` `{course.attention}`" if course.attention else ""
    return f"**{course.status}** with `state` `{course.state}`{attention}"


def _told(told: Told) -> str:
    when = f"after {told.after:g} s" if told.after else "at once"
    reason = f", `status_reason` `{told.reason}`" if told.reason else ""
    attention = f", `attention` `{told.attention}`" if told.attention else ""
    return f"`{told.type}` {when}: `{told.state}`{reason}{attention}"


def _request(request: Request) -> str:
    part = "" if request.operation == "cancel" else " of all of it" if request.share is None else " of half of it"
    said = f"{request.status}" + (f" `{request.error}`" if request.error else "")
    events = "".join(f"; {_told(one)}" for one in request.events)
    return f"* {_OPERATIONS[request.operation]}{part} while it is `{request.state}`: **{said}**{events}"


def render(present: str) -> str:
    """The document with its tables written anew; ValueError where their place is missing."""
    before, found, rest = present.partition(_BEGIN)
    _, closed, after = rest.partition(_END)
    if not (found and closed):
        raise ValueError("docs/sandbox.md has no place for the tables")
    return f"{before}{_BEGIN}\n{tables()}\n{_END}{after}"


def problem() -> str | None:
    """What is wrong with the committed file, None when its tables are what the list says."""
    present = TARGET.read_text(encoding="utf-8")
    return None if present == render(present) else "docs/sandbox.md is old: run `python -m dev.sandbox_doc`"


def main() -> None:
    """Entry point."""
    if sys.argv[1:] == ["--check"]:
        sys.exit(problem())
    if sys.argv[1:]:
        sys.exit("usage: python -m dev.sandbox_doc [--check]")
    TARGET.write_text(render(TARGET.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
