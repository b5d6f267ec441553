"""Kills parts and spoils calls as planned, and writes down what it really did."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

from torture.bank import TorturedBank
from torture.evidence import Killed
from torture.plan import Plan
from torture.plan_kills import Kill
from torture.stack import PARTS, TortureStack


class Chaos:
    """`run()` ends when the plan is carried out and every part serves again."""

    def __init__(self, plan: Plan, stack: TortureStack, bank: TorturedBank, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._stack = stack
        self._bank = bank
        self._say = say
        self._locks = {part: asyncio.Lock() for part in PARTS}
        self.killed: list[Killed] = []

    async def run(self) -> None:
        """Everything at its time, counted from now."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as all_of_it:
            for kill in self._plan.kills:
                all_of_it.create_task(self._kill(kill, began))
            for fault in self._plan.faults:
                all_of_it.create_task(self._at(began + fault.at, partial(self._bank.fault, fault.spec)))
            for lag in self._plan.lags:
                knob: dict[str, object] = {"refund_lag_s": lag.seconds}
                all_of_it.create_task(self._at(began + lag.at, partial(self._bank.change, knob)))

    async def _kill(self, kill: Kill, began: float) -> None:
        await _sleep_until(began + kill.at)
        async with self._locks[kill.part]:  # a part that is down can't be killed: the kill waits until it is back
            at = datetime.now(UTC)
            if not await self._stack.kill(kill.part, kill.pause):
                # It had ended by itself a moment before (its database was gone); it is back now.
                at = datetime.now(UTC)
                await self._stack.kill(kill.part, kill.pause)
            self.killed.append(Killed(part=kill.part, at=at, back_at=datetime.now(UTC)))
        self._say(f"kill {len(self.killed)} of {len(self._plan.kills)}: {kill.part}")

    async def _at(self, moment: float, act: Callable[[], Awaitable[None]]) -> None:
        await _sleep_until(moment)
        await act()


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
