"""The story of one refund: record it, wait for its turn, send it once, settle what a lost answer did, tell.

Every decision is taken from the books, so that a story told again (after a crash, or by the watchdog) reads at the
bank before it could write anything there.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities import failures
    from domain.errors import Code
    from domain.refund import (
        OpenRefund,
        RefundAttention,
        RefundReason,
        RefundState,
        SimulatedRefund,
        Sums,
    )
    from workflows import options
    from workflows.failures import cause_of, refuse
    from workflows.refund_books import Nudge, RefundBooks
    from workflows.refund_messages import (
        AwaitOpened,
        RefundLook,
        RefundResolution,
        RefundStory,
        ResolveRefund,
        SimulateRefund,
        choices,
    )
    from workflows.refunding_bank import RefundAtBank
    from workflows.steadfast import steadfast

# The refund before this one tells when it is over; this is for the case that it could not.
TURN_WAIT = timedelta(seconds=30)
TURN_WAIT_AT_MOST = timedelta(minutes=30)


@workflow.defn(name="refund")
class RefundWorkflow:
    """`run` is the story; updates and signals bring turns, simulated outcomes and operators' decisions."""

    @workflow.init
    def __init__(self, order: OpenRefund) -> None:
        self._order = order
        self._story = RefundStory()
        self._books = RefundBooks(order, self._story)
        self._nudge = Nudge()
        self._bank = RefundAtBank(order, self._story, self._books, self._nudge)
        self._refusal: ApplicationError | None = None

    @workflow.run
    async def run(self, order: OpenRefund) -> RefundState:
        """Ends in a final state, after its webhooks had their first attempt and every handler answered."""
        return await steadfast(self._tell(), instead="money that went back cannot be called back")

    async def _tell(self) -> RefundState:
        await self._open()
        await self._await_turn()
        while self._books.standing.state is RefundState.PROCESSING:
            await (self._bank.go_on() if self._order.asks_a_bank else self._simulated())
        await self._call_next()
        await self._books.all_told()
        return self._books.standing.state

    async def _open(self) -> None:
        try:
            await self._books.open()
        except (ActivityError, ApplicationError) as error:  # a local activity's own failure comes bare
            self._refusal = cause_of(error)
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise self._refusal from None

    async def _await_turn(self) -> None:
        wait = TURN_WAIT
        while self._books.standing.state is RefundState.PENDING:
            if self._books.standing.blocked:
                await self._nudge.wait(wait)
                wait = min(wait * 2, TURN_WAIT_AT_MOST)
            await self._books.take_turn()

    async def _simulated(self) -> None:
        """The simulated bank: decides at once, or waits for the update `simulate`."""
        said = self._story.simulated or self._order.simulate
        standing = self._books.standing
        if standing.attention is not None or said is SimulatedRefund.PENDING:
            await workflow.wait_condition(lambda: self._books.standing is not standing)
            return
        async with self._books.lock:
            await self._act_out(said)

    async def _act_out(self, said: SimulatedRefund) -> None:
        if said is SimulatedRefund.COMPLETED:
            await self._books.complete(RefundReason.SIMULATED)
        elif said is SimulatedRefund.FAILED:
            await self._books.fail(RefundReason.SIMULATED)
        elif said is SimulatedRefund.ATTENTION:
            await self._books.ask_for_a_human(RefundAttention.OUTCOME_UNKNOWN)

    async def _call_next(self) -> None:
        following = self._books.standing.next_refund
        if following is None:
            return
        try:
            await workflow.get_external_workflow_handle(f"refund-{following}").signal("your_turn")
        except FailureError:
            workflow.logger.warning("the next refund has no story that hears: the watchdog wakes it")

    # --- news from outside

    @workflow.signal(name="your_turn", description="The refund before this one is over; also ends a wait.")
    def your_turn(self) -> None:
        """Looks at once."""
        self._nudge()

    @workflow.update(name="opened", description="Wait until the refund is recorded (or refused).")
    async def opened(self, ask: AwaitOpened) -> RefundState:
        """The state in the books; fails with the code of the refusal, or `IssueWindowMissed`."""
        await workflow.wait_condition(lambda: self._story.standing is not None or self._refusal is not None)
        if self._refusal is None:
            return self._books.standing.state
        if self._refusal.type == failures.REFUND_REFUSED:
            code, *said = self._refusal.details
            names = ("available", "position")
            raise refuse(Code(code), **{name: one for name, one in zip(names, said, strict=False) if one})
        raise self._refusal

    @opened.validator
    def _same_body(self, ask: AwaitOpened) -> None:
        if ask.fingerprint != self._order.fingerprint:
            raise refuse(Code.IDEMPOTENCY_KEY_REUSED)

    @workflow.update(name="simulate", description="Sandbox: be the bank (completed, failed, attention).")
    async def simulate(self, ask: SimulateRefund) -> RefundState:
        """Sandbox only: the simulated bank's act, through the same booking as the real one's."""
        await workflow.wait_condition(lambda: self._story.standing is not None or self._refusal is not None)
        async with self._books.lock:
            if self._books.standing.state is not RefundState.PROCESSING:
                raise refuse(Code.ILLEGAL_TRANSITION, state=self._books.standing.state)
            self._story.simulated = ask.outcome
            await self._act_out(ask.outcome)
            return self._books.standing.state

    @simulate.validator
    def _simulated_only(self, ask: SimulateRefund) -> None:
        if not self._order.is_sandbox:
            raise refuse(Code.NOT_SANDBOX)

    @workflow.update(name="look", description="What do our books and the bank say now? Changes nothing.")
    async def look(self) -> RefundLook:
        """For an operator who is about to decide."""
        await workflow.wait_condition(lambda: self._story.standing is not None or self._refusal is not None)
        bank = None
        if not self._order.is_sandbox:
            try:
                bank = await self._bank.sums(options.KASPI_READ_NOW, "an operator looks")
            except ActivityError:
                workflow.logger.warning("the bank does not tell the payment's sums")
        standing = self._books.standing
        return RefundLook(standing=standing, choices=list(choices(self._order, standing.attention)), bank=bank)

    @workflow.update(name="resolve", description="Operator: settle an attention case (see the details above).")
    async def resolve(self, ask: ResolveRefund) -> RefundState:
        """An operator's decision; what the bank can confirm is read first, nothing is taken on trust."""
        async with self._books.lock:
            self._resolvable(ask)  # another operator may have decided while this one waited
            if self._order.is_sandbox:
                await self._declare(ask, outside=None)
            else:
                await self._resolve_live(ask)
            self._nudge()
            return self._books.standing.state

    @resolve.validator
    def _resolvable(self, ask: ResolveRefund) -> None:
        attention = None if self._story.standing is None else self._story.standing.attention
        fitting = choices(self._order, attention)
        if ask.action not in fitting:
            raise refuse(Code.ILLEGAL_TRANSITION, attention=attention or "none", choices=", ".join(fitting) or "none")

    async def _resolve_live(self, ask: ResolveRefund) -> None:
        await self._books.refresh()  # a call that this story gave up may have come to its intent since
        standing = self._books.standing
        if ask.action is RefundResolution.NOT_EXECUTED and not self._bank.doubted():
            await self._declare(ask, outside=None)  # nothing was sent: it needs no word of the bank
            return
        try:
            sums = await self._bank.sums(options.KASPI_READ_NOW, f"an operator decides: {ask.action}")
        except ActivityError as error:
            raise refuse(Code.KASPI_UNAVAILABLE) from error
        if standing.attention is RefundAttention.AVAILABLE_TOO_HIGH:
            if ask.action is RefundResolution.NOT_EXECUTED:
                await self._declare(ask, outside=None)
            elif sums.available <= self._bank.expected(sums):
                await self._books.settle_attention("rechecked", ask)
            return
        await self._settle_doubt(ask, sums)

    async def _settle_doubt(self, ask: ResolveRefund, sums: Sums) -> None:
        await self._books.refresh()  # the bank's word may have come while its sums were read
        standing, doubted = self._books.standing, self._bank.doubted()
        if self._bank.done() is not None:
            return  # the story takes it
        if ask.action is RefundResolution.NOT_EXECUTED:
            if doubted and not self._bank.over(doubted[-1]):
                # The call may still run: money that was called free could go back twice.
                raise refuse(Code.ILLEGAL_TRANSITION, reason="the_bank_may_still_execute_it")
            if (
                doubted
                and standing.attention is RefundAttention.OUTCOME_UNKNOWN
                and self._bank.shows(doubted[-1], sums)
            ):
                self._nudge()  # the story looks at once, and completes it
                raise refuse(Code.ILLEGAL_TRANSITION, reason="the_banks_sums_show_the_refund")
            await self._declare(ask, outside=self._bank.outside(sums, executed=False))
        elif ask.action is RefundResolution.EXECUTED:
            judged = next(reversed(doubted or standing.attempts), None)
            if judged is None:
                raise refuse(Code.ILLEGAL_TRANSITION, reason="nothing_was_sent")
            if judged.available_before - sums.available < standing.amount:
                raise refuse(Code.ILLEGAL_TRANSITION, reason="the_banks_sums_show_no_such_refund")
            await self._declare(ask, outside=self._bank.outside(sums, executed=True))
        elif not doubted or (await self._bank.unchanged(doubted[-1], sums) and ask.action is RefundResolution.RETRY):
            self._story.retry_allowed = ask.action is RefundResolution.RETRY
            await self._books.settle_attention(ask.action, ask)

    async def _declare(self, ask: ResolveRefund, *, outside: int | None) -> None:
        if ask.action is RefundResolution.EXECUTED:
            await self._books.complete(RefundReason.DECLARED_EXECUTED, outside=outside, decided=ask)
        else:
            await self._books.fail(RefundReason.DECLARED_NOT_EXECUTED, outside=outside, decided=ask)
