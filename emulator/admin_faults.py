"""Admin calls about the bank itself: faults, knobs, the call log, reset."""

import datetime
from typing import Any, Final

import msgspec
from litestar import delete, get, post, put
from litestar.exceptions import ClientException, NotFoundException

from emulator import calls, faults
from emulator.bank_routes import CALLS
from emulator.faults import FaultSpec
from emulator.settings import Settings
from emulator.wire import utc
from emulator.world import World


@post("/emulator/faults", sync_to_thread=False)
def add_fault(world: World, data: FaultSpec) -> dict[str, int]:
    problem = data.problem()
    if data.call != "*" and data.call not in CALLS:
        problem = f"no such call: {data.call}; known: * {' '.join(CALLS)}"
    if problem is not None:
        raise ClientException(problem)
    return {"id": faults.add(world.store, data)}


@get("/emulator/faults", sync_to_thread=False)
def list_faults(world: World) -> dict[str, Any]:
    return {
        "faults": [
            msgspec.to_builtins(fault.spec) | {"id": fault.id, "remaining": fault.remaining, "hits": fault.hits}
            for fault in faults.listed(world.store)
        ]
    }


@delete("/emulator/faults", sync_to_thread=False)
def delete_faults(world: World) -> None:
    faults.delete(world.store)


@delete("/emulator/faults/{fault_id:int}", sync_to_thread=False)
def delete_fault(world: World, fault_id: int) -> None:
    if not faults.delete(world.store, fault_id):
        raise NotFoundException("no such fault")


@get("/emulator/calls", sync_to_thread=False)
def list_calls(
    world: World, call: str | None = None, since: str | None = None, limit: int | None = None
) -> dict[str, Any]:
    """`since`: a sequence number (rows after it) or an ISO time (rows from it on). Counts are exact and unfiltered."""
    since_seq, since_ms = _since(since)
    rows = calls.rows(world.store, call, since_seq, since_ms, limit)
    totals = calls.counts(world.store)
    return {
        "calls": [row | {"at": utc(row["at"]), "executed": bool(row["executed"])} for row in rows],
        "counts": {name: both["received"] for name, both in totals.items()},
        "executed": {name: both["executed"] for name, both in totals.items()},
    }


@get("/emulator/settings", sync_to_thread=False)
def read_settings(world: World) -> Settings:
    return world.settings


@put("/emulator/settings", sync_to_thread=False)
def change_settings(world: World, data: dict[str, Any]) -> Settings:
    """Changes what is named and keeps the rest, inside `remote_poll_guard` too."""
    try:
        world.change_settings(msgspec.convert(_merge(msgspec.to_builtins(world.settings), data), Settings))
    except msgspec.ValidationError as error:
        raise ClientException(str(error)) from error
    return world.settings


@post("/emulator/reset", status_code=200, sync_to_thread=False)
def reset(world: World) -> dict[str, str]:
    world.forget()
    return {"status": "ok"}


def _merge(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(whole)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _since(text: str | None) -> tuple[int, int]:
    if text is None:
        return 0, 0
    if text.isdecimal():
        return min(int(text), 2**62), 0
    try:
        # A "+" of the offset arrives as a space when the client did not escape it.
        moment = datetime.datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise ClientException("since: a sequence number or an ISO time") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return 0, int(moment.timestamp() * 1000)


HANDLERS: Final = [
    add_fault,
    list_faults,
    delete_faults,
    delete_fault,
    list_calls,
    read_settings,
    change_settings,
    reset,
]
