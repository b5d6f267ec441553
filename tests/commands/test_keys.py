"""`tolem keys limit` as an operator runs it: a process, real books."""

import pytest

from dev.postgres import Database
from domain.merchant import Mode
from domain.rate_limit import RateLimit
from operations.keys import add_key
from tests.commands.test_audit import tolem
from tests.db.books import Books


async def test_a_key_s_limit_is_set_shown_and_taken_back(fresh_postgres: Database) -> None:
    books = Books(fresh_postgres)
    shop = await books.merchant()
    await add_key(books.registry, shop.id, Mode.LIVE, "till")
    (key,) = await books.registry.keys(shop.id)
    assert (await tolem(books, "limit", key.id, "--per-minute", "600", "--burst", "20", group="keys"))[0] == 0
    assert "600/min, burst 20" in " ".join((await tolem(books, "list", shop.id, group="keys"))[1].split())
    (shown,) = await books.registry.keys(shop.id)
    assert RateLimit(shown.rate_per_minute or 0, shown.rate_burst or 0) == RateLimit(600, 20)
    assert (await tolem(books, "limit", key.id, "--default", group="keys"))[0] == 0
    (shown,) = await books.registry.keys(shop.id)
    assert shown.rate_per_minute is None
    await books.close()


@pytest.mark.parametrize("words", [(), ("--default", "--per-minute", "5"), ("--burst", "5"), ("--per-minute", "-1")])
async def test_a_limit_that_says_nothing_or_two_things_is_refused(postgres: Database, words: tuple[str, ...]) -> None:
    books = Books(postgres)
    code, _, said = await tolem(books, "limit", "key_1", *words, group="keys")
    assert code == 2, said
    await books.close()


async def test_an_unknown_key_gets_no_limit(postgres: Database) -> None:
    books = Books(postgres)
    code, _, said = await tolem(books, "limit", "key_nobody", "--per-minute", "5", group="keys")
    assert code == 1
    assert "no such valid key" in said
    await books.close()
