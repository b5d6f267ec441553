"""What the API reads: queries to domain structs, as the application's role, one merchant at a time."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.engine import as_merchant, single_statement
from db.key_hash import key_hash
from db.rows import CONNECTION_COLUMNS, ENDPOINT_COLUMNS, INVOICE_COLUMNS, to_connection, to_endpoint, to_invoice
from domain.bank import Scheme
from domain.event import Endpoint
from domain.invoice import Invoice, Kind, State
from domain.merchant import Connection, Merchant, Mode, Principal
from domain.rate_limit import Allowance, RateLimit

COUNT_CAP = 10_000
IDEMPOTENCY_DAYS = 30

_AUTHENTICATE = text("select * from authenticate(:hash, cast(:per_minute as integer), cast(:burst as integer))")
_INVOICE = text(f"select {INVOICE_COLUMNS} from invoices where merchant_id = :merchant and id = :id")
_INVOICE_BY_NUMBER = text(f"select {INVOICE_COLUMNS} from invoices where merchant_id = :merchant and number = :number")
_NUMBERS = text("select id, number from invoices where merchant_id = :merchant and id = any(:ids)")
_INVOICES = text(f"select {INVOICE_COLUMNS} from invoices where merchant_id = :merchant and id = any(:ids)")
_PAYER_VIEW = text("select * from payer_view(:id)")
_KEPT = text(
    f"select k.fingerprint, k.answer_status, k.answer_body, k.resource_id from idempotency_keys k"
    f" where k.merchant_id = :merchant and k.mode = :mode and k.operation = :operation and k.key_hash = :hash"
    f" and k.created_at > now() - interval '{IDEMPOTENCY_DAYS} days'"
)
_CREATED = text(
    f"select {INVOICE_COLUMNS}, k.answer_status, k.answer_body, k.fingerprint from invoices i"
    " left join lateral (select answer_status, answer_body, fingerprint from idempotency_keys k"
    "   where k.merchant_id = i.merchant_id and k.resource_id = i.id limit 1) k on true"
    " where i.merchant_id = :merchant and i.id = :id"
)
_ENDPOINTS = text(
    f"select {ENDPOINT_COLUMNS} from webhook_endpoints where merchant_id = :merchant"
    " and deleted_at is null and (not :sandbox_only or is_sandbox) order by created_at, id"
)
_ENDPOINT = text(
    f"select {ENDPOINT_COLUMNS} from webhook_endpoints"
    " where merchant_id = :merchant and id = :id and deleted_at is null"
)
_ENDPOINT_BY_NUMBER = text(
    "select id, is_sandbox, deleted_at is not null as deleted from webhook_endpoints"
    " where merchant_id = :merchant and number = :number"
)
_CONNECTION = text(f"select {CONNECTION_COLUMNS} from connections where merchant_id = :merchant and active = 1")


class KeptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for an idempotency key; without `status` the first request is still being handled."""

    fingerprint: str
    resource_id: str
    status: int | None
    body: bytes | None


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice with the answer kept for the key that made it, if any."""

    invoice: Invoice
    status: int | None
    body: bytes | None
    fingerprint: str | None


class InvoiceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list asks for; `after` is the last row of the page before (created_at, id).

    `search` looks in everything that names a bill, `order_search` in what the merchant wrote: order id and description.
    """

    states: list[State] | None = None
    kinds: list[Kind] | None = None
    is_sandbox: bool | None = None
    search: str | None = None
    order_search: str | None = None
    external_order_id: str | None = None
    subscription_id: str | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None
    after: tuple[datetime, str] | None = None
    offset: int = 0
    limit: int = 20


class NumberedEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint that a number names, also one that is deleted."""

    id: str
    is_sandbox: bool
    deleted: bool


class PayerView(msgspec.Struct, frozen=True, kw_only=True):
    """What a payer may see of a bill."""

    number: int
    kind: Kind
    is_sandbox: bool
    amount: int
    state: State
    merchant_name: str
    qr_token: str | None
    payment_link: str | None


class InvoicePage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `total` counts up to `COUNT_CAP`; `has_more` is always exact."""

    items: list[Invoice]
    total: int
    has_more: bool


