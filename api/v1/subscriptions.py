"""Subscriptions: begin one, read, list; their bills, periods and dates."""

from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.params import Parameter, QueryParameter

from api import idempotency
from api.auth import sandbox_of, sees_sandbox_only
from api.bodies import Draft, JsonDraft, JsonRequest
from api.request_ids import request_id_of
from api.services import Services
from api.subscribing import AskedSubscription, create_subscription, date_faults
from api.v1 import cart_bodies, days, fields, paging
from api.v1.choices import chosen, every_wrong
from api.v1.invoices import InvoicePageJson
from api.v1.responses import errors
from api.v1.subscription_bodies import (
    SubscriptionCreate,
    checked_moment,
    plan_of_draft,
    wrong_day,
    wrong_with_the_clock,
)
from contracts import v1_subscriptions as v1
from contracts.v1_subscriptions import DueJson, PeriodJson, SubscriptionDetailJson, SubscriptionJson
from db.reads import InvoiceFilter
from db.subscription_reads import PeriodFilter, SubscriptionFilter
from domain.errors import Code, FieldError, TolemError
from domain.merchant import Principal
from domain.subscription import PeriodState, State
from domain.subscription_bounds import MOST_UPCOMING
from domain.subscription_record import Subscription
from domain.subscription_rules import upcoming

SubscriptionId = Annotated[str, Parameter(description="Of a subscription.")]


class SubscriptionPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `total` counts up to 10 000; page on with `next_cursor` beyond that."""

    items: list[SubscriptionJson]
    page: int
    page_size: int
    total: int
    has_more: bool
    next_cursor: str | None


class PeriodPageJson(msgspec.Struct, frozen=True, kw_only=True):
    """Periods that something was decided about, newest first."""

    items: list[PeriodJson]
    page_size: int
    has_more: bool
    next_cursor: str | None


class UpcomingJson(msgspec.Struct, frozen=True, kw_only=True):
    """The next periods as things stand; of a paused subscription, as if it were resumed now."""

    items: list[DueJson]


class SubscriptionController(Controller):
    """`/api/v1/subscriptions`."""

    path = "/subscriptions"
    tags = ["Subscriptions"]  # noqa: RUF012 -- Litestar's way

    @post(
        request_class=JsonRequest,
        dto=JsonDraft[SubscriptionCreate],
        return_dto=None,
        summary="Create a subscription",
        description="Makes a bill for each period and sends it to the payer's Kaspi app, who confirms it: there is no"
        " auto-debit. The first bill is made in the background, also where it is due at once;"
        " `subscription.payment_succeeded` tells that it was paid.",
        operation_id="createSubscription",
        responses=errors(400, 401, 403, 409, 422, 503, created=SubscriptionJson),
    )
    async def create(
        self,
        request: Request[Any, Any, Any],
        services: Services,
        principal: Principal,
        data: Draft[SubscriptionCreate],
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/subscriptions."""
        key = idempotency.checked(idempotency_key)
        asked = data.finish(*_wrong_together(principal, data))
        return await create_subscription(
            services, principal, _asked(principal, asked), key=key, request_id=request_id_of(request.scope)
        )

    @get(summary="List subscriptions", operation_id="listSubscriptions", responses=errors(400, 401, 503))
    async def list_(
        self,
        services: Services,
        principal: Principal,
        statuses: Annotated[
            list[str] | None,
            QueryParameter(
                name="status",
                description="`active`, `past_due`, `paused`, `canceled`, `expired`, `completed`; repeated or with"
                " commas.",
            ),
        ] = None,
        page: Annotated[int, Parameter(ge=1, le=1_000_000)] = 1,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        search: Annotated[
            str | None,
            Parameter(max_length=100, description="Id, number, order id, phone digits or words of the description."),
        ] = None,
        is_sandbox: bool | None = None,
        phone_number: Annotated[str | None, Parameter(max_length=32, description="In any usual form.")] = None,
        external_order_id: Annotated[str | None, Parameter(max_length=255)] = None,
        test_clock: Annotated[str | None, Parameter(max_length=64, description="Those on this test clock.")] = None,
        date_from: Annotated[date | None, Parameter(description="First day (Asia/Almaty), inclusive.")] = None,
        date_to: Annotated[date | None, Parameter(description="Last day (Asia/Almaty), inclusive.")] = None,
        cursor: Annotated[
            str | None, Parameter(description="`next_cursor` of the page before; instead of `page`.")
        ] = None,
    ) -> SubscriptionPageJson:
        """GET /v1/subscriptions."""
        with every_wrong() as read:
            after, offset = read(paging.start, cursor, page, page_size) or (None, 0)
            wanted = SubscriptionFilter(
                states=read(chosen, statuses, State, "status"),
                is_sandbox=True if sees_sandbox_only(principal) else is_sandbox,
                phone=read(_phone, phone_number),
                search=read(paging.clean, search, "search"),
                external_order_id=read(paging.clean, external_order_id, "external_order_id"),
                test_clock_id=read(paging.clean, test_clock, "test_clock"),
                date_from=read(days.first_moment, date_from, "date_from"),
                date_to=read(days.moment_after, date_to, "date_to"),
                after=after,
                offset=offset,
                limit=page_size,
            )
        found = await services.subscriptions.page(principal.merchant.id, wanted)
        last = found.items[-1] if found.items and found.has_more else None
        return SubscriptionPageJson(
            items=[v1.subscription(item) for item in found.items],
            page=page,
            page_size=page_size,
            total=found.total,
            has_more=found.has_more,
            next_cursor=None if last is None else paging.cursor(last.created_at, last.id),
        )

    @get(
        "/{subscription_id:str}",
        summary="Get a subscription",
        description="With what came of it so far.",
        operation_id="getSubscription",
        responses=errors(400, 401, 404, 503),
    )
    async def read(
        self, services: Services, principal: Principal, subscription_id: SubscriptionId
    ) -> SubscriptionDetailJson:
        """GET /v1/subscriptions/{id}."""
        found = await visible_subscription(services, principal, subscription_id)
        return v1.detail(found, await services.subscriptions.statistics(principal.merchant.id, found.id))

    @get(
        "/{subscription_id:str}/invoices",
        summary="List a subscription's invoices",
        description="Every bill of every period, newest first.",
        operation_id="listSubscriptionInvoices",
        responses=errors(400, 401, 404, 503),
    )
    async def invoices(
        self,
        services: Services,
        principal: Principal,
        subscription_id: SubscriptionId,
        page: Annotated[int, Parameter(ge=1, le=1_000_000)] = 1,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        cursor: Annotated[
            str | None, Parameter(description="`next_cursor` of the page before; instead of `page`.")
        ] = None,
    ) -> InvoicePageJson:
        """GET /v1/subscriptions/{id}/invoices."""
        after, offset = paging.start(cursor, page, page_size)
        one = await visible_subscription(services, principal, subscription_id)
        wanted = InvoiceFilter(subscription_id=one.id, after=after, offset=offset, limit=page_size)
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

    @get(
        "/{subscription_id:str}/periods",
        summary="List a subscription's periods",
        description="Those that something was decided about: paid, failed, skipped, or being billed. Newest first.",
        operation_id="listSubscriptionPeriods",
        responses=errors(400, 401, 404, 503),
    )
    async def periods(
        self,
        services: Services,
        principal: Principal,
        subscription_id: SubscriptionId,
        statuses: Annotated[
            list[str] | None,
            QueryParameter(
                name="status", description="`billing`, `paid`, `failed`, `skipped`; repeated or with commas."
            ),
        ] = None,
        page_size: Annotated[int, Parameter(ge=1, le=100)] = 20,
        cursor: Annotated[str | None, Parameter(description="`next_cursor` of the page before.")] = None,
    ) -> PeriodPageJson:
        """GET /v1/subscriptions/{id}/periods."""
        with every_wrong() as read:
            before = read(_before, cursor)
            states = read(chosen, statuses, PeriodState, "status")
        one = await visible_subscription(services, principal, subscription_id)
        wanted = PeriodFilter(states=states, before=before, limit=page_size)
        found = await services.subscriptions.periods(principal.merchant.id, one.id, wanted)
        return PeriodPageJson(
            items=[v1.period(item) for item in found.items],
            page_size=page_size,
            has_more=found.has_more,
            next_cursor=paging.place(found.items[-1].number) if found.has_more else None,
        )

    @get(
        "/{subscription_id:str}/upcoming",
        summary="List the next due dates",
        operation_id="listUpcomingPeriods",
        responses=errors(400, 401, 404, 503),
    )
    async def upcoming(
        self,
        services: Services,
        principal: Principal,
        subscription_id: SubscriptionId,
        count: Annotated[int, Parameter(ge=1, le=MOST_UPCOMING, description="How many.")] = 12,
    ) -> UpcomingJson:
        """GET /v1/subscriptions/{id}/upcoming."""
        one = await visible_subscription(services, principal, subscription_id)
        return UpcomingJson(items=v1.due_dates(upcoming(one.standing, count, its_now(principal, one))))


