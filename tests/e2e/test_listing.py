"""The list: filters, search, pages by number and by cursor."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.shop import Shop, close_shop, open_shop
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

ALMATY = ZoneInfo("Asia/Almaty")


@dataclass
class Listed:
    """A merchant with five bills: four in the sandbox, one live; newest first."""

    shop: Shop
    ids: list[str]
    phones: list[str]


@pytest.fixture(scope="module")
async def listed(stack_of_run: Stack) -> AsyncIterator[Listed]:
    await stack_of_run.heal()
    shop = await open_shop(stack_of_run, "List shop")
    made = [
        await shop.sandbox_bill(description="кофе 100%", external_order_id="A-1"),
        await shop.sandbox_bill(description="чай_зелёный", external_order_id="A-2"),
        await shop.sandbox_bill(description="кофе", external_order_id="B-1"),
        await shop.sandbox_bill(),
        await shop.bill(description="живой"),
    ]
    await shop.simulate(made[0]["id"], "paid")
    await shop.simulate(made[1]["id"], "failed")
    yield Listed(shop, [one["id"] for one in reversed(made)], [one["phone_number"] for one in reversed(made)])
    await close_shop(shop)


async def _ids(listed: Listed, **params: str | int) -> list[int]:
    """The found bills by their places in `listed.ids`."""
    return [listed.ids.index(one["id"]) for one in await listed.shop.listed(**params)]


@pytest.mark.parametrize(
    ("params", "places"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"status": "paid"}, [4]),
        ({"status": "canceled"}, [3]),  # the five published words: failed shows as canceled
        ({"status": "failed"}, [3]),  # the precise states
        ({"status": "pending"}, [0, 1, 2]),
        ({"status": "refunded"}, []),
        ({"is_sandbox": "true"}, [1, 2, 3, 4]),
        ({"is_sandbox": "false"}, [0]),
        ({"external_order_id": "A-2"}, [3]),
        ({"external_order_id": "A-"}, []),
        ({"search": "кофе"}, [2, 4]),
        ({"search": "КОФЕ"}, [2, 4]),
        ({"search": "100%"}, [4]),
        ({"search": "й_з"}, [3]),
        ({"search": "%"}, [4]),
        ({"search": "b-1"}, [2]),
        ({"search": "2"}, None),
        ({"search": "кофе", "status": "paid"}, [4]),
        ({"status": "", "search": " "}, [0, 1, 2, 3, 4]),
    ],
)
async def test_filters_find_what_they_name(
    stack: Stack, listed: Listed, params: dict[str, str], places: object
) -> None:
    found = await _ids(listed, **params)
    if places is None:  # a bare number is the bill's own number (or part of a phone)
        assert 3 in found
    else:
        assert found == places


async def test_search_finds_ids_and_phones(stack: Stack, listed: Listed) -> None:
    for place in (0, 3):
        assert await _ids(listed, search=listed.ids[place]) == [place]
        assert await _ids(listed, search=listed.phones[place]) == [place]


async def test_days_are_those_of_almaty(stack: Stack, listed: Listed) -> None:
    created = datetime.fromisoformat((await listed.shop.read(listed.ids[4]))["created_at"]).astimezone(ALMATY).date()
    newest = datetime.fromisoformat((await listed.shop.read(listed.ids[0]))["created_at"]).astimezone(ALMATY).date()
    day = timedelta(days=1)
    assert await _ids(listed, date_from=str(created), date_to=str(newest)) == [0, 1, 2, 3, 4]
    assert await _ids(listed, date_to=str(created - day)) == []
    assert await _ids(listed, date_from=str(newest + day)) == []


async def test_pages_and_cursors_walk_the_same_list(stack: Stack, listed: Listed) -> None:
    walked, cursor, page = [], "", 1
    while True:
        params = {"page_size": 2, "page": page} | ({"cursor": cursor} if cursor else {})
        by_cursor = (await listed.shop.live.get("/api/v1/invoices", params=params)).json()
        by_number = (await listed.shop.live.get("/api/v1/invoices", params={"page_size": 2, "page": page})).json()
        assert by_cursor == by_number
        assert (by_cursor["total"], by_cursor["page"], by_cursor["page_size"]) == (5, page, 2)
        walked += [one["id"] for one in by_cursor["items"]]
        assert by_cursor["has_more"] is (by_cursor["next_cursor"] is not None)
        if not by_cursor["has_more"]:
            break
        cursor, page = by_cursor["next_cursor"], page + 1
    assert walked == listed.ids


async def test_numbers_count_up_for_each_merchant(stack: Stack, listed: Listed) -> None:
    assert [one["number"] for one in await listed.shop.listed()] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"status": "payed"}, "status"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"page_size": "101"}, "page_size"),
        ({"page_size": "0"}, "page_size"),
        ({"page": "0"}, "page"),
        ({"page": "500000"}, "page"),
        ({"search": "x" * 101}, "search"),
        ({"search": "a\x00b"}, "search"),
        ({"is_sandbox": "perhaps"}, "is_sandbox"),
        ({"date_from": "22.11.2026"}, "date_from"),
        ({"date_to": "9999-12-31"}, "date_to"),
    ],
)
async def test_a_wrong_parameter_is_named(stack: Stack, listed: Listed, params: dict[str, str], field: str) -> None:
    body = assert_error(await listed.shop.live.get("/api/v1/invoices", params=params), Code.INVALID_REQUEST)
    assert [one["field"] for one in body["errors"]] == [field]


async def test_a_status_check_of_ids_that_do_not_exist_says_so(stack: Stack, listed: Listed) -> None:
    checked = await listed.shop.check("inv_nothing", listed.ids[4])
    assert checked["not_found"] == ["inv_nothing"]
    assert [(one["id"], one["checked"]) for one in checked["items"]] == [(listed.ids[4], False)]


async def test_a_status_check_without_ids_looks_at_every_open_bill(stack: Stack, listed: Listed) -> None:
    answer = await listed.shop.live.post("/api/v1/invoices/status/check")
    assert answer.status_code == 200, answer.text
    checked = {one["id"]: one["checked"] for one in answer.json()["items"]}
    assert checked == {listed.ids[0]: True, listed.ids[1]: False, listed.ids[2]: False}
