"""The tables of docs/sandbox.md and docs/ru/sandbox.md are those of the list in the code."""

import re
from pathlib import Path

import msgspec
import pytest

from dev import sandbox_doc
from dev.sandbox_words import ENGLISH, RUSSIAN
from domain.scenarios import MAGIC_VALUES

ENGLISH_PAGE, RUSSIAN_PAGE = sandbox_doc.PAGES


def test_the_tables_of_the_magic_values_are_the_code_s() -> None:
    assert sandbox_doc.problem() is None
    for page in sandbox_doc.PAGES:
        present = page.read_text(encoding="utf-8")
        for value in MAGIC_VALUES:
            assert f"\n### {value.digits}: " in present


@pytest.mark.parametrize(
    ("page", "now", "then"),
    [(ENGLISH_PAGE, "after 2 s", "after 3 s"), (RUSSIAN_PAGE, "через 2 с", "через 3 с")],
    ids=["english", "russian"],
)
def test_old_tables_are_noticed(
    page: Path, now: str, then: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    present, words = page.read_text(encoding="utf-8"), sandbox_doc.PAGES[page]
    old = tmp_path / "sandbox.md"
    old.write_text(present.replace(now, then), encoding="utf-8")
    monkeypatch.setattr(sandbox_doc, "PAGES", {old: words})
    found = sandbox_doc.problem()
    assert found is not None
    assert "is old" in found
    assert sandbox_doc.render(old.read_text(encoding="utf-8"), words) == present
    with pytest.raises(ValueError, match="no place"):
        sandbox_doc.render("# The sandbox\n", words)


def test_both_languages_tell_the_same_of_each_case() -> None:
    def codes(text: str) -> list[str]:
        return re.findall(r"`[^`]+`", text)

    def shape(text: str) -> list[str]:
        """Rows, points and headings; sentences and empty lines count only as such."""
        return [line[:2] if line[:1] in set("|*#") else str(bool(line)) for line in text.splitlines()]

    english, russian = sandbox_doc.tables(ENGLISH), sandbox_doc.tables(RUSSIAN)
    assert codes(russian) == codes(english)
    assert shape(russian) == shape(english)


def test_a_sentence_without_its_translation_is_named_and_none_is_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {sentence for one in MAGIC_VALUES for sentence in (one.title, one.phone.bank, one.code.bank)}
    assert RUSSIAN.sentences is not None
    assert set(RUSSIAN.sentences) == said
    for sentence in said:
        rest = {english: russian for english, russian in RUSSIAN.sentences.items() if english != sentence}
        poorer = msgspec.structs.replace(RUSSIAN, sentences=rest)
        monkeypatch.setattr(sandbox_doc, "PAGES", {RUSSIAN_PAGE: poorer})
        assert sandbox_doc.problem() == f"ru/sandbox.md has no words for: {sentence}"
