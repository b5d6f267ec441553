"""The JSON shapes of the catalog."""

from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.times import show, show_optional
from contracts.v1_json import Amount, Moment
from domain.catalog import UNITS, CatalogItem, Unit
from domain.errors import FieldError
from domain.money import CURRENCY, format_amount


class CatalogItemJson(msgspec.Struct, frozen=True, kw_only=True):
    """A thing or service for sale; `price` is for one `unit`."""

    id: Annotated[str, Meta(examples=["cat_7v3o5y3c6d2xk4wz7h5uc5jq2m"])]
    name: str
    price: Amount
    currency: Annotated[str, Meta(examples=[CURRENCY])]
    unit: Unit
    barcode: str | None
    sku: str | None
    description: str
    is_sandbox: bool
    archived_at: Moment | None
    created_at: Moment
    updated_at: Moment


class ItemErrors(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one item of a batch; `index` is its place in the request, from 0."""

    index: int
    errors: list[FieldError]


class CatalogCreatedJson(msgspec.Struct, frozen=True, kw_only=True):
    """The items that were made, in the order of the request, and what is wrong with the others."""

    items: list[CatalogItemJson]
    errors: list[ItemErrors]


class UnitNamesJson(msgspec.Struct, frozen=True, kw_only=True):
    """A unit in Russian, Kazakh and English."""

    ru: str
    kk: str
    en: str


class UnitShortJson(msgspec.Struct, frozen=True, kw_only=True):
    """As it stands on a receipt."""

    ru: str
    kk: str


class UnitJson(msgspec.Struct, frozen=True, kw_only=True):
    """A unit of measure; a count of it has at most `decimals` decimals."""

    code: Unit
    decimals: int
    name: UnitNamesJson
    short_name: UnitShortJson


def catalog_item(item: CatalogItem) -> CatalogItemJson:
    """The JSON of a catalog item."""
    return CatalogItemJson(
        id=item.id,
        name=item.name,
        price=format_amount(item.price),
        currency=CURRENCY,
        unit=item.unit,
        barcode=item.barcode,
        sku=item.sku,
        description=item.description or "",
        is_sandbox=item.is_sandbox,
        archived_at=show_optional(item.archived_at),
        created_at=show(item.created_at),
        updated_at=show(item.updated_at),
    )


def units() -> list[UnitJson]:
    """Every unit there is."""
    return [
        UnitJson(
            code=code,
            decimals=info.decimals,
            name=UnitNamesJson(ru=info.ru, kk=info.kk, en=info.en),
            short_name=UnitShortJson(ru=info.short_ru, kk=info.short_kk),
        )
        for code, info in UNITS.items()
    ]
