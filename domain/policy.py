"""When things happen: status checks, deadlines, webhook retries. Pure functions of ages and settings."""

from datetime import datetime, timedelta
from random import Random

from domain.invoice import Kind

# Kaspi guide §3.1: 180 s to scan, 65 s to confirm; the answer of each create overrides these.
DEFAULT_POLL_INTERVAL = 5.0
DEADLINE_GRACE = timedelta(seconds=5)  # working plugins wait ~5 s and look once more
PHONE_DEADLINE_GRACE = timedelta(seconds=120)
PHONE_LIFETIME = timedelta(hours=24)  # Kaspi guide §2.4

# Seconds that a call of payment/return can last beside the bank's read timeout: three connect timeouts
# (kaspi.transport), the time a process may stand between its intent and its call (activities.refunding), and a little.
REFUND_CALL_OVERHEAD = 30.0

# (until this age in seconds, gap in seconds) of a phone invoice.
PHONE_GAPS: tuple[tuple[float, float], ...] = (
    (10, 10),
    (30, 20),
    (5 * 60, 30),
    (30 * 60, 120),
    (24 * 3600 + 300, 600),
)
# Gaps after an unpaid close: late truth shows up soon or not at all.
LATE_GAPS: tuple[float, ...] = (20, 60, 180, 600)
LATE_STEADY_GAP = 3600.0
JITTER = 0.1


def _jittered(seconds: float, chance: Random) -> float:
    return seconds * (1 + JITTER * (2 * chance.random() - 1))


def phone_gap(age: float) -> float | None:
    """Seconds to the next automatic check of a phone invoice of this age, None when there is none any more."""
    for until, gap in PHONE_GAPS:
        if age < until:
            return gap
    return None


def next_check(
    kind: Kind,
    *,
    created_at: datetime,
    now: datetime,
    poll_interval: float,
    phone_polling: bool,
    chance: Random,
) -> datetime | None:
    """When an open payment is due for its next look, None for "only when somebody asks".

    QR and links on the bank's own interval (Kaspi guide §3.1); phone invoices on an adaptive schedule, because
    the guide forbids timed polling of them (§3.2), so it is sparse, jittered and can be switched off.
    """
    if kind is not Kind.PHONE:
        return now + timedelta(seconds=poll_interval)
    if not phone_polling:
        return None
    gap = phone_gap((now - created_at).total_seconds())
    return None if gap is None else now + timedelta(seconds=_jittered(gap, chance))


def late_check(checks_after_close: int, *, now: datetime, chance: Random, late_watch: float) -> datetime | None:
    """When a payment that was closed unpaid is looked at again, None when that is over.

    Quick at first, then hourly, as long as the sum of the gaps stays within `late_watch` seconds.
    """
    gaps = [*LATE_GAPS, *[LATE_STEADY_GAP] * max(0, checks_after_close + 1 - len(LATE_GAPS))]
    if sum(gaps[: checks_after_close + 1]) > late_watch:
        return None
    return now + timedelta(seconds=_jittered(gaps[checks_after_close], chance))


def rejected_backoff(rejections: int, *, chance: Random) -> timedelta:
    """How long a connection pauses automatic checks after the bank rejected them: 30 s doubling to 30 min."""
    return timedelta(seconds=_jittered(min(30 * 2 ** min(rejections, 10), 1800), chance))


def delivery_delay(schedule: list[float], attempts: int, *, chance: Random) -> float | None:
    """Seconds to the next webhook attempt after `attempts` failures (±20 %), None when it is dead."""
    if attempts < 1 or attempts > len(schedule):
        return None
    return schedule[attempts - 1] * (0.8 + 0.4 * chance.random())
