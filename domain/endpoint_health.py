"""When an endpoint that only fails is warned of, and when it is disabled. Pure functions of ages and settings."""

import msgspec

# Percent of the way to being disabled at which the merchant is told.
WARNINGS = (50, 70, 90)
# A failure tells of the time since the one before it, but not of more than this: the longest wait of the published
# schedule is a day and its jitter. So days in which nothing was sent (we were down) count against nobody.
LONGEST_PROOF = 30 * 3600.0
# Failures of one bad hour disable nothing, whatever an operator's limit is.
SHORTEST_SPREAD = 12 * 3600.0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Since the last success: seconds proven to be nothing but failures, and percent of the way."""

    failing: float = 0.0
    percent: int = 0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint after one more failure: the warning to send now, if any, and whether it is to be disabled."""

    health: Health
    warning: int | None
    disable: bool


def failed(before: Health, *, since_first: float | None, since_last: float | None, limit: float) -> Verdict:
    """One more failure, `since_last` seconds after the one before it (None: the first) and `since_first` after the
    first. `limit` is the time of nothing but failures after which an endpoint is disabled.
    """
    proven = before.failing + min(max(since_last or 0.0, 0.0), LONGEST_PROOF)
    percent = min(100, int(100 * proven / limit))
    disable = proven >= limit and (since_first or 0.0) >= SHORTEST_SPREAD
    passed = [step for step in WARNINGS if before.percent < step <= percent]
    return Verdict(
        health=Health(failing=proven, percent=percent),
        warning=passed[-1] if passed and not disable else None,
        disable=disable,
    )
