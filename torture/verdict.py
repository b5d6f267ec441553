"""What the judge says."""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

import msgspec


class Crime(StrEnum):
    """What must never happen; each is counted, and one is enough to fail a run."""

    DOUBLE_CHARGE = "double charges"
    DOUBLE_REFUND = "double refunds"
    LOST_PAYMENT = "lost payments"
    LOST_PERIOD = "periods lost, billed twice or wrong"
    MISSING_EVENT = "missing or wrong events"
    BOOKS_DIFFER = "differences between the books"
    UNSETTLED = "left open without attention"
    UNEXPLAINED = "attention without a cause"
    DEFECT = "defects of the API or the processes"


class Violation(msgspec.Struct, frozen=True):
    """One finding; `what` names the objects, so that logs and histories can be searched for them."""

    crime: Crime
    what: str


Findings = Iterator[Violation]


class Verdict(msgspec.Struct, frozen=True):
    """`figures` by name, in the order in which they are shown."""

    figures: dict[str, str]
    violations: list[Violation]

    @property
    def counts(self) -> dict[Crime, int]:
        """Every crime with how often it was found, zeros included."""
        found = Counter(one.crime for one in self.violations)
        return {crime: found[crime] for crime in Crime}
