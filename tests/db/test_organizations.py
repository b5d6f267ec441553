"""Verifications of organisations in the books."""

import asyncio

import pytest

from db.errors import TooManyOrganizations
from db.organizations import Organizations
from domain.organization import MAX_ORGANIZATIONS
from tests.db.books import BIN, Books, Shop

OTHER = "850101300005"


async def start(books: Books, shop: Shop, idn: str = BIN, *, sandbox: bool = False) -> int:
    made = await Organizations(books.app).start(shop.id, idn, is_sandbox=sandbox, asked_by="key_1", request_id="req_1")
    return made.number


async def test_an_organisation_keeps_its_number_and_its_time_begins_anew(books: Books, shop: Shop) -> None:
    records = Organizations(books.app)
    assert [await start(books, shop), await start(books, shop, OTHER)] == [1, 2]
    first = await records.organization(shop.id, 1, is_sandbox=False)
    assert await start(books, shop) == 1
    again = await records.organization(shop.id, 1, is_sandbox=False)
    assert first is not None
    assert again is not None
    assert again.started_at > first.started_at
    assert again.idn == BIN


async def test_sandbox_and_live_are_two_and_do_not_see_each_other(books: Books, shop: Shop) -> None:
    records = Organizations(books.app)
    assert [await start(books, shop), await start(books, shop, sandbox=True)] == [1, 2]
    assert await records.organization(shop.id, 1, is_sandbox=True) is None
    assert await records.organization(shop.id, 2, is_sandbox=False) is None
    other = await books.merchant()
    assert await records.organization(other.id, 1, is_sandbox=False) is None


async def test_many_at_once_get_numbers_of_their_own(books: Books, shop: Shop) -> None:
    idns = [f"{number:012d}" for number in range(8)]
    numbers = await asyncio.gather(*(start(books, shop, idn) for idn in idns))
    assert sorted(numbers) == list(range(1, 9))


async def test_who_tries_too_many_is_stopped_and_what_is_known_can_begin_again(books: Books, shop: Shop) -> None:
    for number in range(1, MAX_ORGANIZATIONS + 1):
        assert await start(books, shop, f"{number:012d}") == number
    with pytest.raises(TooManyOrganizations):
        await start(books, shop)
    assert await start(books, shop, f"{7:012d}") == 7


async def test_each_start_has_its_audit_row(books: Books, shop: Shop) -> None:
    await start(books, shop)
    await start(books, shop)
    rows = await books.fetch(
        "select actor_id, object_id, request_id from audit_log where merchant_id = :id"
        " and action = 'organization.verification_started'",
        id=shop.id,
    )
    assert [tuple(row.values()) for row in rows] == [("key_1", "1", "req_1")] * 2
