"""`python -m dev.checks migrations|openapi|configuration`: what of `make check` is neither a linter nor a test."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from dev import configuration_doc
from dev.migrations import ROOT, MigrationFailed, upgrade
from dev.ports import free_port
from dev.postgres import EmbeddedPostgres
from dev.postgres_home import postgres_home, remove_home

_console = Console(highlight=False)


def migrations() -> str | None:
    """One head, and a migrated database equals the models. Returns what is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="tolem-check-"))
    folder.chmod(0o711)
    try:
        return asyncio.run(_migrations(EmbeddedPostgres(postgres_home(folder), free_port(), {"fsync": "off"})))
    finally:
        remove_home(folder)
        shutil.rmtree(folder)


async def _migrations(server: EmbeddedPostgres) -> str | None:
    try:
        await server.start()
        owner = server.database().owner_url
        heads = (await upgrade(owner, arguments=("heads",))).strip().splitlines()
        if len(heads) != 1:
            return f"there must be one head, found {len(heads)}: " + ", ".join(heads)
        await upgrade(owner)
        await upgrade(owner, arguments=("check",))
    except MigrationFailed as problem:
        return str(problem)
    finally:
        await server.stop()
    return None


def openapi() -> str | None:
    """The committed OpenAPI file is the one the code makes. Returns what is wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", "openapi", "check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else done.stdout + done.stderr


_CHECKS = {"migrations": migrations, "openapi": openapi, "configuration": configuration_doc.problem}


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in _CHECKS:
        sys.exit(f"usage: python -m dev.checks {'|'.join(_CHECKS)}")
    problem = _CHECKS[sys.argv[1]]()
    if problem:
        _console.print(f"{sys.argv[1]}: {problem}", markup=False)
        sys.exit(1)
    _console.print(f"{sys.argv[1]}: ok")


if __name__ == "__main__":
    main()
