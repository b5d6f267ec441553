"""The JSON shapes of the sandbox's magic values."""

from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.v1_json import Amount
from domain.errors import Code
from domain.event import EventType
from domain.invoice import Attention, State
from domain.money import format_amount
from domain.scenario import Scenario
from domain.scenarios import MAGIC_VALUES, Course, MagicValue, Request, Told


class ScenarioEventJson(msgspec.Struct, frozen=True, kw_only=True):
    """An event that comes: what its object says, and about how many seconds after the request."""

    type: EventType
    state: Annotated[str, Meta(description="`state` of an invoice, `status` of a refund.")]
    status_reason: str | None
    attention: Attention | None
    after_seconds: float


class ScenarioRequestJson(msgspec.Struct, frozen=True, kw_only=True):
    """A request of yours that the scenario is about: when to make it, its answer, and the events that follow it."""

    operation: Annotated[str, Meta(description="`cancel` or `refund`.", examples=["refund"])]
    when: Annotated[State, Meta(description="The state of the invoice in which to make it.")]
    amount: Annotated[str, Meta(description="`all`, or the part of the amount.", examples=["all", "0.5"])] | None
    status: int
    error: Code | None
    events: list[ScenarioEventJson]


class ScenarioCourseJson(msgspec.Struct, frozen=True, kw_only=True):
    """What happens: at the bank, in the answer to the creation, and in events."""

    bank: str
    status: Annotated[int, Meta(description="HTTP status of the creation's answer.")]
    error: Code | None
    state: State
    attention: Attention | None
    events: list[ScenarioEventJson]
    requests: list[ScenarioRequestJson]


class ScenarioJson(msgspec.Struct, frozen=True, kw_only=True):
    """One magic value: `phone` is the course of an invoice to a phone, `qr` that of a QR or a link."""

    digits: Annotated[str, Meta(description="The last four digits of the phone.", examples=["0001"])]
    name: Scenario
    title: str
    phone_number: Annotated[str, Meta(description="A phone that ends so.", examples=["77010000001"])]
    amount: Annotated[Amount, Meta(description="Exactly this amount, of a QR or a link.")]
    phone: ScenarioCourseJson
    qr: ScenarioCourseJson


class ScenarioListJson(msgspec.Struct, frozen=True, kw_only=True):
    """Every magic value there is."""

    items: list[ScenarioJson]


def scenarios() -> ScenarioListJson:
    """The whole list."""
    return ScenarioListJson(items=[_scenario(one) for one in MAGIC_VALUES])


def _scenario(value: MagicValue) -> ScenarioJson:
    return ScenarioJson(
        digits=value.digits,
        name=value.scenario,
        title=value.title,
        phone_number=value.phone_example,
        amount=format_amount(value.amount),
        phone=_course(value.phone),
        qr=_course(value.code),
    )


def _course(course: Course) -> ScenarioCourseJson:
    return ScenarioCourseJson(
        bank=course.bank,
        status=course.status,
        error=course.error,
        state=course.state,
        attention=course.attention,
        events=[_event(one) for one in course.events],
        requests=[_request(one) for one in course.requests],
    )


def _request(request: Request) -> ScenarioRequestJson:
    refund = request.operation == "refund"
    return ScenarioRequestJson(
        operation=request.operation,
        when=request.state,
        amount=("all" if request.share is None else f"{request.share:g}") if refund else None,
        status=request.status,
        error=request.error,
        events=[_event(one) for one in request.events],
    )


def _event(told: Told) -> ScenarioEventJson:
    return ScenarioEventJson(
        type=told.type,
        state=told.state,
        status_reason=told.reason,
        attention=told.attention,
        after_seconds=told.after,
    )
