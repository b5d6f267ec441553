"""A subscription takes a bill back: the payer may be faster, and the bank may say no or nothing at all."""

import pytest

from domain.bank import Verdict
from domain.subscription import Phase
from kaspi.errors import KaspiError, KaspiOutcomeUnknown, KaspiRefused
from tests.support.waiting import until
from tests.workflows.subscription_stage import NewSubscription, StagedSubscription
from workflows.asking_bank import CANCEL_TRIES
from workflows.subscription_messages import (
    Act,
    BillSubscriptionNow,
    CancelSubscription,
    SkipSubscriptionPeriod,
)

NO = KaspiRefused("remote/cancel", "not_cancelable")
SILENCE = KaspiOutcomeUnknown("remote/cancel", "timeout")


async def live(new_subscription: NewSubscription) -> tuple[StagedSubscription, str, int]:
    """A live subscription, the bill that is out, and its payment at the bank."""
    one = await new_subscription(real_time=True, is_sandbox=False)
    bill = await one.live_bill()
    return one, bill, await payment_of(one, bill)


async def payment_of(one: StagedSubscription, bill: str) -> int:
    payment = (await one.shop.invoice(bill)).bank_payment_id
    assert payment is not None
    return payment


async def until_asked(one: StagedSubscription, payment: int) -> None:
    """Returns when the bank has said all its noes."""

    async def asked() -> bool:
        return not one.stage.bank.cancels[payment]

    await until(asked, "the bank to be asked")


async def until_received(one: StagedSubscription, count: int) -> list[tuple[str, str | None]]:
    """What the merchant's receiver was told of the subscription, in order, and how a payment came."""

    async def look() -> list[tuple[str, str | None]] | None:
        bodies = [body for body in one.stage.receivers.got[one.shop.id] if body["data"]["object"]["id"] == one.id]
        told = [(body["type"].removeprefix("subscription."), body["data"]["period"]["paid"]) for body in bodies]
        return told if len(told) >= count else None

    found = await until(look, f"{count} webhooks")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("act", "state", "told"),
    [
        (CancelSubscription(), "canceled", [("canceled", None), ("payment_succeeded", None)]),
        (SkipSubscriptionPeriod(), "active", [("payment_succeeded", None)]),
    ],
    ids=["cancel", "skip"],
)
async def test_who_pays_before_the_bank_withdraws_has_paid_the_period(
    act: Act, state: str, told: list[tuple[str, str | None]], new_subscription: NewSubscription
) -> None:
    one, _, payment = await live(new_subscription)
    one.stage.bank.cancels[payment].append(NO)
    one.stage.bank.words[payment] = Verdict.PAID
    await one.act(act)
    await one.until_period(1, "paid")
    assert await one.bills() == [(1, 1, "paid")]
    assert (await one.row()).state == state
    assert await until_received(one, len(told)) == told


@pytest.mark.parametrize("problem", [NO, SILENCE], ids=["refuses", "silent"])
async def test_a_bill_the_bank_keeps_is_canceled_by_the_merchant(
    problem: KaspiError, new_subscription: NewSubscription
) -> None:
    one, bill, payment = await live(new_subscription)
    one.stage.bank.cancels[payment].extend([problem] * CANCEL_TRIES)
    await one.act(CancelSubscription())
    await until_asked(one, payment)
    open_ = await one.until_open(lambda open_: open_.phase is Phase.WITHDRAWING, "the withdrawal")
    assert open_.withdraw
    assert (await one.row()).state == "canceled"
    assert (await one.bills(), await one.told()) == ([(1, 1, "pending")], ["canceled"])
    await one.stage.engine.cancel(bill, wait=20, asked_by="key_1")
    await one.until_over()
    assert await one.bills() == [(1, 1, "canceled")]
    assert await one.periods() == [(1, "skipped", "canceled")]
    assert await until_received(one, 2) == [("canceled", None), ("period_skipped", None)]


async def test_a_bill_the_bank_does_not_withdraw_can_still_be_paid(new_subscription: NewSubscription) -> None:
    one, bill, payment = await live(new_subscription)
    one.stage.bank.cancels[payment].extend([NO] * CANCEL_TRIES)
    await one.act(CancelSubscription())
    await until_asked(one, payment)
    await one.bank_says(Verdict.PAID, bill)
    await one.until_over()
    assert await one.periods() == [(1, "paid", None)]
    assert (await one.row()).state == "canceled"
    assert await until_received(one, 2) == [("canceled", None), ("payment_succeeded", None)]


async def test_a_withdrawal_is_asked_for_again_by_a_run_that_begins_from_the_books(
    new_subscription: NewSubscription,
) -> None:
    one, _, payment = await live(new_subscription)
    one.stage.bank.cancels[payment].extend([SILENCE] * CANCEL_TRIES)
    await one.act(CancelSubscription())
    await until_asked(one, payment)
    await one.handle.terminate("lost")
    await one.stage.engine.resume_subscription(one.ref)
    await one.until_over()
    assert await one.bills() == [(1, 1, "canceled")]
    assert await one.told() == ["canceled", "period_skipped"]


async def test_a_period_that_is_paid_twice_because_the_bank_was_too_late_is_told_so(
    new_subscription: NewSubscription,
) -> None:
    one, first, _ = await live(new_subscription)
    await one.bank_says(Verdict.REJECTED, first)
    await one.until_state("past_due")
    await one.act(BillSubscriptionNow())
    second = await payment_of(one, await one.live_bill())
    one.stage.bank.cancels[second].append(NO)
    one.stage.bank.words[second] = Verdict.PAID
    await one.bank_says(Verdict.PAID, first)
    told = [("payment_failed", None), ("payment_succeeded", "late"), ("payment_succeeded", "twice")]
    assert await until_received(one, 3) == told
    assert await one.bills() == [(1, 1, "paid"), (1, 2, "paid")]
    assert await one.periods() == [(1, "paid", None)]
    assert (await one.row()).state == "active"
