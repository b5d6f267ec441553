"""Invoices: create, read, list, cancel, check."""

import asyncio
from datetime import date, datetime
from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.params import Parameter
from msgspec import Meta

from api import idempotency
from api.auth import sandbox_of, sees_sandbox_only
from api.bodies import Draft, JsonBody, JsonDraft, JsonRequest, RequestBody, Rule
from api.canceling import cancel_bill
from api.creating import Bill, create_bill
from api.optional_body import BodyOptional
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import cart_bodies, days, fields, paging
from api.v1.choices import every_wrong
from api.v1.responses import errors
from api.visible import visible_invoice
from contracts.v1_json import InvoiceJson
from db.reads import InvoiceFilter
from domain.invoice import OPEN, Invoice, Kind, PublicStatus, State, states_of
from domain.merchant import Principal

CHECK_PATIENCE_SECONDS = 8.0
CHECK_STEP_SECONDS = 0.15
MAX_CHECKED = 100


class InvoiceCreate(RequestBody, kw_only=True):
    """A bill that is sent to the payer's phone, for an `amount` or for what `cart_items` come to."""

    RULES: ClassVar[dict[str, Rule]] = {"phone_number": fields.checked_phone, **cart_bodies.RULES}

    amount: fields.AmountIn | None = None
    phone_number: fields.PhoneIn
    description: fields.DescriptionIn | None = None
    external_order_id: fields.OrderIdIn | None = None
    is_sandbox: fields.SandboxIn | None = None
    cart_items: cart_bodies.CartIn | None = None
    discount_percentage: cart_bodies.DiscountIn | None = None


class StatusCheck(RequestBody):
    """Which invoices to check at the bank now; without ids, the newest open ones."""

    ids: Annotated[list[str], Meta(max_length=MAX_CHECKED, description="Up to 100 invoice ids.")] | None = None


class InvoicePageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `total` counts up to 10 000; page on with `next_cursor` beyond that."""

    items: list[InvoiceJson]
    page: int
    page_size: int
    total: int
    has_more: bool
    next_cursor: str | None


class CheckedInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """One checked invoice; `checked` is false where the bank was not asked or did not answer in time."""

    id: str
    checked: bool
    invoice: InvoiceJson


class CheckedJson(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank says now; ids that do not exist stand in `not_found`."""

    items: list[CheckedInvoice]
    not_found: list[str]


