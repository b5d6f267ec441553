"""One attempt to deliver a webhook, whoever asks for it: the story of the event, its long tail, or a redelivery."""

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog
from temporalio import activity

from db.errors import DatabaseUnavailable
from domain.event import Attempted, AttemptOutcome, DeliveryState, DueDelivery, NotSent
from domain.policy import delivery_delay
from webhooks.errors import FailureCode, LaneBusy

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from db.deliveries import Deliveries

log = structlog.get_logger(__name__)

GONE = 410
# Another attempt of the same delivery is being made: two at once would be a duplicate.
IN_HAND_WAIT = 5.0
# Standing in line, signing, and two clocks.
CLAIM_MARGIN = 15.0
AGAIN_AT_ONCE = 0.1
# A database that is away for a moment must not make us send again what has arrived. Within the activity's own time.
BOOKING_PATIENCE = 20.0
BOOKING_PAUSES = (0.2, 0.5, 1.0, 2.0)
HAND_ON_PATIENCE = 5.0
# Failures that say nothing of the receiver.
OUR_OWN = frozenset({FailureCode.PROXY_FAILED, FailureCode.SIGNING_FAILED})


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


class Place(Protocol):
    """Where an attempt is made."""

    def went(self, *, well: bool) -> None:
        """Tells how it ended."""


class Lanes(Protocol):
    """How many attempts run at once, in all and per endpoint."""

    def place(self, endpoint_id: str, who: str) -> "AbstractAsyncContextManager[Place]":
        """Held during an attempt of `who`. Raises `LaneBusy` where waiting would take a worker's slot for long."""


class Tails(Protocol):
    """What keeps deliveries going."""

    async def continue_delivery(self, merchant_id: str, delivery_id: str, *, wait: float = 0.0) -> None:
        """Makes sure that `delivery-<id>` runs; its next attempt comes after `wait` seconds."""

    async def begin_delivery(self, merchant_id: str, delivery_id: str, *, wait: float) -> None:
        """Starts `delivery-<id>`, whose first attempt comes after `wait` seconds; one that runs is left alone."""


class Attempts(Protocol):
    """Makes attempts, one a call."""

    async def first(self, merchant_id: str, delivery_id: str) -> Attempted:
        """As `Attempting.first`."""

    async def once(self, merchant_id: str, delivery_id: str) -> Attempted:
        """As `Attempting.once`."""


class AttemptPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: the waits between attempts, the time of nothing but failures that disables an endpoint, and the longest
    that one request may take.
    """

    schedule: Sequence[float]
    disable_after: float = 120 * 3600.0
    attempt_seconds: float = 30.0

    @property
    def lasts(self) -> float:
        """How long a delivery that never finds a place is kept trying: as long as the whole schedule, and a day."""
        return sum(self.schedule) + 24 * 3600.0

    @property
    def claim(self) -> float:
        """How long an attempt is claimed for: nobody who lives is at it longer."""
        return self.attempt_seconds + BOOKING_PATIENCE + CLAIM_MARGIN


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
        self._process = f"process {uuid.uuid4()}"

    async def first(self, merchant_id: str, delivery_id: str) -> Attempted:
        """As `once`, for a delivery that may have been tried already: whoever did so died before telling how it went.

        Then no second request is made, and `retry_after` is what is left of the wait that was booked.
        """
        due = await self._deliveries.due(merchant_id, delivery_id)
        if due is not None and due.state is DeliveryState.PENDING and due.attempts > 0:
            return Attempted(state=due.state, attempts=due.attempts, retry_after=max(due.due_in or 0.0, 0.0))
        return await self.once(merchant_id, delivery_id)

    async def once(self, merchant_id: str, delivery_id: str) -> Attempted:
        """One attempt; PENDING with `retry_after` where it failed, or where no place was free and none was made.

        A delivery that is settled is left as it is, and one that another workflow is at is left to it. A crash between
        the post and its booking means a second post: at least once, with the same id and bytes.
        """
        if delivery_id in self._in_hand:
            return Attempted(state=DeliveryState.PENDING, attempts=0, retry_after=IN_HAND_WAIT)
        self._in_hand.add(delivery_id)
        try:
            return await self._once(merchant_id, delivery_id)
        finally:
            self._in_hand.discard(delivery_id)

    async def _once(self, merchant_id: str, delivery_id: str) -> Attempted:
        due = await self._deliveries.claim(merchant_id, delivery_id, by=self._who(), seconds=self._policy.claim)
        if due is None:
            return Attempted(state=DeliveryState.DEAD, attempts=0)
        if due.state is not DeliveryState.PENDING:
            return Attempted(state=due.state, attempts=due.attempts)
        if due.held_for is not None:
            wait = min(due.held_for, IN_HAND_WAIT)
            return Attempted(state=DeliveryState.PENDING, attempts=due.attempts, retry_after=wait)
        if due.endpoint_deleted or not due.endpoint_enabled:
            return await self._give_up(due, merchant_id)
        try:
            async with self._lanes.place(due.endpoint_id, due.id) as place:
                answer = await self._post(due)
                place.went(well=answer.delivered)
        except LaneBusy as busy:
            return await self._deliveries.postponed(due, merchant_id, busy.wait, patience=self._policy.lasts)
        booked = await self._book(due, merchant_id, self._outcome(due, answer))
        for ref in booked.news:
            await self._hand_on(merchant_id, ref.id)
        return msgspec.structs.replace(booked, news=[])

    def _who(self) -> str:
        # A workflow has one attempt of a delivery at a time: its activity that is run again, because the worker of the
        # run before is dead, takes its own claim over and need not wait for the claim's end.
        return (activity.info().workflow_id if activity.in_activity() else None) or self._process

    async def _give_up(self, due: DueDelivery, merchant_id: str) -> Attempted:
        why = NotSent.ENDPOINT_DELETED if due.endpoint_deleted else NotSent.ENDPOINT_DISABLED
        await self._deliveries.give_up(due, merchant_id, why)
        left = await self._deliveries.due(merchant_id, due.id)
        if left is None or left.state is not DeliveryState.PENDING:
            return Attempted(state=DeliveryState.DEAD if left is None else left.state, attempts=due.attempts)
        return Attempted(state=DeliveryState.PENDING, attempts=due.attempts, retry_after=AGAIN_AT_ONCE)

    async def _book(self, due: DueDelivery, merchant_id: str, outcome: AttemptOutcome) -> Attempted:
        """The receiver has had its request: what became of it is booked here if at all possible, because whoever
        comes later can only send again.
        """
        ends = asyncio.get_running_loop().time() + BOOKING_PATIENCE
        pauses = itertools.chain(BOOKING_PAUSES, itertools.repeat(BOOKING_PAUSES[-1]))
        for repeat, pause in enumerate(pauses):
            try:
                return await self._deliveries.attempted(
                    due, merchant_id, outcome, disable_after=self._policy.disable_after, again=repeat > 0
                )
            except DatabaseUnavailable:
                if asyncio.get_running_loop().time() + pause > ends:
                    raise
                log.warning("attempt_waits_to_be_booked", delivery=due.id)
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

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
            ours=answer.error in OUR_OWN,
        )

    async def _hand_on(self, merchant_id: str, delivery_id: str) -> None:
        try:
            async with asyncio.timeout(HAND_ON_PATIENCE):
                await self._tails.continue_delivery(merchant_id, delivery_id)
        except Exception:
            # Its row is due and the watchdog looks for those; this attempt is booked and must not be made again.
            log.exception("news_not_handed_on", delivery=delivery_id)
