"""The documents say what the code does: settings, error codes, links, commands, headers."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rich_click as click

from api.app import MAX_BODY_BYTES
from cli import tolem
from contracts.v1 import STATUS
from dev import configuration_doc
from dev.migrations import ROOT
from domain.errors import MESSAGES, RETRYABLE, Code
from domain.event import EventType
from domain.invoice import Attention
from runtime import settings as conf
from webhooks.errors import FailureCode
from webhooks.signing import new_secret, sign
from workflows.invoice_messages import Resolution

DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / folder / "README.md" for folder in ("bench", "emulator", "examples")),
    ]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text(encoding="utf-8"))


def anchors(document: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_list_of_settings_is_the_code_s() -> None:
    assert configuration_doc.problem() is None
    for row in conf.describe():
        assert f"| `{row.name}`" in configuration_doc.render()


def test_an_old_list_of_settings_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "configuration.md"
    monkeypatch.setattr(configuration_doc, "TARGET", old)
    assert configuration_doc.problem() is not None
    old.write_text(configuration_doc.render().replace("TOLEM_API_PORT", "TOLEM_PORT"), encoding="utf-8")
    assert configuration_doc.problem() is not None
    old.write_text(configuration_doc.render(), encoding="utf-8")
    assert configuration_doc.problem() is None


def test_only_secrets_are_shown_as_files() -> None:
    secrets = {row.name for row in conf.describe() if configuration_doc.may_be_a_file(row.name)}
    assert {"TOLEM_DATABASE_URL", "TOLEM_SEAL_KEYS", "TOLEM_CODEC_TOKEN"} <= secrets
    assert not {"TOLEM_API_PORT", "TOLEM_LOG_LEVEL", "TOLEM_PUBLIC_URL"} & secrets


def test_every_setting_named_in_a_document_exists() -> None:
    known = {row.name for row in conf.describe()} | {f"{row.name}_FILE" for row in conf.describe()}
    for document in DOCUMENTS:
        named = set(re.findall(r"TOLEM_[A-Z_]*[A-Z]", document.read_text(encoding="utf-8")))
        assert named <= known, (document.name, named - known)


def sections(name: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text_of(name), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_error_code_has_its_section_and_no_other() -> None:
    assert list(sections("docs/errors.md")) == [code.value for code in Code]


@pytest.mark.parametrize("code", Code)
def test_an_error_s_section_tells_its_status_message_and_whether_to_repeat(code: Code) -> None:
    section = sections("docs/errors.md")[code.value]
    repeat = "repeat later" if code in RETRYABLE else "do not repeat"
    assert f"**HTTP {STATUS[code]}** · {repeat}\n\n> {MESSAGES[code]}\n" in section


def test_the_body_limit_in_the_documents_is_the_api_s() -> None:
    assert f"{MAX_BODY_BYTES // 1024} KiB" in sections("docs/errors.md")[Code.PAYLOAD_TOO_LARGE]


def links() -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        for target in LINK.findall(prose(document)):
            if not target.startswith(("http://", "https://")):
                yield document, target


def test_links_between_documents_resolve() -> None:
    found = list(links())
    assert len(found) > 20
    for document, target in found:
        path, _, anchor = target.partition("#")
        wanted = (document.parent / path).resolve() if path else document
        assert wanted.exists(), f"{document.name} → {target}"
        if anchor:
            assert anchor in anchors(wanted), f"{document.name} → {target}"


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    edges = [(document, (document.parent / target.partition("#")[0]).resolve()) for document, target in links()]
    while waiting:
        document = waiting.pop()
        if document not in reached:
            reached.add(document)
            waiting += [target for source, target in edges if source == document]
    assert set(DOCUMENTS) <= reached


def test_every_decision_is_listed_and_has_its_three_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    records = sorted(folder.glob("0*.md"))
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert [record.name[:4] for record in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for record in records:
        assert f"]({record.name})" in index
        headings = re.findall(r"^## (.+)$", record.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], record.name


def test_the_tolem_commands_in_the_documents_exist() -> None:
    written = set[str]()
    for document in DOCUMENTS:
        whole = document.read_text(encoding="utf-8")
        commands = re.findall(r"^(?:docker compose run --rm )?tolem (.+?)(?:\s+#.*)?$", whole, re.MULTILINE)
        written |= {
            command.removesuffix("\\").strip() for command in [*commands, *re.findall(r"`tolem ([^`]+)`", whole)]
        }
    assert len(written) > 8
    for command in written:
        if "|" not in command:
            follow(command.split())


def follow(words: list[str]) -> None:
    """Walks the words of a command down the command tree, and looks up its options."""
    here: click.Command = tolem
    rest = list(words)
    while isinstance(here, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0).rstrip(",:")
        found = here.get_command(click.Context(here), name)
        assert found is not None, f"tolem {' '.join(words)}"
        here = found
    options = {name for parameter in here.params for name in parameter.opts} | {"--help"}
    for word in rest:
        assert not word.startswith("--") or word in options, f"tolem {' '.join(words)}"


def test_the_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for document in DOCUMENTS:
        whole = document.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`|TOLEM_DEV_PORT_BASE=\d+ )make ([a-z-]+)", whole, re.MULTILINE))
        assert named <= targets, (document.name, named - targets)


def test_the_words_merchants_and_operators_meet_are_explained() -> None:
    hooks, operations = text_of("docs/webhooks.md"), text_of("docs/operations.md")
    for event in EventType:
        assert f"| `{event}` |" in hooks
    for failure in FailureCode:
        assert f"`{failure}`" in hooks
    for attention in Attention:
        assert f"| `{attention}` |" in operations
    for resolution in Resolution:
        assert f'{{"action": "{resolution}"' in operations


def test_every_header_of_a_webhook_is_documented() -> None:
    for name in sign([new_secret()], "evt_1", datetime.now(UTC), b"{}"):
        assert f"| `{name}` |" in text_of("docs/webhooks.md")


def test_the_schedule_in_the_documents_is_the_default_one() -> None:
    shown = re.search(r"^\| Wait \| (.+) \| daily to day 30 \|$", text_of("docs/webhooks.md"), re.MULTILINE)
    assert shown is not None
    units = {"s": 1, "min": 60, "h": 3600}
    waits = [int(number) * units[unit] for number, unit in (cell.split() for cell in shown[1].split(" | "))]
    default = next(row.default for row in conf.describe() if row.name == "TOLEM_WEBHOOK_SCHEDULE_SECONDS")
    assert [*map(str, waits), "daily"] == default.split(",")
