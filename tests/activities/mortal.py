"""A process that dies at a chosen moment: real gateways behind proxies, so that from then on nothing reaches outside.

Every call of a gateway has three moments of death: before it (nothing was sent), during it (it is on its way, takes
effect whenever it does, and nobody hears the answer) and after it (done, answered, and the answer forgotten).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from temporalio.testing import ActivityEnvironment

from domain.scenario import Scene

T = TypeVar("T")


class _Buried(BaseException):
    """Unwinds what is left of a dead process once everything about it is judged; no product code catches it."""


class Process:
    """`dies_at` counts the moments from 1; None lives. `calls` counts what was really sent, by method."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.moments = 0
        self.calls: Counter[str] = Counter()
        self._dies_at = dies_at
        self._dead = asyncio.Event()
        self._grave = asyncio.Event()
        self._under_way: list[asyncio.Task[Any]] = []
        self._remains: list[asyncio.Task[Any]] = []

    def banks(self, real: Any) -> Any:
        """The directory, with every bank it gives out behind a proxy too."""
        return _Directory(self, real)

    def ledger(self, real: Any) -> Any:
        return _Gateway(self, real)

    async def run(self, activity: Callable[[Any], Coroutine[Any, Any, T]], order: Any) -> "Ended[T]":
        """Runs the activity as a worker does, until it ends or the process dies."""

        async def until_buried() -> T | None:
            try:
                return await activity(order)
            except _Buried:
                return None

        task = asyncio.create_task(ActivityEnvironment().run(until_buried))
        death = asyncio.create_task(self._dead.wait())
        await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        if self._dead.is_set():
            self._remains.append(task)
            return Ended(died=True)
        try:
            return Ended(result=await task)
        except Exception as error:  # an activity's failure is a result, too: the tests judge it
            return Ended(error=error)

    async def quiet(self) -> None:
        """Returns when what was on its way at the death has been answered or given up."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def bury(self) -> None:
        """Ends the tasks of the dead process. To be called when everything is judged."""
        self._grave.set()
        await asyncio.gather(*self._remains, return_exceptions=True)

    async def call(self, name: str, method: Callable[..., Awaitable[Any]], given: Any, named: Any) -> Any:
        """One call with its three moments."""
        await self._moment()
        self.calls[name] += 1
        task = asyncio.ensure_future(method(*given, **named))
        self._under_way.append(task)
        await self._moment()
        try:
            return await task
        finally:
            await self._moment()

    async def _moment(self) -> None:
        self.moments += 1
        if self.moments == self._dies_at:
            self._dead.set()
        if self._dead.is_set():
            await self._grave.wait()
            raise _Buried


class Ended(Generic[T]):
    """How a run ended: with a result, with an error, or by the death of its process."""

    def __init__(self, *, result: T | None = None, error: Exception | None = None, died: bool = False) -> None:
        self.result = result
        self.error = error
        self.died = died

    def outcome(self) -> T:
        """The result of a run that must have one."""
        assert self.error is None, repr(self.error)
        assert self.result is not None
        return self.result


class _Gateway:
    def __init__(self, process: Process, real: Any) -> None:
        self._process = process
        self._real = real

    def __getattr__(self, name: str) -> Any:
        async def call(*given: Any, **named: Any) -> Any:
            return await self._process.call(name, getattr(self._real, name), given, named)

        return call


class _Directory(_Gateway):
    async def of(self, merchant_id: str, connection_id: str | None, scene: Scene | None = None) -> _Gateway:
        bank = await self._process.call("of", self._real.of, (merchant_id, connection_id, scene), {})
        return _Gateway(self._process, bank)
