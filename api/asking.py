"""Asking the engine for something new, and an answer that is true whatever happened on the way."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from api.services import Services
from db.errors import DatabaseUnavailable
from domain.errors import Code, TolemError
from workflows.client import EngineAway, NotIssued

T = TypeVar("T")

log = structlog.get_logger(__name__)

ENGINE_RETRY_SECONDS = 0.3
BOOKS_PATIENCE_SECONDS = 3.0

Ask = Callable[[float, bool], Awaitable[None]]
Read = Callable[[], Awaitable[T | None]]


async def ask_engine(
    services: Services, ask: Ask, *, read: Read[T], final_word: Read[T], about: dict[str, str]
) -> T | None:
    """What the books say at the end; None means that nothing was made and nothing of this request will be.

    `ask(wait, again)` waits that many seconds; `again` after a missed window. `read` gives what the books have,
    `final_word` the same under the lock that makes "too late" exact. `about` names the object for an answer in doubt.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    window, patience = services.api.issue_window_seconds, services.api.answer_within_seconds
    again = False
    until = started + patience + BOOKS_PATIENCE_SECONDS
    while True:
        try:
            await ask(max(0.05, patience - (loop.time() - started)), again)
        except (NotIssued, EngineAway) as error:
            again = again or isinstance(error, NotIssued)
            # A short absence of the engine is bridged inside the window; the same ids make a repeat harmless.
            log.info("engine_did_not_answer", **about, cause=str(error))
            if loop.time() - started < window - ENGINE_RETRY_SECONDS:
                await asyncio.sleep(ENGINE_RETRY_SECONDS)
                continue
            await asyncio.sleep(max(0.0, window - (loop.time() - started)))
            return await _from_the_books(final_word, about, until=until)
        return await _from_the_books(read, about, until=until)


async def _from_the_books(read: Read[T], about: dict[str, str], *, until: float) -> T | None:
    """The engine was asked, so an unreadable database is a doubt, not a "nothing was made"."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return await read()
        except DatabaseUnavailable as error:
            if loop.time() >= until:
                raise TolemError(Code.CREATION_IN_DOUBT, details=about) from error
            await asyncio.sleep(ENGINE_RETRY_SECONDS)
