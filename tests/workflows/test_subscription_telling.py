"""What a subscription has booked to be told is told, though the worker that booked it is no more."""

from datetime import UTC, datetime, timedelta

from domain.subscription import Pause
from domain.subscription_record import BookDecision
from domain.subscription_rules import decide
from tests.support.waiting import until
from tests.workflows.subscription_stage import NewSubscription, StagedSubscription
from workflows.subscription_messages import ResumeSubscription


async def booked_and_died(one: StagedSubscription) -> None:
    """A decision is in the books, and its result reached no history."""
    loaded = await one.stage.ledger.load(one.shop.id, one.id)
    assert loaded is not None
    decision = decide(loaded.standing, Pause(), datetime.now(UTC))
    booked = await one.stage.ledger.book(
        BookDecision(
            subscription_id=one.id,
            merchant_id=one.shop.id,
            version=loaded.version,
            token="of a worker that died",
            action="pause",
            standing=decision.standing,
            booked=decision.booked,
            told=decision.told,
        )
    )
    assert len(booked.deliveries) == 1


async def test_a_run_that_begins_from_the_books_tells_what_nobody_has_tried(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True, started_at=datetime.now(UTC) + timedelta(days=3))
    await one.handle.terminate("lost")
    await booked_and_died(one)
    assert await one.received() == []
    await one.stage.engine.resume_subscription(one.ref)
    await one.act(ResumeSubscription())

    async def heard() -> bool:
        return len(await one.received()) >= 2

    await until(heard, "both events")
    assert await one.received() == [1, 2]
    assert await one.told() == ["paused", "resumed"]


async def test_what_was_tried_is_not_tried_again_by_the_next_run(new_subscription: NewSubscription) -> None:
    one = await new_subscription(real_time=True, started_at=datetime.now(UTC) + timedelta(days=3))
    await booked_and_died(one)
    (due,) = await one.stage.books.fetch("select id from deliveries where merchant_id = :id", id=one.shop.id)
    await one.stage.books.do("update deliveries set attempts = 1 where id = :id", id=due["id"])
    await one.handle.terminate("lost")
    await one.stage.engine.resume_subscription(one.ref)
    await one.act(ResumeSubscription())

    async def heard() -> bool:
        return bool(await one.received())

    await until(heard, "the second event")
    assert await one.received() == [2]
