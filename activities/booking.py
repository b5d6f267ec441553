"""Ledger writes that workflows ask for."""

from typing import TYPE_CHECKING

from temporalio import activity

from domain.invoice import Booked, Change

if TYPE_CHECKING:
    from db.ledger import Ledger


class Booking:
    """Activities that write invoices; they are retried until the database answers."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger

    @activity.defn(name="invoice.book")
    async def book(self, change: Change) -> Booked:
        """Books one change; see `Ledger.book`."""
        return await self._ledger.book(change)
