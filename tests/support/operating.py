"""`tolem` as the operator of the running system types it."""

import asyncio
import os
import re

from click.testing import CliRunner

from cli import tolem
from tests.support.stack import Stack


async def operate(stack: Stack, *words: str) -> tuple[int, str]:
    """Exit code and everything that was printed, in one line."""
    environment: dict[str, str | None] = {name: None for name in os.environ if name.startswith("TOLEM_")}
    environment.update(stack.system.operator_environment())
    # In a thread: a command has a loop of its own.
    done = await asyncio.to_thread(CliRunner().invoke, tolem, list(words), env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.exit_code, re.sub(r"[\s│╭╮╰╯─]+", " ", done.output).strip()
