"""What requests about the catalog may hold."""

import re
from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, UnsetType

from api.bodies import RequestBody, Rule
from api.v1 import fields
from domain.catalog import Unit

_BARCODE = re.compile(r"[0-9A-Za-z._-]{1,64}")

NameIn = Annotated[str, Meta(min_length=1, max_length=200, examples=["Чай чёрный, 250 г"])]
UnitIn = Annotated[Unit, Meta(description="See `GET /v1/catalog/units`.", examples=["piece"])]
BarcodeIn = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern="^[0-9A-Za-z._-]+$",
        description="What a scanner reads (EAN, UPC, Code 128 …). Of the items for sale one has it.",
        examples=["4870001234567"],
    ),
]
SkuIn = Annotated[str, Meta(max_length=64, description="Your own number of it.", examples=["TEA-250"])]
AboutIn = Annotated[str, Meta(max_length=500, examples=["Листовой"])]


def not_blank(value: str) -> str:
    """A name that can be seen."""
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def checked_barcode(value: str) -> str:
    """Digits, Latin letters, dots, dashes and underscores; a pattern's `$` lets a line break through."""
    if not _BARCODE.fullmatch(value):
        raise ValueError("must be 1 to 64 digits, Latin letters, dots, dashes or underscores")
    return value


class CatalogItemCreate(RequestBody):
    """A thing or service for sale."""

    RULES: ClassVar[dict[str, Rule]] = {
        "name": not_blank,
        "price": fields.checked_amount,
        "barcode": checked_barcode,
    }

    name: NameIn
    price: fields.AmountIn
    unit: UnitIn = Unit.PIECE
    barcode: BarcodeIn | None = None
    sku: SkuIn | None = None
    description: AboutIn | None = None
    is_sandbox: (
        Annotated[bool, Meta(description="For carts of sandbox objects; by default what the key's mode says.")] | None
    ) = None


class CatalogItemUpdate(RequestBody, forbid_unknown_fields=True):
    """What is to be other than it was. A field that is left out stays as it is."""

    RULES: ClassVar[dict[str, Rule]] = CatalogItemCreate.RULES

    name: NameIn | UnsetType = UNSET
    price: fields.AmountIn | UnsetType = UNSET
    unit: UnitIn | UnsetType = UNSET
    barcode: BarcodeIn | UnsetType | None = UNSET
    sku: SkuIn | UnsetType | None = UNSET
    description: AboutIn | UnsetType | None = UNSET
    archived: Annotated[bool, Meta(description="`false` brings an archived item back.")] | UnsetType = UNSET
