"""The story of one invoice: issue it, wait for the payer, tell what became of it."""

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    import msgspec

    from activities import failures
    from activities.issuing import Issuing
    from activities.looking import BankView
    from domain.bank import BankFact, Verdict, next_step
    from domain.errors import Code
    from domain.invoice import CLOSED_UNPAID, OPEN, Attention, Kind, OpenInvoice, Reason, State
    from workflows import options
    from workflows.asking_bank import BankDesk
    from workflows.failures import cause_of, refuse
    from workflows.invoice_books import InvoiceBooks
    from workflows.invoice_deciding import decide, must_fit
    from workflows.invoice_looks import InvoiceLooks
    from workflows.invoice_messages import AwaitIssued, Cancel, Resolve, Simulate
    from workflows.invoice_script import InvoiceScript
    from workflows.steadfast import steadfast

# What is still open after its deadline is looked at for ever, more and more slowly.
LOOK_AGAIN = timedelta(minutes=30)
# A word that we do not know may be the bank's hiccup: the next one tells, and nobody has to be called.
LOOK_AGAIN_SOON = timedelta(minutes=1)
LOOK_AGAIN_AT_MOST = timedelta(hours=24)


@workflow.defn(name="invoice")
class InvoiceWorkflow:
    """`run` is the story; updates and signals only bring news. All news is booked one at a time."""

    books: type[InvoiceBooks] = InvoiceBooks

    @workflow.init
    def __init__(self, order: OpenInvoice) -> None:
        self._order = order
        self._books = self.books(order)
        self._story = self._books.story
        self._bank = BankDesk(order)
        self._looks = InvoiceLooks(self._books, self._bank)
        self._script = InvoiceScript(self._books, self._looks, self._bank)
        self._news: list[BankFact] = []
        self._books_changed = False

    @workflow.run
    async def run(self, order: OpenInvoice) -> State:
        """Ends in a final state that needs nobody's attention, after its webhooks had their first attempt."""
        return await steadfast(self._tell(), instead="the update `cancel` withdraws a bill")

    # --- the story's steps

    async def _tell(self) -> State:
        await self._issue()
        if self._order.resumed:
            await self._looks.first()
        self._script.begin()
        if self._story.state in OPEN:
            await self._wait_for_payer()
        if self._story.state in CLOSED_UNPAID and self._story.payment_id is not None:
            await self._watch_for_late_money()
        await self._finish()
        return self._story.state

    async def _issue(self) -> None:
        while not self._story.issued:
            order = msgspec.structs.replace(self._order, issue_before=self._story.issue_before)
            self._books_changed = False  # what follows reads them
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
            self._books.follow(outcome.booked or await self._books.write(outcome.unwritten))
            self._story.issued = True
            self._books.show()

    async def _wait_for_payer(self) -> None:
        looks = 0
        while self._story.state in OPEN:
            first = LOOK_AGAIN_SOON if self._story.attention is Attention.UNKNOWN_WORD else LOOK_AGAIN
            again = min(first * 2 ** min(looks // 8, 12), LOOK_AGAIN_AT_MOST) if looks else None
            await self._news_or(lambda: self._books.deadline_passed or self._story.state not in OPEN, at_most=again)
            await self._book_news()
            due = self._books.deadline_passed or again is not None
            if self._story.state in OPEN and due and self._story.payment_id is not None:
                self._books.deadline_passed = False
                looks += 1
                await self._looks.last()

    async def _watch_for_late_money(self) -> None:
        """An unpaid close is soft: the poller goes on looking for a while, and late money is booked as paid."""
        ends = workflow.now() + timedelta(seconds=self._order.late_watch)
        while self._story.state in CLOSED_UNPAID and workflow.now() < ends:
            await self._news_or(lambda: self._story.state not in CLOSED_UNPAID, at_most=ends - workflow.now())
            await self._book_news()

    async def _finish(self) -> None:
        """Receivers may take minutes, an operator days, and what the bank says meanwhile is booked: it may be money."""
        while not self._over():
            await self._book_news()
            await workflow.wait_condition(lambda: self._has_news() or self._over())
        self._books.raise_untold()
        self._script.raise_failure()

    def _over(self) -> bool:
        """A case that needs a human keeps its workflow: there it is shown, and there it is settled."""
        settled = self._story.attention is None and not self._has_news()
        return settled and self._books.all_told() and workflow.all_handlers_finished()

    def _has_news(self) -> bool:
        return bool(self._news) or self._books_changed

    async def _news_or(self, condition: Callable[[], bool], *, at_most: timedelta | None) -> None:
        try:
            await workflow.wait_condition(lambda: self._has_news() or condition(), timeout=at_most)
        except TimeoutError:
            return

    async def _book_news(self) -> None:
        while self._has_news():
            async with self._books.lock:
                if self._books_changed:
                    self._books_changed = False
                    await self._books.read_again()
                while self._news:
                    await self._books.settle(self._news.pop(0))

    # --- news from outside

    @workflow.signal(name="bank_said", description="The poller read a new status word at the bank.")
    def bank_said(self, fact: BankFact) -> None:
        """Queued; the story books it."""
        self._news.append(fact)

    @workflow.signal(name="books_changed", description="Somebody else booked something: read the books again.")
    def books_changed(self) -> None:
        """For reconciliation, whose findings need this story so that an operator can settle them."""
        self._books_changed = True

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
        # A resumed story may not know the first request's body any more; the API then compares with the books.
        if self._order.fingerprint and ask.fingerprint != self._order.fingerprint:
            raise refuse(Code.IDEMPOTENCY_KEY_REUSED)

    @workflow.update(name="cancel", description="Ask the bank to withdraw the bill.")
    async def cancel(self, ask: Cancel | None = None) -> State:
        """The state after the bank's answer: only the bank's word makes it canceled; payment may win the race."""
        await self._until_issued()
        async with self._books.lock:
            if self._story.state is State.CANCELED:
                return self._story.state
            self._must_be_open()
            if self._story.payment_id is None:
                raise refuse(Code.INVOICE_NOT_CANCELABLE, reason=Attention.OUTCOME_UNKNOWN)
            self._story.cancel_requested = True
            key = ask.asked_by if ask is not None else ""
            if not self._order.asks_a_bank:
                fact = BankFact(word="simulated", verdict=Verdict.CANCELED, seen_at=workflow.now())
            else:
                fact = await self._bank.cancel(self._story.payment_id, key)
            withdrawn = fact.verdict is Verdict.CANCELED
            reason = Reason.CANCELED_BY_MERCHANT if withdrawn else None
            await self._books.settle(fact, reason=reason, asked_by=key if withdrawn else None)
            if self._story.state is State.PAID:
                raise refuse(Code.INVOICE_ALREADY_PAID)
            if self._story.state in OPEN:
                raise refuse(Code.INVOICE_NOT_CANCELABLE, bank_status=fact.word)
            return self._story.state

    @cancel.validator
    def _cancelable(self, ask: Cancel | None = None) -> None:
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
        async with self._books.lock:
            if self._story.attention is Attention.OUTCOME_UNKNOWN:  # a payer sees no bill that we do not know of
                raise refuse(Code.ILLEGAL_TRANSITION, state=self._story.state, attention=self._story.attention)
            fact = BankFact(word="simulated", verdict=ask.verdict, seen_at=workflow.now())
            await self._books.settle(fact, reason=Reason.SIMULATED, asked_by=ask.asked_by)
            wanted = next_step(ask.verdict, cancel_requested=False)
            reached = self._story.state in OPEN if wanted is None else self._story.state is wanted[0]
            if not reached:
                raise refuse(Code.ILLEGAL_TRANSITION, state=self._story.state)
            return self._story.state

    @simulate.validator
    def _simulated_only(self, ask: Simulate) -> None:
        if not self._order.is_sandbox:
            raise refuse(Code.NOT_SANDBOX)

    @workflow.update(name="look", description="Read the payment at the bank now; changes nothing.")
    async def look(self) -> BankView:
        """What the bank says of the payment this moment; booked is only what the poller and `recheck` hear."""
        return await self._bank.look(self._story.payment_id)

    @look.validator
    def _visible(self) -> None:
        if self._story.payment_id is None or self._order.is_sandbox:
            raise refuse(Code.NOT_FOUND)

    @workflow.update(name="resolve", description="Operator: settle an attention case (see the details above).")
    async def resolve(self, ask: Resolve) -> State:
        """An operator's decision; what the bank can confirm is read first, nothing is taken on trust."""
        async with self._books.lock:
            must_fit(ask, self._story)  # another operator may have decided while this one waited
            await decide(ask, self._books, self._looks, self._bank)
            return self._story.state

    @resolve.validator
    def _resolvable(self, ask: Resolve) -> None:
        must_fit(ask, self._story)
