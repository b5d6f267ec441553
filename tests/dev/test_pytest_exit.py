"""The conftest leaves before the interpreter's teardown: neither the exit status nor the summary may suffer."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from dev.migrations import ROOT

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("verdict", "status", "summary"), [("True", 0, "1 passed"), ("False", 1, "1 failed")])
async def test_status_and_summary_survive(tmp_path: Path, verdict: str, status: int, summary: str) -> None:
    tests = tmp_path / "test_it.py"
    # A hook that runs at exit proves that the interpreter was left early.
    tests.write_text(
        f"import atexit, temporalio.client\natexit.register(print, 'torn down')\ndef test_it():\n    assert {verdict}\n"
    )
    argv = ("-m", "pytest", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *argv, str(tests)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
    )
    said, _ = await process.communicate()
    assert process.returncode == status, said.decode()
    assert summary in said.decode().splitlines()[-1]
    assert "torn down" not in said.decode()
