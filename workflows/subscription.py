"""The story of one subscription: wait for the next date, bill it, follow the bill, tell; for years.

What follows from what happens is decided in `domain.subscription_rules`. The workflow carries it out: it brings the
standing into the books and the bills into the world, and can be begun again from the books at any moment.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities import failures
    from activities.subscribing import Subscribing
    from domain.errors import Code
    from domain.subscription import ChargeRef, State, TimeReached
    from domain.subscription_rules import refusal
    from domain.subscription_turn import wait_until
    from workflows import options
    from workflows.failures import cause_of, refuse
    from workflows.steadfast import steadfast
    from workflows.subscription_bills import SubscriptionBills
    from workflows.subscription_books import SubscriptionBooks
    from workflows.subscription_messages import (
        Act,
        Acted,
        Advanced,
        AdvanceTo,
        AwaitSubscription,
        BillSubscriptionNow,
        CancelSubscription,
        ChangeSubscription,
        PauseSubscription,
        ResumeSubscription,
        RunSubscription,
        SkipSubscriptionPeriod,
        happening_of,
    )

if TYPE_CHECKING:
    from domain.subscription_record import Loaded

# A run is given up for a fresh one long before its history is heavy: one step more is some dozens of events.
EVENTS_PER_RUN = 1000
# Timers count whole milliseconds: one that rings a moment early would only be set again.
A_MOMENT = timedelta(milliseconds=2)


@workflow.defn(name="subscription")
class SubscriptionWorkflow:
    """`run` is the story; the signal brings news of bills, the updates what people want."""

    @workflow.init
    def __init__(self, order: RunSubscription) -> None:
        self._order = order
        self._books = SubscriptionBooks(order)
        self._bills = SubscriptionBills(self._books)
        self._refusal: ApplicationError | None = None
        self._target: datetime | None = None

    @workflow.run
    async def run(self, order: RunSubscription) -> State:
        """Ends with a subscription that is over, after its webhooks had their first attempt. Late money begins it anew."""
        return await steadfast(self._tell(), instead="the update `cancel` ends a subscription")

    async def _tell(self) -> State:
        await self._begin()
        while True:
            seen = await self._catch_up()
            if not (self._books.over or self._full()):
                await self._wait(seen)
            elif await self._at_rest(seen):
                self._books.raise_untold()
                if self._books.over:
                    return self._books.standing.state
                workflow.continue_as_new(RunSubscription(ref=self._order.ref, shown=self._books.shown))

    # --- the story's steps

    async def _begin(self) -> None:
        """Records it where that is wanted, reads the books, and hears what it has missed."""
        loaded = None
        try:
            if self._order.open is not None:
                await workflow.execute_local_activity_method(
                    Subscribing.open, self._order.open, summary="record it", **options.SUBSCRIPTION_OPEN
                )
            loaded = await self._books.load()
        except (ActivityError, ApplicationError) as error:  # a local activity's own failure comes bare
            self._refusal = cause_of(error)
        if self._refusal is None and loaded is None:
            self._refusal = refuse(Code.NOT_FOUND)
        if self._refusal is not None:
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise self._refusal
        await self._hear_missed(loaded)

    async def _hear_missed(self, loaded: "Loaded | None") -> None:
        for bill in loaded.bills if loaded is not None else []:
            await self._bills.learn(bill)

    async def _catch_up(self) -> int:
        """Until nothing more follows from what is known, and the bill that should be out is; of which version."""
        while True:
            while self._bills.stirred:
                await self._bills.look(self._bills.stirred.pop(0))
            await self._books.hear(TimeReached())
            seen = self._books.version
            if not await self._bills.carry_out() and not self._bills.stirred:
                return seen

    async def _wait(self, seen: int) -> None:
        """Until time or somebody brings something that is not in version `seen`."""
        if self._books.clock is not None:
            await self._stand_still(seen)
            return
        moments = (wait_until(self._books.standing), self._bills.look_at)
        until = min((moment for moment in moments if moment is not None), default=None)
        left = None if until is None else max(until - workflow.now(), timedelta(0)) + A_MOMENT
        try:
            await workflow.wait_condition(
                lambda: self._has_news(seen),
                timeout=left,
                timeout_summary=None if until is None else f"until {until:%Y-%m-%d %H:%M:%S} UTC",
            )
        except TimeoutError:
            return

    def _has_news(self, seen: int) -> bool:
        return bool(self._bills.stirred) or self._books.version != seen

    def _full(self) -> bool:
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.get_current_history_length() >= EVENTS_PER_RUN

    async def _at_rest(self, seen: int) -> bool:
        """Waits for webhooks and handlers; False where something happened meanwhile."""
        await workflow.wait_condition(
            lambda: self._has_news(seen) or (self._books.all_told() and workflow.all_handlers_finished())
        )
        return not self._has_news(seen)

    # --- the test clock

    async def _stand_still(self, seen: int) -> None:
        """On a test clock nothing happens by itself; towards a target, the next moment comes at once."""
        if self._target is None:
            await workflow.wait_condition(lambda: self._target is not None or self._has_news(seen))
            return
        now, target = self._books.now(), self._target
        moments = (wait_until(self._books.standing), self._bills.deadline)
        ahead = [moment for moment in moments if moment is not None and now < moment <= target]
        if ahead:
            self._books.clock = min(ahead)
            return
        self._target = None
        await self._books.set_clock(target)

    # --- news from outside

    @workflow.signal(name="bill_changed", description="The books say something new of a bill: look at it.")
    def bill_changed(self, ref: ChargeRef) -> None:
        """Queued; the story reads the books."""
        self._bills.stirred.append(ref)

    @workflow.update(name="opened", description="Wait until the subscription is recorded (or refused).")
    async def opened(self, ask: AwaitSubscription) -> Acted:
        """What stands; fails with the code of the refusal, or `IssueWindowMissed`."""
        await self._ready()
        return self._stands()

    @opened.validator
    def _same_body(self, ask: AwaitSubscription) -> None:
        if self._order.open is not None and ask.fingerprint != self._order.open.fingerprint:
            raise refuse(Code.IDEMPOTENCY_KEY_REUSED)

    @workflow.update(name="pause", description="Bill nothing more until resumed; a bill that is out stays payable.")
    async def pause(self, ask: PauseSubscription) -> Acted:
        """What stands."""
        return await self._act(ask)

    @workflow.update(name="resume", description="Go on with the next date, or take back a cancellation to come.")
    async def resume(self, ask: ResumeSubscription) -> Acted:
        """What stands."""
        return await self._act(ask)

    @workflow.update(name="cancel", description="End it now, or with at_period_end when the next period is due.")
    async def cancel(self, ask: CancelSubscription) -> Acted:
        """What stands."""
        return await self._act(ask)

    @workflow.update(name="change", description="Other terms, dates or patience.")
    async def change(self, ask: ChangeSubscription) -> Acted:
        """What stands."""
        return await self._act(ask)

    @workflow.update(name="bill_now", description="Bill the open period again at once, or the next one early.")
    async def bill_now(self, ask: BillSubscriptionNow) -> Acted:
        """What stands."""
        return await self._act(ask)

    @workflow.update(name="skip_period", description="Give up the open period, or leave out the next one.")
    async def skip_period(self, ask: SkipSubscriptionPeriod) -> Acted:
        """What stands."""
        return await self._act(ask)

    @workflow.update(name="advance", description="Test clock: go through every moment up to this one.")
    async def advance(self, ask: AdvanceTo) -> Advanced:
        """How far it came: a long way takes several runs, and has to be asked for again."""
        await self._ready()
        self._on_a_test_clock(ask)
        if self._books.now() < ask.to and not self._books.over:
            self._target = ask.to if self._target is None else max(ask.to, self._target)
            await workflow.wait_condition(
                lambda: (self._books.now() >= ask.to and self._target is None) or self._books.over or self._full()
            )
            if self._full():
                self._target = None
        return Advanced(at=self._books.now(), over=self._books.over)

    @advance.validator
    def _on_a_test_clock(self, ask: AdvanceTo) -> None:
        if not self._order.ref.is_sandbox or (self._books.loaded and self._books.clock is None):
            raise refuse(Code.NOT_SANDBOX)

    @pause.validator
    def _can_pause(self, ask: PauseSubscription) -> None:
        self._must_be_possible(ask)

    @resume.validator
    def _can_resume(self, ask: ResumeSubscription) -> None:
        self._must_be_possible(ask)

    @cancel.validator
    def _can_cancel(self, ask: CancelSubscription) -> None:
        self._must_be_possible(ask)

    @change.validator
    def _can_change(self, ask: ChangeSubscription) -> None:
        self._must_be_possible(ask)

    @bill_now.validator
    def _can_bill(self, ask: BillSubscriptionNow) -> None:
        self._must_be_possible(ask)

    @skip_period.validator
    def _can_skip(self, ask: SkipSubscriptionPeriod) -> None:
        self._must_be_possible(ask)

    def _must_be_possible(self, act: Act) -> None:
        """Refused before it stands in the history; what is begun again knows nothing yet, and decides when it does."""
        if not self._books.loaded:
            return
        standing = self._books.standing
        refused = refusal(standing, happening_of(act, standing), self._books.now())
        if refused is not None:
            raise refuse(Code(refused.value))

    async def _act(self, act: Act) -> Acted:
        await self._ready()
        await self._books.act(act)
        return self._stands()

    async def _ready(self) -> None:
        await workflow.wait_condition(lambda: self._books.loaded or self._refusal is not None)
        if self._refusal is None:
            return
        if self._refusal.type == failures.SUBSCRIPTION_REFUSED:
            raise refuse(Code(self._refusal.details[0]))
        raise self._refusal

    def _stands(self) -> Acted:
        return Acted(state=self._books.standing.state, version=self._books.version)
