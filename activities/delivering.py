"""One attempt to deliver a webhook, and the last word on one that failed for good."""

from random import Random
from typing import TYPE_CHECKING, Protocol

import msgspec
from temporalio import activity

from domain.event import Attempted, AttemptOutcome, DeliveryState
from domain.invoice import DeliveryRef
from domain.policy import delivery_delay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.deliveries import Deliveries


class Answer(Protocol):
    """What a receiver did, as the webhooks room reports it."""

    @property
    def delivered(self) -> bool:
        """True for 2xx only."""

    @property
    def status(self) -> int | None:
        """The HTTP status, if any."""

    @property
    def error(self) -> str | None:
        """A stable word for the failure."""

    @property
    def latency_ms(self) -> int:
        """From dialling to the end of the body."""

    @property
    def response_excerpt(self) -> str:
        """The start of the answer's body."""

    @property
    def retry_after(self) -> int | None:
        """Seconds the receiver asked for."""


class Post(Protocol):
    """Sends signed bytes to a merchant; never raises for what the receiver does."""

    async def __call__(self, url: str, secret_sealed: bytes, endpoint_id: str, event_id: str, body: bytes) -> Answer:
        """One attempt."""


class DeliverWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """Which delivery."""

    merchant_id: str
    delivery_id: str


class TestEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Which endpoint gets a test event; `cause` makes a repeated call the same test."""

    merchant_id: str
    endpoint_id: str
    is_sandbox: bool
    cause: str


class Delivering:
    """Activities of the webhooks queue."""

    def __init__(self, deliveries: "Deliveries", post: Post, schedule: "Sequence[float]") -> None:
        self._deliveries = deliveries
        self._post = post
        self._schedule = list(schedule)
        self._chance = Random()  # noqa: S311 -- jitter

    @activity.defn(name="webhook.attempt")
    async def attempt(self, order: DeliverWebhook) -> Attempted:
        """Posts once and books how it went. A crash in between means a second post: at least once, same id."""
        due = await self._deliveries.due(order.merchant_id, order.delivery_id)
        if due is None:
            return Attempted(state=DeliveryState.DEAD, attempts=0)
        if due.state is not DeliveryState.PENDING:
            return Attempted(state=due.state, attempts=due.attempts)
        answer = await self._post(due.url, due.secret_sealed, due.endpoint_id, due.event_id, due.body)
        wait = None
        if not answer.delivered:
            wait = delivery_delay(self._schedule, due.attempts + 1, chance=self._chance)
            if wait is not None and answer.retry_after is not None:
                wait = max(wait, float(answer.retry_after))
        return await self._deliveries.attempted(
            order.merchant_id,
            order.delivery_id,
            self._outcome(answer, wait),
        )

    @staticmethod
    def _outcome(answer: Answer, wait: float | None) -> AttemptOutcome:
        return AttemptOutcome(
            delivered=answer.delivered,
            status=answer.status,
            error=answer.error,
            latency_ms=answer.latency_ms,
            excerpt=answer.response_excerpt,
            dead=not answer.delivered and wait is None,
            wait=wait,
        )

    @activity.defn(name="webhook.test")
    async def test(self, order: TestEndpoint) -> list[DeliveryRef]:
        """Writes a test event for one endpoint; gives its delivery."""
        return await self._deliveries.test(
            order.merchant_id, order.endpoint_id, is_sandbox=order.is_sandbox, cause=order.cause
        )
