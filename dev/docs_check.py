"""`make docs-check`: every shell block of README and getting started runs, as it stands, in a clean clone.

What a page promises stands behind its block as `<!-- expect: regular expression -->`, which readers do not see.
`--venv FOLDER` links an installed environment instead of installing one.
"""

import argparse
import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from dev.migrations import ROOT
from dev.ports import free_port, is_free

PAGES = ("README.md", "docs/getting-started.md", "examples/README.md")
START = "make up"
INSTALL_SECONDS = 1800.0
BLOCK_SECONDS = 120.0
_BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```\n((?:\s*<!-- expect: .*? -->)*)", re.MULTILINE | re.DOTALL)
_EXPECT = re.compile(r"<!-- expect: (.*?) -->")
_PORTS = 7
_direct = build_opener(ProxyHandler({}))


class DocsWrong(Exception):
    """A page does not keep its word; the text says which block, and what it said."""


@dataclass(frozen=True)
class Block:
    """One shell block, and what its page says that it shows."""

    code: str
    expected: list[str] = field(default_factory=list)


def blocks(page: str) -> list[Block]:
    """The shell blocks of a page's text, in order."""
    return [Block(code, _EXPECT.findall(promises)) for code, promises in _BLOCK.findall(page)]


class Shell:
    """One bash, as a reader's second terminal: what a block defines, the next one has."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc", "-o", "pipefail"],  # noqa: S607 -- the reader's
            cwd=folder, env=environment, start_new_session=True, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._lines = queue.SimpleQueue[str | None]()
        self._blocks = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def run(self, block: Block) -> None:
        """Runs it to its end, and waits for what is expected; `DocsWrong` where it fails or does not come."""
        assert self._process.stdin is not None  # noqa: S101 -- we asked for a pipe
        self._blocks += 1
        end = f"__end_of_block_{self._blocks}__"
        # A reader's shell goes on after a failed line; a documented line that fails is wrong all the same.
        lines = f"trap '__failed=1' ERR; __failed=0\n{block.code}\ntrap - ERR; echo; echo {end} $__failed\n"
        self._process.stdin.write(lines)
        self._process.stdin.flush()
        said: list[str] = []
        ended = self._until(lambda: any(line.startswith(end) for line in said), said)
        if not ended or f"{end} 0" not in said:
            raise DocsWrong(f"this block fails:\n{block.code}\nIt said:\n" + "\n".join(said))
        for promise in block.expected:
            if not self._until(partial(_shows, promise, said), said):
                raise DocsWrong(f"this block shows no {promise!r}:\n{block.code}\nIt said:\n" + "\n".join(said))

    def close(self) -> None:
        """Ends the shell with whatever it has left running."""
        with contextlib.suppress(ProcessLookupError):  # it ended, and left nobody
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _until(self, done: Callable[[], bool], said: list[str]) -> bool:
        ends = time.monotonic() + BLOCK_SECONDS
        while not done():
            try:
                line = self._lines.get(timeout=max(0.0, ends - time.monotonic()))
            except queue.Empty:
                return False
            if line is None:
                return False
            said.append(line)
        return True

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 -- we asked for a pipe
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


def _shows(promise: str, said: list[str]) -> bool:
    return re.search(promise, "\n".join(said)) is not None


@contextmanager
def clean_clone(venv: Path | None) -> Iterator[Path]:
    """What is committed, in a folder of its own; `venv` is linked into it."""
    place = Path(tempfile.mkdtemp(prefix="tolem-docs-"))
    place.chmod(0o711)  # Postgres may run as another user
    folder = place / "tolem"
    try:
        clone = ["git", "clone", "--quiet", str(ROOT), str(folder)]
        subprocess.run(clone, check=True)  # noqa: S603 -- fixed words
        if venv is not None:
            (folder / ".venv").symlink_to(venv.resolve())
        yield folder
    finally:
        if (folder / ".venv").exists():
            clean = [str(folder / ".venv/bin/python"), "-m", "dev.clean"]
            subprocess.run(clean, cwd=folder, check=False)  # noqa: S603 -- fixed words
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def system(folder: Path, environment: dict[str, str], log: Path) -> Iterator[None]:
    """`make up`, in the reader's first terminal."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 -- fixed words
            START.split(), cwd=folder, env=environment, start_new_session=True, stdout=output, stderr=output
        )
    try:
        ends = time.monotonic() + INSTALL_SECONDS
        while not _serves(folder):
            if process.poll() is not None or time.monotonic() > ends:
                raise DocsWrong(f"`{START}` does not come up:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _serves(folder: Path) -> bool:
    addresses = folder / ".tolem" / "dev.json"
    if not addresses.exists():
        return False
    try:
        with _direct.open(json.loads(addresses.read_text())["api"] + "/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _free_base() -> int:
    """The first of so many free ports in a row as the system takes."""
    for base in range(21000, 60000, 100):
        if all(is_free(base + number) for number in range(_PORTS)):
            return base
    raise DocsWrong("no ports are free here")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOLEM_", "VIRTUAL_ENV"))}
    return kept | {"TOLEM_DEV_PORT_BASE": str(_free_base()), "PORT": str(free_port()), "NO_PROXY": "127.0.0.1"}


def check(pages: tuple[str, ...], venv: Path | None) -> int:
    """Runs every block of the pages; how many there were."""
    environment, count = _environment(), 0
    with clean_clone(venv) as folder, system(folder, environment, folder.parent / "up.log"):
        for page in pages:
            shell = Shell(folder, environment)
            try:
                for block in blocks((folder / page).read_text(encoding="utf-8")):
                    if block.code.strip() != START:
                        shell.run(block)
                    count += 1
            except DocsWrong as problem:
                raise DocsWrong(f"{page}: {problem}") from None
            finally:
                shell.close()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.docs_check", description=__doc__)
    parser.add_argument("--venv", type=Path, help="an installed environment to link, instead of installing one")
    parser.add_argument("pages", nargs="*", default=PAGES)
    asked = parser.parse_args()
    status = ["git", "status", "--porcelain"]
    if subprocess.run(status, cwd=ROOT, capture_output=True, check=True).stdout:  # noqa: S603 -- fixed words
        sys.stderr.write("what is not committed is not checked\n")
    try:
        count = check(tuple(asked.pages), asked.venv)
    except DocsWrong as problem:
        sys.exit(f"docs: {problem}")
    sys.stdout.write(f"docs: {count} shell blocks ran in a clean clone\n")


if __name__ == "__main__":
    main()
