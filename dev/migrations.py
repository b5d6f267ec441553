"""Brings a database to the newest migration, in a process of its own."""

import asyncio
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class MigrationFailed(Exception):
    """Alembic refused; the text is what it printed."""


async def upgrade(owner_url: str, *, arguments: tuple[str, ...] = ("upgrade", "head")) -> str:
    """Runs Alembic as the owner (`postgresql+asyncpg://…`); returns what it printed.

    A process, not a call: Alembic's environment file runs an event loop of its own and changes logging for ever.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "alembic", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**_without_settings(), "TOLEM_OWNER_DATABASE_URL": owner_url},
        cwd=ROOT,
    )
    said, _ = await process.communicate()
    text = said.decode(errors="replace")
    if process.returncode != 0:
        raise MigrationFailed(text)
    return text


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TOLEM_")}
