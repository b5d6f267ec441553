"""Catalog items as records: each write with its audit row. Nothing is deleted: what is sold no more is archived."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import audit, registry_audit
from db.endpoints import Asker
from db.engine import as_merchant
from db.errors import BarcodeTaken, KeyTaken
from db.kept_answers import KeyedAnswer, keep_answer
from db.reads import COUNT_CAP
from db.registry_audit import CatalogAct
from db.rows import CATALOG_COLUMNS, to_catalog_item
from domain.catalog import CatalogItem, Unit
from domain.ids import CATALOG_ITEM, new_id

_BARCODE = "uq_catalog_items_merchant_id_is_sandbox_barcode"
# The microseconds keep a batch in its order, which is the order of a list from new to old.
_ADD = text(
    f"""
    insert into catalog_items (id, merchant_id, is_sandbox, name, price, unit, barcode, sku, description, created_at,
        updated_at)
    select id, :merchant, is_sandbox, name, price, unit, barcode, sku, description,
        now() - ordinal * interval '1 microsecond', now()
    from jsonb_to_recordset(cast(:items as jsonb)) as n (ordinal int, id text, is_sandbox boolean, name text,
        price bigint, unit text, barcode text, sku text, description text)
    order by ordinal
    on conflict (merchant_id, is_sandbox, barcode) where barcode is not null and archived_at is null do nothing
    returning {CATALOG_COLUMNS}
    """
)
_VISIBLE = (
    f"select {CATALOG_COLUMNS} from catalog_items where merchant_id = :merchant and id = :id"
    " and (not :sandbox_only or is_sandbox)"
)
_READ = text(_VISIBLE)
# Not "for update": a booking that sells the item holds a key-share lock on the row, and must not wait for us.
_LOCKED = text(f"{_VISIBLE} for no key update")
_CHANGE = text(
    "update catalog_items set name = :name, price = :price, unit = :unit, barcode = :barcode, sku = :sku,"
    " description = :description, archived_at = case when :archived then coalesce(archived_at, now()) end,"
    f" updated_at = now() where id = :id returning {CATALOG_COLUMNS}"
)
_FOR_SALE = text(
    f"select {CATALOG_COLUMNS} from catalog_items where merchant_id = :merchant and id = any(:ids)"
    " and is_sandbox = :sandbox and archived_at is null"
)


class NewItem(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be sold; `price` in tiyn."""

    name: str
    price: int
    unit: Unit
    is_sandbox: bool
    barcode: str | None = None
    sku: str | None = None
    description: str | None = None


class ItemChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be other than it was; what is not given stays."""

    name: str | UnsetType = UNSET
    price: int | UnsetType = UNSET
    unit: Unit | UnsetType = UNSET
    barcode: str | UnsetType | None = UNSET
    sku: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    archived: bool | UnsetType = UNSET


class CatalogFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list asks for; `after` is the last row of the page before (created_at, id)."""

    archived: bool = False
    is_sandbox: bool | None = None
    search: str | None = None
    barcode: str | None = None
    after: tuple[datetime, str] | None = None
    offset: int = 0
    limit: int = 20


class CatalogPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `total` counts up to `COUNT_CAP`; `has_more` is always exact."""

    items: list[CatalogItem]
    total: int
    has_more: bool


# Of the items that were made (None where the barcode is taken): the answer to keep for the request's key.
Answer = Callable[[list[CatalogItem | None]], KeyedAnswer]


class Catalog:
    """One merchant's catalog, as the application's role; raises `DatabaseUnavailable`.

    An item that is another merchant's, or not for the asker's eyes, is None to every method. What changes nothing
    writes nothing, and no audit row.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, asker: Asker, new: list[NewItem], *, answer: Answer | None = None) -> list[CatalogItem | None]:
        """The new items in the order given, None for each whose barcode another item has.

        `answer` is kept with them where any was made; `KeyTaken`: another one stands, and nothing was written.
        """
        ids = [new_id(CATALOG_ITEM) for _ in new]
        rows = [
            {"ordinal": ordinal, "id": id_, **msgspec.structs.asdict(one)}
            for ordinal, (id_, one) in enumerate(zip(ids, new, strict=True))
        ]
        values = {"merchant": asker.merchant_id, "items": msgspec.json.encode(rows).decode()}
        async with as_merchant(self._engine, asker.merchant_id) as connection:
            found = (await connection.execute(_ADD, values)).mappings()
            made = {item.id: item for item in (to_catalog_item(row) for row in found)}
            items = [made.get(id_) for id_ in ids]
            if made:
                first = next(item.id for item in items if item is not None)
                kept = None if answer is None else answer(items)
                if kept is not None and not await keep_answer(connection, asker.merchant_id, first, kept):
                    raise KeyTaken
                told = (
                    registry_audit.catalog_item_created(item, key=asker.key_id, request_id=asker.request_id)
                    for item in items
                    if item is not None
                )
                await audit.append(connection, *told)
        return items

    async def read(self, merchant_id: str, item_id: str, *, sandbox_only: bool) -> CatalogItem | None:
        """One item, archived or not."""
        values = {"merchant": merchant_id, "id": item_id, "sandbox_only": sandbox_only}
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_READ, values)).mappings().one_or_none()
        return None if row is None else to_catalog_item(row)

    async def change(self, asker: Asker, item_id: str, changes: ItemChanges) -> CatalogItem | None:
        """The item after the change; invoices that have it keep what they were sold with.

        `BarcodeTaken`: another item that is for sale has the barcode; nothing was written.
        """
        async with self._locked(asker, item_id) as (connection, before):
            if before is None:
                return None
            stands = _standing(before)
            given = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not UNSET}
            news = {name: value for name, value in given.items() if stands[name] != value}
            if not news:
                return before
            after = await _write(connection, {"id": before.id} | stands | news)
            told = registry_audit.catalog_item_acted(
                _act(news), before, after, key=asker.key_id, request_id=asker.request_id, fields=list(news)
            )
            await audit.append(connection, told)
            return after

    async def page(self, merchant_id: str, wanted: CatalogFilter) -> CatalogPage:
        """One page, by keyset when `after` is given, by a bounded offset otherwise."""
        where, values = _conditions(wanted)
        values["merchant"] = merchant_id
        keyset = ""
        if wanted.after is not None:
            keyset = " and (created_at, id) < (:after_time, :after_id)"
            values |= {"after_time": wanted.after[0], "after_id": wanted.after[1]}
        listed = text(
            f"select {CATALOG_COLUMNS} from catalog_items where {where}{keyset}"
            " order by created_at desc, id desc limit :limit offset :offset"
        )
        counted = text(f"select count(*) from (select 1 from catalog_items where {where} limit {COUNT_CAP}) c")
        async with as_merchant(self._engine, merchant_id) as connection:
            paging = {"limit": wanted.limit + 1, "offset": wanted.offset}
            rows = (await connection.execute(listed, values | paging)).mappings().all()
            total = (await connection.execute(counted, values)).scalar_one()
        return CatalogPage(
            items=[to_catalog_item(row) for row in rows[: wanted.limit]], total=total, has_more=len(rows) > wanted.limit
        )

    async def for_sale(self, merchant_id: str, ids: list[str], *, is_sandbox: bool) -> dict[str, CatalogItem]:
        """Those of the ids that can be put into a cart of this mode now, by id."""
        async with as_merchant(self._engine, merchant_id) as connection:
            values = {"merchant": merchant_id, "ids": ids, "sandbox": is_sandbox}
            found = (await connection.execute(_FOR_SALE, values)).mappings().all()
        return {item.id: item for item in map(to_catalog_item, found)}

    @asynccontextmanager
    async def _locked(self, asker: Asker, item_id: str) -> AsyncIterator[tuple[AsyncConnection, CatalogItem | None]]:
        """A transaction in which nobody else changes the item."""
        values = {"merchant": asker.merchant_id, "id": item_id, "sandbox_only": asker.sandbox_only}
        async with as_merchant(self._engine, asker.merchant_id) as connection:
            row = (await connection.execute(_LOCKED, values)).mappings().one_or_none()
            yield connection, None if row is None else to_catalog_item(row)


def _standing(item: CatalogItem) -> dict[str, Any]:
    """The item in the words of `ItemChanges`."""
    names = (name for name in ItemChanges.__struct_fields__ if name != "archived")
    return {name: getattr(item, name) for name in names} | {"archived": item.archived_at is not None}


def _act(news: dict[str, Any]) -> CatalogAct:
    if "archived" not in news:
        return CatalogAct.UPDATED
    return CatalogAct.ARCHIVED if news["archived"] else CatalogAct.RESTORED


async def _write(connection: AsyncConnection, values: dict[str, Any]) -> CatalogItem:
    try:
        return to_catalog_item((await connection.execute(_CHANGE, values)).mappings().one())
    except IntegrityError as error:
        if _BARCODE in str(error.orig):
            raise BarcodeTaken("another item has the barcode") from error
        raise


def _conditions(wanted: CatalogFilter) -> tuple[str, dict[str, Any]]:
    parts = ["merchant_id = :merchant", f"archived_at is {'not ' if wanted.archived else ''}null"]
    values = dict[str, Any]()
    if wanted.is_sandbox is not None:
        parts.append("is_sandbox = :is_sandbox")
        values["is_sandbox"] = wanted.is_sandbox
    if wanted.barcode is not None:
        parts.append("barcode = :barcode")
        values["barcode"] = wanted.barcode
    if wanted.search:
        pattern = wanted.search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        parts.append("(name ilike :pattern or sku ilike :pattern or barcode = :search or id = :search)")
        values |= {"search": wanted.search, "pattern": f"%{pattern}%"}
    return " and ".join(parts), values
