"""How many requests a key may make: a rate that goes on for ever, and a burst after a pause (GCRA).

The database does the arithmetic, because all API processes share it (migration 0010: authenticate).
"""

import math

import msgspec

MAX_PER_MINUTE = 1_000_000
MAX_BURST = 1_000_000


class RateLimit(msgspec.Struct, frozen=True):
    """So many requests a minute, and so many at once; `per_minute` 0 is no limit."""

    per_minute: int
    burst: int


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a limit after a request. Times in seconds.

    `full_after` is when all of the burst can be used again; `retry_after` is None for a request that was allowed, else
    when the next one will be.
    """

    limit: RateLimit
    remaining: int
    full_after: float
    retry_after: float | None

    @property
    def window(self) -> int:
        """In which the whole burst comes back, in whole seconds."""
        return max(1, math.ceil(self.limit.burst * 60 / self.limit.per_minute))

    @property
    def wait(self) -> int:
        """Whole seconds to wait before the next request; 0 where it was allowed."""
        return 0 if self.retry_after is None else max(1, math.ceil(self.retry_after))
