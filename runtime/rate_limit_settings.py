"""The settings of rate limits; part of runtime.settings, which has no room for them."""

from typing import Annotated, ClassVar

from runtime import env_parsers as parsers
from runtime.env import Env, Section


class RateLimits(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Rate limits"
    per_minute: Annotated[
        int,
        Env(
            "TOLEM_RATE_LIMIT_PER_MINUTE",
            "requests a minute that an API key without a limit of its own may make; 0 is no limit",
            parsers.whole(0, 1_000_000),
            "60",
        ),
    ]
    burst: Annotated[
        int,
        Env(
            "TOLEM_RATE_LIMIT_BURST",
            "requests that such a key may make at once, after a pause",
            parsers.whole(1, 1_000_000),
            "60",
        ),
    ]
