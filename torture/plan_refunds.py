"""Which refunds are asked for. Money in tiyn, times in seconds."""

from collections import defaultdict
from random import Random

import msgspec

_MOST_PER_BILL = 5
_WHOLE_REST = 0.12
_OVER_ASK = 0.1


class AskedRefund(msgspec.Struct, frozen=True, kw_only=True):
    """`amount` None asks for all that is left. Amounts of one bill differ, so the bank's list tells whose is whose.

    `after` counts from when the merchant sees the payment; several of a bill may come at the same moment.
    `by_path`: POST /invoices/{id}/refund, else POST /refunds.
    """

    number: int
    after: float
    amount: int | None
    by_path: bool
    twins: int


def plan_refunds(chance: Random, paid: dict[int, int], wanted: int) -> dict[int, list[AskedRefund]]:
    """`wanted` refunds over the bills in `paid` (number → tiyn), several on some of them, sometimes too much in sum."""
    asked: dict[int, list[AskedRefund]] = defaultdict(list)
    numbers = sorted(paid)
    for number in range(wanted if numbers else 0):
        bill = chance.choice(numbers)
        while len(asked[bill]) >= _MOST_PER_BILL and any(len(asked[one]) < _MOST_PER_BILL for one in numbers):
            bill = chance.choice(numbers)
        crowd = bool(asked[bill]) and chance.random() < 0.5
        asked[bill].append(
            AskedRefund(
                number=number,
                after=asked[bill][-1].after if crowd else round(chance.uniform(0, 8), 2),
                amount=_amount(chance, paid[bill], {one.amount for one in asked[bill]}),
                by_path=chance.random() < 0.5,
                twins=chance.choices((1, 2), (85, 15))[0],
            )
        )
    return {bill: refunds for bill, refunds in asked.items() if refunds}


def _amount(chance: Random, paid: int, taken: set[int | None]) -> int | None:
    if chance.random() < _WHOLE_REST and None not in taken:
        return None
    while True:
        most = paid + 1_00 if chance.random() < _OVER_ASK else paid // 3
        amount = chance.randrange(1, most)
        if amount not in taken:
            return amount
