"""Node.js for the tests that ask other people's libraries: found, and its packages installed, or a loud skip."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "verifiers"
_MODULES = PACKAGE / "node_modules"
_STAMP = _MODULES / ".installed"
# npm's words for "the registry cannot be reached": nothing is proven then, and nothing disproven.
_AWAY = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH")


def node() -> str:
    """The interpreter, with the packages of tests/verifiers beside it (`npm ci`, once per lock file)."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("NOT PROVEN: node and npm are missing, so no JavaScript library has checked our signatures")
    lock = PACKAGE / "package-lock.json"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    # Test processes run beside each other.
    with (PACKAGE / ".lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if not _STAMP.exists() or _STAMP.read_text() != wanted:
            _install(npm)
            _STAMP.write_text(wanted)
    return found


def _install(npm: str) -> None:
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=PACKAGE, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    if done.returncode and any(word in done.stderr for word in _AWAY):
        pytest.skip("NOT PROVEN: npm cannot reach its registry, so no JavaScript library has checked our signatures")
    assert done.returncode == 0, done.stderr
