"""The catalog: what a merchant sells, put in one by one or by the batch."""

from typing import Annotated, Any

import msgspec
from litestar import Controller, MediaType, Request, Response, delete, get, patch, post
from litestar.params import Parameter
from msgspec import UNSET

from api import idempotency
from api.auth import sandbox_of, sees_sandbox_only
from api.batches import Batch, JsonBatch
from api.bodies import JsonBody
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import fields, paging
from api.v1.catalog_bodies import CatalogItemCreate, CatalogItemUpdate
from api.v1.choices import every_wrong
from api.v1.responses import errors
from contracts import v1_catalog
from contracts.v1_catalog import CatalogCreatedJson, CatalogItemJson, ItemErrors, UnitJson
from db.catalog import CatalogFilter, ItemChanges, NewItem
from db.endpoints import Asker
from db.errors import BarcodeTaken, KeyTaken
from db.kept_answers import KeyedAnswer
from domain.catalog import CatalogItem
from domain.errors import Code, FieldError, TolemError, invalid
from domain.merchant import Principal

OPERATION = "catalog"
TAKEN = FieldError("barcode", "taken", "Another item that is for sale has this barcode.")

ItemId = Annotated[str, Parameter(description="Of a catalog item.")]


class CatalogPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `total` counts up to 10 000; page on with `next_cursor` beyond that."""

    items: list[CatalogItemJson]
    page: int
    page_size: int
    total: int
    has_more: bool
    next_cursor: str | None


class UnitList(msgspec.Struct, frozen=True, kw_only=True):
    """Every unit of measure there is."""

    items: list[UnitJson]


class CatalogController(Controller):
    """`/api/v1/catalog`."""

    path = "/catalog"
    tags = ["Catalog"]  # noqa: RUF012 -- Litestar's way

    @get(summary="List catalog items", operation_id="listCatalog", responses=errors(400, 401, 503))
    async def list_(
        self,
        services: Services,
        principal: Principal,
        search: Annotated[
            str | None, Parameter(max_length=100, description="Part of the name or SKU, or a whole barcode or id.")
        ] = None,
        barcode: Annotated[str | None, Parameter(max_length=64, description="Exactly this barcode.")] = None,
        archived: Annotated[bool, Parameter(description="Those that are sold no more, instead of those that are.")] = (
            False
        ),
        is_sandbox: bool | None = None,
        page: Annotated[int, Parameter(ge=1, le=1_000_000)] = 1,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        cursor: Annotated[
            str | None, Parameter(description="`next_cursor` of the page before; instead of `page`.")
        ] = None,
    ) -> CatalogPageJson:
        """GET /v1/catalog."""
        with every_wrong() as read:
            after, offset = read(paging.start, cursor, page, page_size) or (None, 0)
            words = read(paging.clean, search, "search")
            code = read(paging.clean, barcode, "barcode")
        wanted = CatalogFilter(
            archived=archived,
            is_sandbox=True if sees_sandbox_only(principal) else is_sandbox,
            search=words,
            barcode=code,
            after=after,
            offset=offset,
            limit=page_size,
        )
        found = await services.catalog.page(principal.merchant.id, wanted)
        last = found.items[-1] if found.items and found.has_more else None
        return CatalogPageJson(
            items=[v1_catalog.catalog_item(item) for item in found.items],
            page=page,
            page_size=page_size,
            total=found.total,
            has_more=found.has_more,
            next_cursor=None if last is None else paging.cursor(last.created_at, last.id),
        )

    @get("/units", summary="List units of measure", operation_id="listUnits", responses=errors(401, 503))
    async def units(self, principal: Principal) -> UnitList:
        """GET /v1/catalog/units."""
        return UnitList(items=v1_catalog.units())

    @post(
        dto=JsonBatch[CatalogItemCreate],
        return_dto=None,
        summary="Create catalog items",
        description='A batch `{"items": [...]}` of 1 to 50, or one item by itself. A wrong item stops no other: 201 '
        "has the items that were made and, in `errors`, what is wrong with the others by their `index`. 422 "
        "`catalog_items_refused` where none of a batch could be made; one item by itself that is wrong is 400.",
        operation_id="createCatalogItems",
        responses=errors(400, 401, 403, 422, 503, created=CatalogCreatedJson),
    )
    async def create(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        data: Batch[CatalogItemCreate],
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/catalog. The published contract says nothing of the body: "create items" is read as a batch, and
        whoever sends a single item as to every other POST of this API is understood too.
        """
        key = idempotency.checked(idempotency_key)
        new, wrong = _read(principal, data)
        fingerprint = idempotency.fingerprint(principal.id_salt, OPERATION, list(new.items()), list(wrong.items()))
        replayed = await _replayed(services, principal, key, fingerprint)
        if replayed is not None:
            return replayed
        places = sorted(new)
        shown = _Shown(places, wrong)

        def answer(made: list[CatalogItem | None]) -> KeyedAnswer:
            return KeyedAnswer(
                mode=principal.mode,
                operation=OPERATION,
                key=key or "",
                fingerprint=fingerprint,
                status=201,
                body=shown.body(made),
            )

        try:
            made = await services.catalog.add(
                _asker(request, principal), [new[place] for place in places], answer=None if key is None else answer
            )
        except KeyTaken:
            made = []
        if not any(made):
            # Another request with this key may just have made what is taken now.
            raced = await _replayed(services, principal, key, fingerprint)
            if raced is not None:
                return raced
            raise _refused(shown.errors(made), single=data.single)
        return Response(shown.body(made), status_code=201, media_type=MediaType.JSON)

    @get(
        "/{item_id:str}",
        summary="Get a catalog item",
        operation_id="getCatalogItem",
        responses=errors(400, 401, 404, 503),
    )
    async def read(self, services: Services, principal: Principal, item_id: ItemId) -> CatalogItemJson:
        """GET /v1/catalog/{id}."""
        _refuse_nul(item_id)
        return _item(
            await services.catalog.read(principal.merchant.id, item_id, sandbox_only=sees_sandbox_only(principal))
        )

    @patch(
        "/{item_id:str}",
        dto=JsonBody[CatalogItemUpdate],
        return_dto=None,
        summary="Change a catalog item",
        description="Invoices keep what they were sold with: a new price holds for new carts only. `archived: false` "
        "brings an archived item back, where no other has its barcode meanwhile.",
        operation_id="updateCatalogItem",
        responses=errors(400, 401, 404, 503),
    )
    async def update(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        item_id: ItemId,
        data: CatalogItemUpdate,
    ) -> CatalogItemJson:
        """PATCH /v1/catalog/{id}."""
        _refuse_nul(item_id)
        try:
            return _item(await services.catalog.change(_asker(request, principal), item_id, _changes(data)))
        except BarcodeTaken as taken:
            raise invalid(TAKEN) from taken

    @delete(
        "/{item_id:str}",
        summary="Archive a catalog item",
        description="It goes into no new cart and gives its barcode away. Invoices that have it keep it, and it can "
        "still be read.",
        operation_id="archiveCatalogItem",
        responses=errors(400, 401, 404, 503),
    )
    async def archive(
        self, request: Request[Any, Any, Any], services: Services, principal: Principal, item_id: ItemId
    ) -> None:
        """DELETE /v1/catalog/{id}; again is no error."""
        _refuse_nul(item_id)
        _item(await services.catalog.change(_asker(request, principal), item_id, ItemChanges(archived=True)))