class Reads:
    """Queries; each raises `DatabaseUnavailable` when the database is."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def ping(self) -> None:
        """Answers when the database does."""
        async with single_statement(self._engine) as connection:
            await connection.execute(text("select 1"))

    async def authenticate(self, hashed: bytes, limit: RateLimit | None = None) -> Principal | None:
        """The principal of an API key's hash, None for an unknown or revoked key.

        With `limit`, which holds for keys without one of their own, it counts as a request: see `Principal.allowance`.
        """
        values = {
            "hash": hashed,
            "per_minute": None if limit is None else limit.per_minute,
            "burst": None if limit is None else limit.burst,
        }
        async with single_statement(self._engine) as connection:
            row = (await connection.execute(_AUTHENTICATE, values)).one_or_none()
        if row is None:
            return None
        merchant = Merchant(
            id=row.merchant_id, name=row.merchant_name, bin=row.merchant_bin, created_at=row.merchant_created_at
        )
        return Principal(
            key_id=row.key_id,
            mode=Mode(row.mode),
            merchant=merchant,
            id_salt=row.id_salt,
            database_now=row.database_now,
            connection_id=row.connection_id,
            connection_scheme=Scheme(row.connection_scheme) if row.connection_scheme else None,
            allowance=None if row.limit_per_minute is None else _allowance(row),
        )

    async def kept_answer(self, merchant_id: str, mode: Mode, operation: str, key: str) -> KeptAnswer | None:
        """What stands for this idempotency key, None when it is new (or older than 30 days)."""
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (
                await connection.execute(
                    _KEPT, {"merchant": merchant_id, "mode": mode, "operation": operation, "hash": key_hash(key)}
                )
            ).one_or_none()
        if row is None:
            return None
        return KeptAnswer(
            fingerprint=row.fingerprint, resource_id=row.resource_id, status=row.answer_status, body=row.answer_body
        )

    async def created(self, merchant_id: str, invoice_id: str) -> Created | None:
        """The invoice and the answer kept for its creation."""
        async with as_merchant(self._engine, merchant_id) as connection:
            return await _created(connection, merchant_id, invoice_id)

    async def final_word(self, merchant_id: str, invoice_id: str) -> Created | None:
        """Like `created`, but under the claim's lock: asked after `issue_before`, None means it can never be issued."""
        async with as_merchant(self._engine, merchant_id, lock=invoice_id) as connection:
            return await _created(connection, merchant_id, invoice_id)

    async def invoice(self, merchant_id: str, invoice_id: str) -> Invoice | None:
        """One invoice of this merchant."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_INVOICE, {"merchant": merchant_id, "id": invoice_id})
            row = found.mappings().one_or_none()
        return None if row is None else to_invoice(row)

    async def invoice_by_number(self, merchant_id: str, number: int) -> Invoice | None:
        """One invoice of this merchant by its number."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_INVOICE_BY_NUMBER, {"merchant": merchant_id, "number": number})
            row = found.mappings().one_or_none()
        return None if row is None else to_invoice(row)

    async def invoice_numbers(self, merchant_id: str, ids: list[str]) -> dict[str, int]:
        """The numbers of those invoices that exist."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_NUMBERS, {"merchant": merchant_id, "ids": ids})
            return {row.id: row.number for row in found}

    async def payer_view(self, invoice_id: str) -> PayerView | None:
        """What the payer may see; the unguessable id is the permission."""
        async with single_statement(self._engine) as connection:
            row = (await connection.execute(_PAYER_VIEW, {"id": invoice_id})).mappings().one_or_none()
        return None if row is None else msgspec.convert(row, PayerView)

    async def invoices(self, merchant_id: str, ids: list[str]) -> list[Invoice]:
        """Those of the ids that exist."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_INVOICES, {"merchant": merchant_id, "ids": ids})
            return [to_invoice(row) for row in found.mappings()]

    async def page(self, merchant_id: str, wanted: InvoiceFilter) -> InvoicePage:
        """One page, by keyset when `after` is given, by a bounded offset otherwise."""
        where, values = _conditions(wanted)
        values["merchant"] = merchant_id
        keyset = ""
        if wanted.after is not None:
            keyset = " and (created_at, id) < (:after_time, :after_id)"
            values |= {"after_time": wanted.after[0], "after_id": wanted.after[1]}
        listed = text(
            f"select {INVOICE_COLUMNS} from invoices where {where}{keyset}"
            " order by created_at desc, id desc limit :limit offset :offset"
        )
        counted = text(f"select count(*) from (select 1 from invoices where {where} limit {COUNT_CAP}) c")
        async with as_merchant(self._engine, merchant_id) as connection:
            paging = {"limit": wanted.limit + 1, "offset": wanted.offset}
            rows = (await connection.execute(listed, values | paging)).mappings().all()
            total = (await connection.execute(counted, values)).scalar_one()
        return InvoicePage(
            items=[to_invoice(row) for row in rows[: wanted.limit]], total=total, has_more=len(rows) > wanted.limit
        )

    async def endpoints(self, merchant_id: str, *, sandbox_only: bool) -> list[Endpoint]:
        """The merchant's webhook endpoints, oldest first."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_ENDPOINTS, {"merchant": merchant_id, "sandbox_only": sandbox_only})
            return [to_endpoint(row) for row in found.mappings()]

    async def endpoint(self, merchant_id: str, endpoint_id: str) -> Endpoint | None:
        """One endpoint."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_ENDPOINT, {"merchant": merchant_id, "id": endpoint_id})
            row = found.mappings().one_or_none()
        return None if row is None else to_endpoint(row)

    async def endpoint_by_number(self, merchant_id: str, number: int) -> NumberedEndpoint | None:
        """The endpoint that has or had this number."""
        async with as_merchant(self._engine, merchant_id) as connection:
            found = await connection.execute(_ENDPOINT_BY_NUMBER, {"merchant": merchant_id, "number": number})
            row = found.mappings().one_or_none()
        return None if row is None else msgspec.convert(row, NumberedEndpoint)

    async def connection(self, merchant_id: str) -> Connection | None:
        """The merchant's link to the bank that is in use."""
        async with as_merchant(self._engine, merchant_id) as connection:
            row = (await connection.execute(_CONNECTION, {"merchant": merchant_id})).mappings().one_or_none()
        return None if row is None else to_connection(row)


