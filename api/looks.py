"""How event streams read Postgres: few at once, and hardly at all while it is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from db.errors import DatabaseUnavailable

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Streams look through the pool that answers requests: together they never hold more of it than this.
LOOKS_AT_ONCE = 3
# Beyond the statement timeout: a server that is frozen enforces none.
LOOK_LIMIT_SECONDS = 10.0
# While Postgres is away one stream asks for all, less and less often.
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 5.0


class Looks:
    """What all streams of a process know together of the database."""

    def __init__(self, at_once: int = LOOKS_AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._away_since: float | None = None
        self._next_try = 0.0
        self._trying = False

    @property
    def away_since(self) -> float | None:
        """The monotonic moment since when no look has succeeded; None while the database answers."""
        return self._away_since

    async def take(self, look: Callable[[], Awaitable[T]]) -> T | None:
        """What the look finds; None where the database is away, be it known already or found out now."""
        if self._pointless():
            return None
        async with self._places:
            # Much may have been learned while we waited for the place.
            if self._pointless():
                return None
            return await self._try(look)

    def _pointless(self) -> bool:
        return self._away_since is not None and (self._trying or time.monotonic() < self._next_try)

    async def _try(self, look: Callable[[], Awaitable[T]]) -> T | None:
        began = time.monotonic()
        alone = self._away_since is not None
        self._trying = self._trying or alone
        try:
            async with asyncio.timeout(LOOK_LIMIT_SECONDS):
                found = await look()
        except (DatabaseUnavailable, TimeoutError) as error:
            self._failed(began, error)
            return None
        finally:
            if alone:
                self._trying = False
        self._away_since = None
        return found

    def _failed(self, began: float, error: Exception) -> None:
        now = time.monotonic()
        if self._away_since is None:
            log.warning("event_streams_without_database", cause=str(error) or type(error).__name__)
            self._away_since = began
        self._next_try = now + min(LONGEST_WAIT_SECONDS, max(FIRST_WAIT_SECONDS, now - self._away_since))
