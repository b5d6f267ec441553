"""Ledger writes that workflows ask for."""

from typing import TYPE_CHECKING

import msgspec
from temporalio import activity

from domain.invoice import Booked, Change

if TYPE_CHECKING:
    from db.ledger import Ledger


class BookedInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which invoice."""

    merchant_id: str
    invoice_id: str


class Booking:
    """Activities that write invoices; they are retried until the database answers."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger

    @activity.defn(name="invoice.book")
    async def book(self, change: Change) -> Booked:
        """Books one change; see `Ledger.book`."""
        return await self._ledger.book(change)

    @activity.defn(name="invoice.standing")
    async def standing(self, asked: BookedInvoice) -> Booked:
        """What the books say now, with every webhook that waits for its first success."""
        return (await self._ledger.standing(asked.merchant_id, asked.invoice_id)).booked
