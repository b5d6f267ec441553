"""What can be done with a subscription: change it, pause, resume, cancel, bill now, skip a period."""

from typing import Any

import msgspec
from litestar import Controller, Request, Response, patch, post
from litestar.openapi.datastructures import ResponseSpec
from msgspec import UNSET, UnsetType

from api import idempotency
from api.acting import Wish, act, kept_action, shown
from api.bodies import Draft, JsonBody, JsonDraft
from api.carts import priced
from api.optional_body import BodyOptional
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import cart_bodies, fields
from api.v1.responses import errors
from api.v1.subscription_bodies import (
    Apply,
    PeriodSkip,
    SubscriptionCancel,
    SubscriptionUpdate,
    checked_moment,
    checked_time,
    wrong_change,
    wrong_day,
)
from api.v1.subscriptions import SubscriptionId, its_now, visible_subscription
from contracts.v1_subscriptions import SubscriptionJson
from domain.billing_calendar import Plan, plan_faults
from domain.errors import Code, TolemError, invalid
from domain.merchant import Principal
from domain.subscription import Dunning, NotAllowed, SkipPeriod
from domain.subscription_record import NewTerms, Subscription, next_billing
from domain.subscription_rules import decide
from workflows.subscription_messages import (
    Act,
    BillSubscriptionNow,
    CancelSubscription,
    ChangeSubscription,
    PauseSubscription,
    ResumeSubscription,
    SkipSubscriptionPeriod,
)

AnyRequest = Request[Any, Any, Any]


def _responses(*statuses: int) -> dict[int, ResponseSpec]:
    answer = ResponseSpec(SubscriptionJson, description="The subscription after it.", generate_examples=False)
    return errors(*statuses) | {200: answer}


_ACTION = _responses(400, 401, 404, 409, 422, 503)


