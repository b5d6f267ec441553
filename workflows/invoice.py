"""The story of one invoice: issue it, wait for the payer, tell what became of it."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    import msgspec

    from activities import failures
    from activities.booking import Booking
    from activities.issuing import Issuing
    from domain.bank import BankFact, Verdict, next_step
    from domain.errors import Code
    from domain.invoice import (
        CLOSED_UNPAID,
        OPEN,
        Attention,
        Booked,
        Change,
        Kind,
        OpenInvoice,
        Reason,
        State,
    )
    from domain.policy import PHONE_LIFETIME
    from runtime.temporal_names import ATTENTION, STATE
    from workflows import options
    from workflows.asking_bank import STILL_OPEN, BankDesk
    from workflows.delivering import deliver
    from workflows.failures import cause_of, refuse, said_no
    from workflows.invoice_messages import AwaitIssued, InvoiceStory, Resolution, Resolve, Simulate, details

# What is still open after its deadline is looked at for ever, more and more slowly.
LOOK_AGAIN = timedelta(minutes=30)
LOOK_AGAIN_AT_MOST = timedelta(hours=24)


@workflow.defn(name="invoice")
class InvoiceWorkflow:
    """`run` is the story; updates and signals only bring news. All news is booked one at a time."""

    @workflow.init
    def __init__(self, order: OpenInvoice) -> None:
        self._order = order
        self._story = InvoiceStory(issue_before=order.issue_before)
        self._news: list[BankFact] = []
        self._booking = asyncio.Lock()  # handlers and the story both book: one at a time, each sees the last
        self._bank = BankDesk(order)
        self._telling: list[asyncio.Task[None]] = []
        self._ringing: asyncio.Task[None] | None = None
        self._deadline_passed = False

    @workflow.run
    async def run(self, order: OpenInvoice) -> State:
        """Ends in a final state, after its webhooks had their first attempt and every handler answered."""
        # A task of its own, because "Cancel" in the Temporal UI cancels this one and every activity it waits for:
        # the bill would be left without its story, and its money unnoticed.
        story = asyncio.create_task(self._tell())
        while not story.done():
            try:
                await workflow.wait_condition(story.done)
            except asyncio.CancelledError:
                if workflow.cancellation_reason() is None:
                    raise  # not asked by anybody: this copy of the workflow is being put away
                workflow.logger.warning("cancellation ignored: the update `cancel` withdraws a bill")
        return story.result()

    # --- the story's steps

    async def _tell(self) -> State:
        await self._issue()
        if self._story.state in OPEN:
            await self._wait_for_payer()
        if self._story.state in CLOSED_UNPAID and self._story.payment_id is not None:
            await self._watch_for_late_money()
        await self._finish_telling()
        return self._story.state

    async def _issue(self) -> None:
        while not self._story.issued:
            order = msgspec.structs.replace(self._order, issue_before=self._story.issue_before)
            try:
                outcome = await workflow.execute_local_activity_method(
                    Issuing.issue, order, summary=f"issue {order.kind} bill", **options.ISSUE
                )
            except (ActivityError, ApplicationError) as error:  # a local activity's own failure comes bare
                if self._story.issue_before > order.issue_before:
                    continue  # somebody asked again meanwhile: their window is still open
                self._story.missed = True
                await workflow.wait_condition(workflow.all_handlers_finished)
                raise cause_of(error) from None
            booked = outcome.booked or await self._write(outcome.unwritten)
            self._follow(booked)
            self._story.issued = True
            self._show()

    async def _wait_for_payer(self) -> None:
        looks = 0
        while self._story.state in OPEN:
            again = min(LOOK_AGAIN * 2 ** (looks // 8), LOOK_AGAIN_AT_MOST) if looks else None
            await self._news_or(lambda: self._deadline_passed or self._story.state not in OPEN, at_most=again)
            await self._book_news()
            due = self._deadline_passed or again is not None
            if self._story.state in OPEN and due and self._story.payment_id is not None:
                self._deadline_passed = False
                looks += 1
                await self._last_look()

    async def _watch_for_late_money(self) -> None:
        """An unpaid close is soft: the poller goes on looking for a while, and late money is booked as paid."""
        ends = workflow.now() + timedelta(seconds=self._order.late_watch)
        while self._story.state in CLOSED_UNPAID:
            in_doubt = self._story.attention is Attention.AMOUNT_MISMATCH  # an operator has to decide
            if workflow.now() >= ends and not in_doubt:
                return
            await self._news_or(
                lambda: self._story.state not in CLOSED_UNPAID, at_most=None if in_doubt else ends - workflow.now()
            )
            await self._book_news()

    async def _finish_telling(self) -> None:
        """Receivers may take minutes, and what the bank says meanwhile is booked too: it may be money."""
        while not self._all_told():
            await self._book_news()
            await workflow.wait_condition(lambda: bool(self._news) or self._all_told())
        for task in self._telling:
            task.result()  # raises what went wrong in it

    def _all_told(self) -> bool:
        told = all(task.done() for task in self._telling)
        return told and not self._news and workflow.all_handlers_finished()

    async def _ring_at(self, deadline: datetime) -> None:
        # Slept in a task that nobody cancels: a timer pending at the workflow's end costs no event.
        await workflow.sleep(max(deadline - workflow.now(), timedelta(0)), summary="payer's deadline")
        self._deadline_passed = True

    async def _news_or(self, condition: Callable[[], bool], *, at_most: timedelta | None) -> None:
        try:
            await workflow.wait_condition(lambda: bool(self._news) or condition(), timeout=at_most)
        except TimeoutError:
            return

    # --- booking

    async def _book_news(self) -> None:
        while self._news:
            async with self._booking:
                await self._settle(self._news.pop(0))

    async def _settle(self, fact: BankFact, *, reason: Reason | None = None) -> None:
        """Books what the bank said; words that mean nothing new change nothing."""
        if fact.verdict is Verdict.PAID and fact.amount is not None and fact.amount != self._order.amount:
            await self._book("amount_mismatch", attention=Attention.AMOUNT_MISMATCH)
            return
        if fact.verdict is Verdict.UNKNOWN and self._story.state in OPEN:
            await self._book(self._anew("unknown_word"), attention=Attention.UNKNOWN_WORD)
            return
        step = next_step(fact.verdict, cancel_requested=self._story.cancel_requested)
        if step is not None and step[0] is not self._story.state:
            state, usual = step
            await self._book(state.value, state=state, reason=reason or usual, clear_attention=self._doubted())

    def _anew(self, cause: str) -> str:
        # The books take a cause once; what an operator settled can come back.
        return f"{cause}:{self._story.rechecks}" if self._story.rechecks else cause

    def _doubted(self) -> bool:
        """True for an attention that a clear word of the bank settles."""
        return self._story.attention in {Attention.PAYMENT_NOT_FOUND, Attention.UNKNOWN_WORD}

    async def _book(
        self,
        cause: str,
        *,
        state: State | None = None,
        reason: Reason | None = None,
        attention: Attention | None = None,
        clear_attention: bool = False,
        requires: Attention | None = None,
    ) -> None:
        change = Change(
            invoice_id=self._order.invoice_id,
            merchant_id=self._order.merchant_id,
            cause=cause,
            state=state,
            reason=reason,
            attention=attention,
            clear_attention=clear_attention,
            requires=requires,
        )
        self._follow(await self._write(change))
        self._show()

    async def _write(self, change: Change | None) -> Booked:
        if change is None:
            raise ApplicationError("neither booked nor to be booked", type="Impossible", non_retryable=True)
        return await workflow.execute_local_activity_method(
            Booking.book, change, summary=f"book {change.cause}", **options.LEDGER_WRITE
        )

    def _follow(self, booked: Booked) -> None:
        """The books are the truth: the story takes its state from them."""
        story = self._story
        story.state, story.attention = booked.state, booked.attention
        if booked.deadline is not None and story.deadline is None:
            story.deadline = booked.deadline
            self._ringing = asyncio.create_task(self._ring_at(booked.deadline))
        story.payment_id = booked.bank_payment_id if booked.bank_payment_id is not None else story.payment_id
        self._telling += [asyncio.create_task(deliver(self._order.merchant_id, ref)) for ref in booked.deliveries]

    def _show(self) -> None:
        workflow.set_current_details(details(self._order, self._story))
        shown = (self._story.state, self._story.attention)
        usual = self._story.attention is None and self._story.state in {*OPEN, State.PAID}
        if shown == self._story.shown or (usual and self._story.shown is None):
            return  # the happy path pays for no upsert: Running means open, Completed without a state means paid
        self._story.shown = shown
        workflow.upsert_search_attributes(
            [
                STATE.value_set(self._story.state.value),
                ATTENTION.value_set(self._story.attention.value) if self._story.attention else ATTENTION.value_unset(),
            ]
        )

    # --- looking at the bank

    async def _last_look(self) -> None:
        """Nothing expires by our clock alone: the bank is asked once more, for as long as it takes."""
        async with self._booking:
            if self._story.state not in OPEN or self._story.payment_id is None:
                return
            if self._order.is_sandbox:
                await self._book("expired", state=State.EXPIRED, reason=Reason.EXPIRED)
                return
            try:
                fact = await self._bank.read(self._story.payment_id, options.KASPI_READ, "last look before expiry")
            except ActivityError:
                await self._book(self._anew("not_found"), attention=Attention.PAYMENT_NOT_FOUND)
                return
            if fact.verdict not in STILL_OPEN:
                await self._settle(fact)
            elif self._order.kind is not Kind.PHONE or await self._withdrawn(self._story.payment_id):
                scanned = fact.verdict is Verdict.SCANNED
                reason = Reason.CONFIRMATION_TIMEOUT if scanned else Reason.EXPIRED
                await self._book("expired", state=State.EXPIRED, reason=reason, clear_attention=self._doubted())

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
            await self._settle(fact)
            return False
        return workflow.now() - self._order.issue_before > PHONE_LIFETIME

    # --- news from outside

    @workflow.signal(name="bank_said", description="The poller read a new status word at the bank.")
    def bank_said(self, fact: BankFact) -> None:
        """Queued; the story books it."""
        self._news.append(fact)

    @workflow.update(name="issued", description="Wait until the bill is issued (or refused).")
    async def issued(self, ask: AwaitIssued) -> State:
        """The state after the bank's answer. Fails with `IssueWindowMissed` when nothing was issued in time."""
        self._story.issue_before = max(self._story.issue_before, ask.issue_before)
        await workflow.wait_condition(lambda: self._story.issued or self._story.missed)
        if self._story.missed:
            raise ApplicationError("nothing was issued", type=failures.WINDOW_MISSED, non_retryable=True)
        return self._story.state

    @issued.validator
    def _same_body(self, ask: AwaitIssued) -> None:
        if ask.fingerprint != self._order.fingerprint:
            raise refuse(Code.IDEMPOTENCY_KEY_REUSED)

    @workflow.update(name="cancel", description="Ask the bank to withdraw the bill.")
    async def cancel(self) -> State:
        """The state after the bank's answer: only the bank's word makes it canceled; payment may win the race."""
        await self._until_issued()
        async with self._booking:
            if self._story.state is State.CANCELED:
                return self._story.state
            self._must_be_open()
            if self._story.payment_id is None:
                raise refuse(Code.INVOICE_NOT_CANCELABLE, reason=Attention.OUTCOME_UNKNOWN)
            self._story.cancel_requested = True
            if self._order.is_sandbox:
                fact = BankFact(word="simulated", verdict=Verdict.CANCELED, seen_at=workflow.now())
            else:
                fact = await self._bank.cancel(self._story.payment_id)
            await self._settle(fact, reason=Reason.CANCELED_BY_MERCHANT if fact.verdict is Verdict.CANCELED else None)
            if self._story.state is State.PAID:
                raise refuse(Code.INVOICE_ALREADY_PAID)
            if self._story.state in OPEN:
                raise refuse(Code.INVOICE_NOT_CANCELABLE, bank_status=fact.word)
            return self._story.state

    @cancel.validator
    def _cancelable(self) -> None:
        if self._order.kind is not Kind.PHONE:
            raise refuse(Code.INVOICE_NOT_CANCELABLE, reason="kaspi_has_no_cancel_for_qr_and_link")
        if self._story.issued and self._story.state is not State.CANCELED:
            self._must_be_open()

    async def _until_issued(self) -> None:
        await workflow.wait_condition(lambda: self._story.issued or self._story.missed)
        if self._story.missed:
            raise refuse(Code.NOT_FOUND)

    def _must_be_open(self) -> None:
        if self._story.state in {State.PAID, State.PARTIALLY_REFUNDED, State.REFUNDED}:
            raise refuse(Code.INVOICE_ALREADY_PAID)
        if self._story.state not in OPEN:
            raise refuse(Code.INVOICE_NOT_CANCELABLE, state=self._story.state)

    @workflow.update(name="simulate", description="Sandbox: be the payer (paid, canceled, failed, pending).")
    async def simulate(self, ask: Simulate) -> State:
        """Sandbox only: the simulated payer's act, through the same booking as the bank's word."""
        await self._until_issued()
        async with self._booking:
            await self._settle(
                BankFact(word="simulated", verdict=ask.verdict, seen_at=workflow.now()), reason=Reason.SIMULATED
            )
            wanted = next_step(ask.verdict, cancel_requested=False)
            reached = self._story.state in OPEN if wanted is None else self._story.state is wanted[0]
            if not reached:
                raise refuse(Code.ILLEGAL_TRANSITION, state=self._story.state)
            return self._story.state

    @simulate.validator
    def _simulated_only(self, ask: Simulate) -> None:
        if not self._order.is_sandbox:
            raise refuse(Code.NOT_SANDBOX)

    @workflow.update(name="resolve", description="Operator: settle an attention case (see the details above).")
    async def resolve(self, ask: Resolve) -> State:
        """An operator's decision; what the bank can confirm is read first, nothing is taken on trust."""
        async with self._booking:
            self._resolvable(ask)  # another operator may have decided while this one waited
            if ask.action is Resolution.ABSENT:
                await self._book(
                    "declared_absent",
                    state=State.FAILED,
                    reason=Reason.DECLARED_ABSENT,
                    clear_attention=True,
                    requires=self._story.attention,
                )
            elif ask.action is Resolution.BANK_PAYMENT and ask.bank_payment_id is not None:
                self._follow(await self._bank.adopt(ask.bank_payment_id))
                self._show()
            elif ask.action is Resolution.RECHECK and self._story.payment_id is not None:
                await self._recheck(self._story.payment_id)
            elif ask.action is Resolution.ACCEPT_PAID:
                await self._book(
                    "accepted_paid", state=State.PAID, clear_attention=True, requires=Attention.AMOUNT_MISMATCH
                )
            decided = {Resolution.ABSENT: State.FAILED, Resolution.ACCEPT_PAID: State.PAID}.get(ask.action)
            if decided is not None and self._story.state is not decided:
                raise refuse(Code.ILLEGAL_TRANSITION, state=self._story.state)
            return self._story.state

    @resolve.validator
    def _resolvable(self, ask: Resolve) -> None:
        unknown = self._story.attention is Attention.OUTCOME_UNKNOWN
        mismatch = self._story.attention is Attention.AMOUNT_MISMATCH
        fits = {
            Resolution.ABSENT: unknown or self._story.attention is Attention.PAYMENT_NOT_FOUND,
            Resolution.RECHECK: self._doubted(),
            Resolution.BANK_PAYMENT: unknown and ask.bank_payment_id is not None,
            Resolution.ACCEPT_PAID: mismatch,
        }
        if not fits[ask.action]:
            raise refuse(Code.ILLEGAL_TRANSITION, attention=self._story.attention or "none")

    async def _recheck(self, payment_id: int) -> None:
        try:
            fact = await self._bank.read(payment_id, options.KASPI_READ_NOW, "an operator asks for another look")
        except ActivityError as error:
            raise refuse(Code.NOT_FOUND if said_no(error) else Code.KASPI_UNAVAILABLE) from error
        self._story.rechecks += 1
        await self._settle(fact)
        if fact.verdict is not Verdict.UNKNOWN and self._doubted():
            await self._book(self._anew("rechecked"), clear_attention=True)
