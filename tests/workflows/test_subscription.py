"""A subscription in real time: bills, news, actions, and what happens when its workflow or its workers are lost."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import text
from temporalio.client import WorkflowExecutionStatus

from db.engine import as_merchant
from domain.bank import BankFact, Verdict
from domain.billing_calendar import BillingPeriod, Plan
from domain.errors import Code, TolemError
from domain.invoice import State as InvoiceState
from domain.subscription import ChargeRef, Dunning, MissedPolicy
from domain.subscription_record import Asked, NewTerms
from kaspi.errors import KaspiMisconfigured, KaspiOutcomeUnknown, KaspiRefused
from tests.db.books import issued
from tests.support.waiting import until
from tests.workflows.subscription_stage import (
    AMOUNT,
    NewSubscription,
    StagedSubscription,
    SubscriptionStage,
)
from workflows.subscription_messages import (
    Act,
    BillSubscriptionNow,
    CancelSubscription,
    ChangeSubscription,
    PauseSubscription,
    ResumeSubscription,
    SkipSubscriptionPeriod,
)

DAILY = Plan(period=BillingPeriod.DAILY)


async def refused(one: StagedSubscription, act: Act, code: Code) -> None:
    with pytest.raises(TolemError) as problem:
        await one.act(act)
    assert problem.value.code is code


async def test_a_due_period_is_billed_and_paid(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True)
    await one.payer(Verdict.PAID)
    await one.until_period(1, "paid")
    assert await one.bills() == [(1, 1, "paid")]
    assert await one.told() == ["payment_succeeded"]
    assert (await one.row()).invoice_id is None


async def test_opening_again_joins(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True)
    await one.open()
    with pytest.raises(TolemError) as problem:
        await one.open(fingerprint="another body")
    assert problem.value.code is Code.IDEMPOTENCY_KEY_REUSED
    await one.live_bill()
    assert await one.bills() == [(1, 1, "pending")]


async def test_a_refusal_of_the_books_reaches_who_asked(new_subscription: NewSubscription) -> None:
    with pytest.raises(TolemError) as problem:
        await new_subscription(real_time=True, test_clock_id="clk_nobodys")
    assert problem.value.code is Code.NOT_FOUND


async def test_a_declined_bill_is_past_due_and_billed_again_now(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True)
    await one.payer(Verdict.REJECTED)
    await one.until_state("past_due")
    await one.act(BillSubscriptionNow())
    await refused(one, BillSubscriptionNow(), Code.CHARGE_IN_FLIGHT)
    await one.payer(Verdict.PAID)
    await one.until_state("active")
    assert await one.bills() == [(1, 1, "canceled"), (1, 2, "paid")]
    assert await one.told() == ["payment_failed", "payment_succeeded"]


async def test_late_money_for_an_earlier_bill_withdraws_the_later(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True)
    first = await one.live_bill()
    await one.payer(Verdict.EXPIRED)
    await one.until_state("past_due")
    await one.act(BillSubscriptionNow())
    await one.live_bill()
    await late_money(one, first)
    await one.until_period(1, "paid")

    async def withdrawn() -> bool:
        return await one.bills() == [(1, 1, "paid"), (1, 2, "canceled")]

    await until(withdrawn, "the second bill to be withdrawn")
    assert await one.told() == ["payment_failed", "payment_succeeded"]


async def late_money(one: StagedSubscription, invoice_id: str) -> None:
    """The payer pays a bill that was closed; its story is over, and is begun again as the poller would."""
    order = await one.stage.books.watches.order(one.shop.id, invoice_id)
    fact = BankFact(word="late", verdict=Verdict.PAID, seen_at=datetime.now(UTC))
    await one.stage.engine.resume(order, fact)


async def test_late_money_brings_back_an_expired_subscription(new_subscription: NewSubscription) -> None:
    dunning = Dunning(max_retry_attempts=0, grace_period_days=0)
    one = await new_subscription(real_time=True, dunning=dunning)
    bill = await one.live_bill()
    await one.payer(Verdict.EXPIRED)
    await one.until_state("expired")
    await one.until_over()
    await late_money(one, bill)
    await one.until_state("active")
    assert await one.periods() == [(1, "paid", None)]
    assert await one.told() == ["payment_failed", "expired", "payment_succeeded"]
    assert (await one.handle.describe()).status is WorkflowExecutionStatus.RUNNING


async def test_a_bank_that_is_not_connected_burns_nothing(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True, is_sandbox=False)
    await one.live_bill()
    assert (await one.row()).standing.open is not None


@pytest.mark.parametrize(
    ("problem", "state", "attempts", "faults"),
    [
        (KaspiMisconfigured("remote/create", "wrong_key"), "active", 0, 1),
        (KaspiRefused("remote/create", "no_such_phone"), "past_due", 1, 0),
    ],
    ids=["misconfigured", "refused"],
)
async def test_what_a_bank_says_no_to(
    problem: Exception,
    state: str,
    attempts: int,
    faults: int,
    new_subscription: NewSubscription,
    subscription_stage: SubscriptionStage,
) -> None:
    one = await new_subscription(real_time=True, is_sandbox=False, started_at=datetime.now(UTC) + timedelta(days=1))
    subscription_stage.bank.creates[one.shop.id].append(problem)
    await one.act(BillSubscriptionNow())

    async def heard() -> bool:
        open_ = (await one.row()).standing.open
        return open_ is not None and (open_.attempts, open_.faults) == (attempts, faults)

    await until(heard, "the bank's no")
    assert (await one.row()).state == state
    assert [bill[2] for bill in await one.bills()] == ["failed"]


async def test_an_unknown_outcome_waits(
    new_subscription: NewSubscription, subscription_stage: SubscriptionStage
) -> None:
    one = await new_subscription(real_time=True, is_sandbox=False, started_at=datetime.now(UTC) + timedelta(days=1))
    subscription_stage.bank.creates[one.shop.id].append(KaspiOutcomeUnknown("remote/create", "timeout"))
    await one.act(BillSubscriptionNow())
    await until_unknown(one, True)
    await refused(one, BillSubscriptionNow(), Code.CHARGE_IN_FLIGHT)
    assert await one.bills() == [(1, 1, "processing")]


async def test_a_doubt_ends_where_the_bill_is_found(
    new_subscription: NewSubscription, subscription_stage: SubscriptionStage
) -> None:
    one = await new_subscription(real_time=True, is_sandbox=False, started_at=datetime.now(UTC) + timedelta(days=1))
    subscription_stage.bank.creates[one.shop.id].append(KaspiOutcomeUnknown("remote/create", "timeout"))
    await one.act(BillSubscriptionNow())
    await until_unknown(one, True)
    (bill,) = await one.stage.books.fetch("select id from invoices where subscription_id = :id", id=one.id)
    found = msgspec.structs.replace(issued(), deadline=datetime.now(UTC) + timedelta(days=30))
    await one.shop.book(bill["id"], "adopted", InvoiceState.PENDING, issued=found, clear_attention=True)
    await one.stage.engine.resume_invoice(await one.stage.books.watches.order(one.shop.id, bill["id"]))
    await until_unknown(one, False)


async def until_unknown(one: StagedSubscription, expected: object) -> None:
    async def so() -> bool:
        open_ = (await one.row()).standing.open
        return open_ is not None and open_.unknown is expected

    await until(so, f"the outcome to be unknown: {expected}")


async def test_pause_and_resume(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True, started_at=datetime.now(UTC) + timedelta(days=3))
    await refused(one, ResumeSubscription(), Code.SUBSCRIPTION_NOT_PAUSED)
    await one.act(PauseSubscription())
    await refused(one, PauseSubscription(), Code.SUBSCRIPTION_PAUSED)
    assert (await one.row()).next_billing_at is None
    await one.act(ResumeSubscription())
    row = await one.row()
    assert (row.state, row.next_billing_at) == ("active", row.started_at)
    assert await one.told() == ["paused", "resumed"]


async def test_a_canceled_one_takes_its_bill_back(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True)
    await one.live_bill()
    await one.act(CancelSubscription())
    await one.until_over()
    assert await one.bills() == [(1, 1, "canceled")]
    assert await one.periods() == [(1, "skipped", "canceled")]
    assert await one.told() == ["canceled", "period_skipped"]
    await refused(one, PauseSubscription(), Code.SUBSCRIPTION_CLOSED)


async def test_a_period_is_skipped_with_its_bill(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True)
    await one.live_bill()
    await one.act(SkipSubscriptionPeriod())
    await one.until_period(1, "skipped")
    assert await one.bills() == [(1, 1, "canceled")]
    await one.act(SkipSubscriptionPeriod())
    assert await one.periods() == [(1, "skipped", "merchant"), (2, "skipped", "merchant")]


async def test_a_merchant_who_cancels_the_bill_gives_up_the_period(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True)
    await one.stage.engine.cancel(await one.live_bill(), wait=20, asked_by="key_1")
    await one.until_period(1, "skipped")
    assert (await one.row()).state == "active"


async def test_a_change_holds_from_the_next_bill(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True)
    await one.live_bill()
    await one.act(
        ChangeSubscription(terms=NewTerms(amount=AMOUNT * 2), metadata={"a": "b"}, plan=Plan(day=1), at_once=False)
    )
    await one.payer(Verdict.PAID)
    await one.until_period(1, "paid")
    await one.act(BillSubscriptionNow())
    second = await one.live_bill()
    assert (await one.shop.invoice(second)).amount == AMOUNT * 2
    row = await one.row()
    assert (row.amount, row.metadata, row.billing_day) == (AMOUNT * 2, {"a": "b"}, 1)
    await refused(one, ChangeSubscription(plan=Plan(period=BillingPeriod.WEEKLY, day=9)), Code.INVALID_REQUEST)


async def test_a_key_acts_once_whatever_it_is_asked(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True, started_at=datetime.now(UTC) + timedelta(days=3))
    asked = Asked(
        asked_by="key_1", request_id="r", operation="subscriptions.skip", idempotency_key="k", fingerprint="f"
    )
    first = await one.act(SkipSubscriptionPeriod(asked=asked))
    again = await one.act(SkipSubscriptionPeriod(asked=asked))
    assert again.version == first.version
    assert await one.periods() == [(1, "skipped", "merchant")]


async def test_the_next_date_comes_by_itself(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True, plan=DAILY)
    await one.payer(Verdict.PAID)
    await one.until_period(1, "paid")
    # A clock does not move while a bill is out, so the skip ends when that one has.
    skipping = asyncio.create_task(one.skip(timedelta(days=1, minutes=1)))
    await one.until_period(2, "billing")
    await one.payer(Verdict.PAID)
    await one.until_period(2, "paid")
    await skipping


async def test_a_lost_workflow_begins_again_from_the_books(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True, dunning=Dunning(max_retry_attempts=2))
    await one.payer(Verdict.REJECTED)
    await one.until_state("past_due")
    await one.act(BillSubscriptionNow())
    bill = await one.live_bill()
    await one.handle.terminate("lost")
    await one.payer(Verdict.PAID, bill)  # its story begins the subscription's again
    await one.until_period(1, "paid")
    assert (await one.handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await one.handle.terminate("lost again")
    await one.act(BillSubscriptionNow())  # so does an action
    await one.payer(Verdict.PAID)
    await one.until_period(2, "paid")
    assert await one.bills() == [(1, 1, "canceled"), (1, 2, "paid"), (2, 1, "paid")]


async def test_a_bill_whose_news_nobody_brought_is_found_by_looking(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True)
    bill = await one.live_bill()
    await one.handle.terminate("lost")
    handle = one.stage.client.get_workflow_handle(f"invoice-{bill}")
    await handle.terminate("lost, too")
    await one.shop.book(bill, "paid", InvoiceState.PAID)
    await one.stage.engine.resume_subscription(one.ref)
    await one.until_period(1, "paid")


async def test_a_forged_signal_changes_nothing(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True)
    await one.live_bill()
    version = (await one.row()).version
    await one.stage.engine.bill_changed(one.ref, ChargeRef(number=7, charge=1))
    await one.stage.engine.bill_changed(one.ref, ChargeRef(number=1, charge=1))
    await one.act(ChangeSubscription(metadata={"after": "them"}))
    assert (await one.row()).version == version + 1


async def test_a_window_that_was_missed_burns_nothing(
    new_subscription: NewSubscription, subscription_stage: SubscriptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await new_subscription(real_time=True, started_at=datetime.now(UTC) + timedelta(days=1))
    times = subscription_stage.bills._times
    monkeypatch.setattr(subscription_stage.bills, "_times", msgspec.structs.replace(times, window=-1))
    await one.act(BillSubscriptionNow())

    async def faulted() -> bool:
        open_ = (await one.row()).standing.open
        return open_ is not None and (open_.faults, open_.attempts) == (1, 0)

    await until(faulted, "the fault")
    assert await one.bills() == []
    monkeypatch.undo()
    await one.act(BillSubscriptionNow())
    await one.live_bill()
    assert await one.bills() == [(1, 2, "pending")]


@pytest.mark.parametrize(
    ("policy", "last", "bills"),
    [(MissedPolicy.NEWEST, (4, "billing", None), 1), (MissedPolicy.NONE, (4, "skipped", "outage"), 0)],
)
async def test_three_missed_periods_make_no_burst(
    policy: MissedPolicy, last: tuple[int, str, str | None], bills: int, new_subscription: NewSubscription
) -> None:
    began = datetime.now(UTC) - timedelta(days=3, hours=12)
    one = await new_subscription(real_time=True, plan=DAILY, started_at=began, dunning=Dunning(missed=policy))
    await one.until_period(*last[:2])
    assert await one.periods() == [(number, "skipped", "outage") for number in (1, 2, 3)] + [last]
    if bills:
        await one.live_bill()
    assert len(await one.bills()) == bills
    row = await one.row()
    assert row.next_billing_at is not None
    assert row.next_billing_at > datetime.now(UTC)
    assert await one.told() == ["period_skipped"]


_SHIFT = text("update subscriptions set standing = cast(:standing as jsonb), version = version + 1 where id = :id")


@pytest.mark.parametrize(
    ("policy", "last", "bills"),
    [(MissedPolicy.NEWEST, (5, "billing", None), 2), (MissedPolicy.NONE, (5, "skipped", "outage"), 1)],
)
async def test_away_over_three_periods_in_the_midst_of_its_life(
    policy: MissedPolicy, last: tuple[int, str, str | None], bills: int, new_subscription: NewSubscription
) -> None:
    one = await new_subscription(real_time=True, plan=DAILY, dunning=Dunning(missed=policy))
    await one.payer(Verdict.PAID)
    await one.until_period(1, "paid")
    await one.handle.terminate("everything is down")
    # The stage's time cannot pass while nothing runs; so the books tell of four days ago.
    stood = (await one.row()).standing
    calendar = msgspec.structs.replace(stood.calendar, anchor=stood.calendar.anchor - timedelta(days=4))
    assert stood.last_due is not None
    then = msgspec.structs.replace(stood, calendar=calendar, last_due=stood.last_due - timedelta(days=4))
    shifted = {"standing": msgspec.json.encode(then).decode(), "id": one.id}
    async with as_merchant(one.stage.books.app, one.shop.id) as connection:
        await connection.execute(_SHIFT, shifted)
    await one.stage.engine.resume_subscription(one.ref)
    await one.until_period(*last[:2])
    skipped = [(number, "skipped", "outage") for number in (2, 3, 4)]
    assert await one.periods() == [(1, "paid", None), *skipped, last]
    if last[1] == "billing":
        await one.live_bill()
    assert len(await one.bills()) == bills
    row = await one.row()
    assert row.next_billing_at is not None
    assert row.next_billing_at > datetime.now(UTC)
    assert await one.told() == ["payment_succeeded", "period_skipped"]


async def test_a_run_with_a_long_history_gives_way_to_a_fresh_one(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True, started_at=datetime.now(UTC) + timedelta(days=30))
    first = (await one.handle.describe()).run_id
    for number in range(20):  # the stage suggests a fresh run after 60 events
        await one.act(ChangeSubscription(metadata={"n": str(number)}))

    async def fresh() -> bool:
        return (await one.handle.describe()).run_id != first

    await until(fresh, "a fresh run")
    await one.act(PauseSubscription())
    row = await one.row()
    assert (row.state, row.metadata, row.version) == ("paused", {"n": "19"}, 21)
