"""One run: start, load under kills and faults, settle, gather the evidence."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from dev.receiver import WebhookReceiver
from torture import receiver as listening
from torture import settings
from torture.bank import TorturedBank
from torture.books import Books
from torture.chaos import Chaos
from torture.evidence import Evidence
from torture.histories import keep_histories
from torture.judge import judge
from torture.merchant import MerchantApi
from torture.order import Identity, Order
from torture.plan import Bill, Plan
from torture.plan_subscriptions import PlannedSubscription
from torture.progress import Progress
from torture.stack import TortureStack
from torture.subscriber import Phone, Subscriber
from torture.verdict import Verdict

Say = Callable[[str], None]

# What no log of ours may hold after a run: a defect that was answered, or a workflow task that failed.
_DEFECTS = ("unhandled_error", "Failed activation on workflow", "Nondeterminism", "NondeterminismError")
_PROGRESS = 10.0


class Timing(msgspec.Struct, kw_only=True):
    """Seconds that each part of a run took."""

    load: float = 0.0
    settle: float = 0.0


class Run:
    """`folder` keeps the log of every process. `await Run(...).go()` gives the evidence and the verdict."""

    def __init__(self, plan: Plan, folder: Path, say: Say) -> None:
        self._plan = plan
        self._folder = folder
        self._say = say
        self.timing = Timing()
        self._name = f"torture-{plan.seed}"

    async def go(self) -> tuple[Evidence, Verdict]:
        """Raises `ChildFailed` or `TimeoutError` where a part does not come (back) to life: that is no verdict."""
        async with TortureStack(self._folder) as stack, WebhookReceiver() as receiver:
            bank = TorturedBank(stack.system.emulator_url)
            api = MerchantApi(stack.system.api_url, stack.system.secrets.live_key)
            try:
                return await self._torture(stack, receiver, bank, api)
            finally:
                await api.aclose()
                await bank.aclose()

    async def _torture(
        self, stack: TortureStack, receiver: WebhookReceiver, bank: TorturedBank, api: MerchantApi
    ) -> tuple[Evidence, Verdict]:
        self._say("everything runs")
        await bank.change(dict(settings.BANK))
        hook = await api.insist("POST", "/webhooks", {"url": receiver.url, "events": ["*"]})
        merchant = (await api.insist("GET", "/me")).body["id"]
        books = Books(stack.system.database.operator_dsn, merchant)
        who = Identity(merchant, await books.salt())
        listening.trouble(receiver, self._plan.hiccups)
        chaos = Chaos(self._plan, stack, bank, self._say)

        phones = [Phone(planned, bank) for planned in self._plan.subscriptions]
        async with asyncio.TaskGroup() as ringing:
            for phone in phones:
                ringing.create_task(phone.rings())
            await self._load(api, bank, who, chaos)
            await bank.heal()
            receiver.answer_well()
            await self._settle(stack, books, bank)
            for phone in phones:
                phone.stop()
        await self._settle(stack, books, bank)  # of what the payers did last
        ledger, given_back = await bank.ledger()
        evidence = Evidence(
            bank_bills=ledger,
            bank_refunds=given_back,
            bank_calls=await bank.spoilt_calls(),
            invoices=await books.invoices(),
            refunds=await books.refunds(),
            events=await books.events(),
            deliveries=await books.deliveries(),
            heard=listening.heard(receiver, hook.body["secret"]),
            asked=list(api.asked.values()),
            killed=chaos.killed,
            done=bank.done,
            defects=[*api.strange, *_defects(stack.log)],
            subscriptions=await books.subscriptions(),
            periods=await books.periods(),
            acts=await books.acts(),
        )
        verdict = judge(evidence)
        await keep_histories(stack.system.temporal, [one.what for one in verdict.violations], self._folder)
        return evidence, verdict

    async def _load(self, api: MerchantApi, bank: TorturedBank, who: Identity, chaos: Chaos) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as load:
            load.create_task(chaos.run())
            for bill in self._plan.bills:
                load.create_task(self._open(bill, api, bank, who, chaos.progress))
            for planned in self._plan.subscriptions:
                load.create_task(self._begin(planned, api, who, chaos.progress))
        self.timing.load = time.monotonic() - began
        self._say(f"load over after {self.timing.load:.0f} s; faults off, letting it settle")

    async def _begin(self, planned: PlannedSubscription, api: MerchantApi, who: Identity, progress: Progress) -> None:
        await progress.reached(planned.when)
        await Subscriber(planned, api, who, self._name).run()

    async def _open(self, bill: Bill, api: MerchantApi, bank: TorturedBank, who: Identity, progress: Progress) -> None:
        await progress.reached(bill.when)
        await Order(bill, api, bank, who, self._name).run()

    async def _settle(self, stack: TortureStack, books: Books, bank: TorturedBank) -> None:
        began = said = time.monotonic()
        await stack.all_serve()
        slow: set[str] = set()
        before = self.timing.settle
        while before + time.monotonic() - began < self._plan.size.settle_seconds:
            unsettled = [*await books.unsettled(), *await books.unpaid(bank.paid)]
            if not unsettled:
                break
            if time.monotonic() - said > _PROGRESS:
                said = time.monotonic()
                slow = set(unsettled)
                self._say(f"{len(unsettled)} on their way: {', '.join(unsettled[:3])}")
            await asyncio.sleep(0.5)
        self.timing.settle += time.monotonic() - began
        # What ended last is what one wants to know more about, right or wrong.
        await keep_histories(stack.system.temporal, sorted(slow), self._folder)


def _defects(log: Path) -> list[str]:
    lines = log.read_text(errors="replace").splitlines()
    return [line[:400] for line in lines if any(word in line for word in _DEFECTS)]
