"""How much a run does."""

import msgspec


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds`: the time in which bills are opened and parts are killed. `settle_seconds`: how long the system may
    take afterwards until nothing is open any more, except what waits for a human.
    """

    invoices: int
    refunds: int
    kills: int
    seconds: float
    settle_seconds: float


SMALL = Size(invoices=60, refunds=20, kills=16, seconds=70.0, settle_seconds=200.0)
LONG = Size(invoices=300, refunds=100, kills=100, seconds=600.0, settle_seconds=300.0)

SIZES = {"small": SMALL, "long": LONG}
