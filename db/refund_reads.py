"""What the API reads of refunds: queries to domain structs, as the application's role, one merchant at a time."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import as_merchant
from db.reads import COUNT_CAP
from db.rows import REFUND_COLUMNS, to_refund
from domain.refund import Refund, RefundState

_REFUND = text(f"select {REFUND_COLUMNS} from refunds where merchant_id = :merchant and id = :id")
_BY_NUMBER = text(f"select {REFUND_COLUMNS} from refunds where merchant_id = :merchant and number = :number")
_CREATED = text(
    f"select {REFUND_COLUMNS}, k.answer_status, k.answer_body, k.fingerprint from refunds r"
    " left join lateral (select answer_status, answer_body, fingerprint from idempotency_keys k"
    "   where k.merchant_id = r.merchant_id and k.resource_id = r.id limit 1) k on true"
    " where r.merchant_id = :merchant and r.id = :id"
)


class CreatedRefund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund with the answer kept for the key that made it, if any."""

    refund: Refund
    status: int | None
    body: bytes | None
    fingerprint: str | None


class RefundFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list asks for; `after` is the last row of the page before (created_at, id)."""

    states: list[RefundState] | None = None
    in_attention: bool | None = None
    invoice_id: str | None = None
    is_sandbox: bool | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None
    after: tuple[datetime, str] | None = None
    offset: int = 0
    limit: int = 20


class RefundPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `total` counts up to `COUNT_CAP`; `has_more` is always exact."""

    items: list[Refund]
    total: int
    has_more: bool


class RefundReads:
    """Queries; each raises `DatabaseUnavailable` when the database is."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def refund(self, merchant_id: str, refund_id: str) -> Refund | None:
        """One refund of this merchant."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_REFUND, {"merchant": merchant_id, "id": refund_id})
            row = found.mappings().one_or_none()
        return None if row is None else to_refund(row)

    async def refund_by_number(self, merchant_id: str, number: int) -> Refund | None:
        """One refund of this merchant by its number."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_BY_NUMBER, {"merchant": merchant_id, "number": number})
            row = found.mappings().one_or_none()
        return None if row is None else to_refund(row)

    async def created(self, merchant_id: str, refund_id: str, *, final: bool = False) -> CreatedRefund | None:
        """The refund and the answer kept for its creation. `final` asks under the lock of recording it: after
        `open_before` None then means that it can never be recorded.
        """
        async with as_merchant(self._engine, merchant_id, lock=refund_id if final else None) as connection:
            found = await connection.execute(_CREATED, {"merchant": merchant_id, "id": refund_id})
            row = found.mappings().one_or_none()
        if row is None:
            return None
        return CreatedRefund(
            refund=to_refund({name: row[name] for name in Refund.__struct_fields__}),
            status=row["answer_status"],
            body=row["answer_body"],
            fingerprint=row["fingerprint"],
        )

    async def page(self, merchant_id: str, wanted: RefundFilter) -> RefundPage:
        """One page, by keyset when `after` is given, by a bounded offset otherwise."""
        where, values = _conditions(wanted)
        values["merchant"] = merchant_id
        keyset = ""
        if wanted.after is not None:
            keyset = " and (created_at, id) < (:after_time, :after_id)"
            values |= {"after_time": wanted.after[0], "after_id": wanted.after[1]}
        listed = text(
            f"select {REFUND_COLUMNS} from refunds where {where}{keyset}"
            " order by created_at desc, id desc limit :limit offset :offset"
        )
        counted = text(f"select count(*) from (select 1 from refunds where {where} limit {COUNT_CAP}) c")
        async with as_merchant(self._engine, merchant_id) as connection:
            paging = {"limit": wanted.limit + 1, "offset": wanted.offset}
            rows = (await connection.execute(listed, values | paging)).mappings().all()
            total = (await connection.execute(counted, values)).scalar_one()
        return RefundPage(
            items=[to_refund(row) for row in rows[: wanted.limit]], total=total, has_more=len(rows) > wanted.limit
        )


def _conditions(wanted: RefundFilter) -> tuple[str, dict[str, Any]]:
    conditions = {
        "states": "state = any(:states)",
        "in_attention": "(attention is not null) = :in_attention",
        "invoice_id": "invoice_id = :invoice_id",
        "is_sandbox": "is_sandbox = :is_sandbox",
        "date_from": "created_at >= :date_from",
        "date_to": "created_at < :date_to",
    }
    given = {name: getattr(wanted, name) for name in conditions if getattr(wanted, name) is not None}
    return " and ".join(["merchant_id = :merchant", *(conditions[name] for name in given)]), given
