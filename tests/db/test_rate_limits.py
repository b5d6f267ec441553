"""The limit that the authenticating statement counts, against a real database."""

import asyncpg
import pytest

from db.registry import Registry
from domain.ids import new_id
from domain.merchant import Mode
from domain.rate_limit import Allowance, RateLimit
from tests.db.books import Books, Shop, at_once

SLOW = RateLimit(1, 3)  # one more a minute: no test runs that long


async def key_of(books: Books, shop: Shop) -> tuple[str, bytes]:
    hashed = new_id("k").encode()
    return await books.registry.add_key(shop.id, Mode.TEST, "limited", hashed=hashed, hint="abcd"), hashed


async def asked(books: Books, hashed: bytes, limit: RateLimit | None = SLOW) -> Allowance | None:
    principal = await books.reads.authenticate(hashed, limit)
    assert principal is not None
    return principal.allowance


async def allowed(books: Books, hashed: bytes, limit: RateLimit = SLOW) -> bool:
    allowance = await asked(books, hashed, limit)
    assert allowance is not None
    return allowance.retry_after is None


async def age(books: Books, key_id: str, seconds: float) -> None:
    """As if so much time had passed since the last request."""
    owner = await asyncpg.connect(books.database.dsn("postgres"))
    try:
        done = await owner.execute(
            "update rate_limits set full_at = full_at - make_interval(secs => $2) where key_id = $1", key_id, seconds
        )
        assert done == "UPDATE 1"
    finally:
        await owner.close()


async def test_a_burst_is_used_up_one_by_one_and_then_the_next_step_is_waited_for(books: Books, shop: Shop) -> None:
    _, hashed = await key_of(books, shop)
    seen = [await asked(books, hashed) for _ in range(5)]
    assert [one and one.remaining for one in seen] == [2, 1, 0, 0, 0]
    assert [one is not None and one.retry_after is None for one in seen] == [True, True, True, False, False]
    third, refused = seen[2], seen[4]
    assert third is not None
    assert refused is not None
    assert refused.limit == SLOW
    assert 170 < third.full_after <= 180
    assert refused.retry_after is not None
    assert 50 < refused.retry_after <= 60
    # A refused request uses nothing up: five of them do not push the moment away.
    assert refused.full_after <= third.full_after


async def test_time_gives_back_one_request_a_step_and_no_more_than_the_burst(books: Books, shop: Shop) -> None:
    key_id, hashed = await key_of(books, shop)
    for _ in range(3):
        assert await allowed(books, hashed)
    await age(books, key_id, 60)
    assert [await allowed(books, hashed) for _ in range(2)] == [True, False]
    await age(books, key_id, 30)  # and what the test itself takes, but not 60
    assert not await allowed(books, hashed)
    await age(books, key_id, 86_400)
    assert [await allowed(books, hashed) for _ in range(4)] == [True, True, True, False]


async def test_many_at_once_from_many_processes_get_exactly_the_burst(books: Books, shop: Shop) -> None:
    _, hashed = await key_of(books, shop)
    limit = RateLimit(1, 17)
    results = await at_once(60, lambda _: allowed(books, hashed, limit))
    assert sum(results) == 17


async def test_keys_do_not_use_up_each_other_s(books: Books, shop: Shop) -> None:
    _, one = await key_of(books, shop)
    _, two = await key_of(books, shop)
    assert [await allowed(books, one) for _ in range(4)] == [True, True, True, False]
    assert await allowed(books, two)


async def test_a_key_s_own_limit_counts_and_the_default_comes_back(books: Books, shop: Shop) -> None:
    key_id, hashed = await key_of(books, shop)
    for _ in range(4):
        await asked(books, hashed)
    assert not await allowed(books, hashed)
    assert await books.registry.limit_key(key_id, RateLimit(1, 5))
    # From the next request on, with the whole burst.
    assert [await allowed(books, hashed) for _ in range(6)] == [True] * 5 + [False]
    assert await books.registry.limit_key(key_id, RateLimit(0, 1))
    assert await asked(books, hashed) is None
    assert await books.registry.limit_key(key_id, None)
    assert [await allowed(books, hashed) for _ in range(4)] == [True, True, True, False]


async def test_without_a_default_only_keys_with_a_limit_of_their_own_are_limited(books: Books, shop: Shop) -> None:
    key_id, hashed = await key_of(books, shop)
    none = RateLimit(0, 60)
    assert await asked(books, hashed, none) is None
    assert await books.registry.limit_key(key_id, RateLimit(1, 1))
    assert [await allowed(books, hashed, none) for _ in range(2)] == [True, False]


async def test_a_look_at_the_key_that_is_no_request_is_not_counted(books: Books, shop: Shop) -> None:
    key_id, hashed = await key_of(books, shop)
    assert await books.registry.limit_key(key_id, RateLimit(1, 1))
    for _ in range(3):
        assert await asked(books, hashed, None) is None
    assert await allowed(books, hashed)


async def test_who_limits_a_key_stands_in_the_audit_log(books: Books, shop: Shop) -> None:
    key_id, _ = await key_of(books, shop)
    registry = Registry(books.operator, "aida")
    assert await registry.limit_key(key_id, RateLimit(600, 100))
    assert await registry.limit_key(key_id, RateLimit(0, 1))
    assert await registry.limit_key(key_id, None)
    rows = await books.fetch(
        "select actor_id, note from audit_log where object_id = :id and action = 'api_key.limited' order by position",
        id=key_id,
    )
    assert [tuple(row.values()) for row in rows] == [
        ("aida", "default to 600 a minute, 100 at once"),
        ("aida", "600 a minute, 100 at once to no limit"),
        ("aida", "no limit to default"),
    ]
    (listed,) = [one for one in await registry.keys(shop.id) if one.id == key_id]
    assert (listed.rate_per_minute, listed.rate_burst) == (None, None)


async def test_a_key_that_is_revoked_or_unknown_gets_no_limit(books: Books, shop: Shop) -> None:
    key_id, hashed = await key_of(books, shop)
    assert await books.registry.revoke_key(key_id)
    assert not await books.registry.limit_key(key_id, RateLimit(1, 1))
    assert not await books.registry.limit_key("key_nobody", RateLimit(1, 1))
    assert await books.reads.authenticate(hashed, SLOW) is None
    assert await books.fetch("select 1 from rate_limits where key_id = :id", id=key_id) == []


@pytest.mark.parametrize("values", ["1, null", "null, 1", "-1, 1", "1000001, 1", "1, 0"])
async def test_the_database_holds_no_limit_that_is_none(books: Books, shop: Shop, values: str) -> None:
    key_id, _ = await key_of(books, shop)
    with pytest.raises(Exception, match="ck_api_keys_rate"):
        await books.do(
            f"update api_keys set (rate_per_minute, rate_burst) = ({values}) where id = :id",  # noqa: S608 -- own words
            id=key_id,
        )


async def test_the_older_version_s_processes_still_authenticate_during_a_deployment(books: Books, shop: Shop) -> None:
    _, hashed = await key_of(books, shop)
    connection = await asyncpg.connect(books.database.dsn("tolem_app"))
    try:
        row = await connection.fetchrow("select * from authenticate($1)", hashed)
        assert row is not None
        assert row["merchant_id"] == shop.id
    finally:
        await connection.close()