class SubscriptionActionController(Controller):
    """`/api/v1/subscriptions/{id}` and below; each answers with the subscription."""

    path = "/subscriptions/{subscription_id:str}"
    tags = ["Subscriptions"]  # noqa: RUF012 -- Litestar's way

    @patch(
        dto=JsonDraft[SubscriptionUpdate],
        return_dto=None,
        summary="Change a subscription",
        description="Amount, description and cart hold from the next period, or with `apply: now` from the next bill;"
        " a bill that is out never changes. Another day, time or period begins where the paid time ends.",
        operation_id="updateSubscription",
        responses=_ACTION,
    )
    async def update(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        subscription_id: SubscriptionId,
        data: Draft[SubscriptionUpdate],
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """PATCH /v1/subscriptions/{id}."""
        key = idempotency.checked(idempotency_key)
        asked = data.finish(*wrong_change(data), *wrong_day(data))
        one = await visible_subscription(services, principal, subscription_id)
        wish = Wish(
            one=one,
            operation="subscriptions.update",
            parts=(_spelled(asked),),
            key=key,
            request_id=request_id_of(request.scope),
        )
        kept = await kept_action(services, principal, wish)
        if kept is not None:
            return kept
        change = await _change(services, principal, one, asked)
        if change.empty:
            return shown(services, one, wish.request_id)
        return await act(services, principal, wish, change)

    @post(
        "/pause",
        status_code=200,
        summary="Pause a subscription",
        description="Bills nothing more until it is resumed. An unpaid period is given up; a bill that is out stays"
        " payable.",
        operation_id="pauseSubscription",
        responses=_ACTION,
    )
    async def pause(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        subscription_id: SubscriptionId,
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/subscriptions/{id}/pause."""
        what = PauseSubscription()
        return await _act(request, services, principal, subscription_id, idempotency_key, "pause", what)

    @post(
        "/resume",
        status_code=200,
        summary="Resume a subscription",
        description="Goes on with the next future date, `next_billing_at`; what fell due meanwhile is skipped, never"
        " billed at once. Also takes back a cancellation at the period's end.",
        operation_id="resumeSubscription",
        responses=_ACTION,
    )
    async def resume(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        subscription_id: SubscriptionId,
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/subscriptions/{id}/resume."""
        what = ResumeSubscription()
        return await _act(request, services, principal, subscription_id, idempotency_key, "resume", what)

    @post(
        "/cancel",
        status_code=200,
        dto=JsonBody[SubscriptionCancel],
        return_dto=None,
        summary="Cancel a subscription",
        description="Ends it now and withdraws a bill that is out (a payment may win the race), or with"
        " `at_period_end` when the next period would be due.",
        operation_id="cancelSubscription",
        operation_class=BodyOptional,
        responses=_ACTION,
    )
    async def cancel(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        subscription_id: SubscriptionId,
        data: SubscriptionCancel | None = None,
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/subscriptions/{id}/cancel."""
        later = data is not None and data.at_period_end
        what = CancelSubscription(at_period_end=later)
        return await _act(request, services, principal, subscription_id, idempotency_key, "cancel", what, later)

    @post(
        "/bill-now",
        status_code=200,
        summary="Bill now",
        description="Makes the next bill of the open period at once, or bills the next period early, which then is not"
        " billed on its date. One ahead at most. `open_period.invoice_id` is the bill.",
        operation_id="billSubscriptionNow",
        responses=_ACTION,
    )
    async def bill_now(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        subscription_id: SubscriptionId,
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/subscriptions/{id}/bill-now."""
        what = BillSubscriptionNow()
        return await _act(request, services, principal, subscription_id, idempotency_key, "bill-now", what)

    @post(
        "/skip-period",
        status_code=200,
        dto=JsonBody[PeriodSkip],
        return_dto=None,
        summary="Skip a period",
        description="Gives up the open period and withdraws its bill, or leaves out the next one. With `preview`"
        " nothing changes, and the answer is the subscription as it would be: `upcoming` has its dates.",
        operation_id="skipSubscriptionPeriod",
        operation_class=BodyOptional,
        responses=_ACTION,
    )
    async def skip_period(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        subscription_id: SubscriptionId,
        data: PeriodSkip | None = None,
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/subscriptions/{id}/skip-period."""
        if data is not None and data.preview:
            one = await visible_subscription(services, principal, subscription_id)
            return shown(services, _as_skipped(principal, one), request_id_of(request.scope))
        what = SkipSubscriptionPeriod()
        return await _act(request, services, principal, subscription_id, idempotency_key, "skip-period", what)


async def _act(
    request: AnyRequest,
    services: Services,
    principal: Principal,
    subscription_id: str,
    idempotency_key: str | None,
    name: str,
    what: Act,
    *parts: Any,
) -> Response[Any]:
    key = idempotency.checked(idempotency_key)
    one = await visible_subscription(services, principal, subscription_id)
    request_id = request_id_of(request.scope)
    wish = Wish(one=one, operation=f"subscriptions.{name}", parts=parts, key=key, request_id=request_id)
    kept = await kept_action(services, principal, wish)
    return kept if kept is not None else await act(services, principal, wish, what)


def _as_skipped(principal: Principal, one: Subscription) -> Subscription:
    """The subscription as it would be, as far as it changes at once: a bill that is out still has to be withdrawn."""
    try:
        decision = decide(one.standing, SkipPeriod(), its_now(principal, one))
    except NotAllowed as refused:
        raise TolemError(Code(refused.refusal.value)) from refused
    after = decision.standing
    return msgspec.structs.replace(one, standing=after, state=after.state, next_billing_at=next_billing(after))


async def _change(
    services: Services, principal: Principal, one: Subscription, asked: SubscriptionUpdate
) -> ChangeSubscription:
    order_id = asked.external_order_id
    return ChangeSubscription(
        terms=await _terms(services, principal, one, asked),
        plan=_plan(one, asked),
        dunning=_dunning(one, asked),
        at_once=asked.apply is Apply.NOW,
        metadata=None if asked.metadata is UNSET else asked.metadata or {},
        external_order_id=None if order_id is UNSET else fields.optional_text(order_id) or "",
        kept=kept_fields(asked),
    )


# Fields that travel with others, and what they are called there.
_TOGETHER = {
    "description": "description",
    "billing_period": "period",
    "ends_at": "ends_at",
    "total_cycles": "total_cycles",
    "max_retry_attempts": "max_retry_attempts",
    "retry_interval_hours": "retry_interval_hours",
    "grace_period_days": "grace_period_days",
    "missed_periods": "missed",
}


def kept_fields(asked: SubscriptionUpdate) -> list[str]:
    """What was not asked for stays as it stands when the change is decided, not as it was read here."""
    kept = [own for name, own in _TOGETHER.items() if getattr(asked, name) is UNSET]
    if asked.billing_day is not UNSET and "period" in kept:
        kept.remove("period")  # a day is one of its rhythm: the 31st of what is weekly by now is no date
    return kept if asked.amount is not UNSET or asked.cart_items is not UNSET else ["amount", *kept]


async def _terms(
    services: Services, principal: Principal, one: Subscription, asked: SubscriptionUpdate
) -> NewTerms | None:
    """What bills will say, None where that stays. An amount alone takes the place of a cart."""
    if asked.description is UNSET and asked.amount is UNSET and asked.cart_items is UNSET:
        return None
    description = one.description if asked.description is UNSET else fields.optional_text(asked.description)
    amount = None if asked.amount is UNSET else fields.checked_amount(asked.amount)
    cart = cart_bodies.asked_cart(_given(asked.cart_items), _given(asked.discount_percentage))
    if cart is not None:
        sold = await priced(services, one.merchant_id, cart, is_sandbox=one.is_sandbox, amount=amount)
        return NewTerms(
            amount=sold.amount, description=description, discount_percentage=cart.discount, items=sold.items
        )
    if amount is not None:
        return NewTerms(amount=amount, description=description)
    return NewTerms(
        amount=one.amount,
        description=description,
        discount_percentage=one.discount_percentage,
        items=one.items,
    )


def _plan(one: Subscription, asked: SubscriptionUpdate) -> Plan | None:
    """The dates, None where they stay; `TolemError` names what cannot be."""
    wishes = (asked.billing_period, asked.billing_day, asked.billing_time, asked.ends_at, asked.total_cycles)
    if all(wish is UNSET for wish in wishes):
        return None
    calendar = one.standing.calendar
    at = _given(asked.billing_time)
    ends_at = calendar.ends_at if asked.ends_at is UNSET else asked.ends_at
    plan = Plan(
        period=calendar.period if asked.billing_period is UNSET else asked.billing_period,
        day=_given(asked.billing_day),
        at=None if at is None else checked_time(at),
        ends_at=None if ends_at is None else checked_moment(ends_at),
        total_cycles=calendar.total_cycles if asked.total_cycles is UNSET else asked.total_cycles,
    )
    faults = plan_faults(plan, one.standing.started_at, bill_immediately=one.bill_immediately)
    if faults:
        raise invalid(*faults)
    return plan


def _dunning(one: Subscription, asked: SubscriptionUpdate) -> Dunning | None:
    given = {
        "max_retry_attempts": asked.max_retry_attempts,
        "retry_interval_hours": asked.retry_interval_hours,
        "grace_period_days": asked.grace_period_days,
        "missed": asked.missed_periods,
    }
    news = {name: value for name, value in given.items() if value is not UNSET}
    return msgspec.structs.replace(one.standing.dunning, **news) if news else None


def _given(value: Any | UnsetType) -> Any:
    return None if value is UNSET else value


def _spelled(asked: SubscriptionUpdate) -> dict[str, Any]:
    """What was asked for, however it was spelled: what an idempotency key stands for."""
    found = {name: getattr(asked, name) for name in asked.__struct_fields__}
    given = {name: value for name, value in found.items() if value is not UNSET}
    if "amount" in given:
        given["amount"] = fields.checked_amount(given["amount"])
    if "ends_at" in given and given["ends_at"] is not None:
        given["ends_at"] = checked_moment(given["ends_at"])
    if "billing_time" in given:
        given["billing_time"] = checked_time(given["billing_time"])
    cart = cart_bodies.asked_cart(given.pop("cart_items", None), given.pop("discount_percentage", None))
    return given | ({} if cart is None else {"cart": cart})
