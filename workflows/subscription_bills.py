"""A subscription's bills: each a child workflow. What the standing wants out is out, what it does not want is not.

Nothing here relies on being told: whatever a bill's story does not tell, a look at the books finds.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from activities.subscribing import BILL_LASTS, AskBill, AskPayer, Subscribing
    from domain.invoice import OPEN, Attention, OpenInvoice
    from domain.money import format_amount
    from domain.subscription import ChargeFaulted, ChargeIssued, ChargeRef, ChargeUnknown, OpenPeriod, Phase
    from domain.subscription_record import BillState
    from domain.subscription_rules import outcome_of
    from runtime.temporal_names import MERCHANT, MODE
    from workflows import options
    from workflows.subscription_books import SubscriptionBooks, is_open

# A bill that is out is looked at in the books though nobody told anything: after an hour, then more and more slowly.
LOOK_AGAIN = timedelta(hours=1)
LOOK_AGAIN_AT_MOST = timedelta(hours=24)
# One that is to be withdrawn is asked for again soon: until then it can be paid.
ASK_AGAIN = timedelta(minutes=1)
ASK_AGAIN_AT_MOST = timedelta(hours=1)


class SubscriptionBills:
    """`look_at` is the (real) moment to call `carry_out` again though nothing happened."""

    def __init__(self, books: SubscriptionBooks) -> None:
        self._books = books
        self._out: tuple[ChargeRef, Phase] | None = None
        self._played: ChargeRef | None = None
        self._looks = 0
        self._ended: set[ChargeRef] = set()
        self._following: set[asyncio.Task[None]] = set()
        self.look_at: datetime | None = None
        # Bills that have news.
        self.stirred: list[ChargeRef] = []

    async def carry_out(self) -> bool:
        """One step towards what the standing wants of its bill; False where there is nothing to do now."""
        open_ = self._books.standing.open
        if open_ is None or not open_.payable:
            self._out, self.look_at = None, None
            return False
        wanted = (open_.ref, open_.phase)
        if self._out != wanted:
            self._looks = 0
        elif self.look_at is not None and workflow.now() < self.look_at:
            return open_.phase is Phase.LIVE and await self._play(open_)
        self._out, self.look_at = wanted, self._next_look(open_.phase)
        self._looks += 1
        await (self._make(open_) if open_.phase is Phase.LIVE else self._withdraw(open_.ref))
        return True

    def _next_look(self, phase: Phase) -> datetime:
        first, factor, most = (
            (LOOK_AGAIN, 3, LOOK_AGAIN_AT_MOST) if phase is Phase.LIVE else (ASK_AGAIN, 2, ASK_AGAIN_AT_MOST)
        )
        gap: timedelta = first * float(factor ** min(self._looks, 6))
        return workflow.now() + min(gap, most)

    async def look(self, ref: ChargeRef) -> None:
        """What do the books say of a bill that has news?"""
        said = await workflow.execute_local_activity_method(
            Subscribing.bill_state,
            AskBill(of=self._books.ref, ref=ref),
            summary=f"what became of bill {ref.number}.{ref.charge}?",
            **options.LEDGER_WRITE,
        )
        if said is not None:
            await self.learn(said)
        elif ref in self._ended and is_open(self._books.standing, ref):
            # Its story ended before the books had it: nothing was issued, and nothing will be.
            await self._books.hear(ChargeFaulted(ref=ref))
        self._ended.discard(ref)

    async def learn(self, said: BillState) -> None:
        """What the books say of a bill, as the rules call it."""
        if said.state not in OPEN:
            happening = outcome_of(said.ref, said.state, said.reason)
            if happening is not None:
                await self._books.hear(happening)
        elif said.attention is Attention.OUTCOME_UNKNOWN:
            await self._books.hear(ChargeUnknown(ref=said.ref))
        elif self._doubted(said.ref) and workflow.patched("bill-found"):
            await self._books.hear(ChargeIssued(ref=said.ref))
            self.look_at = None  # one that is to be withdrawn can be asked for now

    def _doubted(self, ref: ChargeRef) -> bool:
        open_ = self._books.standing.open
        return open_ is not None and open_.unknown and is_open(self._books.standing, ref)

    # --- making

    async def _make(self, open_: OpenPeriod) -> None:
        """Makes the bill, or finds that there is one."""
        ref = open_.ref
        answer = await workflow.execute_local_activity_method(
            Subscribing.bill,
            AskBill(of=self._books.ref, ref=ref, revision=open_.terms.revision),
            summary=f"bill {ref.number}.{ref.charge}",
            **options.LEDGER_WRITE,
        )
        if answer.known is not None:
            await self.learn(answer.known)
        elif answer.order is None:
            await self._books.hear(ChargeFaulted(ref=ref))
        else:
            await self._start(answer.order, ref)

    async def _start(self, order: OpenInvoice, ref: ChargeRef) -> None:
        mode = "test" if order.is_sandbox else "live"
        try:
            child: workflow.ChildWorkflowHandle[Any, Any] = await workflow.start_child_workflow(
                "invoice",
                order,
                id=f"invoice-{order.invoice_id}",
                parent_close_policy=ParentClosePolicy.ABANDON,
                # A second start is possible only where the first run failed, that is, where nothing was issued.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(MERCHANT, order.merchant_id), SearchAttributePair(MODE, mode)]
                ),
                static_summary=f"bill {ref.number}.{ref.charge} of a subscription, {format_amount(order.amount)} KZT",
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("the bill's story is told already")  # by a run of ours before this one
            return
        following = asyncio.create_task(self._follow(child, ref))
        self._following.add(following)
        following.add_done_callback(self._following.discard)

    async def _follow(self, child: "workflow.ChildWorkflowHandle[Any, Any]", ref: ChargeRef) -> None:
        """Its end is one more reason to look, where nobody told; how it ended, the books know."""
        try:
            await child
        except FailureError:
            workflow.logger.warning("the bill's story failed")
        if is_open(self._books.standing, ref):
            self._ended.add(ref)
            self.stirred.append(ref)

    # --- withdrawing

    async def _withdraw(self, ref: ChargeRef) -> None:
        said = await workflow.execute_activity_method(
            Subscribing.withdraw,
            AskBill(of=self._books.ref, ref=ref),
            summary=f"withdraw bill {ref.number}.{ref.charge}",
            **options.ASK_BILL,
        )
        if said is None:
            # No story, no row: it was decided and never made. The period is over before anybody could make it.
            await self._books.hear(ChargeFaulted(ref=ref))
        else:
            await self.learn(said)

    # --- the scripted payer of a test clock

    @property
    def deadline(self) -> datetime | None:
        """When the bill that is out expires, by the test clock; None in real time, where the bank says it."""
        out = self._books.standing.open
        if self._books.clock is None or out is None or not out.payable or self._books.billed_at is None:
            return None
        return self._books.billed_at + BILL_LASTS

    async def _play(self, open_: OpenPeriod) -> bool:
        deadline = self.deadline
        if deadline is None:
            return False
        over = deadline <= self._books.now()
        if self._played == open_.ref and not over:
            return False
        self._played = open_.ref
        said = await workflow.execute_activity_method(
            Subscribing.payer,
            AskPayer(of=self._books.ref, ref=open_.ref, over=over),
            summary=f"the scripted payer has bill {open_.ref.number}.{open_.ref.charge}",
            **options.ASK_BILL,
        )
        if said is not None:
            await self.learn(said)
        return said is not None and not is_open(self._books.standing, open_.ref)
