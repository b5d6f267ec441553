"""`/api/recurring-invoices`: subscriptions in ApiPay's words, over the same workflow as v1's."""

import asyncio
from typing import Any

from litestar import Controller, Request, Response, get, post, put

from api import idempotency
from api.acting import Wish, act, kept_action
from api.apipay import query
from api.apipay.bodies import MAX_NUMBER, checked_phone
from api.apipay.invoices import endpoint_of
from api.apipay.recurring_bodies import (
    RecurringChange,
    RecurringRequest,
    asked_start,
    description_of,
    plan_of,
    start_of,
)
from api.apipay.responses import errors
from api.apipay.visible import sandbox_of
from api.bodies import JsonBody, JsonRequest
from api.optional_body import BodyOptional
from api.request_ids import request_id_of
from api.services import Services
from api.subscribing import AskedSubscription, make_subscription
from contracts.apipay_json import InvoiceJson
from contracts.apipay_recurring import SHOWN, RecurringJson, RecurringPageJson, RecurringStatus, recurring, states_of
from contracts.issuing import not_issued
from contracts.v1_subscriptions import newest_bill
from db.reads import KeptAnswer
from db.subscription_reads import SubscriptionFilter
from domain.billing_calendar import BillingPeriod, Plan
from domain.errors import Code, TolemError
from domain.merchant import Principal
from domain.money import parse_amount
from domain.subscription import Dunning
from domain.subscription_record import NewTerms, Subscription
from workflows.subscription_messages import (
    Act,
    BillSubscriptionNow,
    CancelSubscription,
    ChangeSubscription,
    PauseSubscription,
    ResumeSubscription,
    SkipSubscriptionPeriod,
)

# The bill is made in the background; ApiPay's answer is the bill.
BILL_PATIENCE_SECONDS = 15.0
_LOOK_SECONDS = 0.1

AnyRequest = Request[Any, Any, Any]
Key = idempotency.IdempotencyKey


