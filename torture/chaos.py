"""Kills parts and spoils calls as planned, and writes down what it really did."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

from torture.bank import TorturedBank
from torture.evidence import Killed
from torture.plan import Plan
from torture.plan_kills import Kill
from torture.progress import Progress, When
from torture.stack import PARTS, TortureStack


class Chaos:
    """`run()` ends when the plan is carried out and every part serves again. `progress` tells how far it is."""

    def __init__(self, plan: Plan, stack: TortureStack, bank: TorturedBank, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._stack = stack
        self._bank = bank
        self._say = say
        self._locks = {part: asyncio.Lock() for part in PARTS}
        self.progress = Progress(plan.size.steps)
        self.killed: list[Killed] = []

    async def run(self) -> None:
        """One step after another; everything that is planned for a step at its time."""
        async with asyncio.TaskGroup() as all_of_it:
            for fault in self._plan.faults:
                all_of_it.create_task(self._at(fault.when, partial(self._bank.fault, fault.spec)))
            for lag in self._plan.lags:
                knob: dict[str, object] = {"refund_lag_s": lag.seconds}
                all_of_it.create_task(self._at(lag.when, partial(self._bank.change, knob)))
            for step, kill in enumerate(self._plan.kills):
                self.progress.begin(step)
                if not kill.hurries:
                    await self._stack.all_serve()
                await asyncio.sleep(kill.after)
                all_of_it.create_task(self._kill(kill))
                self._say(f"kill {step + 1} of {len(self._plan.kills)}: {kill.part}")
            self.progress.begin(len(self._plan.kills))

    async def _kill(self, kill: Kill) -> None:
        async with self._locks[kill.part]:  # a part that is down can't be killed: the kill waits until it is back
            at = datetime.now(UTC)
            while not await self._stack.kill(kill.part, kill.pause):
                # It had ended by itself a moment before (its database was gone); it is back now.
                at = datetime.now(UTC)
            self.killed.append(Killed(part=kill.part, at=at, back_at=datetime.now(UTC)))

    async def _at(self, when: When, act: Callable[[], Awaitable[None]]) -> None:
        await self.progress.reached(when)
        await act()
