"""An action on a subscription: one update of its workflow, and one answer for each idempotency key."""

import asyncio
from typing import Any
from uuid import uuid4

import msgspec
from litestar import MediaType, Response

from api.idempotency import fingerprint, replay
from api.services import Services
from domain.errors import Code, TolemError
from domain.merchant import Mode, Principal
from domain.subscription_record import Asked, Subscription, SubscriptionRef
from workflows.client import EngineAway, NotIssued
from workflows.subscription_messages import Act

# A cancel of the bank may be on its way under the same lock.
PATIENCE_SECONDS = 20.0


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with which subscription, for whom; `operation` is what its idempotency keys belong to."""

    one: Subscription
    operation: str
    parts: tuple[Any, ...]
    key: str | None
    request_id: str


async def kept_action(services: Services, principal: Principal, wish: Wish) -> Response[Any] | None:
    """The answer this key was given before, None where it is new."""
    if wish.key is None:
        return None
    kept = await services.reads.kept_answer(principal.merchant.id, _mode(wish), wish.operation, wish.key)
    return replay(kept, _fingerprint(principal, wish)) if kept else None


async def act(services: Services, principal: Principal, wish: Wish, what: Act) -> Response[Any]:
    """Does it, once for each key, and answers with the subscription after it. `TolemError` where it can't be done."""
    # A request without a key gets one of its own: a run that ends forgets its updates, and where an answer was lost,
    # the next run is asked again. That must not skip a second period.
    wish = msgspec.structs.replace(wish, key=wish.key or f"request-{uuid4().hex}")
    asked = Asked(
        asked_by=principal.key_id,
        request_id=wish.request_id,
        operation=wish.operation,
        idempotency_key=wish.key,
        fingerprint=_fingerprint(principal, wish),
    )
    ref = SubscriptionRef(merchant_id=wish.one.merchant_id, subscription_id=wish.one.id, is_sandbox=wish.one.is_sandbox)
    ask = msgspec.structs.replace(what, asked=asked)
    try:
        await _ask(services, ref, ask)
    except TolemError:
        # The same request may just have been done under this key: then its answer is the truth, not the refusal.
        raced = await kept_action(services, principal, wish)
        if raced is not None:
            return raced
        raise
    kept = await kept_action(services, principal, wish)
    if kept is not None:
        return Response(kept.content, status_code=kept.status_code, media_type=MediaType.JSON)
    stands = await services.subscriptions.subscription(principal.merchant.id, wish.one.id)
    if stands is None:
        raise TolemError(Code.NOT_FOUND)
    return shown(services, stands, wish.request_id)


async def _ask(services: Services, ref: SubscriptionRef, ask: Act) -> None:
    """Asks again where the workflow ended under the question; the key makes a repeat harmless."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            await services.engine.act_on_subscription(ref, ask, wait=max(0.05, ends - loop.time()))
        except NotIssued as error:
            if loop.time() >= ends:
                raise EngineAway("the workflow ended again and again") from error
        else:
            return


def shown(services: Services, one: Subscription, request_id: str) -> Response[Any]:
    """The subscription as it stands."""
    body = services.v1.subscription_answer(one, request_id)
    return Response(body, status_code=200, media_type=MediaType.JSON)


def _mode(wish: Wish) -> Mode:
    return Mode.TEST if wish.one.is_sandbox else Mode.LIVE


def _fingerprint(principal: Principal, wish: Wish) -> str:
    return fingerprint(principal.id_salt, wish.operation, wish.one.id, *wish.parts)
