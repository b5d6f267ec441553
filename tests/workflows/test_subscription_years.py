"""Ten years under a skipped clock, with pauses, changes, failures and restarts; judged by an independent calendar.

The daily one is many bills: `DAILY_DAYS` says how many days of it (3653 are ten years, some 12 minutes),
`YEARS_SEED` which of all the histories. Neither begins with TOLEM_: a whole system refuses settings it doesn't know.
"""

import os
import random
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice

import pytest
from temporalio.client import Client

from dev.postgres import Database
from dev.temporal import TemporalServer
from domain.billing_calendar import BillingPeriod, Plan
from domain.ids import SUBSCRIPTION, new_id
from domain.subscription import Dunning
from domain.subscription_record import NewTerms, PayerAct
from runtime.task_queues import TaskQueues
from runtime.temporal import data_converter
from tests.db.books import Books
from tests.domain.billing_days import utc, walk, yearly_on_29_february
from tests.replay.keyring import RING
from tests.workflows.subscription_stage import AMOUNT, StagedSubscription, SubscriptionStage, on_a_clock
from workflows.subscription_messages import ChangeSubscription, PauseSubscription, ResumeSubscription

pytestmark = pytest.mark.long

DAILY_DAYS = int(os.environ.get("DAILY_DAYS", "30"))
EVENTS_OF_A_RUN = 2000
NOON = time(12, 30)


def moody(dice: random.Random, bills: int) -> list[PayerAct]:
    """Pays mostly, and never fails so often in a row that the subscription would end."""
    acts: list[PayerAct] = []
    for _ in range(bills):
        failing = acts[-2:] and all(act is not PayerAct.PAYS for act in acts[-2:])
        acts.append(
            PayerAct.PAYS if failing or dice.random() < 0.85 else dice.choice([PayerAct.IGNORES, PayerAct.DECLINES])
        )
    return [*acts, PayerAct.PAYS]


async def live(
    one: StagedSubscription, stage: SubscriptionStage, until: datetime, dice: random.Random, stride: int
) -> Counter[str]:
    """To the end of its time, in steps with a restart of every worker between them."""
    done = Counter[str]()
    clock, paused = (await one.row()).clock_at, False
    assert clock is not None
    while clock < until:
        # Without the sandbox, as worker.py ships: the other tests have it, and here are many bills.
        async with stage.working(sandboxed=False):
            for _ in range(3):
                act = dice.choice(["pause", "change", "go on", "go on"])
                if paused:
                    await one.act(ResumeSubscription())
                    paused = False
                elif act == "pause":
                    await one.act(PauseSubscription())
                    paused = True
                elif act == "change":
                    terms = NewTerms(amount=AMOUNT + dice.randrange(AMOUNT))
                    await one.act(ChangeSubscription(terms=terms, at_once=dice.random() < 0.5))
                done[act] += 1
                clock = min(until, clock + timedelta(days=dice.randrange(1, stride), minutes=dice.randrange(1440)))
                await one.advance(clock)
        done["restarts"] += 1
    return done


@pytest.mark.timeout(600 + DAILY_DAYS)  # seconds; a busy machine needs some minutes
@pytest.mark.parametrize("kind", ["monthly on the 31st", "yearly on 29 February", "daily"])
async def test_ten_years(kind: str, temporal_server: TemporalServer, postgres: Database) -> None:
    seed = int(os.environ.get("YEARS_SEED", "20261122"))
    dice = random.Random(f"{kind}{seed}")
    start = datetime(2027, 12, 31, 20, tzinfo=UTC)
    plan, days, stride = {
        "monthly on the 31st": (Plan(day=31, at=NOON), 3653, 400),
        "yearly on 29 February": (Plan(period=BillingPeriod.YEARLY, day=29, at=NOON), 3653, 800),
        "daily": (Plan(period=BillingPeriod.DAILY, at=NOON), DAILY_DAYS, 12),
    }[kind]
    if kind == "yearly on 29 February":
        start = utc(date(2028, 2, 29), time(0))
    books = Books(postgres)
    client = await Client.connect(temporal_server.address, data_converter=data_converter(RING))
    rig = SubscriptionStage(client, books, TaskQueues(f"{kind.split(maxsplit=1)[0]}-years"))
    one = await on_a_clock(
        rig,
        new_id(SUBSCRIPTION),
        starts=start,
        plan=plan,
        payer=moody(dice, min(days, 400)),
        dunning=Dunning(max_retry_attempts=3, grace_period_days=5),
    )
    async with rig.working(sandboxed=False):
        await one.open()
    until = start + timedelta(days=days)
    done = await live(one, rig, until, dice, stride)
    assert done["restarts"] > 1

    periods, dues = await one.periods(), await one.dues()
    model = (
        yearly_on_29_february(2028, NOON)
        if kind == "yearly on 29 February"
        else walk(plan.period.value, plan.day or 0, NOON, start)
    )
    assert dues == list(islice(model, len(dues)))
    assert [number for number, _, _ in periods] == list(range(1, len(periods) + 1))
    row = await one.row()
    assert row.state in {"active", "past_due", "paused"}
    # Whatever was due is decided about, but what a pause holds back and what waits behind an open period.
    assert row.standing.open is not None or row.state == "paused" or sum(due <= until for due in dues) == len(dues)
    _judge(await one.bills(), periods)
    await _histories_are_small(one)
    await _told_in_order(one)
    await books.close()


def _judge(bills: list[tuple[int, int, str]], periods: list[tuple[int, str, str | None]]) -> None:
    paid = Counter(number for number, _, state in bills if state == "paid")
    live_ = Counter(number for number, _, state in bills if state in {"processing", "pending"})
    for number, state, reason in periods:
        assert paid[number] == (state == "paid"), (number, state)
        assert live_[number] <= 1
        assert state != "skipped" or reason in {"paused", "earlier_period_open"}, (number, reason)
        assert state != "failed"
    assert {number for number, _, _ in bills} <= {number for number, _, _ in periods}
    charges = Counter((number, charge) for number, charge, _ in bills)
    assert set(charges.values()) == {1}


async def _histories_are_small(one: StagedSubscription) -> None:
    lengths = [
        run.history_length async for run in one.stage.client.list_workflows(f"WorkflowId = 'subscription-{one.id}'")
    ]
    lengths.append((await one.handle.describe()).history_length)
    assert max(lengths) <= EVENTS_OF_A_RUN, lengths


async def _told_in_order(one: StagedSubscription) -> None:
    sequences = [event["sequence"] for event in await one.shop.events(one.id)]
    assert sequences == list(range(1, len(sequences) + 1))
    received = await one.received()
    assert received == sorted(received)
