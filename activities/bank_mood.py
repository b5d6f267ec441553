"""What a poller concludes from a bank's answers: does it reject polling, is it away?"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from time import monotonic
from typing import TypeAlias

import msgspec

from domain.invoice import Kind
from domain.merchant import Health
from domain.policy import rejected_backoff
from kaspi.errors import KaspiError, KaspiMisconfigured

ENOUGH_FAILURES = 3
QR_PAUSE_AT_MOST = timedelta(seconds=30)  # the guide wants QR polled (§3.1); only phone bills may wait for long

HealthNews: TypeAlias = tuple[Health, str | None]


class _Throttle(msgspec.Struct):
    rejections: int = 0
    since: float = float("-inf")
    until: datetime = datetime.min.replace(tzinfo=UTC)


class BankMood:
    """Counts episodes, not calls: what one hiccup does to many calls at once is one failure or rejection.

    Each answer comes with `begun`, the moment of `clock` (seconds) at which its call was decided on.
    """

    def __init__(self, *, health_grace: float, chance: Random, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self._grace = health_grace
        self._chance = chance
        self._throttles = {kind: _Throttle() for kind in Kind}
        self._failures = 0
        self._failing_since = 0.0
        self._last_good = float("-inf")
        self.health: HealthNews | None = None

    def answered(self, begun: float, kind: Kind | None = None) -> None:
        """The bank answered a look at this kind, or a ping."""
        self._failures, self._last_good = 0, self.clock()
        self.health = (Health.CONNECTED, None)
        if kind is not None and begun > self._throttles[kind].since:
            self._throttles[kind].rejections = 0

    def failed(self, begun: float, error: KaspiError) -> None:
        """The bank did not answer, or does not let us in."""
        if begun < self._last_good:
            return  # older news than the answer we have
        now = self.clock()
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        if self._failures < ENOUGH_FAILURES:
            return
        if isinstance(error, KaspiMisconfigured):
            self.health = (Health.LOST, "kaspi_misconfigured")
        elif now - self._failing_since >= self._grace:
            self.health = (Health.DEGRADED, "kaspi_unavailable")

    def rejected(self, begun: float, kind: Kind) -> datetime | None:
        """Until when automatic looks pause, None where a look of the same episode has already said so."""
        throttle = self._throttles[kind]
        if begun <= throttle.since:
            return None
        throttle.rejections += 1
        throttle.since = self.clock()
        pause = rejected_backoff(throttle.rejections - 1, chance=self._chance)
        if kind is not Kind.PHONE:
            pause = min(pause, QR_PAUSE_AT_MOST)
        throttle.until = datetime.now(UTC) + pause
        return throttle.until

    def paused_until(self, kind: Kind) -> datetime | None:
        """Until when no automatic look at this kind is made; a rejection of a QR concerns them all."""
        until = max(self._throttles[one].until for one in Kind if one is kind or one is not Kind.PHONE)
        return until if until > datetime.now(UTC) else None
