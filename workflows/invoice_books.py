"""The books as an invoice's story sees them: it books one step at a time, and takes its state from their answer."""

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.booking import BookedInvoice, Booking
    from domain.bank import BankFact, Verdict, next_step
    from domain.invoice import (
        CLOSED_UNPAID,
        OPEN,
        Attention,
        Booked,
        Change,
        OpenInvoice,
        Reason,
        State,
        SubscriptionCharge,
    )
    from runtime.temporal_names import ATTENTION, STATE
    from workflows import options
    from workflows.delivering import deliver
    from workflows.invoice_details import details
    from workflows.invoice_messages import SOMEBODY, InvoiceStory, Resolve
    from workflows.telling_subscription import tell_subscription


class InvoiceBooks:
    """Handlers and the story both book: each holds `lock` while it does, so that each sees the last step."""

    def __init__(self, order: OpenInvoice) -> None:
        self.order = order
        self.story = InvoiceStory(issue_before=order.issue_before)
        self.lock = asyncio.Lock()
        self.deadline_passed = False
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._ringing: asyncio.Task[None] | None = None
        # A subscription was told that nobody knows whether its bill is out.
        self._doubted = False

    async def settle(
        self, fact: BankFact, *, reason: Reason | None = None, ask: Resolve | None = None, asked_by: str | None = None
    ) -> None:
        """Books what the bank said; words that mean nothing new change nothing."""
        story = self.story
        if fact.verdict is Verdict.PAID and fact.amount is not None and fact.amount != self.order.amount:
            if story.state in OPEN | CLOSED_UNPAID:
                await self.book(self.anew("amount_mismatch"), attention=Attention.AMOUNT_MISMATCH)
            return
        if fact.verdict is Verdict.UNKNOWN and story.state in OPEN:
            await self.book(self.anew("unknown_word"), attention=Attention.UNKNOWN_WORD)
            return
        step = next_step(fact.verdict, cancel_requested=story.cancel_requested)
        if step is not None and step[0] is not story.state:
            state, usual = step
            clear = self._settles_doubt(fact)
            because = reason or usual
            await self.book(state.value, state=state, reason=because, clear_attention=clear, ask=ask, asked_by=asked_by)

    def anew(self, cause: str) -> str:
        """A name for a step that can happen again: the books take a cause once, and what was settled can come back."""
        if not self.order.resumed and not self.story.settled:
            return cause
        return f"{cause}:{workflow.info().run_id[:8]}:{self.story.settled}"

    def doubted(self) -> bool:
        """True for an attention that a clear word of the bank settles."""
        return self.story.attention in {Attention.PAYMENT_NOT_FOUND, Attention.UNKNOWN_WORD}

    def _settles_doubt(self, fact: BankFact) -> bool:
        corrected = self.story.attention is Attention.AMOUNT_MISMATCH and fact.amount == self.order.amount
        return corrected or self.doubted() or self.story.attention is Attention.STATUS_DIFFERS

    async def book(
        self,
        cause: str,
        *,
        state: State | None = None,
        reason: Reason | None = None,
        attention: Attention | None = None,
        clear_attention: bool = False,
        requires: Attention | None = None,
        ask: Resolve | None = None,
        asked_by: str | None = None,
    ) -> None:
        """One step of the invoice's life; `ask` is the operator's decision, `asked_by` the API key, that it follows."""
        change = Change(
            invoice_id=self.order.invoice_id,
            merchant_id=self.order.merchant_id,
            cause=cause,
            state=state,
            reason=reason,
            attention=attention,
            clear_attention=clear_attention,
            requires=requires,
            operator=(ask.by or SOMEBODY) if ask else None,
            note=(ask.note or None) if ask else None,
            asked_by=asked_by or None,
        )
        self.follow(await self.write(change))
        self.show()

    async def write(self, change: Change | None) -> Booked:
        """Writes a change without following it; for ever, until the database answers."""
        if change is None:
            raise ApplicationError("neither booked nor to be booked", type="Impossible", non_retryable=True)
        return await workflow.execute_local_activity_method(
            Booking.book, change, summary=f"book {change.cause}", **options.LEDGER_WRITE
        )

    async def read_again(self) -> None:
        """Takes over what others have booked meanwhile (reconciliation, refunds)."""
        asked = BookedInvoice(merchant_id=self.order.merchant_id, invoice_id=self.order.invoice_id)
        self.follow(
            await workflow.execute_local_activity_method(
                Booking.standing, asked, summary="read the books again", **options.LEDGER_WRITE
            )
        )
        self.show()

    def follow(self, booked: Booked) -> None:
        """The books are the truth: the story takes its state from them."""
        story = self.story
        story.settled += story.attention is not None and booked.attention is not story.attention
        story.state, story.attention = booked.state, booked.attention
        if booked.deadline is not None and story.deadline is None and not self.order.on_test_clock:
            story.deadline = booked.deadline
            self._ringing = asyncio.create_task(self._ring_at(booked.deadline))
        story.payment_id = booked.bank_payment_id if booked.bank_payment_id is not None else story.payment_id
        for ref in booked.deliveries:
            if ref.id not in self._telling:
                self._telling[ref.id] = asyncio.create_task(deliver(self.order.merchant_id, ref))
        if self.order.subscription is not None:
            self._tell_subscription(self.order.subscription)

    def _tell_subscription(self, bill: SubscriptionCharge) -> None:
        """Of every end of a bill, of an outcome that nobody knows, and of a bill found after all; once of each."""
        said = f"{self.story.state}/{self.story.attention}"
        unknown = self.story.attention is Attention.OUTCOME_UNKNOWN
        news = self.story.state not in OPEN or unknown or (self._doubted and workflow.patched("bill-found"))
        self._doubted = unknown
        if news and said not in self._telling:
            self._telling[said] = asyncio.create_task(tell_subscription(self.order, bill))

    async def _ring_at(self, deadline: datetime) -> None:
        # Slept in a task that nobody cancels: a timer pending at the workflow's end costs no event.
        await workflow.sleep(max(deadline - workflow.now(), timedelta(0)), summary="payer's deadline")
        self.deadline_passed = True

    def all_told(self) -> bool:
        """True when every webhook had its first attempt."""
        return all(task.done() for task in self._telling.values())

    def raise_untold(self) -> None:
        """Raises what went wrong in telling, so that it is seen as the workflow's failure."""
        for task in self._telling.values():
            task.result()

    def show(self) -> None:
        """Tells the Temporal UI."""
        workflow.set_current_details(details(self.order, self.story))
        shown = (self.story.state, self.story.attention)
        usual = self.story.attention is None and self.story.state in {*OPEN, State.PAID}
        if shown == self.story.shown or (usual and self.story.shown is None):
            return  # the happy path pays for no upsert: Running means open, Completed without a state means paid
        self.story.shown = shown
        workflow.upsert_search_attributes(
            [
                STATE.value_set(self.story.state.value),
                ATTENTION.value_set(self.story.attention.value) if self.story.attention else ATTENTION.value_unset(),
            ]
        )