class _Shown:
    """The answer to a batch: `places` are those of the items that could be made, `wrong` what was wrong before."""

    def __init__(self, places: list[int], wrong: dict[int, list[FieldError]]) -> None:
        self._places = places
        self._wrong = wrong

    def errors(self, made: list[CatalogItem | None]) -> dict[int, list[FieldError]]:
        """By place in the request."""
        taken = {place: [TAKEN] for place, item in zip(self._places, made, strict=False) if item is None}
        return dict(sorted((self._wrong | taken).items()))

    def body(self, made: list[CatalogItem | None]) -> bytes:
        """The bytes of the 201."""
        answer = CatalogCreatedJson(
            items=[v1_catalog.catalog_item(item) for item in made if item is not None],
            errors=[ItemErrors(index=place, errors=found) for place, found in self.errors(made).items()],
        )
        return msgspec.json.encode(answer)


def _read(
    principal: Principal, batch: Batch[CatalogItemCreate]
) -> tuple[dict[int, NewItem], dict[int, list[FieldError]]]:
    """What can be made and what is wrong, by place in the request."""
    new: dict[int, NewItem] = {}
    wrong: dict[int, list[FieldError]] = {}
    for place, draft in enumerate(batch.drafts):
        if draft.errors:
            wrong[place] = draft.errors
            continue
        asked = draft.finish()
        new[place] = NewItem(
            name=asked.name.strip(),
            price=fields.checked_amount(asked.price),
            unit=asked.unit,
            is_sandbox=sandbox_of(principal, asked=asked.is_sandbox),
            barcode=asked.barcode,
            sku=fields.optional_text(asked.sku),
            description=fields.optional_text(asked.description),
        )
    if not new:
        raise _refused(wrong, single=batch.single)
    return new, wrong


def _refused(wrong: dict[int, list[FieldError]], *, single: bool) -> TolemError:
    if single:
        return invalid(*wrong[0])
    told = [
        FieldError(f"items.{place}.{error.field}".rstrip("."), error.code, error.message)
        for place, found in wrong.items()
        for error in found
    ]
    return TolemError(Code.CATALOG_ITEMS_REFUSED, errors=told)


def _changes(data: CatalogItemUpdate) -> ItemChanges:
    return ItemChanges(
        name=UNSET if data.name is UNSET else data.name.strip(),
        price=UNSET if data.price is UNSET else fields.checked_amount(data.price),
        unit=data.unit,
        barcode=data.barcode,
        sku=UNSET if data.sku is UNSET else fields.optional_text(data.sku),
        description=UNSET if data.description is UNSET else fields.optional_text(data.description),
        archived=data.archived,
    )


async def _replayed(
    services: Services, principal: Principal, key: str | None, fingerprint: str
) -> Response[Any] | None:
    if key is None:
        return None
    kept = await services.reads.kept_answer(principal.merchant.id, principal.mode, OPERATION, key)
    return idempotency.replay(kept, fingerprint) if kept else None


def _asker(request: Request[Any, Any, Any], principal: Principal) -> Asker:
    return Asker(
        merchant_id=principal.merchant.id,
        key_id=principal.key_id,
        sandbox_only=sees_sandbox_only(principal),
        request_id=request_id_of(request.scope),
    )


def _refuse_nul(item_id: str) -> None:
    """Postgres takes no NUL in a text, so there is no such item."""
    if "\x00" in item_id:
        raise TolemError(Code.NOT_FOUND)


def _item(found: CatalogItem | None) -> CatalogItemJson:
    if found is None:
        raise TolemError(Code.NOT_FOUND)
    return v1_catalog.catalog_item(found)
