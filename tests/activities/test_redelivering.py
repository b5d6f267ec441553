"""A redelivery to a real receiver: the order is kept, nothing is left out, nothing is sent twice without a crash."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from temporalio.testing import ActivityEnvironment

from activities import redelivering
from activities.redelivering import Redelivering, RedeliverLimits
from db.engine import create_engine
from db.errors import DatabaseUnavailable
from db.redelivery_books import RedeliveryBooks
from domain.redelivery import Redelivery, RedeliveryKind, RedeliveryState
from runtime.secrets import SealBox
from tests.activities.mortal import Process
from tests.activities.redelivery_rig import BAD, LIMITS, Rig
from tests.activities.town import Town
from tests.support.receiver import Answer, WebhookReceiver
from webhooks.guard import EgressRules
from webhooks.lanes import Lanes
from webhooks.sender import Sender


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(EgressRules(allowed_hosts=frozenset({"127.0.0.1"})), attempt_seconds=30) as made:
        yield made


@pytest.fixture
async def rig(town: Town, box: SealBox, sender: Sender, receiver: WebhookReceiver) -> Rig:
    return Rig(town, await town.books.merchant(), box, sender, receiver)


def counts(run: Redelivery) -> tuple[RedeliveryState, int, int, int]:
    return run.state, run.found, run.delivered, run.handed_over


# --- the order


async def test_every_missing_event_arrives_once_and_in_order(rig: Rig) -> None:
    events = await rig.paid(12)
    await rig.listen()
    order = await rig.open()
    assert (await rig.run(order)).over
    assert rig.heard() == events
    assert counts(await rig.stands(order)) == (RedeliveryState.COMPLETED, 12, 12, 0)
    assert (await rig.run(order)).over
    assert rig.heard() == events


async def test_all_sends_the_delivered_ones_again_with_the_same_bytes(rig: Rig) -> None:
    await rig.paid(3)
    await rig.listen()
    await rig.run(await rig.open())
    await rig.run(await rig.open(RedeliveryKind.ALL))
    first, again = rig.receiver.requests[:3], rig.receiver.requests[3:]
    assert [one.body for one in first] == [one.body for one in again]
    assert [one.headers["webhook-id"] for one in first] == [one.headers["webhook-id"] for one in again]
    assert {(row["state"], row["attempts"]) for row in await rig.deliveries()} == {("delivered", 2)}


async def test_a_receiver_that_hiccups_gets_the_same_event_again_before_the_next(rig: Rig) -> None:
    first, second, third = await rig.paid(3)
    await rig.listen()
    rig.receiver.answer_next(Answer(), BAD, Answer(drop=True), Answer())
    order = await rig.open()
    await rig.run(order)
    assert rig.heard() == [first, second, second, second, third]
    assert counts(await rig.stands(order)) == (RedeliveryState.COMPLETED, 3, 3, 0)
    assert rig.tails.started == []


async def test_what_stays_undeliverable_goes_on_by_itself_and_costs_the_next_ones_one_attempt(rig: Rig) -> None:
    events = await rig.paid(5)
    await rig.listen()
    # The first is tried thrice, the second once, the third arrives, so the fourth has the whole patience again.
    rig.receiver.answer_next(BAD, BAD, BAD, BAD, Answer(), BAD, BAD, Answer())
    order = await rig.open()
    await rig.run(order)
    first, second, third, fourth, fifth = events
    assert rig.heard() == [first] * 3 + [second, third] + [fourth] * 3 + [fifth]
    rows = await rig.deliveries()
    assert rig.tails.started == [rows[0]["id"], rows[1]["id"]]
    assert [row["state"] for row in rows] == ["pending", "pending", "delivered", "delivered", "delivered"]
    assert counts(await rig.stands(order)) == (RedeliveryState.COMPLETED, 5, 3, 2)


async def test_what_a_short_schedule_ends_is_dead_again(rig: Rig) -> None:
    events = await rig.paid(2)
    await rig.listen()
    rig.schedule = [0.01]
    rig.receiver.answer_next(BAD, BAD, Answer())
    order = await rig.open()
    await rig.run(order)
    assert rig.heard() == [events[0], events[0], events[1]]
    assert [row["state"] for row in await rig.deliveries()] == ["dead", "delivered"]
    assert counts(await rig.stands(order)) == (RedeliveryState.COMPLETED, 2, 1, 0)
    # The next redelivery of what failed finds it.
    again = await rig.open(RedeliveryKind.FAILED)
    await rig.run(again)
    assert rig.heard()[3:] == [events[0]]


async def test_a_receiver_that_asks_for_more_time_than_patience_has_gets_it(rig: Rig) -> None:
    await rig.paid(1)
    await rig.listen()
    rig.receiver.answer_next(Answer(status=429, headers={"retry-after": "3600"}))
    order = await rig.open()
    await rig.run(order)
    assert rig.tails.waits == [3600]
    assert len(rig.heard()) == 1


def test_patience_is_that_of_the_published_schedule() -> None:
    assert RedeliverLimits().patience == redelivering.PATIENCE == (5.0, 30.0, 120.0)
    assert RedeliverLimits().longest_wait >= 1.2 * redelivering.PATIENCE[-1]


async def test_a_redelivery_longer_than_a_stretch_goes_on_in_the_next(rig: Rig) -> None:
    events = await rig.paid(6)
    await rig.listen()
    rig.receiver.default = Answer(delay=0.1)
    order = await rig.open()
    stretches = 1
    limits = RedeliverLimits(patience=(), run_for=0.15)
    while not (await rig.run(order, limits=limits)).over:
        stretches += 1
    assert stretches > 2
    assert rig.heard() == events
    assert counts(await rig.stands(order)) == (RedeliveryState.COMPLETED, 6, 6, 0)


# --- beside others


async def test_a_busy_lane_is_waited_for_and_is_no_failure(rig: Rig) -> None:
    await rig.paid(1)
    await rig.listen()
    order = await rig.open()
    # Without patience a failure would hand it over.
    running = asyncio.create_task(rig.run(order, limits=RedeliverLimits(patience=(), look_every=0.05)))
    async with rig.lanes.place(rig.endpoint, "another"):
        await asyncio.sleep(2.5)  # longer than anybody stands in line
        (row,) = await rig.deliveries()
        assert (row["attempts"], row["state"]) == (0, "pending")
    assert (await running).over
    assert rig.tails.started == []
    assert [(row["attempts"], row["state"]) for row in await rig.deliveries()] == [(1, "delivered")]


async def test_an_attempt_of_its_own_workflow_under_way_is_not_doubled(rig: Rig) -> None:
    (event,) = await rig.paid(1)
    await rig.listen()
    rig.receiver.answer_next(BAD, Answer(delay=4.0))
    await rig.run(await rig.open(), limits=RedeliverLimits(patience=()))
    (row,) = await rig.deliveries()
    await rig.as_owner("update deliveries set next_attempt_at = now() + interval '1 hour' where id = $1", row["id"])
    attempting, order = rig.attempting(), await rig.open(RedeliveryKind.FAILED)
    own = asyncio.create_task(attempting.once(rig.shop.id, row["id"]))
    await rig.receiver.wait_for(count=2)
    assert (await rig.run(order, attempting=attempting)).over
    await own
    assert rig.heard() == [event, event]  # the failed one, and one more
    assert counts(await rig.stands(order)) == (RedeliveryState.COMPLETED, 1, 1, 0)


async def test_what_its_own_workflow_delivers_during_the_wait_is_not_sent_again(rig: Rig) -> None:
    first, second = await rig.paid(2)
    await rig.listen()
    rig.receiver.answer_next(BAD, Answer(), Answer())
    order = await rig.open()
    running = asyncio.create_task(rig.run(order, limits=RedeliverLimits(patience=(5.0,), look_every=0.05)))
    row = await rig.tried_once()
    await rig.attempting().once(rig.shop.id, row["id"])
    assert (await running).over
    assert rig.heard() == [first, first, second]


# --- ends


async def test_a_cancel_during_a_wait_ends_it_and_leaves_what_was_tried_to_its_own_workflow(rig: Rig) -> None:
    await rig.paid(2)
    await rig.listen()
    rig.receiver.default = BAD
    order = await rig.open()
    running = asyncio.create_task(rig.run(order, limits=RedeliverLimits(patience=(100.0,), look_every=0.05)))
    await rig.tried_once()
    await rig.records.cancel(rig.shop.id, order.redelivery_id, asked_by="key_1", request_id="req_1")
    async with asyncio.timeout(60):
        assert (await running).over
    assert len(rig.heard()) == 1
    (row,) = await rig.deliveries()
    assert (row["state"], rig.tails.started) == ("pending", [row["id"]])
    assert 0 < rig.tails.waits[0] <= 100
    assert counts(await rig.stands(order)) == (RedeliveryState.CANCELED, 0, 0, 0)


async def test_an_endpoint_that_is_gone_meanwhile_ends_it(rig: Rig) -> None:
    first, second, _ = await rig.paid(3)
    await rig.listen()
    rig.receiver.answer_next(Answer(), Answer(status=410))
    order = await rig.open()
    assert (await rig.run(order)).over
    assert rig.heard() == [first, second]
    assert counts(await rig.stands(order)) == (RedeliveryState.CANCELED, 2, 1, 0)
    assert [row["state"] for row in await rig.deliveries()] == ["delivered", "dead"]


async def test_a_database_that_is_away_fails_the_activity(rig: Rig) -> None:
    await rig.listen()
    order = await rig.open()
    nowhere = create_engine("postgresql+asyncpg://tolem_app@127.0.0.1:1/none")
    away = Redelivering(RedeliveryBooks(nowhere, rig.town.books.renderer), rig.attempting(), rig.tails, LIMITS)
    with pytest.raises(DatabaseUnavailable):
        await ActivityEnvironment().run(away.redeliver, order)
    await nowhere.dispose()
    assert (await rig.stands(order)).state is RedeliveryState.RUNNING


# --- crashes


@pytest.mark.parametrize("kind", [RedeliveryKind.UNDELIVERED, RedeliveryKind.ALL])
async def test_a_crash_at_any_moment_leaves_nothing_out_and_doubles_one_event_at_most(
    town: Town, box: SealBox, sender: Sender, kind: RedeliveryKind
) -> None:
    moment, doubled, alive = 0, Counter[int](), False
    while not alive:
        moment += 1
        async with WebhookReceiver() as receiver:
            rig = Rig(town, await town.books.merchant(), box, sender, receiver)
            alive, again = await _crash(rig, kind, moment)
            doubled[again] += 1
    assert moment > 30  # every call of two events was a place to die at
    assert set(doubled) == {0, 1}
    # Only a post whose booking is lost comes again: its own moments, and those of the booking before it took effect.
    assert doubled[1] <= 2 * 4


async def _crash(rig: Rig, kind: RedeliveryKind, moment: int) -> tuple[bool, int]:
    """Whether the process lived to the end, and how many requests were too many."""
    events = await rig.paid(2)
    await rig.listen()
    if kind is RedeliveryKind.ALL:
        await rig.run(await rig.open(RedeliveryKind.MISSING))
        rig.receiver.requests.clear()
    order, process = await rig.open(kind), Process(moment)
    ended = await process.run(rig.activity(process=process), order)
    await process.quiet()
    rig.lanes = Lanes(per_endpoint=1)  # the dead process took its places along
    async with asyncio.timeout(60):
        while not (await rig.run(order)).over:
            pass
    heard = rig.heard()
    assert list(dict.fromkeys(heard)) == events, (moment, heard)
    assert len(heard) <= 3, (moment, heard)
    assert {row["state"] for row in await rig.deliveries()} == {"delivered"}
    assert counts(await rig.stands(order)) == (RedeliveryState.COMPLETED, 2, 2, 0), moment
    await process.bury()
    return not ended.died, len(heard) - 2


async def test_two_walkers_at_once_count_each_event_once_and_leave_none_out(rig: Rig) -> None:
    # A worker that was thought dead goes on beside its successor.
    events = await rig.paid(8)
    await rig.listen()
    order = await rig.open()
    await asyncio.gather(rig.run(order), rig.run(order))
    assert set(rig.heard()) == set(events)
    assert max(Counter(rig.heard()).values()) <= 2
    assert counts(await rig.stands(order)) == (RedeliveryState.COMPLETED, 8, 8, 0)
