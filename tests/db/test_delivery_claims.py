"""One attempt of a delivery at a time, whoever asks: the claim in the books."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from domain.event import AttemptOutcome, DeliveryState, DueDelivery, NotSent
from domain.invoice import State
from tests.db.books import Books, Shop

DISABLE_AFTER = 120 * 3600.0
FAILED = AttemptOutcome(delivered=False, status=500, error="http_500", latency_ms=1, excerpt="", dead=False, wait=60.0)
DELIVERED = AttemptOutcome(delivered=True, status=204, error=None, latency_ms=1, excerpt="", dead=False, wait=None)


class Claiming:
    """One delivery, and what stands in its row."""

    def __init__(self, books: Books, shop: Shop, delivery_id: str) -> None:
        self.books, self.shop, self.id = books, shop, delivery_id
        self.deliveries = books.deliveries

    async def claim(self, by: str, seconds: float = 60.0) -> DueDelivery:
        due = await self.deliveries.claim(self.shop.id, self.id, by=by, seconds=seconds)
        assert due is not None
        return due

    async def holder(self) -> str | None:
        (row,) = await self.books.fetch("select claimed_by, claimed_until from deliveries where id = :id", id=self.id)
        assert (row["claimed_by"] is None) == (row["claimed_until"] is None)
        by: str | None = row["claimed_by"]
        return by

    async def expire(self) -> None:
        await self.books.do(
            "update deliveries set claimed_until = now() - interval '1 second' where id = :id", id=self.id
        )

    async def disable(self, due: DueDelivery) -> None:
        await self.books.do(
            "update webhook_endpoints set enabled = false, disabled_reason = 'merchant' where id = :id",
            id=due.endpoint_id,
        )

    async def book(self, due: DueDelivery, outcome: AttemptOutcome) -> Any:
        return await self.deliveries.attempted(due, self.shop.id, outcome, disable_after=DISABLE_AFTER)


@pytest.fixture
async def one(books: Books, shop: Shop) -> Claiming:
    await shop.endpoint()
    invoice = await shop.pending()
    booked = await shop.book(invoice.id, "paid", State.PAID)
    return Claiming(books, shop, booked.deliveries[0].id)


async def test_a_claim_shows_what_is_due_and_keeps_others_out(one: Claiming) -> None:
    mine = await one.claim("story")
    assert (mine.claimed_by, mine.held_for) == ("story", None)
    plain = await one.deliveries.due(one.shop.id, one.id)
    assert plain is not None
    assert (mine.id, mine.body, mine.secrets_sealed) == (plain.id, plain.body, plain.secrets_sealed)
    theirs = await one.claim("tail")
    assert theirs.claimed_by is None
    assert theirs.held_for is not None
    assert 50 < theirs.held_for <= 60
    assert await one.holder() == "story"


async def test_who_holds_it_takes_it_again(one: Claiming) -> None:
    await one.claim("story")
    assert (await one.claim("story")).held_for is None


async def test_a_claim_ends_by_itself_and_its_holder_books_all_the_same_but_gives_nothing_of_the_next_back(
    one: Claiming,
) -> None:
    late = await one.claim("story")
    await one.expire()
    assert (await one.claim("tail")).claimed_by == "tail"
    assert (await one.book(late, FAILED)).attempts == 1
    assert await one.holder() == "tail"


async def test_of_many_at_one_moment_exactly_one_has_it(one: Claiming) -> None:
    found = await asyncio.gather(*(one.claim(f"process {number}") for number in range(8)))
    assert sum(due.claimed_by is not None for due in found) == 1
    assert sum(due.held_for is not None and due.held_for > 0 for due in found) == 7


@pytest.mark.parametrize("outcome", [FAILED, DELIVERED])
async def test_booking_gives_it_back(one: Claiming, outcome: AttemptOutcome) -> None:
    await one.book(await one.claim("story"), outcome)
    assert await one.holder() is None


async def test_who_finds_no_place_gives_it_back(one: Claiming) -> None:
    await one.deliveries.postponed(await one.claim("story"), one.shop.id, 5.0, patience=1000.0)
    assert await one.holder() is None


async def test_giving_up_gives_it_back(one: Claiming) -> None:
    due = await one.claim("story")
    await one.disable(due)
    await one.deliveries.give_up(due, one.shop.id, NotSent.ENDPOINT_DISABLED)
    assert await one.holder() is None


async def test_what_is_settled_is_claimed_by_nobody(one: Claiming) -> None:
    await one.book(await one.claim("story"), DELIVERED)
    due = await one.claim("tail")
    assert (due.state, due.claimed_by, due.held_for) == (DeliveryState.DELIVERED, None, None)
    assert await one.holder() is None


async def test_the_claim_of_what_is_not_there_or_not_ones_own_finds_nothing(one: Claiming) -> None:
    other = await one.books.merchant()
    assert await one.deliveries.claim(one.shop.id, "whd_none", by="story", seconds=60) is None
    assert await one.deliveries.claim(other.id, one.id, by="story", seconds=60) is None
    assert await one.holder() is None


async def test_a_claim_has_a_holder_and_an_end_or_neither(one: Claiming) -> None:
    with pytest.raises(DBAPIError, match="ck_deliveries_claim"):
        await one.books.do("update deliveries set claimed_by = 'nobody' where id = :id", id=one.id)


@pytest.mark.parametrize("meanwhile", ["enabled", "wished"])
async def test_who_gives_nothing_up_after_all_gives_it_back_too(one: Claiming, meanwhile: str) -> None:
    due = await one.claim("story")
    if meanwhile == "wished":
        await one.disable(due)
        await one.books.do("update deliveries set replay = 'a wish' where id = :id", id=one.id)
    await one.deliveries.give_up(due, one.shop.id, NotSent.ENDPOINT_DISABLED)
    assert (await one.claim("tail")).claimed_by == "tail"


async def test_who_finds_no_place_for_what_was_settled_meanwhile_gives_it_back_too(one: Claiming) -> None:
    late = await one.claim("story")
    await one.expire()
    due = await one.claim("tail")
    await one.book(late, DELIVERED)
    await one.deliveries.postponed(due, one.shop.id, 5.0, patience=1000.0)
    assert await one.holder() is None


@pytest.mark.parametrize("disabled", [True, False])
async def test_a_late_giving_up_leaves_the_next_ones_claim(one: Claiming, disabled: bool) -> None:
    late = await one.claim("story")
    await one.expire()
    await one.claim("tail")
    if disabled:
        await one.disable(late)
    await one.deliveries.give_up(late, one.shop.id, NotSent.ENDPOINT_DISABLED)
    assert await one.holder() == "tail"