class ApiPayRecurring(Controller):
    """Recurring invoices."""

    path = "/recurring-invoices"
    tags = ["Recurring Invoices"]  # noqa: RUF012 -- Litestar's way

    @post(
        status_code=200,
        request_class=JsonRequest,
        dto=JsonBody[RecurringRequest],
        return_dto=None,
        summary="Create recurring invoice",
        description="Makes a bill for every interval and sends it to the payer's Kaspi app, who confirms it: there is"
        " no auto-debit. One that starts today makes its first bill at once, a later one at 10:00 in Kazakhstan.",
        operation_id="createRecurringInvoice",
        responses=errors(400, made=RecurringJson),
    )
    async def create(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        data: RecurringRequest,
        idempotency_key: Key = None,
    ) -> Response[Any]:
        """POST /recurring-invoices."""
        endpoint_id, endpoint_fault = await endpoint_of(services, principal, data.webhook_id)
        asked = AskedSubscription(
            phone=checked_phone(data.phone_number),
            amount=parse_amount(data.amount),
            cart=None,
            description=description_of(data),
            external_order_id=None,
            is_sandbox=sandbox_of(principal),
            plan=plan_of(data),
            dunning=Dunning(),
            started_at=asked_start(data),
            bill_immediately=False,
            metadata={},
            test_clock=None,
            payer=[],
            endpoint_id=endpoint_id,
        )
        key = idempotency.checked(idempotency_key)
        made = await make_subscription(
            services,
            principal,
            asked,
            key=key,
            request_id=request_id_of(request.scope),
            start=lambda now: start_of(data, now, endpoint_fault),
        )
        again = isinstance(made, KeptAnswer)
        id_ = made.resource_id if isinstance(made, KeptAnswer) else made.subscription.id
        stands = await _read(services, principal, id_)
        return Response(recurring(stands), headers=idempotency.REPLAYED if again else None)

    @get(summary="List recurring invoices", operation_id="listRecurringInvoices", responses=errors())
    async def list_(
        self,
        services: Services,
        principal: Principal,
        page: query.PageIn = 1,
        per_page: query.PerPageIn = 10,
        status: RecurringStatus | None = None,
    ) -> RecurringPageJson:
        """GET /recurring-invoices."""
        wanted = SubscriptionFilter(
            states=None if status is None else states_of(status),
            periods=SHOWN,
            is_sandbox=sandbox_of(principal),
            offset=query.offset_of(page, per_page),
            limit=per_page,
        )
        found = await services.subscriptions.page(principal.merchant.id, wanted)
        return RecurringPageJson(
            data=[recurring(one) for one in found.items],
            meta=query.meta(page, per_page, found.total, has_more=found.has_more),
        )

    @get(
        "/{recurring_id:int}",
        summary="Get recurring invoice",
        operation_id="getRecurringInvoice",
        responses=errors(404),
    )
    async def read(self, services: Services, principal: Principal, recurring_id: int) -> RecurringJson:
        """GET /recurring-invoices/{id}."""
        return recurring(await _numbered(services, principal, recurring_id))

    @put(
        "/{recurring_id:int}",
        dto=JsonBody[RecurringChange],
        return_dto=None,
        summary="Update recurring invoice",
        description="From the next period; a bill that is out never changes.",
        operation_id="updateRecurringInvoice",
        operation_class=BodyOptional,
        responses=errors(400, 404),
    )
    async def update(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        recurring_id: int,
        data: RecurringChange | None = None,
        idempotency_key: Key = None,
    ) -> RecurringJson:
        """PUT /recurring-invoices/{id}."""
        one = await _numbered(services, principal, recurring_id)
        asked = data or RecurringChange()
        change = _change(one, asked)
        if change.empty:
            return recurring(one)
        # What was asked for, not what follows from it: that is another when the same request comes again.
        parts = (None if asked.amount is None else parse_amount(asked.amount), asked.description, asked.interval)
        return recurring(await _act(request, services, principal, one, idempotency_key, "update", change, *parts))

    @post(
        "/{recurring_id:int}/pause",
        status_code=200,
        summary="Pause recurring invoice",
        description="Bills nothing more until it is resumed.",
        operation_id="pauseRecurringInvoice",
        responses=errors(400, 404),
    )
    async def pause(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        recurring_id: int,
        idempotency_key: Key = None,
    ) -> RecurringJson:
        """POST /recurring-invoices/{id}/pause."""
        one = await _numbered(services, principal, recurring_id)
        what = PauseSubscription()
        return recurring(await _act(request, services, principal, one, idempotency_key, "pause", what))

    @post(
        "/{recurring_id:int}/resume",
        status_code=200,
        summary="Resume recurring invoice",
        description="Goes on with the next future date; what fell due meanwhile is skipped.",
        operation_id="resumeRecurringInvoice",
        responses=errors(400, 404),
    )
    async def resume(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        recurring_id: int,
        idempotency_key: Key = None,
    ) -> RecurringJson:
        """POST /recurring-invoices/{id}/resume."""
        one = await _numbered(services, principal, recurring_id)
        what = ResumeSubscription()
        return recurring(await _act(request, services, principal, one, idempotency_key, "resume", what))

    @post(
        "/{recurring_id:int}/cancel",
        status_code=200,
        summary="Cancel recurring invoice",
        description="For good, and withdraws a bill that is out (a payment may win the race).",
        operation_id="cancelRecurringInvoice",
        responses=errors(400, 404),
    )
    async def cancel(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        recurring_id: int,
        idempotency_key: Key = None,
    ) -> RecurringJson:
        """POST /recurring-invoices/{id}/cancel."""
        one = await _numbered(services, principal, recurring_id)
        what = CancelSubscription()
        return recurring(await _act(request, services, principal, one, idempotency_key, "cancel", what, False))

    @post(
        "/{recurring_id:int}/bill-now",
        status_code=200,
        summary="Bill now",
        description="Bills the next period early, which then is not billed on its date. The answer is the bill.",
        operation_id="billNowRecurringInvoice",
        responses=errors(400, 404, 502),
    )
    async def bill_now(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        recurring_id: int,
        idempotency_key: Key = None,
    ) -> InvoiceJson:
        """POST /recurring-invoices/{id}/bill-now."""
        one = await _numbered(services, principal, recurring_id)
        what = BillSubscriptionNow()
        answer = await _done(request, services, principal, one, idempotency_key, "bill-now", what)
        # Not the newest bill that there is by now: this one may be paid, or an older request's.
        invoice_id = newest_bill(answer)
        if invoice_id is None:
            raise AssertionError("a period that was just billed shows its bill")
        return await _bill(services, principal, invoice_id)

    @post(
        "/{recurring_id:int}/skip-period",
        status_code=200,
        summary="Skip period",
        description="Leaves out the next period, or gives up the open one and withdraws its bill.",
        operation_id="skipPeriodRecurringInvoice",
        responses=errors(400, 404),
    )
    async def skip_period(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        recurring_id: int,
        idempotency_key: Key = None,
    ) -> RecurringJson:
        """POST /recurring-invoices/{id}/skip-period."""
        one = await _numbered(services, principal, recurring_id)
        what = SkipSubscriptionPeriod()
        return recurring(await _act(request, services, principal, one, idempotency_key, "skip-period", what))


