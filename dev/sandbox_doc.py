"""`python -m dev.sandbox_doc [--check]`: writes the tables of docs/sandbox.md and docs/ru/sandbox.md from
`domain.scenarios`, the words around them from `dev.sandbox_words`.
"""

import sys
from pathlib import Path

from dev.migrations import ROOT
from dev.sandbox_words import ENGLISH, RUSSIAN, NotTranslated, Words
from domain.money import format_amount
from domain.scenarios import MAGIC_VALUES, Course, MagicValue, Request, Told

PAGES = {ROOT / "docs" / "sandbox.md": ENGLISH, ROOT / "docs" / "ru" / "sandbox.md": RUSSIAN}
_BEGIN = (
    "<!-- Written by `python -m dev.sandbox_doc`; change domain/scenarios.py and dev/sandbox_words.py instead. -->\n"
)
_END = "<!-- End of what is written. -->\n"


def tables(words: Words) -> str:
    """The list, and what happens in each case; `NotTranslated` for a sentence that the language does not have."""
    head = f"| {' | '.join(words.columns)} |\n|{' --- |' * len(words.columns)}\n"
    rows = "".join(
        f"| `{one.digits}` (`{one.phone_example}`) | `{format_amount(one.amount)}` | {words.of(one.title)} |\n"
        for one in MAGIC_VALUES
    )
    return head + rows + "\n" + "\n".join(_case(one, words) for one in MAGIC_VALUES)


def _case(value: MagicValue, words: Words) -> str:
    head = f"### {value.digits}: {words.of(value.title).lower()}\n\n"
    if value.phone == value.code:
        return head + _course(value.phone, words)
    phone, code = _course(value.phone, words), _course(value.code, words)
    return f"{head}**{words.phone}** {phone}\n**{words.code}** {code}"


def _course(course: Course, words: Words) -> str:
    lines = [words.of(course.bank) + "\n", f"* {words.creation} {_answer(course, words)}."]
    lines += [f"* {_told(one, words)}" for one in course.events]
    lines += [_request(one, words) for one in course.requests]
    return "\n".join(lines) + "\n"


def _answer(course: Course, words: Words) -> str:
    if course.error is not None:
        code = f", `details.kaspi_code` `{course.bank_code}`" if course.bank_code is not None else ""
        return f"**{course.status}** `{course.error}`{code}"
    attention = f", `attention` `{course.attention}`" if course.attention else ""
    return f"**{course.status}**{words.with_} `state` `{course.state}`{attention}"


def _told(told: Told, words: Words) -> str:
    when = words.after.format(seconds=f"{told.after:g}") if told.after else words.at_once
    reason = f", `status_reason` `{told.reason}`" if told.reason else ""
    attention = f", `attention` `{told.attention}`" if told.attention else ""
    return f"`{told.type}` {when}: `{told.state}`{reason}{attention}"


def _request(request: Request, words: Words) -> str:
    part = "" if request.operation == "cancel" else f" {words.whole if request.share is None else words.half}"
    said = f"{request.status}" + (f" `{request.error}`" if request.error else "")
    events = "".join(f"; {_told(one, words)}" for one in request.events)
    return f"* `POST …/{request.operation}`{part} {words.while_} `{request.state}`: **{said}**{events}"


def render(present: str, words: Words) -> str:
    """The document with its tables written anew; ValueError where their place is missing."""
    before, found, rest = present.partition(_BEGIN)
    _, closed, after = rest.partition(_END)
    if not (found and closed):
        raise ValueError("the page has no place for the tables")
    return f"{before}{_BEGIN}\n{tables(words)}\n{_END}{after}"


def problem() -> str | None:
    """What is wrong with the committed files, None when their tables are what the list says."""
    for page, words in PAGES.items():
        present = page.read_text(encoding="utf-8")
        try:
            if present != render(present, words):
                return f"{_name(page)} is old: run `python -m dev.sandbox_doc`"
        except NotTranslated as sentence:
            return f"{_name(page)} has no words for: {sentence}"
    return None


def _name(page: Path) -> str:
    return "/".join(page.parts[-2:])


def main() -> None:
    """Entry point."""
    if sys.argv[1:] == ["--check"]:
        sys.exit(problem())
    if sys.argv[1:]:
        sys.exit("usage: python -m dev.sandbox_doc [--check]")
    for page, words in PAGES.items():
        page.write_text(render(page.read_text(encoding="utf-8"), words), encoding="utf-8")


if __name__ == "__main__":
    main()
