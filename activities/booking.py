"""Ledger writes that workflows ask for."""

from typing import TYPE_CHECKING

import msgspec
from temporalio import activity

from domain.invoice import Booked, Change
from webhooks.courtesy import Courtesy

if TYPE_CHECKING:
    from db.ledger import Ledger


class BookedInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which invoice."""

    merchant_id: str
    invoice_id: str


class Booking:
    """Activities that write invoices; they are retried until the database answers."""

    def __init__(self, ledger: "Ledger", courtesy: Courtesy | None = None) -> None:
        self._ledger = ledger
        self._courtesy = courtesy or Courtesy(patience=0)

    @activity.defn(name="invoice.book")
    async def book(self, change: Change) -> Booked:
        """Books one change; see `Ledger.book`."""
        if change.announce:
            self._courtesy.news()
        return await self._ledger.book(change)

    @activity.defn(name="invoice.standing")
    async def standing(self, asked: BookedInvoice) -> Booked:
        """What the books say now, with every webhook that waits for its first success."""
        return (await self._ledger.standing(asked.merchant_id, asked.invoice_id)).booked
