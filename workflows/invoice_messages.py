"""What one says to an invoice's workflow, and its state in one struct."""

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.bank import Verdict
from domain.invoice import Attention, State

# Where an operator named nobody: the update was sent from the Temporal UI.
SOMEBODY = "operator"


class AwaitIssued(msgspec.Struct, frozen=True, kw_only=True):
    """Argument of the update `issued`; asking again opens the window again."""

    fingerprint: str
    issue_before: datetime


class Cancel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Argument of the update `cancel`, which may be left out; `asked_by` is the API key's id, for the audit log."""

    asked_by: str = ""


class Simulate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Argument of the update `simulate`; `asked_by` as in `Cancel`."""

    verdict: Verdict
    asked_by: str = ""


class Resolution(StrEnum):
    """An operator's choices."""

    BANK_PAYMENT = "bank_payment"
    ABSENT = "absent"
    ACCEPT_PAID = "accept_paid"
    RECHECK = "recheck"
    ACKNOWLEDGE = "acknowledge"


class Resolve(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Argument of the update `resolve`; `bank_payment_id` goes with `bank_payment`.

    `by` is who decided and `note` why, for the audit log.
    """

    action: Resolution
    bank_payment_id: int | None = None
    by: str = ""
    note: str = ""


class InvoiceStory(msgspec.Struct, kw_only=True):
    """All that the workflow knows besides its order; `settled` counts the attentions that were cleared."""

    issue_before: datetime
    state: State = State.PROCESSING
    attention: Attention | None = None
    issued: bool = False
    missed: bool = False
    payment_id: int | None = None
    deadline: datetime | None = None
    cancel_requested: bool = False
    settled: int = 0
    shown: tuple[State, Attention | None] | None = None
