"""The catalog's records: batches, barcodes, changes, lists; one merchant and one mode at a time."""

import asyncio
from typing import Any

import pytest
from msgspec import UNSET

from db.catalog import Catalog, CatalogFilter, ItemChanges
from db.errors import BarcodeTaken, KeyTaken
from db.kept_answers import KeyedAnswer
from domain.catalog import CatalogItem, Unit
from domain.merchant import Mode
from tests.db.books import Books, Shop, at_once
from tests.db.carts import asker, new, stocked


@pytest.fixture
def catalog(books: Books) -> Catalog:
    return Catalog(books.app)


async def audit_rows(shop: Shop, item_id: str) -> list[tuple[Any, ...]]:
    rows = await shop.books.fetch(
        "select action, before, after, note from audit_log where object_id = :id order by position", id=item_id
    )
    return [tuple(row.values()) for row in rows]


def keyed(fingerprint: str = "f") -> KeyedAnswer:
    return KeyedAnswer(mode=Mode.LIVE, operation="catalog", key="k", fingerprint=fingerprint, status=201, body=b"{}")


async def names(catalog: Catalog, shop: Shop, **wanted: Any) -> list[str]:
    found = await catalog.page(shop.id, CatalogFilter(**wanted))
    assert found.total == len(found.items) + found.has_more
    return [item.name for item in found.items]


async def test_a_batch_is_written_and_listed_in_its_order(catalog: Catalog, shop: Shop) -> None:
    made = await stocked(shop, *(new(f"Товар {number}", price=100 + number) for number in range(50)))
    assert [item.price for item in made] == [100 + number for number in range(50)]
    assert len({item.id for item in made}) == 50
    assert await names(catalog, shop, limit=50) == [f"Товар {number}" for number in range(50)]
    read = await catalog.read(shop.id, made[0].id, sandbox_only=False)
    assert read == made[0]
    assert (made[0].unit, made[0].archived_at, made[0].merchant_id) == (Unit.PIECE, None, shop.id)
    assert await audit_rows(shop, made[3].id) == [("catalog_item.created", None, "for_sale", "price 103 tiyn")]


async def test_a_taken_barcode_stops_no_other_item(catalog: Catalog, shop: Shop) -> None:
    (first,) = await stocked(shop, new(barcode="1"))
    made = await catalog.add(
        asker(shop),
        [
            new("a", barcode="1"),
            new("b", barcode="2"),
            new("c", barcode="2"),
            new("d"),
            new("e", barcode="1", is_sandbox=True),
        ],
    )
    assert [item.name if item else None for item in made] == [None, "b", None, "d", "e"]
    assert await audit_rows(shop, first.id) == [("catalog_item.created", None, "for_sale", "price 10000 tiyn")]


async def test_of_many_at_once_one_gets_the_barcode(catalog: Catalog, shop: Shop) -> None:
    made = await at_once(10, lambda number: catalog.add(asker(shop), [new(f"{number}", barcode="7")]))
    assert sum(item is not None for batch in made for item in batch) == 1
    assert len(await names(catalog, shop)) == 1


async def test_the_answer_is_kept_with_the_items_and_another_request_with_the_key_writes_nothing(
    catalog: Catalog, shop: Shop
) -> None:
    made = await catalog.add(asker(shop), [new("a")], answer=lambda _: keyed())
    kept = await shop.books.reads.kept_answer(shop.id, Mode.LIVE, "catalog", "k")
    assert kept is not None
    assert (kept.status, kept.body, kept.resource_id) == (201, b"{}", made[0].id if made[0] else None)
    with pytest.raises(KeyTaken):
        await catalog.add(asker(shop), [new("b")], answer=lambda _: keyed("g"))
    assert await names(catalog, shop) == ["a"]


async def test_where_nothing_was_made_nothing_is_kept(catalog: Catalog, shop: Shop) -> None:
    await stocked(shop, new(barcode="1"))
    assert await catalog.add(asker(shop), [new(barcode="1")], answer=lambda _: keyed()) == [None]
    assert await shop.books.reads.kept_answer(shop.id, Mode.LIVE, "catalog", "k") is None


async def test_a_change_tells_what_changed_and_what_changes_nothing_writes_nothing(
    catalog: Catalog, shop: Shop
) -> None:
    (item,) = await stocked(shop, new(barcode="1", sku="s", description="d"))
    after = await catalog.change(asker(shop), item.id, ItemChanges(price=12_000, description=None, unit=Unit.PIECE))
    assert after is not None
    assert (after.price, after.description, after.sku, after.barcode) == (12_000, None, "s", "1")
    assert after.updated_at > item.updated_at
    assert await catalog.change(asker(shop), item.id, ItemChanges(price=12_000, barcode=UNSET)) == after
    assert (await audit_rows(shop, item.id))[1:] == [
        ("catalog_item.updated", None, None, "price 10000 to 12000 tiyn, description")
    ]


