"""Beginning a subscription: one round trip to the engine, and an answer that is true whatever happened."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from litestar import MediaType, Response

from api.asking import ask_engine
from api.carts import AskedCart, priced
from api.idempotency import fingerprint, replay, replayed
from api.services import Services
from db.reads import KeptAnswer
from db.subscription_reads import CreatedSubscription
from domain.bank import Scheme
from domain.billing_calendar import Plan, plan_faults
from domain.errors import Code, FieldError, TolemError, invalid
from domain.ids import SUBSCRIPTION, derived_id, new_id
from domain.merchant import Mode, Principal
from domain.subscription import Dunning
from domain.subscription_bounds import start_fault
from domain.subscription_record import NewTerms, OpenSubscription, PayerAct, TestClock

OPERATION = "subscriptions"


class AskedSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, checked: amount in tiyn (None where the cart says it), phone normal, moments in UTC."""

    phone: str
    amount: int | None
    cart: AskedCart | None
    description: str | None
    external_order_id: str | None
    is_sandbox: bool
    plan: Plan
    dunning: Dunning
    started_at: datetime | None
    bill_immediately: bool
    metadata: dict[str, str]
    test_clock: str | None
    payer: list[PayerAct]
    endpoint_id: str | None = None


async def create_subscription(
    services: Services, principal: Principal, asked: AskedSubscription, *, key: str | None, request_id: str
) -> Response[Any]:
    """The answer in v1: 201 with the subscription as it was recorded, or the error that says why there is none."""
    made = await make_subscription(services, principal, asked, key=key, request_id=request_id)
    return replayed(made) if isinstance(made, KeptAnswer) else _answer(services, made, request_id)


async def make_subscription(
    services: Services,
    principal: Principal,
    asked: AskedSubscription,
    *,
    key: str | None,
    request_id: str,
    start: Callable[[datetime], datetime | None] | None = None,
) -> CreatedSubscription | KeptAnswer:
    """The subscription as it was recorded, or the answer that stands for the key; `TolemError` where there is none.

    `start` says for a new one what moment its `started_at` means now (None: at once), where that depends on the day.
    """
    print_ = fingerprint(principal.id_salt, OPERATION, *msgspec.structs.astuple(asked))
    mode = Mode.TEST if asked.is_sandbox else Mode.LIVE
    if key is not None:
        kept = await services.reads.kept_answer(principal.merchant.id, mode, OPERATION, key)
        if kept is not None and replay(kept, print_) is not None:
            return kept
    _must_be_possible(principal, asked)
    # Only now: what was right when a kept answer was given may have grown old, and prices may have changed.
    if start is not None:
        asked = msgspec.structs.replace(asked, started_at=start(principal.database_now))
    clock = await _clock(services, principal, asked)
    now = principal.database_now if clock is None else clock.now_at
    wrong = date_faults(asked.plan, asked.started_at, now, bill_immediately=asked.bill_immediately)
    if wrong:
        raise invalid(*wrong)
    subscription_id = new_id(SUBSCRIPTION)
    if key is not None:
        subscription_id = derived_id(SUBSCRIPTION, principal.id_salt, principal.merchant.id, mode, OPERATION, key)
    order = OpenSubscription(
        subscription_id=subscription_id,
        merchant_id=principal.merchant.id,
        is_sandbox=asked.is_sandbox,
        phone=asked.phone,
        terms=await terms_at_todays_prices(services, principal, asked),
        open_before=principal.database_now + timedelta(seconds=services.api.issue_window_seconds),
        fingerprint=print_,
        operation=OPERATION,
        request_id=request_id,
        plan=asked.plan,
        dunning=asked.dunning,
        started_at=asked.started_at,
        bill_immediately=asked.bill_immediately,
        metadata=asked.metadata,
        external_order_id=asked.external_order_id,
        test_clock_id=asked.test_clock,
        payer=asked.payer,
        asked_by=principal.key_id,
        idempotency_key=key,
        endpoint_id=asked.endpoint_id,
    )
    created = await _open(services, principal, order)
    if created is None:
        raise TolemError(Code.ENGINE_UNAVAILABLE)
    if created.fingerprint is not None and created.fingerprint != print_:
        raise TolemError(Code.IDEMPOTENCY_KEY_REUSED)
    return created


def date_faults(
    plan: Plan, started_at: datetime | None, now: datetime, *, bill_immediately: bool = False
) -> list[FieldError]:
    """Everything that is wrong with the dates of a subscription that is to start then (None: now)."""
    start = now if started_at is None else started_at
    fault = start_fault(start, now)
    if fault is not None:
        return [FieldError("started_at", "invalid", fault), *plan_faults(plan, now, bill_immediately=bill_immediately)]
    return plan_faults(plan, start, bill_immediately=bill_immediately)


async def terms_at_todays_prices(services: Services, principal: Principal, asked: AskedSubscription) -> NewTerms:
    """What the bills will say. `TolemError` for a cart that cannot be sold now."""
    if asked.cart is None:
        if asked.amount is None:
            raise AssertionError("a subscription has an amount or a cart")
        return NewTerms(amount=asked.amount, description=asked.description)
    merchant = principal.merchant.id
    sold = await priced(services, merchant, asked.cart, is_sandbox=asked.is_sandbox, amount=asked.amount)
    return NewTerms(
        amount=sold.amount,
        description=asked.description,
        discount_percentage=asked.cart.discount,
        items=sold.items,
    )


def _must_be_possible(principal: Principal, asked: AskedSubscription) -> None:
    if asked.is_sandbox:
        return
    if asked.test_clock is not None:
        raise invalid(FieldError("test_clock", "invalid", "Only sandbox subscriptions can have one."))
    if principal.connection_id is None:
        raise TolemError(Code.KASPI_NOT_CONNECTED)
    if principal.connection_scheme is not Scheme.R3:
        raise TolemError(Code.KASPI_SCHEME_UNSUPPORTED, details={"scheme": str(principal.connection_scheme)})


async def _clock(services: Services, principal: Principal, asked: AskedSubscription) -> TestClock | None:
    if asked.test_clock is None:
        return None
    known = None
    if "\x00" not in asked.test_clock:
        known = await services.clocks.clock(principal.merchant.id, asked.test_clock)
    if known is None:
        raise invalid(FieldError("test_clock", "not_found", "There is no such test clock."))
    return known


async def _open(services: Services, principal: Principal, order: OpenSubscription) -> CreatedSubscription | None:
    merchant, id_ = principal.merchant.id, order.subscription_id
    return await ask_engine(
        services,
        lambda wait, _again: services.engine.open_subscription(order, wait=wait),
        read=lambda: services.subscriptions.created(merchant, id_, OPERATION),
        final_word=lambda: services.subscriptions.created(merchant, id_, OPERATION, final=True),
        about={"subscription_id": id_},
    )


def _answer(services: Services, created: CreatedSubscription, request_id: str) -> Response[Any]:
    body = created.body or services.v1.subscription_answer(created.subscription, request_id)
    headers = {"Location": f"/api/v1/subscriptions/{created.subscription.id}"}
    return Response(body, status_code=created.status or 201, media_type=MediaType.JSON, headers=headers)
