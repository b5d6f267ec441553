"""What a run is going to do: a pure function of seed and size. Times in seconds, money in tiyn."""

from random import Random
from typing import TypeVar

import msgspec

from domain.invoice import Kind
from torture.deed import Deed
from torture.plan_faults import BankFault, Hiccup, Lag, plan_bank_faults, plan_hiccups, plan_lags
from torture.plan_kills import Kill, plan_kills
from torture.plan_refunds import AskedRefund, plan_refunds
from torture.plan_subscriptions import PlannedSubscription, plan_subscriptions
from torture.progress import When
from torture.size import Size


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a customer and what everybody does about it.

    `twins` identical requests are sent at once. A merchant with `patience` (seconds) sends once, hangs up then and
    never asks again. `cancel_after` and `deed_after` count from when the bill is known. `checks`: the merchant asks for
    a look at the bank. `misuses_key`: sends another body under the key. `cashier`: tiyn given back at the till.
    """

    number: int
    when: When
    kind: Kind
    amount: int
    phone: str
    twins: int
    patience: float | None
    deed: Deed
    deed_after: float
    cancel_after: float | None
    checks: bool
    misuses_key: bool
    refunds: list[AskedRefund]
    cashier: int | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that chance decides beforehand."""

    seed: int
    size: Size
    bills: list[Bill]
    kills: list[Kill]
    faults: list[BankFault]
    lags: list[Lag]
    hiccups: list[Hiccup]
    subscriptions: list[PlannedSubscription]


T = TypeVar("T")

_KINDS = {Kind.PHONE: 50, Kind.QR: 30, Kind.LINK: 20}
_DEEDS = {Deed.PAY: 62, Deed.SCAN: 12, Deed.REJECT: 9, Deed.IGNORE: 11, Deed.LATE: 6}
# A step takes some seconds (plan_kills); what is planned for one begins within these.
STEP_SECONDS = 4.0
# A QR lives 18 s in a run (settings.TIME_SCALE): a payer takes up to a third of that.
_LONGEST_DEED = 6.0


def make_plan(seed: int, size: Size) -> Plan:
    """The same seed and size give the same plan, on every machine."""
    chance = Random(seed)  # noqa: S311 -- a plan that can be repeated, not secrets
    bills = [_bill(chance, seed, number, size) for number in range(size.invoices)]
    asked = plan_refunds(chance, _refundable(bills), size.refunds)
    bills = [
        msgspec.structs.replace(
            bill, refunds=asked.get(bill.number, []), cashier=_cashier(chance, bill, refunded=bill.number in asked)
        )
        for bill in bills
    ]
    return Plan(
        seed=seed,
        size=size,
        bills=bills,
        kills=plan_kills(chance, size),
        faults=plan_bank_faults(chance, size),
        lags=plan_lags(chance, size),
        hiccups=plan_hiccups(chance, size),
        subscriptions=plan_subscriptions(chance, seed, size),
    )


def _bill(chance: Random, seed: int, number: int, size: Size) -> Bill:
    kind = _drawn(chance, _KINDS)
    deed = _drawn(chance, _DEEDS)
    return Bill(
        number=number,
        when=When(step=chance.randrange(size.steps), after=round(chance.uniform(0, STEP_SECONDS), 2)),
        kind=kind,
        amount=chance.randrange(100_00, 50_000_00),
        phone=f"7702{seed % 1000:03d}{number:04d}",
        twins=chance.choices((1, 2, 5), (80, 14, 6))[0],
        patience=round(chance.uniform(0.05, 2.0), 2) if chance.random() < 0.08 else None,
        deed=deed,
        deed_after=round(chance.uniform(0.1, _LONGEST_DEED), 2),
        # Often near the payer's deed: the two race.
        cancel_after=round(chance.uniform(0.1, _LONGEST_DEED), 2) if _cancels(chance, kind) else None,
        checks=chance.random() < 0.15,
        misuses_key=chance.random() < 0.05,
        refunds=[],
        cashier=None,
    )


def _cancels(chance: Random, kind: Kind) -> bool:
    wishes = chance.random() < 0.25
    return wishes and kind is Kind.PHONE


def _refundable(bills: list[Bill]) -> dict[int, int]:
    """Amounts of the bills that will surely be paid, unless the run itself prevents it."""
    sure = {Deed.PAY, Deed.SCAN}
    return {
        bill.number: bill.amount
        for bill in bills
        if bill.deed in sure and bill.cancel_after is None and bill.patience is None
    }


def _cashier(chance: Random, bill: Bill, *, refunded: bool) -> int | None:
    """Tiyn that somebody gives back at the till meanwhile, behind the system's back."""
    return chance.randrange(1_00, bill.amount // 10) if chance.random() < 0.08 and refunded else None


def _drawn(chance: Random, weights: dict[T, int]) -> T:
    return chance.choices(list(weights), list(weights.values()))[0]
