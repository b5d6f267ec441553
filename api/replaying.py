"""What a retry and a resend have in common: book the wish with its answer, then ask Temporal to act on it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec
from litestar import MediaType, Response

from api import idempotency
from api.services import Services
from db.errors import KeyTaken
from db.reads import KeptAnswer
from db.replaying import ReplayKey, Wish
from domain.event import Delivery, DeliveryState
from domain.merchant import Principal

PATIENCE_SECONDS = 5.0
ACCEPTED = 202


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request: `parts` make its fingerprint, `show` its answer."""

    operation: str
    parts: tuple[str | None, ...]
    key: str | None
    request_id: str
    show: Callable[[list[Delivery]], Any]


async def replay(
    services: Services, principal: Principal, asked: Asked, book: Callable[[Wish], Awaitable[list[Delivery]]]
) -> Response[Any]:
    """202 once the books have the wish and Temporal knows; the kept answer where the key has asked before.

    `EngineAway`: the books have it, and it is acted on when the engine is back (the watchdog looks for what is due).
    """
    fingerprint = idempotency.fingerprint(principal.id_salt, asked.operation, *asked.parts)
    kept = await _kept(services, principal, asked)
    if kept is not None:
        return await _told_again(services, principal, kept, fingerprint)
    wish = _wish(principal, asked, fingerprint)
    try:
        booked = await book(wish)
    except KeyTaken:
        kept = await _kept(services, principal, asked)
        if kept is None:
            raise
        return await _told_again(services, principal, kept, fingerprint)
    await _act(services, principal, [one.id for one in booked])
    return Response(_encoded(asked, booked), status_code=ACCEPTED, media_type=MediaType.JSON)


def _encoded(asked: Asked, deliveries: list[Delivery]) -> bytes:
    return msgspec.json.encode(asked.show(deliveries))


def _wish(principal: Principal, asked: Asked, fingerprint: str) -> Wish:
    key = None
    if asked.key is not None:
        key = ReplayKey(
            mode=principal.mode,
            operation=asked.operation,
            key=asked.key,
            fingerprint=fingerprint,
            status=ACCEPTED,
            answer=lambda deliveries: _encoded(asked, deliveries),
        )
    return Wish(
        merchant_id=principal.merchant.id,
        cause=uuid4().hex,
        asked_by=principal.key_id,
        request_id=asked.request_id,
        key=key,
    )


async def _kept(services: Services, principal: Principal, asked: Asked) -> KeptAnswer | None:
    if asked.key is None:
        return None
    return await services.reads.kept_answer(principal.merchant.id, principal.mode, asked.operation, asked.key)


async def _told_again(services: Services, principal: Principal, kept: KeptAnswer, fingerprint: str) -> Response[Any]:
    answer = idempotency.replay(kept, fingerprint)
    if answer is None:
        raise AssertionError("a wish is kept with its answer")
    # The first request may have died between its booking and Temporal: what is still due is asked for again.
    ids = [one["id"] for one in _items(msgspec.json.decode(kept.body or b"{}"))]
    standing = await services.deliveries.deliveries(principal.merchant.id, ids)
    due = [one.id for one in standing if _is_due(one, principal)]
    await _act(services, principal, due)
    return answer


def _items(body: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body.get("items", [body])
    return found


def _is_due(delivery: Delivery, principal: Principal) -> bool:
    return (
        delivery.state is DeliveryState.PENDING
        and delivery.next_attempt_at is not None
        and delivery.next_attempt_at <= principal.database_now
    )


async def _act(services: Services, principal: Principal, ids: list[str]) -> None:
    """There are never more of them than a merchant has endpoints."""
    asked = (services.engine.deliver_now(principal.merchant.id, one, wait=PATIENCE_SECONDS) for one in ids)
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        if outcome is not None:
            raise outcome