async def test_an_archived_item_gives_its_barcode_away_and_comes_back_only_without_it(
    catalog: Catalog, shop: Shop
) -> None:
    (old,) = await stocked(shop, new("old", barcode="1"))
    archived = await catalog.change(asker(shop), old.id, ItemChanges(archived=True))
    assert archived is not None
    assert archived.archived_at is not None
    assert await catalog.change(asker(shop), old.id, ItemChanges(archived=True)) == archived
    (young,) = await stocked(shop, new("young", barcode="1"))
    assert await names(catalog, shop) == ["young"]
    assert await names(catalog, shop, archived=True) == ["old"]
    assert await catalog.for_sale(shop.id, [old.id, young.id], is_sandbox=False) == {young.id: young}
    with pytest.raises(BarcodeTaken):
        await catalog.change(asker(shop), old.id, ItemChanges(archived=False))
    (third,) = await stocked(shop, new("third"))
    with pytest.raises(BarcodeTaken):
        await catalog.change(asker(shop), third.id, ItemChanges(barcode="1"))
    back = await catalog.change(asker(shop), old.id, ItemChanges(archived=False, barcode="2"))
    assert back is not None
    assert (back.archived_at, back.barcode) == (None, "2")
    assert [row[:3] for row in await audit_rows(shop, old.id)] == [
        ("catalog_item.created", None, "for_sale"),
        ("catalog_item.archived", "for_sale", "archived"),
        ("catalog_item.restored", "archived", "for_sale"),
    ]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"search": "чай"}, ["Зелёный чай", "ЧАЙ 100%"]),
        ({"search": "100%"}, ["ЧАЙ 100%"]),
        ({"search": "%"}, ["ЧАЙ 100%"]),
        ({"search": "_"}, []),
        ({"search": "tea-"}, ["Зелёный чай"]),
        ({"search": "4870"}, []),
        ({"search": "48700"}, ["Кофе"]),
        ({"barcode": "48700"}, ["Кофе"]),
        ({"barcode": "4870"}, []),
        ({"search": "чай", "is_sandbox": True}, []),
    ],
    ids=str,
)
async def test_search(catalog: Catalog, shop: Shop, wanted: dict[str, Any], found: list[str]) -> None:
    await stocked(shop, new("Зелёный чай", sku="TEA-1"), new("ЧАЙ 100%"), new("Кофе", barcode="48700"))
    assert await names(catalog, shop, **wanted) == found


async def test_pages_by_cursor_miss_nothing_while_items_come_in(catalog: Catalog, shop: Shop) -> None:
    await stocked(shop, *(new(f"{number}") for number in range(23)))
    seen: list[CatalogItem] = []
    after = None
    while True:
        page = await catalog.page(shop.id, CatalogFilter(after=after, limit=5))
        seen += page.items
        await stocked(shop, new("later"))
        if not page.has_more:
            break
        after = (page.items[-1].created_at, page.items[-1].id)
    assert [item.name for item in seen] == [f"{number}" for number in range(23)]
    offset = await catalog.page(shop.id, CatalogFilter(offset=5, limit=5))
    assert [item.name for item in offset.items] == [f"{number}" for number in range(5)]


async def test_another_merchant_and_a_test_key_find_nothing(catalog: Catalog, books: Books, shop: Shop) -> None:
    other = await books.merchant()
    (live,) = await stocked(shop, new())
    (sandbox,) = await stocked(shop, new(is_sandbox=True))
    assert await catalog.read(other.id, live.id, sandbox_only=False) is None
    assert await catalog.change(asker(other), live.id, ItemChanges(price=1)) is None
    assert await catalog.read(shop.id, live.id, sandbox_only=True) is None
    assert await catalog.change(asker(shop, sandbox_only=True), live.id, ItemChanges(price=1)) is None
    assert await catalog.read(shop.id, sandbox.id, sandbox_only=True) == sandbox
    assert await catalog.for_sale(other.id, [live.id], is_sandbox=False) == {}
    assert await catalog.for_sale(shop.id, [live.id, sandbox.id], is_sandbox=True) == {sandbox.id: sandbox}
    assert (await catalog.page(other.id, CatalogFilter())).items == []


async def test_changes_at_once_lose_none(catalog: Catalog, shop: Shop) -> None:
    (item,) = await stocked(shop, new(price=1))
    await asyncio.gather(
        *(catalog.change(asker(shop), item.id, ItemChanges(price=price)) for price in range(2, 12)),
        catalog.change(asker(shop), item.id, ItemChanges(sku="s")),
    )
    after = await catalog.read(shop.id, item.id, sandbox_only=False)
    assert after is not None
    assert after.sku == "s"
    assert len(await audit_rows(shop, item.id)) == 12
