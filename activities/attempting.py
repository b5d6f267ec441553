"""One attempt to deliver a webhook, whoever asks for it: the story of the event, its long tail, or a redelivery."""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from domain.event import Attempted, AttemptOutcome, DeliveryState, DueDelivery, NotSent
from domain.policy import delivery_delay
from webhooks.errors import FailureCode, LaneBusy

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from db.deliveries import Deliveries

log = structlog.get_logger(__name__)

GONE = 410
# Another attempt of the same delivery is being made by this process: two at once would be a duplicate.
IN_HAND_WAIT = 5.0


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

    @property
    def request_headers(self) -> dict[str, str]:
        """What was sent; empty where nothing was."""


class Post(Protocol):
    """Opens the secrets, signs and sends; never raises for what the receiver does."""

    async def __call__(self, due: DueDelivery) -> Answer:
        """One attempt."""


class Lanes(Protocol):
    """How many attempts run at once, in all and per endpoint."""

    def place(self, endpoint_id: str) -> "AbstractAsyncContextManager[None]":
        """Held during an attempt. Raises `LaneBusy` where waiting for one would take a worker's slot for long."""


class Tails(Protocol):
    """What keeps deliveries going."""

    async def continue_delivery(self, merchant_id: str, delivery_id: str, *, wait: float = 0.0) -> None:
        """Makes sure that `delivery-<id>` runs; its next attempt comes after `wait` seconds."""


class Attempts(Protocol):
    """Makes attempts, one a call."""

    async def once(self, merchant_id: str, delivery_id: str, *, replay: str | None = None) -> Attempted:
        """As `Attempting.once`."""


class AttemptPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: the waits between attempts, and the time of nothing but failures that disables an endpoint."""

    schedule: Sequence[float]
    disable_after: float = 120 * 3600.0


class Attempting:
    """Sends once, books how it went, and starts what became known by it on its way."""

    def __init__(self, deliveries: "Deliveries", post: Post, lanes: Lanes, tails: Tails, policy: AttemptPolicy) -> None:
        self._deliveries = deliveries
        self._post = post
        self._lanes = lanes
        self._tails = tails
        self._policy = policy
        self._chance = Random()  # noqa: S311 -- jitter
        self._in_hand: set[str] = set()

    async def once(self, merchant_id: str, delivery_id: str, *, replay: str | None = None) -> Attempted:
        """One attempt; PENDING with `retry_after` where it failed, or where no place was free and none was made.

        `replay` names a wish to send again what is delivered or dead: the same name does so once. A delivery that is
        settled (and not replayed) is left as it is. A crash between the post and its booking means a second post: at
        least once, with the same id and bytes.
        """
        if delivery_id in self._in_hand:
            return Attempted(state=DeliveryState.PENDING, attempts=0, retry_after=IN_HAND_WAIT)
        self._in_hand.add(delivery_id)
        try:
            return await self._once(merchant_id, delivery_id, replay)
        finally:
            self._in_hand.discard(delivery_id)

    async def _once(self, merchant_id: str, delivery_id: str, replay: str | None) -> Attempted:
        if replay is not None:
            await self._deliveries.replay(merchant_id, delivery_id, replay)
        due = await self._deliveries.due(merchant_id, delivery_id)
        if due is None:
            return Attempted(state=DeliveryState.DEAD, attempts=0)
        if due.state is not DeliveryState.PENDING:
            return Attempted(state=due.state, attempts=due.attempts)
        if due.endpoint_deleted or not due.endpoint_enabled:
            why = NotSent.ENDPOINT_DELETED if due.endpoint_deleted else NotSent.ENDPOINT_DISABLED
            await self._deliveries.give_up(merchant_id, delivery_id, why)
            return Attempted(state=DeliveryState.DEAD, attempts=due.attempts)
        try:
            async with self._lanes.place(due.endpoint_id):
                answer = await self._post(due)
        except LaneBusy as busy:
            return Attempted(state=DeliveryState.PENDING, attempts=due.attempts, retry_after=busy.wait)
        booked = await self._deliveries.attempted(
            merchant_id, delivery_id, self._outcome(due, answer), disable_after=self._policy.disable_after
        )
        for ref in booked.news:
            await self._hand_on(merchant_id, ref.id)
        return msgspec.structs.replace(booked, news=[])

    def _outcome(self, due: DueDelivery, answer: Answer) -> AttemptOutcome:
        gone = answer.status == GONE
        wait = None
        if not answer.delivered and not gone:
            wait = delivery_delay(list(self._policy.schedule), due.failures + 1, chance=self._chance)
            if wait is not None and answer.retry_after is not None:
                wait = max(wait, float(answer.retry_after))
        return AttemptOutcome(
            delivered=answer.delivered,
            status=answer.status,
            error=answer.error,
            latency_ms=answer.latency_ms,
            excerpt=answer.response_excerpt,
            dead=not answer.delivered and wait is None,
            wait=wait,
            gone=gone,
            url=due.url,
            request_headers=answer.request_headers,
            ours=answer.error == FailureCode.PROXY_FAILED,
        )

    async def _hand_on(self, merchant_id: str, delivery_id: str) -> None:
        try:
            await self._tails.continue_delivery(merchant_id, delivery_id)
        except Exception:
            # Its row is due and the watchdog looks for those; this attempt is booked and must not be made again.
            log.exception("news_not_handed_on", delivery=delivery_id)
