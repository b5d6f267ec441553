"""What every command shares: the operator's database, the engine, the console, how failures are told."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from commands.operator_name import operator_name
from db.engine import create_engine
from db.errors import DatabaseError
from db.inspection import Told
from db.registry import Registry
from domain.errors import TolemError
from kaspi.errors import KaspiError
from runtime import settings as conf
from runtime.temporal import TemporalUnreachable, connect
from runtime.temporal_names import TaskQueues
from workflows.client import Engine, EngineAway

# Ids must stay in one piece, so that they can be copied: a narrow terminal wraps lines, not columns.
console = Console(highlight=False, width=max(shutil.get_terminal_size().columns, 320))


@asynccontextmanager
async def operator_database() -> AsyncIterator[AsyncEngine]:
    """The database as the operator's role."""
    settings = conf.load(conf.OperatorDatabase)
    engine = create_engine(settings[conf.OperatorDatabase].url.reveal(), pool_size=1)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def operator_registry() -> AsyncIterator[Registry]:
    """Every merchant's records."""
    async with operator_database() as engine:
        yield Registry(engine, operator_name())


async def workflow_engine() -> Engine:
    """The way to the workflows."""
    settings = conf.load(conf.Temporal, conf.Keys, conf.Worker)
    client = await connect(settings[conf.Temporal], settings[conf.Keys].payload, identity="tolem-cli")
    return Engine(client, TaskQueues(settings[conf.Worker].task_queue_prefix))


def run(work: Coroutine[Any, Any, None]) -> None:
    """Runs a command; what can be expected to go wrong is told in a sentence, exit code 1."""
    try:
        asyncio.run(work)
    except TolemError as error:
        lines = [f"{one.field}: {one.message}" for one in error.errors] or [error.message]
        lines += [f"{name}: {value}" for name, value in error.details.items()]
        raise click.ClickException("\n".join(lines)) from error
    except (DatabaseError, EngineAway, TemporalUnreachable, KaspiError, conf.SettingsError) as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error


def told_table(events: list[Told], *, by_type: bool = False) -> Table:
    """What was told of an object (by its cause, or `by_type`), and what became of each webhook about it."""
    told = table("event", "what", "when", "delivery", "state", "attempts", "last")
    for one in events:
        last = str(one.last_error or one.last_status or "")
        when = f"{one.created_at:%Y-%m-%d %H:%M:%S}"
        attempts = "" if one.attempts is None else str(one.attempts)
        what = one.type if by_type else one.cause
        told.add_row(one.event_id, what, when, one.delivery_id or "", one.state or "", attempts, last)
    return told


def table(*columns: str) -> Table:
    """A plain table."""
    made = Table(box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, no_wrap=True)
    return made
