"""Subscriptions: the books' steps, and what a subscription asks of its bills' stories."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.failures import CLOCK_WAITS, SUBSCRIPTION_REFUSED, WINDOW_MISSED, failure
from activities.heartbeats import beating
from db.errors import IssueWindowMissed, SubscriptionRefused
from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.subscription import ChargeRef
from domain.subscription_record import (
    Billing,
    BillState,
    BookDecision,
    BookedDecision,
    Loaded,
    OpenSubscription,
    PayerAct,
    SubscriptionRef,
)

if TYPE_CHECKING:
    from activities.gateways import SubscriptionStories
    from db.subscription_bills import SubscriptionBills
    from db.subscriptions import SubscriptionLedger
    from db.test_clocks import TestClocks

log = structlog.get_logger(__name__)

# How long a bill's story may take to answer; a bank that takes longer is looked at again later.
BILL_ANSWERS_WITHIN = 40.0
# What a run of a subscription does between two answers of `advance`.
ADVANCE_ANSWERS_WITHIN = 120.0
# Seconds to the next question of one that did not move: a run that is full begins its next one only when its webhooks
# had their first attempts, and a receiver may take its time. Each question stands in the history; the last pause stays.
STANDS_STILL_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 5.0, 10.0)
# A way takes minutes, and all the while it has one of the hundred places of this queue, on which live subscriptions
# hear of their bills and the watchdog makes its rounds. So a process takes only so many, and the others come back.
ADVANCES_AT_ONCE = 20
ADVANCE_COMES_BACK = timedelta(seconds=3)
# A bill to a phone can be paid for a day (Kaspi guide §2.2); so it is by a test clock.
BILL_LASTS = timedelta(hours=24)

_VERDICTS = {
    PayerAct.PAYS: Verdict.PAID,
    PayerAct.DECLINES: Verdict.REJECTED,
    PayerAct.IGNORES: Verdict.EXPIRED,
}


class AskBill(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which bill; `revision` are the terms to make it by."""

    of: SubscriptionRef
    ref: ChargeRef
    revision: int = 0


class AskPayer(msgspec.Struct, frozen=True, kw_only=True):
    """Which bill the scripted payer has before him; `over`: its time is over."""

    of: SubscriptionRef
    ref: ChargeRef
    over: bool


class AdvanceAll(msgspec.Struct, frozen=True, kw_only=True):
    """Which test clock."""

    merchant_id: str
    clock_id: str


