"""An invoice's looks at the bank: first of a resumed story, last at the deadline, and whenever an operator asks."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from domain.bank import STILL_OPEN, Verdict, agrees
    from domain.errors import Code
    from domain.invoice import OPEN, Attention, Kind, Reason, State
    from domain.policy import PHONE_LIFETIME
    from workflows import options
    from workflows.asking_bank import BankDesk
    from workflows.failures import refuse, said_no
    from workflows.invoice_books import InvoiceBooks
    from workflows.invoice_messages import Resolve

# What is settled as soon as the bank says the same as our books.
_RECHECKED = frozenset(
    {
        Attention.PAYMENT_NOT_FOUND,
        Attention.UNKNOWN_WORD,
        Attention.AMOUNT_MISMATCH,
        Attention.STATUS_DIFFERS,
    }
)


class InvoiceLooks:
    """Every look ends in the books, or changes nothing."""

    def __init__(self, books: InvoiceBooks, bank: BankDesk) -> None:
        self._books = books
        self._bank = bank
        self._order = books.order
        self._story = books.story

    async def first(self) -> None:
        """A resumed story reads before it may write: what it last knew may be long over."""
        if not self._order.is_sandbox:
            await self.take("what happened meanwhile?")

    async def take(self, why: str) -> None:
        """Reads an open bill and books what the bank says."""
        async with self._books.lock:
            payment_id = self._story.payment_id
            if payment_id is None or self._story.state not in OPEN:
                return
            try:
                fact = await self._bank.read(payment_id, options.KASPI_READ, why)
            except ActivityError as error:
                await self._unread(error)
                return
            await self._books.settle(fact)

    async def last(self) -> None:
        """Nothing expires by our clock alone: the bank is asked once more, for as long as it takes."""
        async with self._books.lock:
            if self._story.state not in OPEN or self._story.payment_id is None:
                return
            if not self._order.asks_a_bank:
                await self._books.book("expired", state=State.EXPIRED, reason=Reason.EXPIRED)
                return
            try:
                fact = await self._bank.read(self._story.payment_id, options.KASPI_READ, "last look before expiry")
            except ActivityError as error:
                await self._unread(error)
                return
            if fact.verdict not in STILL_OPEN:
                await self._books.settle(fact)
            elif self._order.kind is not Kind.PHONE or await self._withdrawn(self._story.payment_id):
                scanned = fact.verdict is Verdict.SCANNED
                reason = Reason.CONFIRMATION_TIMEOUT if scanned else Reason.EXPIRED
                clear = self._books.doubted()
                await self._books.book("expired", state=State.EXPIRED, reason=reason, clear_attention=clear)

    async def _unread(self, error: ActivityError) -> None:
        if not said_no(error):
            return  # the bank does not answer for long: the story looks again, and can be talked to meanwhile
        await self._books.book(self._books.anew("not_found"), attention=Attention.PAYMENT_NOT_FOUND)

    async def _withdrawn(self, payment_id: int) -> bool:
        """True when a phone bill that is still open after our deadline can no longer be paid.

        The bank closes it after 24 hours by itself; before that only its own word that it is canceled will do.
        """
        try:
            fact = await self._bank.cancel(payment_id)
        except ApplicationError:
            fact = None  # unclear: stays open and is looked at again
        if fact is not None and fact.verdict is Verdict.CANCELED:
            return True
        if fact is not None and fact.verdict not in STILL_OPEN:
            await self._books.settle(fact)
            return False
        return not self._payable()

    def _payable(self) -> bool:
        """True while a phone bill that the bank calls open can still be paid."""
        return self._order.kind is Kind.PHONE and workflow.now() - self._order.issue_before <= PHONE_LIFETIME

    async def recheck(self, payment_id: int, ask: Resolve) -> None:
        """Reads at once, for an operator who waits; the attention is settled when bank and books agree."""
        try:
            fact = await self._bank.read(payment_id, options.KASPI_READ_NOW, "an operator asks for another look")
        except ActivityError as error:
            raise refuse(Code.NOT_FOUND if said_no(error) else Code.KASPI_UNAVAILABLE) from error
        await self._books.settle(fact, ask=ask)
        attention = self._story.attention
        if attention is Attention.AMOUNT_MISMATCH and fact.amount is None:
            return  # the bank's old status call tells no amount
        if attention in _RECHECKED and agrees(fact, self._story.state, self._order.amount, payable=self._payable()):
            cause = self._books.anew("rechecked")
            await self._books.book(cause, clear_attention=True, requires=attention, ask=ask)
