"""Delivering webhooks: the first attempt, and the long tail of what failed."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities import failures
from activities.heartbeats import beating
from domain.event import Attempted, DeliveryState
from domain.invoice import DeliveryRef

if TYPE_CHECKING:
    from activities.attempting import Attempts
    from db.deliveries import Deliveries

FALLBACK_WAIT = 30.0


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

    def __init__(self, attempts: "Attempts", deliveries: "Deliveries") -> None:
        self._attempts = attempts
        self._deliveries = deliveries

    @activity.defn(name="webhook.attempt")
    async def attempt(self, order: DeliverWebhook) -> Attempted:
        """Posts once and tells how it went."""
        async with beating():
            return await self._attempts.once(order.merchant_id, order.delivery_id)

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
            wait = FALLBACK_WAIT if tried.retry_after is None else tried.retry_after
            raise _not_yet(f"attempt {tried.attempts} failed", wait)
        return tried

    @activity.defn(name="webhook.test")
    async def test(self, order: TestEndpoint) -> list[DeliveryRef]:
        """Writes a test event for one endpoint; gives its delivery."""
        return await self._deliveries.test(
            order.merchant_id, order.endpoint_id, is_sandbox=order.is_sandbox, cause=order.cause
        )


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
