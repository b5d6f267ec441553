"""The catalog through the real API on a real socket; nothing here needs the engine."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from dev.postgres import Database
from domain.catalog import UNITS
from domain.errors import Code
from domain.merchant import Mode
from operations.keys import add_key
from tests.api.serving import running_api
from tests.db.books import Books, Shop
from tests.support.api_errors import assert_error

# The framework announces for its version 3 what our routes must do then; here only answers are looked at.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")

PATH = "/api/v1/catalog"
TEA = {"name": "Чай", "price": 1850.5, "barcode": "4870001", "sku": "TEA-1", "description": "Листовой"}


@pytest.fixture(scope="module")
async def books(postgres: Database) -> AsyncIterator[Books]:
    made = Books(postgres)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def url(books: Books) -> AsyncIterator[str]:
    async with running_api(books.database) as running:
        yield running.url


@dataclass
class Keeper:
    """A merchant that speaks with both keys."""

    shop: Shop
    live: httpx.AsyncClient
    test: httpx.AsyncClient


@pytest.fixture
async def keeper(books: Books, url: str) -> AsyncIterator[Keeper]:
    made = await opened(books, url)
    yield made
    await closed(made)


async def opened(books: Books, url: str) -> Keeper:
    shop = await books.merchant()
    keys = {mode: await add_key(books.registry, shop.id, mode, "k") for mode in Mode}
    clients = {
        mode: httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, trust_env=False, timeout=60)
        for mode, key in keys.items()
    }
    return Keeper(shop, clients[Mode.LIVE], clients[Mode.TEST])


async def closed(keeper: Keeper) -> None:
    await keeper.live.aclose()
    await keeper.test.aclose()


async def made(client: httpx.AsyncClient, *items: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await client.post(PATH, json={"items": list(items)})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["errors"] == []
    found: list[dict[str, Any]] = body["items"]
    return found


async def listed(client: httpx.AsyncClient, **params: str | int) -> list[str]:
    answer = await client.get(PATH, params=params)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


def fields_of(body: dict[str, Any]) -> list[str]:
    return [error["field"] for error in body["errors"]]


async def test_one_item_by_itself_is_made_read_changed_and_archived(keeper: Keeper) -> None:
    answer = await keeper.live.post(PATH, json=TEA)
    assert answer.status_code == 201, answer.text
    (item,) = answer.json()["items"]
    assert item["id"].startswith("cat_")
    assert (item["price"], item["currency"], item["unit"], item["is_sandbox"]) == ("1850.50", "KZT", "piece", False)
    assert {name: item[name] for name in ("name", "barcode", "sku", "description")} == {
        name: TEA[name] for name in ("name", "barcode", "sku", "description")
    }
    one = f"{PATH}/{item['id']}"
    assert (await keeper.live.get(one)).json() == item
    changed = (await keeper.live.patch(one, json={"price": 1900, "sku": None, "name": " Чай чёрный "})).json()
    assert (changed["price"], changed["sku"], changed["name"], changed["barcode"]) == (
        "1900.00", None, "Чай чёрный", "4870001",
    )  # fmt: skip
    for _ in range(2):
        assert (await keeper.live.delete(one)).status_code == 204
    assert (await keeper.live.get(one)).json()["archived_at"] is not None
    assert await listed(keeper.live) == []
    assert await listed(keeper.live, archived="true") == ["Чай чёрный"]
    back = await keeper.live.patch(one, json={"archived": False})
    assert (back.status_code, back.json()["archived_at"]) == (200, None)


async def test_a_wrong_item_stops_no_other_and_is_named_by_its_place(keeper: Keeper) -> None:
    await made(keeper.live, TEA)
    items: list[Any] = [
        {"name": "a", "price": 1},
        {"name": " ", "price": 0.001, "unit": "bucket"},
        {"name": "b", "price": 2, "barcode": "4870001"},
        "no object",
        {"name": "c", "price": 3, "barcode": "7"},
        {"name": "d", "price": 3, "barcode": "7"},
        {"name": "e\u0000", "price": "5", "barcode": "line\n"},
    ]
    answer = await keeper.live.post(PATH, json={"items": items})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert [item["name"] for item in body["items"]] == ["a", "c"]
    assert {one["index"]: fields_of(one) for one in body["errors"]} == {
        1: ["name", "price", "unit"],
        2: ["barcode"],
        3: [""],
        5: ["barcode"],
        6: ["name", "price", "barcode"],
    }
    assert body["errors"][1]["errors"][0]["code"] == "taken"


async def test_where_none_of_a_batch_is_right_nothing_is_made_and_every_field_is_named(keeper: Keeper) -> None:
    answer = await keeper.live.post(PATH, json={"items": [{"price": 0}, {"name": "a"}]})
    assert fields_of(assert_error(answer, Code.CATALOG_ITEMS_REFUSED)) == [
        "items.0.name", "items.0.price", "items.1.price",
    ]  # fmt: skip
    await made(keeper.live, TEA)
    answer = await keeper.live.post(PATH, json={"items": [TEA, {}]})
    assert fields_of(assert_error(answer, Code.CATALOG_ITEMS_REFUSED)) == [
        "items.0.barcode", "items.1.name", "items.1.price",
    ]  # fmt: skip
    assert fields_of(assert_error(await keeper.live.post(PATH, json={}), Code.INVALID_REQUEST)) == ["name", "price"]
    assert fields_of(assert_error(await keeper.live.post(PATH, json=TEA), Code.INVALID_REQUEST)) == ["barcode"]
    assert await listed(keeper.live) == ["Чай"]


@pytest.mark.parametrize(
    "items", [[], [{}] * 51, None, {"name": "a"}, "x"], ids=["none", "51", "null", "object", "text"]
)
async def test_a_batch_is_a_list_of_one_to_fifty(keeper: Keeper, items: Any) -> None:
    answer = await keeper.live.post(PATH, json={"items": items})
    assert fields_of(assert_error(answer, Code.INVALID_REQUEST)) == ["items"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"1", b'{"items": [', b'"\xff"'], ids=repr)
async def test_what_is_no_object_is_no_request(keeper: Keeper, body: bytes) -> None:
    answer = await keeper.live.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert_error(answer, Code.INVALID_REQUEST)


async def test_fifty_at_once_and_the_batch_is_listed_in_its_order(keeper: Keeper) -> None:
    names = [f"Товар {number}" for number in range(50)]
    await made(keeper.live, *({"name": name, "price": 1} for name in names))
    assert await listed(keeper.live, page_size=50) == names
    first = (await keeper.live.get(PATH, params={"page_size": 30})).json()
    assert (first["total"], first["has_more"]) == (50, True)
    rest = (await keeper.live.get(PATH, params={"page_size": 30, "cursor": first["next_cursor"]})).json()
    assert [item["name"] for item in first["items"] + rest["items"]] == names
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)


async def test_a_repeated_batch_gives_the_first_answer_and_makes_nothing_more(keeper: Keeper) -> None:
    body = {"items": [TEA, {"name": "b", "price": 1}, {}]}
    headers = {"Idempotency-Key": "batch-1"}
    answers = await asyncio.gather(*(keeper.live.post(PATH, json=body, headers=headers) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({answer.content for answer in answers}) == 1
    assert await listed(keeper.live) == ["Чай", "b"]
    item = answers[0].json()["items"][0]["id"]
    await keeper.live.delete(f"{PATH}/{item}")
    again = await keeper.live.post(PATH, json=body, headers=headers)
    assert (again.content, again.headers["idempotent-replayed"]) == (answers[0].content, "true")
    other = await keeper.live.post(PATH, json={"name": "c", "price": 1}, headers=headers)
    assert_error(other, Code.IDEMPOTENCY_KEY_REUSED)


async def test_a_test_key_has_a_catalog_of_its_own(keeper: Keeper) -> None:
    (live,) = await made(keeper.live, TEA)
    (sandbox,) = await made(keeper.test, TEA)
    (asked,) = await made(keeper.live, {"name": "s", "price": 1, "is_sandbox": True})
    assert (live["is_sandbox"], sandbox["is_sandbox"], asked["is_sandbox"]) == (False, True, True)
    assert await listed(keeper.test) == ["s", "Чай"]
    assert await listed(keeper.live) == ["s", "Чай", "Чай"]
    assert await listed(keeper.live, is_sandbox="false") == ["Чай"]
    one = f"{PATH}/{live['id']}"
    for method, body in (("GET", None), ("PATCH", {"price": 1}), ("DELETE", None)):
        assert_error(await keeper.test.request(method, one, json=body), Code.NOT_FOUND)
    answer = await keeper.test.post(PATH, json={"items": [{"name": "a", "price": 1, "is_sandbox": False}]})
    assert_error(answer, Code.FORBIDDEN_MODE)


async def test_a_strangers_item_and_what_is_none_are_not_found(keeper: Keeper, books: Books, url: str) -> None:
    (item,) = await made(keeper.live, TEA)
    other = await opened(books, url)
    for id_ in (item["id"], "cat_none", "x%00y"):
        for method, body in (("GET", None), ("PATCH", {"price": 1}), ("DELETE", None)):
            assert_error(await other.live.request(method, f"{PATH}/{id_}", json=body), Code.NOT_FOUND)
    assert await listed(other.live) == []
    await made(other.live, TEA)  # its barcode is free here
    await closed(other)


async def test_wrong_changes_are_named(keeper: Keeper) -> None:
    one, two = await made(keeper.live, TEA, {"name": "b", "price": 1})
    path = f"{PATH}/{two['id']}"
    answer = await keeper.live.patch(path, json={"name": "", "price": -1, "unit": None, "barcode": "ы", "colour": 1})
    assert sorted(fields_of(assert_error(answer, Code.INVALID_REQUEST))) == [
        "barcode", "colour", "name", "price", "unit",
    ]  # fmt: skip
    answer = await keeper.live.patch(path, json={"barcode": one["barcode"]})
    assert assert_error(answer, Code.INVALID_REQUEST)["errors"][0]["code"] == "taken"
    assert (await keeper.live.get(path)).json() == two


async def test_search_by_words_sku_and_barcode(keeper: Keeper) -> None:
    await made(keeper.live, TEA, {"name": "Кофе 100%", "price": 1})
    assert await listed(keeper.live, search="ЧАЙ") == ["Чай"]
    assert await listed(keeper.live, search="tea-") == ["Чай"]
    assert await listed(keeper.live, search="%") == ["Кофе 100%"]
    assert await listed(keeper.live, barcode="4870001") == ["Чай"]
    assert await listed(keeper.live, barcode="4870") == []
    wrong = await keeper.live.get(f"{PATH}?search=a%00&barcode=b%00&cursor=x")
    assert sorted(fields_of(assert_error(wrong, Code.INVALID_REQUEST))) == ["barcode", "cursor", "search"]


async def test_the_units(keeper: Keeper) -> None:
    answer = await keeper.test.get(f"{PATH}/units")
    assert answer.status_code == 200
    units = {one["code"]: one for one in answer.json()["items"]}
    assert set(units) == set(UNITS)
    assert units["kg"] == {
        "code": "kg",
        "decimals": 3,
        "name": {"ru": "килограмм", "kk": "килограмм", "en": "kilogram"},
        "short_name": {"ru": "кг", "kk": "кг"},
    }


async def test_what_was_done_stands_in_the_audit_log(keeper: Keeper) -> None:
    (item,) = await made(keeper.live, TEA)
    await keeper.live.patch(f"{PATH}/{item['id']}", json={"price": 1})
    await keeper.live.delete(f"{PATH}/{item['id']}")
    rows = (await keeper.live.get("/api/v1/audit-logs", params={"object_id": item["id"]})).json()["items"]
    assert sorted(row["action"] for row in rows) == [
        "catalog_item.archived", "catalog_item.created", "catalog_item.updated",
    ]  # fmt: skip
