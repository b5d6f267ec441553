"""Which subscriptions there are, what their merchants want of them and what their payers do. Money in tiyn."""

from enum import StrEnum
from random import Random

import msgspec

from domain.billing_calendar import BillingPeriod
from torture.deed import Deed
from torture.progress import When
from torture.size import Size


class Act(StrEnum):
    """What a merchant can ask for: the last part of the request's path."""

    BILL_NOW = "bill-now"
    SKIP = "skip-period"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """One action, `after` seconds from when the one before it was answered."""

    act: Act
    after: float


class PlannedSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A live subscription that began `days_ago`: what fell due before is skipped, and the newest period billed at once.

    The payer does the `deeds` with the bills as they come, the last one with all others, each `deed_after` seconds
    later. `twins` identical requests make it.
    """

    number: int
    when: When
    phone: str
    amount: int
    period: BillingPeriod
    days_ago: int
    retries: int
    twins: int
    deeds: list[Deed]
    deed_after: float
    wishes: list[Wish]


_DEEDS = {Deed.PAY: 50, Deed.REJECT: 18, Deed.IGNORE: 18, Deed.LATE: 14}
_ACTS = {Act.BILL_NOW: 60, Act.SKIP: 20, Act.PAUSE: 20}
_CANCELS = 0.25
_PERIODS = (BillingPeriod.DAILY, BillingPeriod.WEEKLY, BillingPeriod.MONTHLY)


def plan_subscriptions(chance: Random, seed: int, size: Size) -> list[PlannedSubscription]:
    """They begin in the first half of the run, so that the kills of the second meet them in the midst of it."""
    return [_subscription(chance, seed, number, size) for number in range(size.subscriptions)]


def _subscription(chance: Random, seed: int, number: int, size: Size) -> PlannedSubscription:
    return PlannedSubscription(
        number=number,
        when=When(step=chance.randrange(max(1, size.steps // 2)), after=round(chance.uniform(0, 3), 2)),
        phone=f"7702{seed % 1000:03d}{5000 + number:04d}",
        amount=chance.randrange(100_00, 50_000_00),
        period=chance.choice(_PERIODS),
        days_ago=chance.choice((0, 0, 1, 3, 30)),
        retries=chance.randrange(3),
        twins=chance.choices((1, 3), (85, 15))[0],
        deeds=chance.choices(list(_DEEDS), list(_DEEDS.values()), k=4),
        deed_after=round(chance.uniform(0.1, 2.5), 2),
        wishes=_wishes(chance),
    )


def _wishes(chance: Random) -> list[Wish]:
    wishes: list[Wish] = []
    for act in chance.choices(list(_ACTS), list(_ACTS.values()), k=chance.randint(1, 3)):
        wishes.append(_soon(chance, act))
        if act is Act.PAUSE:
            wishes.append(_soon(chance, Act.RESUME))
    if chance.random() < _CANCELS:
        wishes.append(_soon(chance, Act.CANCEL))
    return wishes


def _soon(chance: Random, act: Act) -> Wish:
    return Wish(act=act, after=round(chance.uniform(0.2, 6.0), 2))
