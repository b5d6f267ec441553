"""The watchdog's rounds: what is alive by the books and has no running workflow is started again."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog
from temporalio import activity

from activities.heartbeats import beating
from domain.ids import CONNECTION, ENDPOINT, INVOICE, RECONCILIATION, REFUND, SUBSCRIPTION

if TYPE_CHECKING:
    from activities.gateways import Starter
    from db.liveness import Liveness, Overdue
    from db.registry import Registry

log = structlog.get_logger(__name__)

PAGE = 500
# Questions to Temporal at once: enough to bring back thousands within a minute, too few to be felt.
AT_ONCE = 20
# The story that made an event makes the first attempt; it may repeat that for some minutes (workflows.options).
FIRST_ATTEMPT_LASTS = 600.0
# Whose workflow tells the events of an object, by the prefix of the object's id.
_TELLERS = {
    INVOICE: "invoice-{object_id}",
    REFUND: "refund-{object_id}",
    CONNECTION: "kaspi-session-{object_id}",
    ENDPOINT: "webhook-test-{object_id}-{cause}",
    RECONCILIATION: "reconciliation-{object_id}",
    SUBSCRIPTION: "subscription-{object_id}",
}


class Guarded(msgspec.Struct, frozen=True, kw_only=True):
    """One round: how many were alive, how many of them were started again, how many could not be."""

    alive: int = 0
    restarted: int = 0
    failed: int = 0


class GuardLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: what changed within `grace` is left alone; the other two are those of `OpenRefund`."""

    grace: float = 60.0
    read_back_window: float = 300.0
    longest_call: float = 60.0


class Guarding:
    """One activity per kind, so that a sick kind stops no other; one sick row stops no other either."""

    def __init__(
        self, liveness: "Liveness", registry: "Registry", starter: "Starter", limits: GuardLimits | None = None
    ) -> None:
        self._liveness = liveness
        self._registry = registry
        self._starter = starter
        self._limits = limits or GuardLimits()

    @activity.defn(name="watchdog.invoices")
    async def invoices(self) -> Guarded:
        """Open invoices, and those that wait for an operator."""

        async def restart(invoice_id: str) -> None:
            order = await self._liveness.invoice_order(invoice_id)
            if order is not None:
                await self._starter.resume_invoice(order)

        return await self._stories("invoice", self._liveness.invoices, restart)

    @activity.defn(name="watchdog.refunds")
    async def refunds(self) -> Guarded:
        """Refunds that are not over."""

        async def restart(refund_id: str) -> None:
            order = await self._liveness.refund_order(refund_id)
            if order is not None:
                limits = self._limits
                await self._starter.resume_refund(
                    msgspec.structs.replace(
                        order, read_back_window=limits.read_back_window, longest_call=limits.longest_call
                    )
                )

        return await self._stories("refund", self._liveness.refunds, restart)

    @activity.defn(name="watchdog.pollers")
    async def pollers(self) -> Guarded:
        """The poller of every bank connection that is in use or still has payments to watch."""
        round_ = _Round(await self._running("kaspi_session"), self._starter)
        for one in await self._registry.watched_connections():
            start = partial(self._starter.watch_connection, one.merchant_id, one.id)
            round_.look(f"kaspi-session-{one.id}", start)
        return await round_.end()

    @activity.defn(name="watchdog.deliveries")
    async def deliveries(self) -> Guarded:
        """Webhooks whose next attempt nobody is going to make."""
        round_, after = _Round(await self._running("webhook_delivery"), self._starter), ""
        while page := await self._liveness.deliveries(after=after, grace=self._limits.grace, limit=PAGE):
            for one in page:
                start = partial(self._starter.continue_delivery, one.merchant_id, one.id)
                round_.look(f"delivery-{one.id}", start, unless=partial(self._story_tells, one))
            await round_.settle()
            after = page[-1].id
        return await round_.end()

    @activity.defn(name="watchdog.redeliveries")
    async def redeliveries(self) -> Guarded:
        """Redeliveries that are not over."""
        round_, after = _Round(await self._running("redelivery"), self._starter), ""
        while page := await self._liveness.redeliveries(after=after, grace=self._limits.grace, limit=PAGE):
            for one in page:
                round_.look(f"redelivery-{one.redelivery_id}", partial(self._starter.redeliver, one))
            await round_.settle()
            after = page[-1].redelivery_id
        return await round_.end()

    @activity.defn(name="watchdog.subscriptions")
    async def subscriptions(self) -> Guarded:
        """Subscriptions that are not over: what fell due without a workflow is billed as after any outage."""
        round_, after = _Round(await self._running("subscription"), self._starter), ""
        while page := await self._liveness.subscriptions(after=after, grace=self._limits.grace, limit=PAGE):
            for one in page:
                start = partial(self._starter.resume_subscription, one)
                round_.look(f"subscription-{one.subscription_id}", start)
            await round_.settle()
            after = page[-1].subscription_id
        return await round_.end()

    @activity.defn(name="watchdog.test_clocks")
    async def test_clocks(self) -> Guarded:
        """Test clocks that have not reached their target."""
        round_, after = _Round(await self._running("test_clock"), self._starter), ""
        while page := await self._liveness.test_clocks(after=after, grace=self._limits.grace, limit=PAGE):
            for merchant_id, clock_id in page:
                start = partial(self._starter.advance_clock, merchant_id, clock_id)
                round_.look(f"test-clock-{clock_id}", start)
            await round_.settle()
            after = page[-1][1]
        return await round_.end()

    async def _running(self, kind: str) -> set[str]:
        async with beating():  # there may be very many
            return await self._starter.running(kind)

    async def _story_tells(self, due: "Overdue") -> bool:
        """True while the story that made the event may still be making the first attempt."""
        teller = _TELLERS.get(due.object_id.partition("_")[0])
        if teller is None or due.attempts > 0 or due.overdue > FIRST_ATTEMPT_LASTS:
            return False
        return await self._starter.runs(teller.format(object_id=due.object_id, cause=due.cause))

    async def _stories(
        self, kind: str, pages: Callable[..., Awaitable[list[str]]], restart: Callable[[str], Awaitable[None]]
    ) -> Guarded:
        round_, after = _Round(await self._running(kind), self._starter), ""
        while page := await pages(after=after, grace=self._limits.grace, limit=PAGE):
            for id_ in page:
                round_.look(f"{kind}-{id_}", partial(restart, id_))
            await round_.settle()
            after = page[-1]
        return await round_.end()


