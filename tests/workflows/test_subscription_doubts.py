"""Nobody knows whether a subscription's bill exists, until an operator has looked: it goes on, and bills once."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from domain.bank import Verdict
from domain.errors import Code, TolemError
from domain.subscription import Phase
from kaspi.errors import KaspiOutcomeUnknown
from tests.support.waiting import until
from tests.workflows.subscription_stage import WAIT, NewSubscription, StagedSubscription
from workflows.invoice_messages import Resolution, Resolve
from workflows.subscription_messages import BillSubscriptionNow, CancelSubscription

_found_at_the_bank = itertools.count(8_100_000_000)


async def in_doubt(new_subscription: NewSubscription) -> tuple[StagedSubscription, str]:
    """A subscription the answer to whose first bill was lost, and that bill."""
    one = await new_subscription(real_time=True, is_sandbox=False, started_at=datetime.now(UTC) + timedelta(days=1))
    one.stage.bank.creates[one.shop.id].append(KaspiOutcomeUnknown("remote/create", "timeout"))
    await one.act(BillSubscriptionNow())
    await one.until_open(lambda open_: open_.unknown, "the doubt")
    bill = (await one.row()).invoice_id
    assert bill is not None
    return one, bill


async def settled(one: StagedSubscription, bill: str, action: Resolution) -> None:
    """As `tolem attention resolve` does it."""
    payment = next(_found_at_the_bank) if action is Resolution.BANK_PAYMENT else None
    await one.stage.engine.resolve(bill, Resolve(action=action, bank_payment_id=payment, by="aigul"), wait=WAIT)


def issued(one: StagedSubscription) -> int:
    """How many bills the bank took and answered."""
    return sum(order.merchant_id == one.shop.id for order in one.stage.bank.created)


async def until_asked_to_withdraw(one: StagedSubscription) -> None:
    """Returns when the bill's story has been asked, and has answered."""

    async def look() -> bool:
        asked: set[int] = set()
        async for event in one.handle.fetch_history_events():
            if event.activity_task_scheduled_event_attributes.activity_type.name == "subscription.withdraw":
                asked.add(event.event_id)
            if event.activity_task_completed_event_attributes.scheduled_event_id in asked:
                return True
        return False

    await until(look, "the answer to the withdrawal")


async def test_a_bill_an_operator_finds_at_the_bank_is_the_periods_bill(new_subscription: NewSubscription) -> None:
    one, bill = await in_doubt(new_subscription)
    await settled(one, bill, Resolution.BANK_PAYMENT)
    open_ = await one.until_open(lambda open_: not open_.unknown, "the doubt to be over")
    assert (open_.phase, open_.charge, open_.attempts) == (Phase.LIVE, 1, 0)
    with pytest.raises(TolemError) as refused:
        await one.act(BillSubscriptionNow())
    assert refused.value.code is Code.CHARGE_IN_FLIGHT
    await one.bank_says(Verdict.PAID, bill)
    await one.until_period(1, "paid")
    assert (await one.bills(), issued(one)) == ([(1, 1, "paid")], 0)
    assert await one.told() == ["payment_succeeded"]


async def test_a_bill_an_operator_does_not_find_is_made_again(new_subscription: NewSubscription) -> None:
    one, bill = await in_doubt(new_subscription)
    await settled(one, bill, Resolution.ABSENT)
    open_ = await one.until_open(lambda open_: open_.faults == 1, "the period to go on")
    assert (open_.phase, open_.attempts, open_.unknown) == (Phase.WAITING, 0, False)
    assert open_.at is not None
    assert await one.told() == []
    await one.act(BillSubscriptionNow())
    await one.bank_says(Verdict.PAID, await one.live_bill())
    await one.until_period(1, "paid")
    assert (await one.bills(), issued(one)) == ([(1, 1, "failed"), (1, 2, "paid")], 1)
    assert await one.told() == ["payment_succeeded"]


@pytest.mark.parametrize(
    ("action", "bill_ends"),
    [(Resolution.BANK_PAYMENT, "canceled"), (Resolution.ABSENT, "failed")],
    ids=["found", "absent"],
)
async def test_a_canceled_subscription_waits_for_the_operator_and_ends(
    action: Resolution, bill_ends: str, new_subscription: NewSubscription
) -> None:
    one, bill = await in_doubt(new_subscription)
    await one.act(CancelSubscription())
    await until_asked_to_withdraw(one)  # in vain: what nobody sees can't be withdrawn
    assert (await one.bills(), await one.told()) == ([(1, 1, "processing")], ["canceled"])
    await settled(one, bill, action)
    await one.until_over()  # a bill that was found is withdrawn at once, not when it would be asked for again
    assert await one.bills() == [(1, 1, bill_ends)]
    assert await one.periods() == [(1, "skipped", "canceled")]
    assert await one.told() == ["canceled", "period_skipped"]


async def test_what_an_operator_found_reaches_a_subscription_that_was_lost(new_subscription: NewSubscription) -> None:
    one, bill = await in_doubt(new_subscription)
    await one.handle.terminate("lost")
    await settled(one, bill, Resolution.BANK_PAYMENT)
    await one.until_open(lambda open_: not open_.unknown, "the doubt to be over")
    await one.bank_says(Verdict.PAID, bill)
    await one.until_period(1, "paid")
    assert (await one.bills(), issued(one)) == ([(1, 1, "paid")], 0)
