"""Records the histories of every branch anew: `.venv/bin/python -m tests.replay.record` (about a minute).

It runs the tests of the workflows, which go through every branch, and keeps what Temporal kept of them.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.replay.recording import FOLDER_VARIABLE, HISTORIES


def _ignored(tests: Path) -> list[str]:
    """What runs on a server of its own."""
    return [f"--ignore={tests / name}" for name in ("test_real_invoice.py", "test_subscription_years.py")]


def main() -> int:
    """Only a run without failures replaces the histories."""
    with tempfile.TemporaryDirectory() as name:
        tests = Path(__file__).parents[1] / "workflows"
        command = [sys.executable, "-m", "pytest", "-q", str(tests), *_ignored(tests)]
        status = subprocess.run(command, env={**os.environ, FOLDER_VARIABLE: name}, check=False).returncode
        if status != 0:
            return status
        HISTORIES.mkdir(exist_ok=True)
        for old in HISTORIES.glob("*.json"):
            old.unlink()
        for new in sorted(Path(name).glob("*.json")):
            (HISTORIES / new.name).write_bytes(new.read_bytes())
    print(f"{len(list(HISTORIES.glob('*.json')))} histories in {HISTORIES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
