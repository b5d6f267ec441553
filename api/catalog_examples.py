"""The catalog's part of the examples."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from contracts.v1_catalog import CatalogCreatedJson, ItemErrors, catalog_item, units
from domain.catalog import CatalogItem, Unit
from domain.errors import Code, FieldError, TolemError

_AT = datetime(2026, 11, 22, 6, 17, 33, 120000, tzinfo=UTC)

TEA = CatalogItem(
    id="cat_7v3o5y3c6d2xk4wz7h5uc5jq2m",
    merchant_id="mer_6rzpebtuombeggmvdqnbyeugjy",
    is_sandbox=False,
    name="Чай чёрный, 250 г",
    price=185_000,
    unit=Unit.PIECE,
    barcode="4870001234567",
    sku="TEA-250",
    description="Листовой",
    created_at=_AT,
    updated_at=_AT,
)
_APPLES = msgspec.structs.replace(
    TEA,
    id="cat_o5y3c6d2xk4wz7h5uc5jq2m7v3",
    name="Яблоки",
    price=64_000,
    unit=Unit.KILOGRAM,
    barcode=None,
    sku=None,
    description=None,
)
_DEARER = msgspec.structs.replace(TEA, price=195_000, updated_at=datetime(2026, 11, 23, 6, 17, 33, tzinfo=UTC))
_TAKEN = FieldError("barcode", "taken", "Another item that is for sale has this barcode.")

REQUESTS: dict[str, Any] = {
    "createCatalogItems": {
        "items": [
            {"name": TEA.name, "price": 1850, "barcode": TEA.barcode, "sku": TEA.sku, "description": TEA.description},
            {"name": _APPLES.name, "price": 640, "unit": "kg"},
            {"name": "Чай зелёный, 250 г", "price": 2100, "barcode": TEA.barcode},
        ]
    },
    "updateCatalogItem": {"price": 1950},
}
ANSWERS: dict[str, Any] = {
    "createCatalogItems": CatalogCreatedJson(
        items=[catalog_item(TEA), catalog_item(_APPLES)], errors=[ItemErrors(index=2, errors=[_TAKEN])]
    ),
    "listCatalog": {
        "items": [catalog_item(TEA), catalog_item(_APPLES)],
        "page": 1,
        "page_size": 20,
        "total": 2,
        "has_more": False,
        "next_cursor": None,
    },
    "listUnits": {"items": units()},
    "getCatalogItem": catalog_item(TEA),
    "updateCatalogItem": catalog_item(_DEARER),
    "archiveCatalogItem": None,
}
REFUSED = TolemError(
    Code.CATALOG_ITEMS_REFUSED, errors=[FieldError("items.0.price", "required", "This field is required.")]
)
