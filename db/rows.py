"""Rows to domain structs."""

import msgspec
from sqlalchemy import RowMapping

from domain.cart import InvoiceItem, RefundItem
from domain.catalog import CatalogItem
from domain.event import Endpoint
from domain.invoice import Invoice
from domain.merchant import Connection
from domain.refund import Refund, RefundAttempt
from domain.subscription_record import Subscription, SubscriptionPeriod, TestClock

CONNECTION_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Connection))
ENDPOINT_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Endpoint))
CATALOG_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(CatalogItem))


def _with_items(struct: type[msgspec.Struct], item: type[msgspec.Struct], table: str, owner: str) -> str:
    """The columns of a struct with `items`, one value of JSON; what has none costs no look at their table.

    `id` is the owner's own: the table of items has no such column.
    """
    fields = ", ".join(f"'{name}', l.{name}" for name in item.__struct_fields__)
    items = (
        f"case when item_count > 0 then (select jsonb_agg(jsonb_strip_nulls(jsonb_build_object({fields}))"
        f" order by l.position) from {table} l where l.{owner} = id) end as items"
    )
    return ", ".join(items if name == "items" else name for name in struct.__struct_fields__)


INVOICE_COLUMNS = _with_items(Invoice, InvoiceItem, "invoice_items", "invoice_id")
REFUND_COLUMNS = _with_items(Refund, RefundItem, "refund_items", "refund_id")
# The newest terms' cart; a subscription without one reads an empty list.
_TERMS = "from subscription_terms t where t.subscription_id = subscriptions.id and t.revision = subscriptions.revision"
_OF_TERMS = {"items", "discount_percentage"}
SUBSCRIPTION_COLUMNS = ", ".join(
    f"(select t.{name} {_TERMS}) as {name}" if name in _OF_TERMS else f"subscriptions.{name}"
    for name in Subscription.__struct_fields__
)
# Of `subscription_periods p` and the terms `t` of each.
PERIOD_COLUMNS = ", ".join(
    f"t.{name}" if name == "amount" else f"p.{name}" for name in SubscriptionPeriod.__struct_fields__
)
CLOCK_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(TestClock))
ATTEMPT_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(RefundAttempt))


def to_refund(row: RowMapping | dict[str, object]) -> Refund:
    """A row of `REFUND_COLUMNS`."""
    return msgspec.convert(_items_or_none(row), Refund)


def to_attempt(row: RowMapping | dict[str, object]) -> RefundAttempt:
    """A row of `ATTEMPT_COLUMNS`."""
    return msgspec.convert(row, RefundAttempt)


def to_invoice(row: RowMapping | dict[str, object]) -> Invoice:
    """A row of `INVOICE_COLUMNS`."""
    return msgspec.convert(_items_or_none(row), Invoice)


def _items_or_none(row: RowMapping | dict[str, object]) -> dict[str, object]:
    """Null is what there is where there are none."""
    return {name: value for name, value in row.items() if name != "items" or value is not None}


def to_catalog_item(row: RowMapping | dict[str, object]) -> CatalogItem:
    """A row of `CATALOG_COLUMNS`."""
    return msgspec.convert(row, CatalogItem)


def to_connection(row: RowMapping | dict[str, object]) -> Connection:
    """A row of `CONNECTION_COLUMNS`."""
    return msgspec.convert(row, Connection)


def to_endpoint(row: RowMapping | dict[str, object]) -> Endpoint:
    """A row of `ENDPOINT_COLUMNS`."""
    return msgspec.convert(row, Endpoint)


def to_subscription(row: RowMapping | dict[str, object]) -> Subscription:
    """A row of `SUBSCRIPTION_COLUMNS`."""
    return msgspec.convert(_parsed(row, "standing", "metadata", "items"), Subscription)


def to_period(row: RowMapping | dict[str, object]) -> SubscriptionPeriod:
    """A row of `PERIOD_COLUMNS`."""
    return msgspec.convert(row, SubscriptionPeriod)


def to_clock(row: RowMapping | dict[str, object]) -> TestClock:
    """A row of `CLOCK_COLUMNS`."""
    return msgspec.convert(row, TestClock)


def _parsed(row: RowMapping | dict[str, object], *names: str) -> dict[str, object]:
    """JSON that the driver gave as text."""
    read = dict(row)
    for name in names:
        value = read[name]
        if isinstance(value, str):
            read[name] = msgspec.json.decode(value)
    return read
