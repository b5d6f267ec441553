"""Rows to domain structs."""

import msgspec
from sqlalchemy import RowMapping

from domain.catalog import CatalogItem
from domain.event import Endpoint
from domain.invoice import Invoice
from domain.merchant import Connection
from domain.refund import Refund, RefundAttempt

INVOICE_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Invoice))
CONNECTION_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Connection))
ENDPOINT_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Endpoint))
CATALOG_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(CatalogItem))

REFUND_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Refund))
ATTEMPT_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(RefundAttempt))


def to_refund(row: RowMapping | dict[str, object]) -> Refund:
    """A row of `REFUND_COLUMNS`."""
    return msgspec.convert(row, Refund)


def to_attempt(row: RowMapping | dict[str, object]) -> RefundAttempt:
    """A row of `ATTEMPT_COLUMNS`."""
    return msgspec.convert(row, RefundAttempt)


def to_invoice(row: RowMapping | dict[str, object]) -> Invoice:
    """A row of `INVOICE_COLUMNS`."""
    return msgspec.convert(row, Invoice)


def to_catalog_item(row: RowMapping | dict[str, object]) -> CatalogItem:
    """A row of `CATALOG_COLUMNS`."""
    return msgspec.convert(row, CatalogItem)


def to_connection(row: RowMapping | dict[str, object]) -> Connection:
    """A row of `CONNECTION_COLUMNS`."""
    return msgspec.convert(row, Connection)


def to_endpoint(row: RowMapping | dict[str, object]) -> Endpoint:
    """A row of `ENDPOINT_COLUMNS`."""
    return msgspec.convert(row, Endpoint)
