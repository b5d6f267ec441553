"""What a payer does with a bill, and the finger that does it."""

import asyncio
from enum import StrEnum

from domain.invoice import Kind
from torture.bank import TorturedBank

_CONFIRM_AFTER = 0.8
_LATE_AFTER = 2.0


class Deed(StrEnum):
    """`LATE` lets the bill end and pays it all the same."""

    PAY = "pay"
    SCAN = "scan"
    REJECT = "reject"
    IGNORE = "ignore"
    LATE = "late"


async def do(bank: TorturedBank, purchase_id: int, deed: Deed, kind: Kind) -> None:
    """The payer's finger, or several of them one after another."""
    match deed:
        case Deed.PAY:
            await bank.act(purchase_id, "pay")
        case Deed.SCAN if kind is Kind.PHONE:
            await bank.act(purchase_id, "pay")
        case Deed.SCAN:
            if await bank.act(purchase_id, "scan"):
                await asyncio.sleep(_CONFIRM_AFTER)
                await bank.act(purchase_id, "confirm")
        case Deed.REJECT:
            await bank.act(purchase_id, "reject")
        case Deed.IGNORE:
            await bank.act(purchase_id, "expire")
        case Deed.LATE:
            await bank.act(purchase_id, "expire")
            await asyncio.sleep(_LATE_AFTER)
            await bank.act(purchase_id, "late")
