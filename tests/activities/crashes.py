"""The faults of crash tests, and a bank that has them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from kaspi.directory import BankDirectory, BankLimits
from operations import sealed
from tests.activities.mortal import Process
from tests.activities.town import Town
from tests.support.waiting import until

UNLISTED_CODE = -31337
READ_TIMEOUT = 0.5


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank does with a call; `executes` what it was asked, whatever it answers."""

    name: str
    executes: bool
    knobs: dict[str, Any] = {}
    impatient: bool = False


# One of each kind, and none at all; how every other odd answer is read is what tests/kaspi asks.
FAULTS = {
    "none": None,
    "execute_then_drop": Fault(name="execute_then_drop", executes=True),
    "drop_before": Fault(name="drop_before", executes=False),
    "error_5xx_after": Fault(name="error_5xx_after", executes=True),
    "empty": Fault(name="empty", executes=True),
    "unlisted_code": Fault(name="code", executes=True, knobs={"code": UNLISTED_CODE}),
    "refusal": Fault(name="code", executes=False, knobs={"code": 990000028, "execute": False}),
    "too_slow": Fault(name="delay", executes=True, knobs={"delay_ms": 900}, impatient=True),
}


class Struck:
    """The bank while every call of one kind has a fault, and the processes that met it."""

    def __init__(self, town: Town, call: str, fault: Fault | None, banks: BankDirectory) -> None:
        self.town = town
        self.banks = banks
        self.executes = fault is None or fault.executes
        self._call = call
        self._fault = fault
        self._processes: list[Process] = []

    async def strike(self) -> None:
        """From now on every such call meets the fault."""
        self._before = await self.town.received(self._call)
        if self._fault is not None:
            await self.town.admin.fault(self._call, self._fault.name, times=None, **self._fault.knobs)

    def process(self, dies_at: int | None = None) -> Process:
        made = Process(dies_at)
        self._processes.append(made)
        return made

    async def quiet(self, method: str) -> None:
        """Returns, the fault taken away, when the bank has had every call that anybody sent, and nobody waits."""
        await asyncio.gather(*(one.quiet() for one in self._processes))
        sent = sum(one.calls[method] for one in self._processes)

        async def all_received() -> bool:
            return await self.town.received(self._call) - self._before >= sent

        await until(all_received, f"{sent} calls of {self._call} at the bank")
        await self.town.admin.clear_faults()
        self.banks = self.town.banks  # whoever comes to judge is patient

    async def bury(self) -> None:
        await asyncio.gather(*(one.bury() for one in self._processes))


@asynccontextmanager
async def struck(town: Town, call: str, fault: str) -> AsyncIterator[Struck]:
    """Nothing is wrong yet; `strike` begins it."""
    wanted = FAULTS[fault]
    patience = READ_TIMEOUT if wanted is not None and wanted.impatient else 10
    banks = BankDirectory(
        sealed.connection_loader(town.books.records, town.box), BankLimits(read_timeout=patience, concurrency=32)
    )
    made = Struck(town, call, wanted, banks)
    try:
        yield made
    finally:
        await made.bury()
        await banks.aclose()