def _allowance(row: Any) -> Allowance:
    return Allowance(
        limit=RateLimit(row.limit_per_minute, row.limit_burst),
        remaining=row.limit_remaining,
        full_after=row.limit_full_after,
        retry_after=row.limit_retry_after,
    )


async def _created(connection: AsyncConnection, merchant_id: str, invoice_id: str) -> Created | None:
    found = await connection.execute(_CREATED, {"merchant": merchant_id, "id": invoice_id})
    row = found.mappings().one_or_none()
    if row is None:
        return None
    return Created(
        invoice=to_invoice({name: row[name] for name in Invoice.__struct_fields__}),
        status=row["answer_status"],
        body=row["answer_body"],
        fingerprint=row["fingerprint"],
    )


def _conditions(wanted: InvoiceFilter) -> tuple[str, dict[str, Any]]:
    parts, values = ["merchant_id = :merchant"], dict[str, Any]()

    def add(condition: str, **bound: Any) -> None:
        parts.append(condition)
        values.update(bound)

    if wanted.states is not None:
        add("state = any(:states)", states=list(wanted.states))
    if wanted.kinds is not None:
        add("kind = any(:kinds)", kinds=list(wanted.kinds))
    if wanted.is_sandbox is not None:
        add("is_sandbox = :is_sandbox", is_sandbox=wanted.is_sandbox)
    if wanted.external_order_id is not None:
        add("external_order_id = :external_order_id", external_order_id=wanted.external_order_id)
    if wanted.subscription_id is not None:
        add("subscription_id = :subscription_id", subscription_id=wanted.subscription_id)
    if wanted.date_from is not None:
        add("created_at >= :date_from", date_from=wanted.date_from)
    if wanted.date_to is not None:
        add("created_at < :date_to", date_to=wanted.date_to)
    if wanted.search:
        add(
            "(id = :search or external_order_id ilike :pattern or description ilike :pattern"
            " or phone like :pattern or number::text = :search)",
            search=wanted.search,
            pattern=_anywhere(wanted.search),
        )
    if wanted.order_search:
        add("(external_order_id ilike :order or description ilike :order)", order=_anywhere(wanted.order_search))
    return " and ".join(parts), values


def _anywhere(text_: str) -> str:
    """The pattern of what holds it; its own wildcards are letters."""
    escaped = text_.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