class Subscribing:
    """Activities of subscriptions and of test clocks."""

    def __init__(
        self,
        ledger: "SubscriptionLedger",
        bills: "SubscriptionBills",
        clocks: "TestClocks",
        stories: "SubscriptionStories",
    ) -> None:
        self._ledger = ledger
        self._bills = bills
        self._clocks = clocks
        self._stories = stories
        self._advancing = 0

    def activities(self) -> list[Callable[..., Coroutine[Any, Any, Any]]]:
        """All of them, for the workflows' queue."""
        # The last four are no local ones: they wait for another story's answer.
        return [
            self.open, self.load, self.book, self.bill, self.bill_state,
            self.withdraw, self.payer, self.tell, self.advance,
        ]  # fmt: skip

    @activity.defn(name="subscription.open")
    async def open(self, order: OpenSubscription) -> None:
        """Records it; fails with `SubscriptionRefused` or `IssueWindowMissed`: nothing was written."""
        try:
            await self._ledger.open(order)
        except IssueWindowMissed as error:
            raise failure(error, WINDOW_MISSED, retryable=False) from error
        except SubscriptionRefused as error:
            raise failure(error, SUBSCRIPTION_REFUSED, retryable=False, details=(error.code.value,)) from error

    @activity.defn(name="subscription.load")
    async def load(self, ref: SubscriptionRef) -> Loaded | None:
        """See `SubscriptionLedger.load`."""
        return await self._ledger.load(ref.merchant_id, ref.subscription_id)

    @activity.defn(name="subscription.book")
    async def book(self, ask: BookDecision) -> BookedDecision:
        """See `SubscriptionLedger.book`."""
        return await self._ledger.book(ask)

    @activity.defn(name="subscription.bill")
    async def bill(self, ask: AskBill) -> Billing:
        """See `SubscriptionBills.bill`."""
        return await self._bills.bill(ask.of.merchant_id, ask.of.subscription_id, ask.ref, ask.revision)

    @activity.defn(name="subscription.bill_state")
    async def bill_state(self, ask: AskBill) -> BillState | None:
        """See `SubscriptionBills.state`."""
        return await self._bills.state(ask.of.merchant_id, ask.of.subscription_id, ask.ref)

    @activity.defn(name="subscription.withdraw")
    async def withdraw(self, ask: AskBill) -> BillState | None:
        """Asks a bill's story once to cancel it; what the books say then. It may be paid, or still be open.

        None: neither a story nor the books know it.
        """
        async with beating():
            invoice_id = await self._bills.invoice_id(ask.of.merchant_id, ask.of.subscription_id, ask.ref)
            try:
                await self._stories.cancel(invoice_id, wait=BILL_ANSWERS_WITHIN)
            except TolemError as error:
                if error.code in {Code.ENGINE_UNAVAILABLE, Code.DATABASE_UNAVAILABLE}:
                    raise
                log.info("bill_not_withdrawn", invoice=invoice_id, code=error.code)
            return await self.bill_state(ask)

    @activity.defn(name="subscription.payer")
    async def payer(self, ask: AskPayer) -> BillState | None:
        """The scripted payer's act upon a bill; what the books say then. None while he ignores it."""
        async with beating():
            return await self._played(ask)

    async def _played(self, ask: AskPayer) -> BillState | None:
        merchant, subscription = ask.of.merchant_id, ask.of.subscription_id
        act = await self._bills.payer(merchant, subscription, ask.ref)
        if act is PayerAct.IGNORES and not ask.over:
            return None
        verdict = Verdict.EXPIRED if ask.over else _VERDICTS[act]
        invoice_id = await self._bills.invoice_id(merchant, subscription, ask.ref)
        try:
            await self._stories.simulate(invoice_id, verdict, wait=BILL_ANSWERS_WITHIN)
        except TolemError as error:
            # Somebody was faster (a person at the sandbox): the books tell who.
            if error.code not in {Code.ILLEGAL_TRANSITION, Code.INVOICE_CLOSED, Code.NOT_FOUND}:
                raise
        return await self._bills.state(merchant, subscription, ask.ref)

    @activity.defn(name="subscription.tell")
    async def tell(self, ask: AskBill) -> None:
        """Tells a subscription that a bill of it has news; one that is over begins again, to hear it."""
        await self._stories.bill_changed(ask.of, ask.ref)

    @activity.defn(name="test_clock.advance")
    async def advance(self, ask: AdvanceAll) -> datetime | None:
        """Takes every subscription on the clock to its target, then calls the clock ready; where it stands then.

        None: there is no such clock. Safe to repeat: whatever has arrived stays where it is.
        """
        if self._advancing >= ADVANCES_AT_ONCE:
            raise ApplicationError(
                "as many test clocks as may be are on their way",
                type=CLOCK_WAITS,
                next_retry_delay=ADVANCE_COMES_BACK,
                category=ApplicationErrorCategory.BENIGN,
            )
        self._advancing += 1
        try:
            async with beating():
                stands = await self._advance_all(ask)
        finally:
            self._advancing -= 1
        return stands

    async def _advance_all(self, ask: AdvanceAll) -> datetime | None:
        clock = await self._clocks.clock(ask.merchant_id, ask.clock_id)
        if clock is None:
            return None
        if clock.target_at is not None:
            carried = await self._clocks.carried(ask.merchant_id, ask.clock_id)
            await asyncio.gather(*(self._advance(one, clock.target_at) for one in carried))
            clock = await self._clocks.reached(ask.merchant_id, ask.clock_id, clock.target_at)
        return None if clock is None else clock.now_at

    async def _advance(self, one: SubscriptionRef, to: datetime) -> None:
        stood: datetime | None = None
        still = 0
        while True:
            came = await self._stories.advance_subscription(one, to, wait=ADVANCE_ANSWERS_WITHIN)
            if came.over or came.at >= to:
                return
            if came.at == stood:
                await asyncio.sleep(STANDS_STILL_PAUSES[min(still, len(STANDS_STILL_PAUSES) - 1)])
                still += 1
            else:
                stood, still = came.at, 0
