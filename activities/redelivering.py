"""Sending a range of events again, one at a time and in order; whoever comes after a crash goes on from the books."""

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog
from temporalio import activity

from activities.delivering import FALLBACK_WAIT
from activities.heartbeats import beating
from domain.event import DeliveryState
from domain.redelivery import Passed, Redeliver, Taken

if TYPE_CHECKING:
    from activities.attempting import Attempts, Tails
    from db.redelivery_books import RedeliveryBooks

log = structlog.get_logger(__name__)

# A receiver that hiccups gets an event again after these seconds, before the next one: so the order is kept.
PATIENCE = (5.0, 30.0, 120.0)
# Who asks for more (Retry-After) is not waited for: the published third wait and its jitter are within it.
LONGEST_WAIT = 150.0


class RedeliverLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `look_every` is how soon a cancel is noticed during a wait; `run_for` ends an activity, so that others
    get its slot.
    """

    patience: tuple[float, ...] = PATIENCE
    longest_wait: float = LONGEST_WAIT
    look_every: float = 2.0
    run_for: float = 300.0


class Redelivered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`over` is the whole redelivery's end."""

    over: bool = False


class Redelivering:
    """The redelivery's activity with its gateways."""

    def __init__(
        self, books: "RedeliveryBooks", attempts: "Attempts", tails: "Tails", limits: RedeliverLimits | None = None
    ) -> None:
        self._books = books
        self._attempts = attempts
        self._tails = tails
        self._limits = limits or RedeliverLimits()

    @activity.defn(name="webhook.redeliver")
    async def redeliver(self, order: Redeliver) -> Redelivered:
        """Goes on for a while, from where the books stand; a database that is away fails it, and it is run again."""
        async with beating():
            return await _Walk(order, self._books, self._attempts, self._tails, self._limits).go()


class _Walk:
    """One stretch of one redelivery. `patient` is given up at the first event that stays undeliverable."""

    def __init__(
        self,
        order: Redeliver,
        books: "RedeliveryBooks",
        attempts: "Attempts",
        tails: "Tails",
        limits: RedeliverLimits,
    ) -> None:
        self._merchant_id, self._id = order.merchant_id, order.redelivery_id
        self._books = books
        self._attempts = attempts
        self._tails = tails
        self._limits = limits
        self._patient = True
        self._ends = asyncio.get_running_loop().time() + limits.run_for

    async def go(self) -> Redelivered:
        while self._may_go_on():
            turn = await self._books.next(self._merchant_id, self._id)
            if turn.over:
                return Redelivered(over=True)
            if turn.wait:
                await self._wait(turn.wait)
            if turn.taken is None:
                continue
            how = await self._send(turn.taken)
            if how is not None:
                self._patient = how is Passed.DELIVERED
                await self._books.passed(self._merchant_id, self._id, turn.taken, how)
        return Redelivered()

    async def _send(self, taken: Taken) -> Passed | None:
        """Tries until it is delivered or given to its own workflow; None where this stretch ends before."""
        patience = self._limits.patience if self._patient else ()
        failures, attempts = 0, taken.attempts
        while True:
            tried = await self._attempts.once(self._merchant_id, taken.delivery_id)
            if tried.state is DeliveryState.DELIVERED:
                return Passed.DELIVERED
            if tried.state is DeliveryState.DEAD:
                return Passed.DEAD
            wait = FALLBACK_WAIT if tried.retry_after is None else tried.retry_after
            if tried.attempts > attempts:  # else nothing was sent: no place was free, or another attempt is under way
                attempts = tried.attempts
                if failures == len(patience) or wait > self._limits.longest_wait:
                    await self._hand_over(taken, wait)
                    return Passed.HANDED_OVER
                wait = max(wait, patience[failures])
                failures += 1
            await self._books.postpone(self._merchant_id, taken.delivery_id, wait)
            left = await self._wait(wait)
            if not await self._books.runs(self._merchant_id, self._id):
                await self._hand_over(taken, left)  # whoever canceled did not want it forgotten
                return None
            if not self._may_go_on():
                return None

    async def _hand_over(self, taken: Taken, wait: float) -> None:
        await self._tails.continue_delivery(self._merchant_id, taken.delivery_id, wait=wait)
        log.info("redelivery_handed_over", redelivery=self._id, delivery=taken.delivery_id)

    async def _wait(self, seconds: float) -> float:
        """Sleeps so long, or until the redelivery is canceled or the worker stops; gives the seconds that are left."""
        clock = asyncio.get_running_loop().time
        ends = clock() + seconds
        while (left := ends - clock()) > 0:
            await asyncio.sleep(min(left, self._limits.look_every))
            if activity.is_worker_shutdown() or not await self._books.runs(self._merchant_id, self._id):
                return max(0.0, ends - clock())
        return 0.0

    def _may_go_on(self) -> bool:
        return asyncio.get_running_loop().time() < self._ends and not activity.is_worker_shutdown()
