"""How much a run does."""

import msgspec


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """`settle_seconds`: how long the system may take at the end until nothing is open but what waits for a human."""

    invoices: int
    refunds: int
    subscriptions: int
    kills: int
    settle_seconds: float

    @property
    def steps(self) -> int:
        """A kill ends a step; after the last one comes a step of peace."""
        return self.kills + 1


SMALL = Size(invoices=60, refunds=20, subscriptions=10, kills=12, settle_seconds=200.0)
# Some merchants hang up before anything is made, and what is never paid is never refunded: 300 and 100 come to be.
LONG = Size(invoices=340, refunds=140, subscriptions=40, kills=100, settle_seconds=300.0)

SIZES = {"small": SMALL, "long": LONG}
