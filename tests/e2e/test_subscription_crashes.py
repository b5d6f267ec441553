"""Parts die by SIGKILL around a billing moment; the bank's ledger is the judge: no period twice, none lost."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from domain.billing_calendar import BillingPeriod, Plan
from domain.errors import Code, TolemError
from domain.ids import SUBSCRIPTION, new_id
from domain.subscription_record import NewTerms, OpenSubscription, SubscriptionRef
from runtime import settings as conf
from runtime.task_queues import TaskQueues
from runtime.temporal import connect
from tests.support.emulator import EmulatorAdmin
from tests.support.shop import Shop, fresh_phone
from tests.support.stack import Stack
from tests.support.waiting import until
from workflows.client import Engine, EngineAway
from workflows.subscription_messages import Act, BillSubscriptionNow, CancelSubscription, SkipSubscriptionPeriod

pytestmark = [pytest.mark.stack, pytest.mark.long]

AT_ONCE = 5


@pytest.fixture
async def temporal(stack: Stack) -> Client:
    settings = conf.load(conf.Temporal, conf.Keys, environ=stack.system.operator_environment())
    return await connect(settings[conf.Temporal], settings[conf.Keys].payload)


@pytest.fixture
def engine(temporal: Client) -> Engine:
    return Engine(temporal, TaskQueues())


class Subscribers:
    """Live subscriptions of one shop, due as soon as they are made."""

    def __init__(self, shop: Shop, engine: Engine) -> None:
        self.shop, self._engine = shop, engine
        self.ids: list[str] = []
        self.phones: list[str] = []

    async def open(self) -> None:
        orders = [self._order() for _ in range(AT_ONCE)]
        self.ids = [order.subscription_id for order in orders]
        self.phones = [order.phone for order in orders]
        await asyncio.gather(*map(self._opened, orders))

    async def _opened(self, order: OpenSubscription) -> None:
        """The same wish again until it is heard, as the one who repeats with his key: the part he asked may be dead."""

        async def heard() -> bool:
            try:
                await self._engine.open_subscription(order, wait=10)
            except EngineAway:
                return False
            return True

        await until(heard, "the engine")

    def _order(self) -> OpenSubscription:
        return OpenSubscription(
            subscription_id=new_id(SUBSCRIPTION),
            merchant_id=self.shop.merchant_id,
            is_sandbox=False,
            phone=fresh_phone(),
            terms=NewTerms(amount=150_000),
            open_before=datetime.now(UTC) + timedelta(minutes=10),
            fingerprint="f",
            operation="subscriptions",
            request_id="req_1",
            plan=Plan(period=BillingPeriod.MONTHLY),
        )

    async def rows(self, query: str) -> list[dict[str, Any]]:
        async with self.shop.pool.connect() as connection:
            found = await connection.execute(text(query), {"ids": self.ids})
            return [dict(row) for row in found.mappings()]

    async def counted(self, query: str) -> int:
        counting = f"select count(*) as n from {query}"  # noqa: S608 -- this file's own words
        return int((await self.rows(counting))[0]["n"])

    async def until_counted(self, what: str, query: str) -> None:
        async def all_of_them() -> bool:
            return await self.counted(query) >= AT_ONCE

        await until(all_of_them, what)

    async def check_the_bank(self, *, bills: int) -> None:
        """Each payer has this many bills at the bank: one less only where we say that we do not know of the last.

        A worker that dies between its claim and its call leaves the bank without the bill, and us without a way to
        tell that from a lost answer: the invoice stands in attention and is never sent again.
        """
        unsure = await self.rows(
            "select s.phone, count(*) filter (where i.attention is not null) as unknown"
            " from subscriptions s join invoices i on i.subscription_id = s.id where s.id = any(:ids) group by s.phone"
        )
        unknown = {row["phone"]: row["unknown"] for row in unsure}
        bought = {phone: len(await self.shop.purchases(phone=phone)) for phone in self.phones}
        wrong = {phone: n for phone, n in bought.items() if not bills - min(unknown[phone], 1) <= n <= bills}
        assert not wrong, f"bills at the bank {wrong}, unknown to us {unknown}"

    async def act(self, act: Act) -> None:
        """The same action upon each, however often it takes to be heard."""

        async def ask(subscription_id: str) -> None:
            ref = SubscriptionRef(merchant_id=self.shop.merchant_id, subscription_id=subscription_id, is_sandbox=False)

            async def heard() -> bool:
                try:
                    await self._engine.act_on_subscription(ref, act, wait=5, update_id=type(act).__name__)
                except EngineAway:
                    return False
                except TolemError as error:
                    # Heard, and nobody got the answer: a run that begins after the end knows no ids of updates.
                    return error.code is Code.SUBSCRIPTION_CLOSED
                return True

            await until(heard, "the engine")

        await asyncio.gather(*(ask(one) for one in self.ids))

    async def told(self) -> dict[str, list[str]]:
        """The events of each, in their order."""
        found = await self.rows(
            "select object_id, array_agg(substr(type, 14) order by sequence) as told from events"
            " where object_id = any(:ids) group by object_id"
        )
        return {row["object_id"]: row["told"] for row in found}

    async def bank_words(self) -> list[str]:
        """What the bank says of all their bills."""
        return [one["status"] for phone in self.phones for one in await self.shop.purchases(phone=phone)]

    async def pay_at_the_bank(self) -> list[str]:
        """Every payer pays the bill that is out; the invoices."""
        bills = await self.rows(
            "select id, cast(bank_payment_id as text) as kaspi_invoice_id from invoices"
            " where subscription_id = any(:ids) and state = 'pending'"
        )
        assert len(bills) == AT_ONCE
        for bill in bills:
            await self.shop.pay(bill)
        return [bill["id"] for bill in bills]

    async def pay_everything(self) -> None:
        """The same, and our books know it."""
        for invoice_id in await self.pay_at_the_bank():
            await self.shop.until_state(invoice_id, "paid")


RECORDED = "subscriptions where id = any(:ids)"
DECIDED = "subscription_periods where subscription_id = any(:ids) and state = 'billing'"
ISSUED = "invoices where subscription_id = any(:ids) and state = 'pending'"
KNOWN = "invoices where subscription_id = any(:ids) and (state = 'pending' or attention is not null)"
PERIODS = "subscription_periods where subscription_id = any(:ids)"
BILLS = "invoices where subscription_id = any(:ids)"
PAID = "subscription_periods where subscription_id = any(:ids) and state = 'paid'"


async def _killed(stack: Stack, part: str) -> None:
    await stack.kill9(part)
    await stack.start_part(part)


@pytest.mark.parametrize("part", ["worker", "temporal", "postgres"])
@pytest.mark.parametrize("moment", [RECORDED, DECIDED, ISSUED], ids=["recorded", "decided", "issued"])
async def test_a_death_around_the_billing_moment_bills_each_period_once(
    shop: Shop, engine: Engine, part: str, moment: str
) -> None:
    them = Subscribers(shop, engine)
    opening = asyncio.create_task(them.open())
    await until(_begun(them, moment), "the moment")
    await _killed(shop.stack, part)
    await opening
    # What a killed worker had sent and not booked is unknown to everybody, and must not be sent again.
    await them.until_counted("every bill to have an outcome", KNOWN)
    await them.check_the_bank(bills=1)
    assert await them.counted("subscription_periods where subscription_id = any(:ids)") == AT_ONCE
    assert await them.counted("invoices where subscription_id = any(:ids)") == AT_ONCE


async def test_payments_and_the_next_period_survive_deaths(shop: Shop, engine: Engine) -> None:
    them = Subscribers(shop, engine)
    await them.open()
    await them.until_counted("the bills", ISSUED)
    await asyncio.gather(them.pay_everything(), _killed(shop.stack, "worker"))
    await them.until_counted("the payments to be heard", PAID)
    asked = asyncio.create_task(them.act(BillSubscriptionNow()))
    await _killed(shop.stack, "worker")
    await asked
    await them.until_counted("the next bills", KNOWN)
    await them.check_the_bank(bills=2)
    told = await them.rows(
        "select object_id, count(*) as times from events where object_id = any(:ids)"
        " and type = 'subscription.payment_succeeded' group by object_id"
    )
    assert [row["times"] for row in told] == [1] * AT_ONCE


WITHDRAWN = "subscriptions s where s.id = any(:ids) and s.standing -> 'open' is null"


CANCELED = (CancelSubscription(), "canceled", "canceled", ["canceled", "period_skipped"])
SKIPPED = (SkipSubscriptionPeriod(), "active", "merchant", ["period_skipped"])


@pytest.mark.parametrize(
    ("part", "act", "state", "reason", "told"),
    [("worker", *CANCELED), ("worker", *SKIPPED), ("temporal", *CANCELED), ("postgres", *SKIPPED)],
    ids=["worker-cancel", "worker-skip", "temporal-cancel", "postgres-skip"],
)
async def test_a_death_in_the_midst_of_a_withdrawal_ends_with_every_bill_withdrawn(
    shop: Shop, engine: Engine, bank: EmulatorAdmin, part: str, act: Act, state: str, reason: str, told: list[str]
) -> None:
    them = Subscribers(shop, engine)
    await them.open()
    await them.until_counted("the bills", ISSUED)
    await bank.fault("remote/cancel", "delay", times=None, delay_ms=2000)
    asked = asyncio.create_task(them.act(act))
    await bank.until_hit()
    await _killed(shop.stack, part)
    await bank.clear_faults()
    await asked
    await them.until_counted("the withdrawals", WITHDRAWN)
    assert await them.bank_words() == ["RemotePaymentCanceled"] * AT_ONCE
    ended = f"subscription_periods where subscription_id = any(:ids) and state = 'skipped' and reason = '{reason}'"
    assert await them.counted(ended) == await them.counted(PERIODS) == AT_ONCE
    assert await them.counted(f"subscriptions where id = any(:ids) and state = '{state}'") == AT_ONCE
    assert await them.counted(BILLS) == AT_ONCE
    assert await them.told() == dict.fromkeys(them.ids, told)


async def test_who_pays_while_a_killed_worker_was_withdrawing_has_paid(
    shop: Shop, engine: Engine, bank: EmulatorAdmin
) -> None:
    them = Subscribers(shop, engine)
    await them.open()
    await them.until_counted("the bills", ISSUED)
    await bank.fault("remote/cancel", "drop_before", times=None, delay_ms=4000)
    asked = asyncio.create_task(them.act(CancelSubscription()))
    await bank.until_hit(AT_ONCE)
    await shop.stack.kill9("worker")
    await them.pay_at_the_bank()
    await bank.clear_faults()
    await shop.stack.start_part("worker")
    await asked
    await them.until_counted("the payments to be heard", PAID)
    assert await them.bank_words() == ["Processed"] * AT_ONCE
    assert await them.counted(PERIODS) == await them.counted(BILLS) == AT_ONCE
    assert await them.told() == {one: ["canceled", "payment_succeeded"] for one in them.ids}


def _begun(them: Subscribers, moment: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return bool(them.ids) and await them.counted(moment) > 0

    return look