class _Round:
    """One pass over what is alive. `running` is what visibility says runs; it lags, so each suspect is asked for."""

    def __init__(self, running: set[str], starter: "Starter") -> None:
        self._running = running
        self._starter = starter
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._suspects: list[asyncio.Task[bool | None]] = []
        self._alive = self._restarted = self._failed = 0
        activity.heartbeat()

    def look(
        self,
        workflow_id: str,
        restart: Callable[[], Awaitable[None]],
        *,
        unless: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """Starts it again if it does not run; `unless` is asked last."""
        self._alive += 1
        if workflow_id not in self._running:
            self._suspects.append(asyncio.create_task(self._confirm(workflow_id, restart, unless)))

    async def _confirm(
        self,
        workflow_id: str,
        restart: Callable[[], Awaitable[None]],
        unless: Callable[[], Awaitable[bool]] | None,
    ) -> bool | None:
        """True for one that was started, None for one that could not be."""
        async with self._slots:
            activity.heartbeat()
            try:
                if await self._starter.runs(workflow_id) or (unless is not None and await unless()):
                    return False
                await restart()
            except Exception:
                log.exception("not_restarted", workflow=workflow_id)
                return None
        log.warning("restarted", workflow=workflow_id)
        return True

    async def settle(self) -> None:
        """Waits for this page's suspects, so that no more than a page is in hand."""
        activity.heartbeat()
        for outcome in await asyncio.gather(*self._suspects):
            self._restarted += outcome is True
            self._failed += outcome is None
        self._suspects = []

    async def end(self) -> Guarded:
        await self.settle()
        return Guarded(alive=self._alive, restarted=self._restarted, failed=self._failed)
