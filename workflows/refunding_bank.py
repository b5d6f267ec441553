"""A refund at the bank: read its sums, send it once, judge by the sums what a lost answer did (fact sheet §5)."""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.refunding import GiveBack, PaymentSums, Refunding
    from domain.refund import (
        OpenRefund,
        ReadBack,
        RefundAttempt,
        RefundAttention,
        RefundReason,
        RefundState,
        Returned,
        ReturnOutcome,
        Sums,
        read_back,
    )
    from domain.scenario import Scene
    from runtime.task_queues import TaskQueues
    from workflows import options
    from workflows.failures import cause_of, said_no
    from workflows.refund_books import Nudge, RefundBooks
    from workflows.refund_messages import RefundStory

# Between looks at the bank's sums: quick at first, then patient, for as long as nobody knows.
LOOKS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
NOT_SENT_WAITS = (5.0, 15.0, 60.0, 300.0, 600.0)
# The protocol allows one more attempt; a third is an operator's decision.
UNKNOWN_ATTEMPTS = 2
_IN_DOUBT = frozenset({None, ReturnOutcome.UNKNOWN})


class RefundAtBank:
    """Goes on from where the books stand, one step at a time; `nudge` ends its waits."""

    def __init__(self, order: OpenRefund, story: RefundStory, books: RefundBooks, nudge: Nudge) -> None:
        self._order = order
        self._story = story
        self._books = books
        self._nudge = nudge

    async def go_on(self) -> None:
        """One step; the caller repeats it while the refund is processing."""
        standing = self._books.standing
        last = standing.attempts[-1] if standing.attempts else None
        doubted = self.doubted()
        if self.done() is not None:
            async with self._books.lock:
                await self._take_done()
        elif standing.attention not in {None, RefundAttention.OUTCOME_UNKNOWN}:
            await workflow.wait_condition(lambda: self._books.standing is not standing)
        elif standing.attention is not None and doubted and not self._story.retry_allowed:
            # An operator is asked: nothing is sent any more, and the sums may still tell.
            await self._read_back(doubted[-1])
        elif last is None or last.outcome is ReturnOutcome.NOT_SENT or self._story.retry_allowed:
            await self._pause_after_not_sent()
            standing, sums = self._books.standing, await self._sums_we_can_judge_by()
            async with self._books.lock:
                # An operator may have decided while this read, or waited for its turn to book.
                if sums is not None and self._books.standing is standing:
                    await self._attempt(sums)
        elif last.outcome in _IN_DOUBT:
            await self._read_back(last)
        else:
            async with self._books.lock:
                await self._take_the_banks_word(last)

    async def sums(self, config: options.CallOptions, why: str) -> Sums:
        """The payment's sums as the bank says them now; ActivityError as `config` allows."""
        standing = self._books.standing
        sums = await workflow.execute_activity_method(
            Refunding.read_sums,
            PaymentSums(
                merchant_id=self._order.merchant_id,
                connection_id=standing.connection_id,
                payment_id=standing.bank_payment_id or 0,
                scene=self._scene(),
            ),
            task_queue=TaskQueues(workflow.info().task_queue).kaspi,
            summary=why,
            **config,
        )
        self._story.last_available = sums.available
        self._books.show()
        return sums

    def outside(self, sums: Sums, *, executed: bool) -> int:
        """What others have refunded by now, in tiyn, when this refund was (not) executed."""
        standing = self._books.standing
        mine = standing.amount if executed else 0
        gone = self.expected(sums) - sums.available - mine
        return max(standing.refunded_outside, standing.refunded_outside + gone)

    def expected(self, sums: Sums) -> int:
        """What the bank should have available by our books, in tiyn, of what was really paid there."""
        return self._books.standing.expected + sums.total - self._books.standing.paid

    def done(self) -> RefundAttempt | None:
        """The attempt that the bank said it has executed; it outweighs whatever the others came to."""
        return next((one for one in self._books.standing.attempts if one.outcome is ReturnOutcome.DONE), None)

    def doubted(self) -> list[RefundAttempt]:
        """The attempts of which the bank's word is not known."""
        return [one for one in self._books.standing.attempts if one.outcome in _IN_DOUBT]

    def shows(self, attempt: RefundAttempt, sums: Sums) -> bool:
        """True when the sums are lower than before the attempt by exactly this refund."""
        return read_back(attempt.available_before, sums.available, self._books.standing.amount) is ReadBack.EXECUTED

    async def unchanged(self, attempt: RefundAttempt, sums: Sums) -> bool:
        """True when the sums are as before the attempt; otherwise books what they tell."""
        verdict = read_back(attempt.available_before, sums.available, self._books.standing.amount)
        if verdict is ReadBack.EXECUTED:
            await self._books.complete(RefundReason.READ_BACK)
        elif verdict is ReadBack.SOMEBODY_ELSE:
            await self._books.ask_for_a_human(RefundAttention.REFUNDED_OUTSIDE)
        return verdict is ReadBack.NOT_EXECUTED

    def _scene(self) -> Scene | None:
        """The simulated bank keeps no books: it goes by ours."""
        standing = self._books.standing
        if self._order.scenario is None or not self._order.is_sandbox:
            return None
        gone = standing.paid - standing.refunded_outside - standing.expected
        return Scene(scenario=self._order.scenario, paid=standing.paid, given_back=gone)

    def _processing(self) -> bool:
        return self._books.standing.state is RefundState.PROCESSING

    # --- sending

    async def _pause_after_not_sent(self) -> None:
        trailing = 0
        for attempt in reversed(self._books.standing.attempts):
            if attempt.outcome is not ReturnOutcome.NOT_SENT:
                break
            trailing += 1
        if trailing:
            seconds = NOT_SENT_WAITS[min(trailing, len(NOT_SENT_WAITS)) - 1]
            await self._nudge.wait(timedelta(seconds=seconds))

    async def _attempt(self, sums: Sums) -> None:
        self._story.retry_allowed = False
        # A lost attempt that shows only now must not be sent again: the sums just read have the last word.
        doubted = self.doubted()
        if doubted and not await self.unchanged(doubted[-1], sums):
            return
        if self._books.standing.amount > sums.available:
            outside = self.outside(sums, executed=False)
            await self._books.fail(RefundReason.ABOVE_AVAILABLE, outside=outside)
            return
        await self._send(sums)

    async def _sums_we_can_judge_by(self) -> Sums | None:
        """Sums that agree with our books or are lower; None where there is something else to do.

        The bank may show an earlier refund of ours late (how late is not documented): sums that are too high are
        read again for as long as a lost answer is looked for. So are sums that can't be read, and then people know.
        """
        ends = workflow.now() + timedelta(seconds=self._order.read_back_window)
        standing = self._books.standing
        # Patient from the start where an operator has been asked already.
        looks = 0 if standing.attention is None else LOOKS.index(300.0)
        while self._books.standing is standing:
            try:
                sums = await self.sums(options.KASPI_READ_ONCE, "what can be refunded?")
            except ActivityError as error:
                if said_no(error):
                    await self._no_sums(error)
                    return None
                trouble = RefundAttention.OUTCOME_UNKNOWN
            else:
                if sums.available <= self.expected(sums):
                    return sums
                trouble = RefundAttention.AVAILABLE_TOO_HIGH
            if workflow.now() >= ends and standing.attention is None:
                async with self._books.lock:
                    if self._books.standing is standing:
                        self._story.retry_allowed = False  # nothing is sent behind the back of who is asked
                        await self._books.ask_for_a_human(trouble)
                return None
            await self._nudge.wait(timedelta(seconds=LOOKS[min(looks, len(LOOKS) - 1)]))
            looks += 1
        return None

    async def _no_sums(self, error: ActivityError) -> None:
        """The bank refuses to tell the sums: nothing of this attempt was sent."""
        async with self._books.lock:
            if not self._processing():
                return
            if self.doubted():
                await self._books.ask_for_a_human(RefundAttention.OUTCOME_UNKNOWN)
                return
            cause = cause_of(error)
            code = cause.details[0] if cause.details and isinstance(cause.details[0], int) else None
            await self._books.fail(RefundReason.REFUSED, code=code)

    async def _send(self, sums: Sums) -> None:
        standing = self._books.standing
        number = len(standing.attempts) + 1
        order = GiveBack(
            refund_id=self._order.refund_id,
            merchant_id=self._order.merchant_id,
            connection_id=standing.connection_id,
            payment_id=standing.bank_payment_id or 0,
            amount=standing.amount,
            number=number,
            available=sums.available,
            outside=self.outside(sums, executed=False),
            scene=self._scene(),
        )
        try:
            answer = await workflow.execute_activity_method(
                Refunding.give_back,
                order,
                task_queue=TaskQueues(workflow.info().task_queue).kaspi,
                summary=f"refund at the bank, attempt {number}",
                **options.REFUND_ONCE,
            )
        except ActivityError:
            workflow.logger.warning("the refund's attempt did not come to an end")
            answer = Returned(outcome=ReturnOutcome.UNKNOWN)
        await self._books.refresh()
        kept = next((one for one in self._books.standing.attempts if one.number == number), None)
        if answer.outcome is not ReturnOutcome.UNKNOWN and kept is not None and kept.outcome is None:
            await self._books.note(number, answer)

    # --- settling

    async def _take_done(self) -> None:
        done = self.done()
        if done is not None and self._processing():
            await self._books.complete(bank_return_id=done.bank_return_id)

    async def _take_the_banks_word(self, last: RefundAttempt) -> None:
        if not self._processing():
            return
        # A typed refusal is a failure, unless an attempt before it was executed after all.
        doubted = self.doubted()
        if doubted:
            try:
                sums = await self.sums(options.KASPI_READ, "did the attempt before it happen?")
            except ActivityError:
                await self._books.ask_for_a_human(RefundAttention.OUTCOME_UNKNOWN)
                return
            if not await self.unchanged(doubted[0], sums):
                return
            if last.reason is RefundReason.ABOVE_AVAILABLE:
                # The sums say that it fits, the bank that it does not: they may lag behind the attempt before it.
                await self._books.ask_for_a_human(RefundAttention.OUTCOME_UNKNOWN)
                return
        await self._books.fail(last.reason or RefundReason.REFUSED, code=last.bank_code)

    async def _read_back(self, last: RefundAttempt) -> None:
        """Looks at the sums until they, or an operator, tell what the lost answer was."""
        looks = 0
        while True:
            await self._nudge.wait(timedelta(seconds=LOOKS[min(looks, len(LOOKS) - 1)]))
            looks += 1
            async with self._books.lock:
                if not self._processing() or self._story.retry_allowed or await self._looked_back(last.number):
                    return

    async def _looked_back(self, number: int) -> bool:
        """One look; True when there is something else to do now."""
        # A call that this story gave up may have heard the bank's word since.
        await self._books.refresh()
        last = self._books.standing.attempts[number - 1]
        if last.outcome not in _IN_DOUBT or self.done() is not None or not self._processing():
            return True
        over, attention = self.over(last), self._books.standing.attention
        try:
            sums = await self.sums(options.KASPI_READ_NOW, "did the refund happen?")
        except ActivityError:
            if over:  # the bank is away for long: people should know, and the looks go on
                await self._books.ask_for_a_human(RefundAttention.OUTCOME_UNKNOWN)
            return False
        if not await self.unchanged(last, sums):
            return True
        if not over or attention is not None:
            return False
        if len(self.doubted()) < UNKNOWN_ATTEMPTS:
            self._story.retry_allowed = True
            return True
        await self._books.ask_for_a_human(RefundAttention.OUTCOME_UNKNOWN)
        return False

    def over(self, attempt: RefundAttempt) -> bool:
        """True when unchanged sums mean "not executed": the call can no longer run, and the sums no longer lag."""
        call_ended = attempt.answered_at or attempt.intended_at + timedelta(seconds=self._order.longest_call)
        return workflow.now() >= call_ended + timedelta(seconds=self._order.read_back_window)
