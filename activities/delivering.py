"""Delivering webhooks: the first attempt, and the long tail of what failed."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities import failures
from activities.heartbeats import beating
from domain.event import Attempted, DeliveryState
from domain.invoice import DeliveryRef

if TYPE_CHECKING:
    from activities.attempting import Attempts, Tails
    from db.deliveries import Deliveries

log = structlog.get_logger(__name__)

FALLBACK_WAIT = 30.0
# The line and the call. With the longest attempt, its place and its booking it fits into the activity's time.
HAND_ON_PATIENCE = 15.0


class DeliverWebhook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which delivery. `wait`: seconds before the first attempt of `webhook.retry`."""

    merchant_id: str
    delivery_id: str
    wait: float = 0.0


class TestEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Which endpoint gets a test event; `cause` makes a repeated call the same test."""

    merchant_id: str
    endpoint_id: str
    is_sandbox: bool
    cause: str


class Delivering:
    """Activities of the queues of webhooks."""

    def __init__(self, attempts: "Attempts", deliveries: "Deliveries", tails: "Tails", *, handovers: int = 2) -> None:
        self._attempts = attempts
        self._deliveries = deliveries
        self._tails = tails
        # Receivers of one event often fail together: so the engine keeps a hand free for those who are well.
        self._handing_on = asyncio.Semaphore(handovers)

    @activity.defn(name="webhook.attempt")
    async def attempt(self, order: DeliverWebhook) -> Attempted:
        """Posts once and tells how it went; what failed is handed to the delivery's own workflow.

        It is handed on here, because a child workflow costs its story ten events and the engine twice as much.
        """
        async with beating():
            # The usual first run knows that nobody has tried.
            tries = self._attempts.once if activity.info().attempt == 1 else self._attempts.first
            tried = await tries(order.merchant_id, order.delivery_id)
            if tried.state is not DeliveryState.PENDING:
                return tried
            return msgspec.structs.replace(tried, handed_on=await self._hand_on(order, _wait(tried)))

    async def _hand_on(self, order: DeliverWebhook, wait: float) -> bool:
        try:
            async with asyncio.timeout(HAND_ON_PATIENCE), self._handing_on:
                await self._tails.begin_delivery(order.merchant_id, order.delivery_id, wait=wait)
        except Exception:
            # The request is booked and must not be made again: the story starts the workflow where we could not.
            log.warning("delivery_left_to_its_story", delivery=order.delivery_id, exc_info=True)
            return False
        return True

    @activity.defn(name="webhook.retry")
    async def retry(self, order: DeliverWebhook) -> Attempted:
        """The long tail: Temporal runs it again after each failure, at the moment that the failure names.

        So a month of attempts costs a workflow no event, and the UI shows the attempt, the failure and the next try.
        Returns when the delivery is delivered or dead.
        """
        if order.wait > 0 and activity.info().attempt == 1:
            raise _not_yet("waiting for the next attempt", order.wait)
        # A wish to try now cancels this activity; a request that is on its way is waited for all the same, because
        # what it came to must be booked.
        attempt = asyncio.ensure_future(self._attempts.once(order.merchant_id, order.delivery_id))
        async with beating():
            try:
                tried = await asyncio.shield(attempt)
            except asyncio.CancelledError:
                if not _nudged():  # the worker has had its time to drain
                    attempt.cancel()
                    raise
                tried = await attempt
        if tried.state is DeliveryState.PENDING:
            raise _not_yet(f"attempt {tried.attempts} failed", _wait(tried))
        return tried

    @activity.defn(name="webhook.test")
    async def test(self, order: TestEndpoint) -> list[DeliveryRef]:
        """Writes a test event for one endpoint; gives its delivery."""
        return await self._deliveries.test(
            order.merchant_id, order.endpoint_id, is_sandbox=order.is_sandbox, cause=order.cause
        )


def _wait(tried: Attempted) -> float:
    return FALLBACK_WAIT if tried.retry_after is None else tried.retry_after


def _nudged() -> bool:
    """The workflow asked for this cancellation, and nothing else did."""
    why = activity.cancellation_details()
    return why is not None and why.cancel_requested


def _not_yet(what: str, wait: float) -> ApplicationError:
    return ApplicationError(
        what,
        type=failures.NOT_DELIVERED,
        next_retry_delay=timedelta(seconds=wait),
        # Not an error of ours: it is counted and logged as what it is.
        category=ApplicationErrorCategory.BENIGN,
    )
