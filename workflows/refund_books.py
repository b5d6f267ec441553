"""A refund's story and the books: what stands, what is booked, who is told of it."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.refunding import NoteAnswer, Refunding, RefundRef
    from domain.refund import (
        OpenRefund,
        RefundAttention,
        RefundChange,
        RefundReason,
        RefundStanding,
        RefundState,
        Returned,
    )
    from runtime.temporal_names import ATTENTION, STATE
    from workflows import options
    from workflows.delivering import deliver
    from workflows.refund_messages import RefundStory, ResolveRefund, refund_details


class RefundBooks:
    """Every method is one local activity; the story takes its state from what the books answer.

    `lock` is held by whoever judges and books: the story and its handlers, one at a time.
    """

    def __init__(self, order: OpenRefund, story: RefundStory) -> None:
        self._order = order
        self._story = story
        self._telling: dict[str, asyncio.Task[None]] = {}
        self.lock = asyncio.Lock()

    @property
    def standing(self) -> RefundStanding:
        """What the books said last."""
        if self._story.standing is None:
            raise ApplicationError("the refund is not recorded", type="Impossible", non_retryable=True)
        return self._story.standing

    async def open(self) -> None:
        """Records the refund; ActivityError or ApplicationError where the books refuse it."""
        self._follow(
            await workflow.execute_local_activity_method(
                Refunding.open, self._order, summary="record the refund", **options.REFUND_OPEN
            )
        )

    async def take_turn(self) -> None:
        """Becomes `processing` where every earlier refund of the invoice is over."""
        self._follow(
            await workflow.execute_local_activity_method(
                Refunding.turn, self._ref(), summary="is it its turn?", **options.LEDGER_WRITE
            )
        )

    async def refresh(self) -> None:
        """Asks what stands."""
        self._follow(
            await workflow.execute_local_activity_method(
                Refunding.standing, self._ref(), summary="what do the books say?", **options.LEDGER_WRITE
            )
        )

    async def note(self, number: int, answer: Returned) -> None:
        """Keeps an answer that only the story heard."""
        note = NoteAnswer(
            refund_id=self._order.refund_id, merchant_id=self._order.merchant_id, number=number, answer=answer
        )
        self._follow(
            await workflow.execute_local_activity_method(
                Refunding.note, note, summary="keep the bank's answer", **options.LEDGER_WRITE
            )
        )

    async def complete(
        self,
        reason: RefundReason | None = None,
        *,
        bank_return_id: int | None = None,
        outside: int | None = None,
        decided: ResolveRefund | None = None,
    ) -> None:
        """The money went back."""
        change = RefundChange(
            refund_id=self._order.refund_id,
            merchant_id=self._order.merchant_id,
            cause="completed",
            state=RefundState.COMPLETED,
            reason=reason,
            bank_return_id=bank_return_id,
            refunded_outside=outside,
        )
        await self._book(change, decided)

    async def fail(
        self,
        reason: RefundReason,
        *,
        code: int | None = None,
        outside: int | None = None,
        decided: ResolveRefund | None = None,
    ) -> None:
        """The money did not go back and will not."""
        change = RefundChange(
            refund_id=self._order.refund_id,
            merchant_id=self._order.merchant_id,
            cause="failed",
            state=RefundState.FAILED,
            reason=reason,
            bank_code=code,
            refunded_outside=outside,
        )
        await self._book(change, decided)

    async def ask_for_a_human(self, attention: RefundAttention) -> None:
        """Nobody can tell without an operator."""
        if self.standing.attention is attention:
            return
        change = RefundChange(
            refund_id=self._order.refund_id,
            merchant_id=self._order.merchant_id,
            cause=f"attention:{self.standing.sequence}",
            attention=attention,
        )
        await self._book(change, None)

    async def settle_attention(self, cause: str, decided: ResolveRefund) -> None:
        """An operator's decision after which the story goes on."""
        change = RefundChange(
            refund_id=self._order.refund_id,
            merchant_id=self._order.merchant_id,
            cause=f"{cause}:{self.standing.sequence}",
            clear_attention=True,
            requires=self.standing.attention,
        )
        await self._book(change, decided)

    async def _book(self, change: RefundChange, decided: ResolveRefund | None) -> None:
        if decided is not None:
            change = decided_by(change, decided)
        self._follow(
            await workflow.execute_local_activity_method(
                Refunding.book, change, summary=f"book {change.cause}", **options.LEDGER_WRITE
            )
        )

    def _ref(self) -> RefundRef:
        return RefundRef(merchant_id=self._order.merchant_id, refund_id=self._order.refund_id)

    def _follow(self, standing: RefundStanding) -> None:
        self._story.standing = standing
        for ref in standing.deliveries:
            if ref.id not in self._telling:
                self._telling[ref.id] = asyncio.create_task(deliver(self._order.merchant_id, ref))
        self.show()

    def show(self) -> None:
        """Details for the Temporal UI; search attributes only off the happy path (decision 0009)."""
        workflow.set_current_details(refund_details(self._order, self._story))
        shown = (self.standing.state, self.standing.attention)
        usual = self.standing.attention is None and self.standing.state is not RefundState.FAILED
        if shown == self._story.shown or (usual and self._story.shown is None):
            return
        self._story.shown = shown
        attention = self.standing.attention
        workflow.upsert_search_attributes(
            [
                STATE.value_set(self.standing.state.value),
                ATTENTION.value_set(attention.value) if attention else ATTENTION.value_unset(),
            ]
        )

    async def all_told(self) -> None:
        """Returns when every webhook had its first attempt and every handler answered."""
        await workflow.wait_condition(
            lambda: all(task.done() for task in self._telling.values()) and workflow.all_handlers_finished()
        )
        for task in self._telling.values():
            task.result()  # raises what went wrong in it


def decided_by(change: RefundChange, decided: ResolveRefund) -> RefundChange:
    """The change with who decided and why."""
    return RefundChange(
        **{name: getattr(change, name) for name in RefundChange.__struct_fields__ if name not in {"operator", "note"}},
        operator=decided.by or "temporal-ui",
        note=decided.note or None,
    )


class Nudge:
    """A wait that news can end early."""

    def __init__(self) -> None:
        self._nudged = False

    def __call__(self) -> None:
        self._nudged = True

    async def wait(self, at_most: timedelta) -> None:
        """Until somebody nudges, or `at_most`. A nudge that came before counts."""
        try:
            await workflow.wait_condition(lambda: self._nudged, timeout=at_most)
        except TimeoutError:
            return
        finally:
            self._nudged = False