async def _numbered(services: Services, principal: Principal, number: int) -> Subscription:
    """404 for a number there is none of, for one of the other mode, and for an interval ApiPay does not know."""
    known = 0 < number <= MAX_NUMBER
    found = await services.subscriptions.subscription_by_number(principal.merchant.id, number) if known else None
    if found is None or found.period not in SHOWN or found.is_sandbox is not sandbox_of(principal):
        raise TolemError(Code.NOT_FOUND)
    return found


async def _read(services: Services, principal: Principal, subscription_id: str) -> Subscription:
    found = await services.subscriptions.subscription(principal.merchant.id, subscription_id)
    if found is None:
        raise AssertionError("a subscription that was recorded is not there")
    return found


async def _done(
    request: AnyRequest,
    services: Services,
    principal: Principal,
    one: Subscription,
    idempotency_key: str | None,
    name: str,
    what: Act,
    *parts: Any,
) -> bytes:
    """v1's answer right after it was done; a key is the same key as at v1's action, and gives what it gave before."""
    key = idempotency.checked(idempotency_key)
    operation = f"subscriptions.{name}"
    wish = Wish(one=one, operation=operation, parts=parts, key=key, request_id=request_id_of(request.scope))
    answer = await kept_action(services, principal, wish) or await act(services, principal, wish, what)
    content: bytes = answer.content
    return content


async def _act(
    request: AnyRequest,
    services: Services,
    principal: Principal,
    one: Subscription,
    idempotency_key: str | None,
    name: str,
    what: Act,
    *parts: Any,
) -> Subscription:
    """The subscription as it stands after it."""
    await _done(request, services, principal, one, idempotency_key, name, what, *parts)
    return await _read(services, principal, one.id)


def _change(one: Subscription, asked: RecurringChange) -> ChangeSubscription:
    terms, plan = None, None
    if asked.amount is not None or asked.description is not None:
        description = one.description if asked.description is None else description_of(asked)
        if asked.amount is not None:
            terms = NewTerms(amount=parse_amount(asked.amount), description=description)
        else:  # a cart of v1 stays
            terms = NewTerms(
                amount=one.amount,
                description=description,
                discount_percentage=one.discount_percentage,
                items=one.items,
            )
    if asked.interval is not None and asked.interval.value != one.period.value:
        calendar = one.standing.calendar
        period = BillingPeriod(asked.interval)
        plan = Plan(period=period, ends_at=calendar.ends_at, total_cycles=calendar.total_cycles)
    # What is not asked for stays as it stands when the change is decided, not as it was read here.
    kept = ["ends_at", "total_cycles"]
    kept += ["amount"] if asked.amount is None else []
    kept += ["description"] if asked.description is None else []
    return ChangeSubscription(terms=terms, plan=plan, kept=kept)


async def _bill(services: Services, principal: Principal, invoice_id: str) -> InvoiceJson:
    """The bill that was decided, once the bank has it; `TolemError` where it has not or nobody knows in time."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + BILL_PATIENCE_SECONDS
    while loop.time() < ends:
        invoice = await services.reads.invoice(principal.merchant.id, invoice_id)
        if invoice is not None and (invoice.sequence > 0 or invoice.attention is not None):
            refused = not_issued(invoice)
            if refused is not None:
                raise TolemError(refused[0], details=refused[1])
            return services.apipay.invoice(invoice)
        await asyncio.sleep(_LOOK_SECONDS)
    raise TolemError(Code.ENGINE_SLOW)
