"""Rules about files that no linter has."""

import re
import subprocess

import pytest

from dev.migrations import ROOT

MOST_LINES = 400
# Written once and never rewritten: a migration is as long as its tables are many.
_LONG_BY_NATURE = re.compile(r"migrations/versions/")
_PACKAGE_INDEX = re.compile(
    r"py[p]i\.org|python[h]osted\.org|registry\.[n]pmjs|proxy\.[g]olang|--(extra-)?index-url|--trusted-host"
)
_MACHINE_PATH = re.compile(r"(?<![\w.$}*~/-])/(root|home/\w+|Users/\w+|work)/[\w.]")


def tracked(*patterns: str) -> list[str]:
    """What git keeps or would keep here."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


def test_no_module_grows_beyond_what_one_reads_at_once() -> None:
    lengths = {name: len(text_of(name).splitlines()) for name in tracked("*.py") if not _LONG_BY_NATURE.match(name)}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_packages_say_nothing_by_themselves() -> None:
    packages = tracked("*/__init__.py", "__init__.py")
    assert packages
    assert [name for name in packages if text_of(name)] == []


@pytest.mark.parametrize("forbidden", [_PACKAGE_INDEX, _MACHINE_PATH], ids=["package index", "machine path"])
def test_no_file_knows_where_it_was_made(forbidden: re.Pattern[str]) -> None:
    this = "tests/architecture/test_files.py"
    names = [name for name in tracked() if name != this and "/swagger-ui/" not in name and "/histories/" not in name]
    assert names
    assert {name: found[0] for name in names if (found := forbidden.search(text_of(name)))} == {}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (_PACKAGE_INDEX, "pip install --index-url"),
        (_PACKAGE_INDEX, "https://files.python" + "hosted.org/packages/a.whl"),
        (_MACHINE_PATH, "cd /home/dev/tolem"),
        (_MACHINE_PATH, 'open("/root/.cache")'),
    ],
)
def test_the_search_finds_what_it_looks_for(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)