class InvoiceController(Controller):
    """`/api/v1/invoices`."""

    path = "/invoices"
    tags = ["Invoices"]  # noqa: RUF012 -- Litestar's way

    @post(
        request_class=JsonRequest,
        dto=JsonDraft[InvoiceCreate],
        return_dto=None,
        summary="Create an invoice",
        description="Sends a bill to the payer's Kaspi app. The answer waits for the bank; where the bank is slow it "
        "is 201 with status `processing`, and `invoice.status_changed` tells the rest.",
        operation_id="createInvoice",
        responses=errors(400, 401, 403, 409, 422, 502, 503, created=InvoiceJson),
    )
    async def create(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        data: Draft[InvoiceCreate],
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/invoices."""
        asked = data.finish(*cart_bodies.wrong_together(data))
        bill = Bill(
            operation="invoices",
            kind=Kind.PHONE,
            amount=None if asked.amount is None else fields.checked_amount(asked.amount),
            phone=fields.checked_phone(asked.phone_number),
            is_sandbox=sandbox_of(principal, asked=asked.is_sandbox),
            description=fields.optional_text(asked.description),
            external_order_id=fields.optional_text(asked.external_order_id),
            cart=cart_bodies.asked_cart(asked.cart_items, asked.discount_percentage),
        )
        key = idempotency.checked(idempotency_key)
        return await create_bill(services, principal, bill, key=key, request_id=request_id_of(request.scope))

    @get(summary="List invoices", operation_id="listInvoices", responses=errors(400, 401, 503))
    async def list_(
        self,
        services: Services,
        principal: Principal,
        status: Annotated[
            str | None, Parameter(description="One of the five statuses or one of the precise states.")
        ] = None,
        page: Annotated[int, Parameter(ge=1, le=1_000_000)] = 1,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        search: Annotated[
            str | None,
            Parameter(max_length=100, description="Id, number, order id, phone digits or words of the description."),
        ] = None,
        is_sandbox: bool | None = None,
        external_order_id: Annotated[str | None, Parameter(max_length=255)] = None,
        date_from: Annotated[date | None, Parameter(description="First day (Asia/Almaty), inclusive.")] = None,
        date_to: Annotated[date | None, Parameter(description="Last day (Asia/Almaty), inclusive.")] = None,
        cursor: Annotated[
            str | None, Parameter(description="`next_cursor` of the page before; instead of `page`.")
        ] = None,
    ) -> InvoicePageJson:
        """GET /v1/invoices."""
        with every_wrong() as read:
            after, offset = read(paging.start, cursor, page, page_size) or (None, 0)
            wanted = InvoiceFilter(
                states=read(_states, status),
                is_sandbox=True if sees_sandbox_only(principal) else is_sandbox,
                search=read(paging.clean, search, "search"),
                external_order_id=read(paging.clean, external_order_id, "external_order_id"),
                date_from=read(days.first_moment, date_from, "date_from"),
                date_to=read(days.moment_after, date_to, "date_to"),
                after=after,
                offset=offset,
                limit=page_size,
            )
        found = await services.reads.page(principal.merchant.id, wanted)
        last = found.items[-1] if found.items and found.has_more else None
        return InvoicePageJson(
            items=[services.v1.invoice(item) for item in found.items],
            page=page,
            page_size=page_size,
            total=found.total,
            has_more=found.has_more,
            next_cursor=None if last is None else paging.cursor(last.created_at, last.id),
        )

    @get("/{invoice_id:str}", summary="Get an invoice", operation_id="getInvoice", responses=errors(400, 401, 404, 503))
    async def read(self, services: Services, principal: Principal, invoice_id: str) -> InvoiceJson:
        """GET /v1/invoices/{id}."""
        return services.v1.invoice(await visible_invoice(services, principal, invoice_id))

    @post(
        "/{invoice_id:str}/cancel",
        status_code=200,
        summary="Cancel an invoice",
        description="Asks Kaspi to withdraw the bill and trusts only what Kaspi says: a payment may win the race. "
        "QR and link invoices cannot be withdrawn, they expire by themselves.",
        operation_id="cancelInvoice",
        responses=errors(400, 401, 404, 409, 502, 503),
    )
    async def cancel(self, services: Services, principal: Principal, invoice_id: str) -> InvoiceJson:
        """POST /v1/invoices/{id}/cancel."""
        invoice = await visible_invoice(services, principal, invoice_id)
        return services.v1.invoice(await cancel_bill(services, principal, invoice))

    @post(
        "/status/check",
        status_code=200,
        dto=JsonBody[StatusCheck],
        return_dto=None,
        summary="Check statuses at Kaspi now",
        operation_id="checkInvoiceStatuses",
        operation_class=BodyOptional,
        responses=errors(400, 401, 503),
    )
    async def check(self, services: Services, principal: Principal, data: StatusCheck | None = None) -> CheckedJson:
        """POST /v1/invoices/status/check."""
        merchant = principal.merchant.id
        ids = list(dict.fromkeys(data.ids)) if data is not None and data.ids is not None else None
        if ids is None:
            newest = InvoiceFilter(states=list(OPEN), is_sandbox=_only(principal), limit=MAX_CHECKED)
            ids = [invoice.id for invoice in (await services.reads.page(merchant, newest)).items]
        ids = [one for one in ids if "\x00" not in one]
        known = await _visible(services, principal, ids)
        asked = await services.watches.request(merchant, [invoice.id for invoice in known])
        unanswered = set(await _await_checks(services, merchant, asked))
        fresh = {invoice.id: invoice for invoice in await _visible(services, principal, ids)}
        answered = set(asked) - unanswered
        return CheckedJson(
            items=[
                CheckedInvoice(id=one, checked=one in answered, invoice=services.v1.invoice(fresh[one]))
                for one in ids
                if one in fresh
            ],
            not_found=[one for one in ids if one not in fresh],
        )


async def _visible(services: Services, principal: Principal, ids: list[str]) -> list[Invoice]:
    found = await services.reads.invoices(principal.merchant.id, ids)
    return [invoice for invoice in found if invoice.is_sandbox or not sees_sandbox_only(principal)]


async def _await_checks(services: Services, merchant_id: str, asked: dict[str, datetime]) -> list[str]:
    """Those without an answer of the bank that is booked in time (we may be away: the stored status still holds)."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + CHECK_PATIENCE_SECONDS
    waiting = list(asked)
    while waiting and loop.time() < ends:
        waiting = await services.watches.unanswered(merchant_id, {one: asked[one] for one in waiting})
        if waiting:
            await asyncio.sleep(CHECK_STEP_SECONDS)
    return waiting


def _only(principal: Principal) -> bool | None:
    return True if sees_sandbox_only(principal) else None


def _states(status: str | None) -> list[State] | None:
    if status is None or status == "":
        return None
    if status in set(PublicStatus):
        return states_of(PublicStatus(status))
    if status in set(State):
        return [State(status)]
    raise fields.wrong("status", f"Must be one of {', '.join(sorted({*PublicStatus, *State}))}.")
