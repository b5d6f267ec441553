"""The life of one planned subscription: its merchant's program, and its payer's phone."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from domain.errors import Code
from domain.ids import SUBSCRIPTION, derived_id
from domain.invoice import Kind
from domain.merchant import Mode
from torture.bank import TorturedBank
from torture.deed import do
from torture.evidence import ACTIONS, SUBSCRIPTIONS, Asked
from torture.merchant import MerchantApi, tenge
from torture.order import Identity
from torture.plan_subscriptions import Act, PlannedSubscription, Wish

_STEP = 1.5
# A bill that is out has to end before the next is made: that is asked for again, so often.
_TRIES = 6


class Phone:
    """The payer acts on every bill that reaches the phone, also on one that nobody else knows of."""

    def __init__(self, planned: PlannedSubscription, bank: TorturedBank) -> None:
        self._planned = planned
        self._bank = bank
        self._fingers: dict[int, asyncio.Task[None]] = {}
        self._over = asyncio.Event()

    async def rings(self) -> None:
        """Until `stop`: a subscription makes its bills when it can, not when somebody waits for them."""
        while not self._over.is_set():
            for bill in await self._bank.bills_to(self._planned.phone):
                if bill.id not in self._fingers:
                    self._fingers[bill.id] = asyncio.create_task(self._act(bill.id, len(self._fingers)))
            try:
                await asyncio.wait_for(self._over.wait(), _STEP)
            except TimeoutError:
                continue
        await asyncio.gather(*self._fingers.values())

    def stop(self) -> None:
        """What the fingers have begun they finish; `rings` returns then."""
        self._over.set()

    async def _act(self, purchase_id: int, place: int) -> None:
        await asyncio.sleep(self._planned.deed_after)
        deeds = self._planned.deeds
        await do(self._bank, purchase_id, deeds[min(place, len(deeds) - 1)], Kind.PHONE)


class Subscriber:
    """One subscription of the plan as its merchant handles it. `await run()` ends with the last wish."""

    def __init__(self, planned: PlannedSubscription, api: MerchantApi, who: Identity, run_name: str) -> None:
        self._planned = planned
        self._api = api
        self._who = who
        # With a key another start would be another body.
        self._start = datetime.now(UTC) - timedelta(days=planned.days_ago)
        self._key = f"{run_name}-sub-{planned.number}"
        self._id = derived_id(SUBSCRIPTION, who.salt, who.merchant_id, Mode.LIVE, SUBSCRIPTIONS, self._key)

    async def run(self) -> None:
        """From the moment it is begun (`when` is the caller's)."""
        asked = self._asked(SUBSCRIPTIONS, self._key)
        answer = await self._api.create("/subscriptions", self._body(), asked, twins=self._planned.twins)
        if answer is None or answer.status != 201:
            return
        for place, wish in enumerate(self._planned.wishes):
            await self._carry_out(wish, place)

    async def _carry_out(self, wish: Wish, place: int) -> None:
        for trial in range(_TRIES if wish.act is Act.BILL_NOW else 1):
            await asyncio.sleep(_STEP if trial else wish.after)
            if wish.act is Act.BILL_NOW:
                await self._look_at_the_bill()
            asked = self._asked(f"{ACTIONS}{wish.act}", f"{self._key}-{place}-{trial}")
            answer = await self._api.create(f"/subscriptions/{self._id}/{wish.act}", {}, asked, twins=1)
            if answer is None or answer.code != Code.CHARGE_IN_FLIGHT:
                return

    async def _look_at_the_bill(self) -> None:
        """What became of the bill that is out is looked at now, not when the poller would."""
        stands = await self._api.send("GET", f"/subscriptions/{self._id}")
        open_ = stands.body.get("open_period") if stands.status == 200 else None
        if open_ is not None and open_["invoice_id"] is not None:
            await self._api.insist("POST", "/invoices/status/check", {"ids": [open_["invoice_id"]]})

    def _asked(self, operation: str, key: str) -> Asked:
        return Asked(
            key=key, operation=operation, bill=self._planned.number, amount=self._planned.amount, expected_id=self._id
        )

    def _body(self) -> Mapping[str, object]:
        planned = self._planned
        return {
            "phone_number": planned.phone,
            "amount": tenge(planned.amount),
            "billing_period": planned.period.value,
            "description": f"Torture subscription {planned.number}",
            "external_order_id": f"s-{planned.number}",
            "started_at": self._start.isoformat(timespec="seconds"),
            "max_retry_attempts": planned.retries,
            "retry_interval_hours": 1,
            "grace_period_days": 0,
        }
