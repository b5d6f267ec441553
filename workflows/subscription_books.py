"""A subscription's story and the books: what stands, what is decided, who is told of it."""

import asyncio
from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    import msgspec

    from activities.subscribing import Subscribing
    from domain.errors import Code
    from domain.invoice import DeliveryRef
    from domain.subscription import (
        CLOSED,
        ChargeRef,
        Decision,
        Happening,
        NotAllowed,
        Standing,
        State,
        TimeReached,
    )
    from domain.subscription_record import BookDecision, BookedDecision, Loaded, open_charge
    from domain.subscription_rules import decide
    from runtime.temporal_names import STATE
    from workflows import options
    from workflows.delivering import deliver
    from workflows.failures import refuse
    from workflows.subscription_messages import (
        UPDATES,
        Act,
        ChangeSubscription,
        RunSubscription,
        happening_of,
        settled_change,
        subscription_details,
    )


NO_CHANGE = ChangeSubscription()


class SubscriptionBooks:
    """Decides and books under one lock, so that updates, signals and timers see each other's result.

    The books win: where they have moved on (a result of ours was lost in a crash), what they say is taken over.
    """

    def __init__(self, order: RunSubscription) -> None:
        self.ref = order.ref
        self.lock = asyncio.Lock()
        self.clock: datetime | None = None
        self.billed_at: datetime | None = None
        self.version = 0
        self.shown = order.shown
        self._standing: Standing | None = None
        self._decisions = 0
        self._telling: dict[str, asyncio.Task[None]] = {}
        # Of each receiver the last delivery: the next one waits for it, so that events come in their order.
        self._last_told: dict[str, asyncio.Task[None]] = {}

    @property
    def loaded(self) -> bool:
        return self._standing is not None

    @property
    def standing(self) -> Standing:
        """What stands."""
        if self._standing is None:
            raise ApplicationError("the subscription is not recorded", type="Impossible", non_retryable=True)
        return self._standing

    @property
    def over(self) -> bool:
        """Nothing more happens by itself."""
        return self.standing.state in CLOSED and self.standing.open is None

    def now(self) -> datetime:
        """The subscription's own time: its test clock's, or the present."""
        return self.clock if self.clock is not None else workflow.now()

    async def load(self) -> Loaded | None:
        """Takes over what the books say; None where they know nothing."""
        loaded = await workflow.execute_local_activity_method(
            Subscribing.load, self.ref, summary="read the books", **options.LEDGER_WRITE
        )
        if loaded is not None:
            self._standing, self.version = loaded.standing, loaded.version
            self.clock, self.billed_at = loaded.clock_at, loaded.billed_at
            self._tell(loaded.deliveries)
            self.show()
        return loaded

    async def hear(self, happening: Happening) -> None:
        """Decides what follows from it; what changes nothing is not booked."""
        async with self.lock:
            token = self._token(type(happening).__name__)
            while True:
                decision = decide(self.standing, happening, self.now())
                if decision.standing == self.standing and not decision.booked and not decision.told:
                    return
                ask = self._ask(decision, token, _action(decision))
                if await self._book(ask):
                    return

    async def act(self, act: Act) -> None:
        """Carries out what somebody asks for; fails with the code of the refusal.

        It is booked even where it changes nothing: it was asked for, and its answer is kept.
        """
        async with self.lock:
            token = self._token(UPDATES[type(act)])
            while True:
                decision = self._decided(act)
                changed = settled_change(act, self.standing) if isinstance(act, ChangeSubscription) else NO_CHANGE
                ask = msgspec.structs.replace(
                    self._ask(decision, token, UPDATES[type(act)]),
                    terms=changed.terms,
                    keeps_cart="amount" in changed.kept,
                    metadata=changed.metadata,
                    external_order_id=changed.external_order_id,
                    asked=act.asked,
                )
                if await self._book(ask):
                    return

    async def set_clock(self, to: datetime) -> None:
        """Writes down how far the test clock has taken it, where nothing happened on the way."""
        async with self.lock:
            self.clock = max(self.now(), to)
            token = self._token("clock")
            while True:
                unchanged = decide(self.standing, TimeReached(), self.now())
                if await self._book(self._ask(unchanged, token, "clock_advanced")):
                    return

    def _decided(self, act: Act) -> Decision:
        try:
            return decide(self.standing, happening_of(act, self.standing), self.now())
        except NotAllowed as error:
            raise refuse(Code(error.refusal.value)) from error
        except ValueError as error:  # a plan whose day can't be
            raise refuse(Code.INVALID_REQUEST) from error

    def _token(self, what: str) -> str:
        """Names a decision: a step that is run again after a crash is the same one."""
        self._decisions += 1
        return f"{workflow.info().run_id}:{self._decisions}:{what}"

    def _ask(self, decision: Decision, token: str, action: str) -> BookDecision:
        return BookDecision(
            subscription_id=self.ref.subscription_id,
            merchant_id=self.ref.merchant_id,
            version=self.version,
            token=token,
            action=action,
            standing=decision.standing,
            booked=decision.booked,
            told=decision.told,
            at=self.now(),
        )

    async def _book(self, ask: BookDecision) -> bool:
        """False where the books had moved on, and it has to be decided anew."""
        booked: BookedDecision = await workflow.execute_local_activity_method(
            Subscribing.book, ask, summary=f"book {ask.action}", **options.LEDGER_WRITE
        )
        if booked.key_taken:
            return True
        before = open_charge(self.standing)
        self._standing, self.version = booked.standing or ask.standing, booked.version
        if open_charge(self.standing) != before:
            self.billed_at = ask.at
        self._tell(booked.deliveries)
        self.show()
        return booked.standing is None or booked.repeated

    # --- telling

    def _tell(self, deliveries: list[DeliveryRef]) -> None:
        self._telling = {id_: task for id_, task in self._telling.items() if not task.done() or task.exception()}
        for ref in deliveries:
            if ref.id not in self._telling:
                before = self._last_told.get(ref.endpoint_id)
                task = asyncio.create_task(self._deliver(ref, before))
                self._telling[ref.id] = self._last_told[ref.endpoint_id] = task

    async def _deliver(self, ref: DeliveryRef, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await workflow.wait_condition(before.done)
        await deliver(self.ref.merchant_id, ref)

    def all_told(self) -> bool:
        """True when every webhook had its first attempt."""
        return all(task.done() for task in self._telling.values())

    def raise_untold(self) -> None:
        """Raises what went wrong in telling, so that it is seen as the workflow's failure."""
        for task in self._telling.values():
            task.result()

    def show(self) -> None:
        """Tells the Temporal UI; the state becomes searchable as soon as it is not simply active."""
        workflow.set_current_details(subscription_details(self.ref, self._standing, self.clock))
        state = self.standing.state
        if state is self.shown or (state is State.ACTIVE and self.shown is None):
            return
        self.shown = state
        workflow.upsert_search_attributes([STATE.value_set(state.value)])


def _action(decision: Decision) -> str:
    """A word for the audit log: what is told, or what the period does."""
    if decision.told:
        return decision.told[-1].what.value.removeprefix("subscription.")
    if decision.booked:
        return f"period_{decision.booked[-1].state}"
    return "went_on"


def is_open(standing: Standing, ref: ChargeRef) -> bool:
    """Is this the bill that is out?"""
    open_ = standing.open
    return open_ is not None and open_.payable and open_.ref == ref
