"""How far a run is: everybody acts in the step that the plan names, however long the steps take on this machine."""

import asyncio

import msgspec


class When(msgspec.Struct, frozen=True, kw_only=True):
    """`after` seconds from when step `step` begins."""

    step: int
    after: float


class Progress:
    """Steps begin one after another, never twice."""

    def __init__(self, steps: int) -> None:
        self._begun = [asyncio.Event() for _ in range(steps)]

    def begin(self, step: int) -> None:
        """From now on what is planned for this step happens."""
        self._begun[step].set()

    async def reached(self, when: When) -> None:
        """Returns at that moment."""
        await self._begun[when.step].wait()
        await asyncio.sleep(when.after)
