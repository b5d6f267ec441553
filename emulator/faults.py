"""Faults: what goes wrong on the way, call by call. Kept in the state file like everything else."""

import random
from typing import Annotated, Final, Literal

import msgspec

from emulator.store import Store
from emulator.world import World

FaultName = Literal[
    "delay",
    "drop_before",
    "execute_then_drop",
    "error_5xx_after",
    "error_5xx_before",
    "empty",
    "html",
    "code",
    "status_word",
    "malformed",
    "throttle_429",
]
_NOT_EXECUTED: Final = frozenset({"drop_before", "error_5xx_before", "throttle_429"})
_CHOICE: Final = frozenset({"empty", "html", "code"})


class FaultSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`times` None means until deleted. `delay_ms` waits before anything is executed, with every fault.

    `code` is the StatusCode of "code" and the HTTP status of the two 5xx (500 without it). `execute` counts
    for "empty", "html" and "code" only.
    """

    call: str
    fault: FaultName
    times: Annotated[int, msgspec.Meta(ge=1)] | None = 1
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=600_000)] = 0
    code: int | None = None
    word: str | None = None
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    execute: bool = True

    def executes(self) -> bool:
        """Whether the bank does what it was asked although the answer is spoilt."""
        return self.execute if self.fault in _CHOICE else self.fault not in _NOT_EXECUTED

    def problem(self) -> str | None:
        """What is wrong with the specification, in words."""
        if self.fault == "code" and self.code is None:
            return "fault code needs code"
        if self.fault == "status_word" and self.word is None:
            return "fault status_word needs word"
        if self.fault.startswith("error_5xx") and not 500 <= (self.code or 500) <= 599:
            return "code of a 5xx fault is an HTTP status 500-599"
        return None


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    spec: FaultSpec
    remaining: int | None
    hits: int


def add(store: Store, spec: FaultSpec) -> int:
    return store.insert("faults", spec=msgspec.json.encode(spec).decode(), remaining=spec.times)


def listed(store: Store) -> list[Fault]:
    """Also the spent ones (remaining 0), oldest first, with how often each one hit."""
    return [
        Fault(
            id=row["id"],
            spec=msgspec.json.decode(row["spec"], type=FaultSpec),
            remaining=row["remaining"],
            hits=row["hits"],
        )
        for row in store.rows("SELECT * FROM faults ORDER BY id")
    ]


def delete(store: Store, fault_id: int | None = None) -> bool:
    """One fault or all of them; False when there was none."""
    found = any(fault_id in (None, fault.id) for fault in listed(store))
    if fault_id is None:
        store.execute("DELETE FROM faults")
    else:
        store.execute("DELETE FROM faults WHERE id = ?", (fault_id,))
    return found


def strike(world: World, call: str) -> tuple[int, FaultSpec | None]:
    """What hits this call: the delay in milliseconds and the first other fault that matches; both are used up."""
    delay_ms = 0
    struck: FaultSpec | None = None
    for fault in listed(world.store):
        spec = fault.spec
        if spec.call not in ("*", call) or fault.remaining == 0:
            continue
        if spec.fault != "delay" and struck is not None:
            continue
        if random.random() >= spec.probability:  # noqa: S311  # a fault, not a secret
            continue
        world.store.execute("UPDATE faults SET remaining = remaining - 1, hits = hits + 1 WHERE id = ?", (fault.id,))
        delay_ms += spec.delay_ms
        if spec.fault != "delay":
            struck = spec
    return delay_ms, struck
