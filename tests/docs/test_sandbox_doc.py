"""The tables of docs/sandbox.md are those of the list in the code."""

from pathlib import Path

import pytest

from dev import sandbox_doc
from domain.scenarios import MAGIC_VALUES


def test_the_tables_of_the_magic_values_are_the_code_s() -> None:
    assert sandbox_doc.problem() is None
    present = sandbox_doc.TARGET.read_text(encoding="utf-8")
    for value in MAGIC_VALUES:
        assert f"\n### {value.digits}: " in present


def test_old_tables_are_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    present = sandbox_doc.TARGET.read_text(encoding="utf-8")
    old = tmp_path / "sandbox.md"
    monkeypatch.setattr(sandbox_doc, "TARGET", old)
    old.write_text(present.replace("after 2 s", "after 3 s"), encoding="utf-8")
    assert sandbox_doc.problem() is not None
    assert sandbox_doc.render(old.read_text(encoding="utf-8")) == present
    with pytest.raises(ValueError, match="no place"):
        sandbox_doc.render("# The sandbox\n")