async def visible_subscription(services: Services, principal: Principal, subscription_id: str) -> Subscription:
    """The merchant's subscription; 404 for another merchant's, and for a live one under a test key."""
    found = None
    if "\x00" not in subscription_id:
        found = await services.subscriptions.subscription(principal.merchant.id, subscription_id)
    if found is None or (sees_sandbox_only(principal) and not found.is_sandbox):
        raise TolemError(Code.NOT_FOUND)
    return found


def its_now(principal: Principal, one: Subscription) -> datetime:
    """The present moment of a subscription: its test clock's, where it has one."""
    return principal.database_now if one.clock_at is None else one.clock_at


def _wrong_together(principal: Principal, data: Draft[SubscriptionCreate]) -> list[FieldError]:
    """What is wrong between fields. Dates are looked at against the clock only beside other errors: what was right
    when a kept answer was given may have grown too old since.
    """
    wrong = [*cart_bodies.wrong_together(data), *wrong_with_the_clock(data), *wrong_day(data)]
    if (data.errors or wrong) and data.get("test_clock") is None:
        started_at = data.get("started_at")
        start = checked_moment(started_at) if isinstance(started_at, datetime) else None
        at_once = data.get("bill_immediately") is True
        wrong += date_faults(plan_of_draft(data), start, principal.database_now, bill_immediately=at_once)
    return wrong


def _asked(principal: Principal, asked: SubscriptionCreate) -> AskedSubscription:
    return AskedSubscription(
        phone=fields.checked_phone(asked.phone_number),
        amount=None if asked.amount is None else fields.checked_amount(asked.amount),
        cart=cart_bodies.asked_cart(asked.cart_items, asked.discount_percentage),
        description=fields.optional_text(asked.description),
        external_order_id=fields.optional_text(asked.external_order_id),
        is_sandbox=sandbox_of(principal, asked=asked.is_sandbox),
        plan=asked.plan,
        dunning=asked.dunning,
        started_at=None if asked.started_at is None else checked_moment(asked.started_at),
        bill_immediately=asked.bill_immediately,
        metadata=asked.metadata or {},
        test_clock=asked.test_clock,
        payer=asked.payer or [],
    )


def _phone(phone_number: str | None) -> str | None:
    if phone_number is None or not phone_number.strip():
        return None
    try:
        return fields.checked_phone(phone_number)
    except ValueError as bad:
        text = str(bad)
        raise fields.wrong("phone_number", f"{text[:1].upper()}{text[1:]}.") from bad


def _before(cursor: str | None) -> int | None:
    before, _ = paging.start_by_place(cursor, 1, 1)
    if before is not None and before >= 2**31:
        raise fields.wrong("cursor", "Is not a cursor of this API.")
    return before
