"""The secrets of a webhook endpoint: rotation with an overlap, and nobody's rotation lost."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from db.errors import TooManySecrets
from domain.ids import new_id
from tests.db.books import Books, Shop, at_once, waiting_for_a_lock
from tests.db.hooks import DAY, acts, due, made, rotated, signed_by


async def test_a_rotation_gives_a_new_present_secret_and_the_old_one_an_end(shop: Shop) -> None:
    endpoint = await made(shop)
    detail = await rotated(shop, endpoint.id, b"second")
    new, old = detail.secrets
    assert new.expires_at is None
    assert old.expires_at is not None
    assert abs(old.expires_at - new.created_at - DAY) < timedelta(seconds=5)
    assert await signed_by(shop, await due(shop, endpoint.id)) == [b"second", b"first"]


async def test_a_third_secret_leaves_the_end_of_the_first_as_it_was(shop: Shop) -> None:
    endpoint = await made(shop)
    before = (await rotated(shop, endpoint.id, b"second")).secrets[1]
    after = await rotated(shop, endpoint.id, b"third", timedelta(hours=1))
    assert len(after.secrets) == 3
    assert after.secrets[2] == before


async def test_an_overlap_of_nothing_ends_every_older_secret_at_once(shop: Shop) -> None:
    endpoint = await made(shop)
    ref = await due(shop, endpoint.id)
    await rotated(shop, endpoint.id, b"second")
    detail = await rotated(shop, endpoint.id, b"third", timedelta(0))
    assert len(detail.secrets) == 1
    assert await signed_by(shop, ref) == [b"third"]
    rows = await shop.books.fetch("select 1 from webhook_secrets where endpoint_id = :id", id=endpoint.id)
    assert len(rows) == 1


async def test_what_has_expired_signs_nothing_is_not_shown_and_goes_with_the_next_rotation(shop: Shop) -> None:
    endpoint = await made(shop)
    ref = await due(shop, endpoint.id)
    await rotated(shop, endpoint.id, b"second", timedelta(microseconds=1))
    assert await signed_by(shop, ref) == [b"second"]
    shown = await shop.books.endpoints.read(shop.id, endpoint.id, sandbox_only=False)
    assert shown is not None
    assert [one.expires_at for one in shown.secrets] == [None]
    await rotated(shop, endpoint.id, b"third")
    rows = await shop.books.fetch("select sealed from webhook_secrets where endpoint_id = :id", id=endpoint.id)
    assert {bytes(row["sealed"]) for row in rows} == {b"second", b"third"}


async def test_ten_secrets_can_be_in_force_and_an_eleventh_changes_nothing(shop: Shop) -> None:
    endpoint = await made(shop)
    for number in range(9):
        await rotated(shop, endpoint.id, f"s{number}".encode(), DAY * (number + 1))
    with pytest.raises(TooManySecrets) as full:
        await rotated(shop, endpoint.id, b"eleventh")
    shown = await shop.books.endpoints.read(shop.id, endpoint.id, sandbox_only=False)
    assert shown is not None
    assert len(shown.secrets) == 10
    assert (full.value.most, full.value.room_at) == (10, shown.secrets[-1].expires_at)
    assert len(await acts(shop, endpoint.id)) == 10  # created, and nine rotations
    assert len((await rotated(shop, endpoint.id, b"last", timedelta(0))).secrets) == 1


async def test_rotations_at_one_time_are_one_after_another_and_none_is_lost(shop: Shop) -> None:
    endpoint = await made(shop)
    details = await at_once(8, lambda number: rotated(shop, endpoint.id, f"s{number}".encode()))
    assert {len(one.secrets) for one in details} == set(range(2, 10))
    rows = await shop.books.fetch(
        "select sealed, expires_at from webhook_secrets where endpoint_id = :id order by created_at desc",
        id=endpoint.id,
    )
    assert len(rows) == 9
    # Each saw those before it, so the last one to come is the present one, and the newest.
    assert [row["expires_at"] is None for row in rows] == [True] + [False] * 8
    last = max(details, key=lambda one: len(one.secrets))
    assert [one.expires_at is None for one in last.secrets] == [True] + [False] * 8
    assert await signed_by(shop, await due(shop, endpoint.id)) == [bytes(row["sealed"]) for row in rows]


async def test_rotations_at_one_time_do_not_pass_the_limit_together(shop: Shop) -> None:
    endpoint = await made(shop)

    async def attempt(number: int) -> bool:
        try:
            await rotated(shop, endpoint.id, f"s{number}".encode())
        except TooManySecrets:
            return False
        return True

    assert sorted(await at_once(14, attempt)) == [False] * 5 + [True] * 9


async def test_of_two_rotations_the_one_that_waited_is_the_newest_though_it_began_first(
    books: Books, shop: Shop
) -> None:
    endpoint = await made(shop)
    other = await asyncpg.connect(books.database.dsn("tolem_app"))
    try:
        async with other.transaction():
            await other.execute("select set_config('app.merchant', $1, true)", shop.id)
            await other.execute("select 1 from webhook_endpoints where id = $1 for no key update", endpoint.id)
            waiting = asyncio.create_task(rotated(shop, endpoint.id, b"waited"))
            await waiting_for_a_lock(books, "from webhook_endpoints where merchant_id")
            await other.execute("update webhook_secrets set expires_at = now() + interval '1 day'")
            await other.execute(
                "insert into webhook_secrets (id, merchant_id, endpoint_id, sealed, created_at)"
                " values ($1, $2, $3, 'went first', clock_timestamp())",
                new_id("whs"),
                shop.id,
                endpoint.id,
            )
        await waiting
    finally:
        await other.close()
    assert await signed_by(shop, await due(shop, endpoint.id)) == [b"waited", b"went first", b"first"]
