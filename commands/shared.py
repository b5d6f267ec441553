"""What the operators' commands share: their database, the engine, how failures are told."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import rich_click as click
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from commands.console import table
from commands.operator_name import operator_name
from db.engine import create_engine
from db.errors import DatabaseError
from db.inspection import Told
from db.registry import Registry
from domain.errors import TolemError
from kaspi.errors import KaspiError
from runtime import settings as conf
from runtime.task_queues import TaskQueues
from runtime.temporal import TemporalUnreachable, connect
from workflows.client import Engine, EngineAway


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
