"""`make docs-check`: a block that fails, and a promise that is not kept, are seen."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import docs_check
from dev.docs_check import Block, DocsWrong, Shell

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path, ENVIRONMENT)
    yield opened
    opened.close()


def test_a_block_has_what_the_one_before_it_made(shell: Shell) -> None:
    shell.run(Block('found=right; say() { echo "it is $1"; }\n'))
    shell.run(Block("say $found\n", ["it is right"]))


@pytest.mark.parametrize(
    "code", ["false\n", "false\ntrue\n", "false | cat\n", "exit 0\n", "no-such-command\n", "X=$(false)\n"]
)
def test_a_block_that_fails_is_named(shell: Shell, code: str) -> None:
    with pytest.raises(DocsWrong, match="this block fails"):
        shell.run(Block(code))


def test_a_broken_promise_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs_check, "BLOCK_SECONDS", 2)
    with pytest.raises(DocsWrong, match="shows no 'paid'"):
        shell.run(Block("echo pending\n", ["paid"]))


def test_what_comes_from_behind_counts_too(shell: Shell) -> None:
    shell.run(Block("(sleep 0.2; echo paid) &\n", ["^paid$|\npaid"]))
