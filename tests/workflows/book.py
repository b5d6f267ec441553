"""What the ledger promises to workflows, in memory: the transitions of domain.invoice, each cause booked once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from domain.invoice import (
    CLOSED_UNPAID,
    Attention,
    Booked,
    Change,
    DeliveryRef,
    OpenInvoice,
    Reason,
    State,
    can_become,
)

if TYPE_CHECKING:
    from datetime import datetime


class Entry(NamedTuple):
    """One line of the book, as a test expects it."""

    cause: str
    state: State
    attention: Attention | None = None
    reason: Reason | None = None


class Book:
    """One invoice's rows. `endpoints` are the merchant's receivers; every announced change is due at each."""

    def __init__(self, order: OpenInvoice, endpoints: list[str]) -> None:
        self.order = order
        self.endpoints = endpoints
        self.state = State.PROCESSING
        self.attention: Attention | None = None
        self.reason: Reason | None = None
        self.payment_id: int | None = None
        self.deadline: datetime | None = None
        self.claimed = False
        self.entries: list[Entry] = []
        self._due: dict[str, list[DeliveryRef]] = {}

    def book(self, change: Change) -> Booked:
        """As `Ledger.book`: a repeated or impossible change changes nothing and says what stands."""
        if change.cause in self._due or not self._apply(change):
            return self.standing(self._due.get(change.cause, []), created=False)
        self.entries.append(Entry(change.cause, self.state, self.attention, self.reason))
        due = self._announce() if change.announce else []
        self._due[change.cause] = due
        return self.standing(due, created=True)

    def _apply(self, change: Change) -> bool:
        if change.requires is not None and self.attention is not change.requires:
            return False
        state = change.state or self.state
        moves = state is not self.state
        if moves and not can_become(self.state, state):
            return False
        attention = change.attention or (None if change.clear_attention else self.attention)
        reason = change.reason if change.state else self.reason
        if moves and state is State.PAID and self.state in CLOSED_UNPAID:
            attention, reason = Attention.PAID_LATE, Reason.PAID_LATE
        if not moves and (attention, reason) == (self.attention, self.reason):
            return False
        self.state, self.attention, self.reason = state, attention, reason
        if change.issued:
            self.payment_id, self.deadline = change.issued.bank_payment_id, change.issued.deadline
        return True

    def _announce(self) -> list[DeliveryRef]:
        name = self.order.invoice_id.removeprefix("inv_")
        number = len(self.entries)
        return [DeliveryRef(id=f"whd_{name}_{number}_{to}", endpoint_id=to) for to in self.endpoints]

    def standing(self, due: Sequence[DeliveryRef] = (), *, created: bool = False) -> Booked:
        return Booked(
            state=self.state,
            attention=self.attention,
            deadline=self.deadline,
            bank_payment_id=self.payment_id,
            deliveries=list(due),
            created=created,
        )
