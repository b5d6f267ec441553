"""Test clocks: a developer's own time for sandbox subscriptions."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Controller, MediaType, Request, Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from msgspec import UNSET, Meta

from api import idempotency
from api.acting import PATIENCE_SECONDS
from api.auth import sees_sandbox_only
from api.bodies import Draft, JsonBody, JsonDraft, JsonRequest, RequestBody, Rule
from api.optional_body import BodyOptional
from api.request_ids import request_id_of
from api.services import Services
from api.v1 import fields
from api.v1.responses import errors
from api.v1.subscription_bodies import checked_moment
from contracts import v1_subscriptions as v1
from contracts.v1_subscriptions import TestClockJson
from db.endpoints import Asker
from db.errors import ClockRefused, KeyTaken
from db.kept_answers import KeyedAnswer
from db.test_clocks import CLOCKS_PER_MERCHANT
from domain.errors import Code, FieldError, TolemError
from domain.iso_duration import BadDuration, moment_after, parse_duration
from domain.merchant import Mode, Principal
from domain.subscription_bounds import LONGEST_ADVANCE, advance_fault
from domain.subscription_record import Asked, TestClock
from workflows.client import EngineAway
from workflows.subscription_messages import CancelSubscription

CREATE = "test_clocks"
ADVANCE = "test_clocks.advance"
# What a calendar of 2 000 days before or after can be tried out with; the zone of Almaty is known that far.
EARLIEST, LATEST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# Withdrawing the bills of what was canceled takes the bank's simulator a moment.
DELETE_PATIENCE_SECONDS = 10.0
DELETE_STEP_SECONDS = 0.2

ClockId = Annotated[str, Parameter(description="Of a test clock.")]
AnyRequest = Request[Any, Any, Any]


def _clock_moment(value: datetime) -> datetime:
    moment = checked_moment(value)
    if not EARLIEST <= moment < LATEST:
        raise ValueError(f"must be from {EARLIEST.year} to {LATEST.year - 1}")
    return moment


def _advance_by(value: str | int) -> str | int:
    if isinstance(value, int):
        if not 1 <= value <= LONGEST_ADVANCE.total_seconds():
            raise ValueError(f"must be from 1 to {LONGEST_ADVANCE.total_seconds():.0f} seconds")
        return value
    parse_duration(value)
    return value


class TestClockCreate(RequestBody, forbid_unknown_fields=True):
    """A clock that stands at `now` until it is advanced."""

    __test__ = False  # no test of pytest's

    RULES: ClassVar[dict[str, Rule]] = {"now": _clock_moment}

    name: Annotated[str, Meta(max_length=100, description="For people.", examples=["a year of billing"])] = ""
    now: (
        Annotated[
            datetime,
            Meta(
                tz=True,
                description=f"With a time zone, from {EARLIEST.year} to {LATEST.year - 1}; by default the present.",
                examples=["2026-01-31T10:00:00+05:00"],
            ),
        ]
        | None
    ) = None


class ClockAdvance(RequestBody, forbid_unknown_fields=True):
    """Where to: `by` so much, or `to` a moment."""

    RULES: ClassVar[dict[str, Rule]] = {"by": _advance_by, "to": _clock_moment}

    by: (
        Annotated[
            str | int,
            Meta(
                description="An ISO 8601 duration (`P1M`, `P2W`, `P1DT12H`; months and days on the calendar of"
                f" Asia/Almaty), or seconds. At most {LONGEST_ADVANCE.days} days.",
                examples=["P1M"],
            ),
        ]
        | None
    ) = None
    to: (
        Annotated[datetime, Meta(tz=True, description="With a time zone.", examples=["2027-01-31T10:00:00+05:00"])]
        | None
    ) = None


class TestClockList(msgspec.Struct, frozen=True, kw_only=True):
    """Every test clock of the merchant, newest first."""

    __test__ = False  # no test of pytest's

    items: list[TestClockJson]


class TestClockController(Controller):
    """`/api/v1/sandbox/test-clocks`."""

    __test__ = False  # no test of pytest's

    path = "/sandbox/test-clocks"
    tags = ["Sandbox"]  # noqa: RUF012 -- Litestar's way

    @post(
        dto=JsonBody[TestClockCreate],
        return_dto=None,
        summary="Create a test clock",
        description="For sandbox subscriptions (`test_clock` at their creation): they live by this clock, so a year of"
        f" billing takes seconds. Test keys only. A merchant can have {CLOCKS_PER_MERCHANT}.",
        operation_id="createTestClock",
        operation_class=BodyOptional,
        responses=errors(400, 401, 403, 409, 422, 503, created=TestClockJson),
    )
    async def create(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        data: TestClockCreate | None = None,
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/sandbox/test-clocks."""
        _test_key_only(principal)
        asked = data or TestClockCreate()
        now = None if asked.now is None else _clock_moment(asked.now)
        keyed = _Keyed(services, principal, CREATE, idempotency_key, (asked.name, now), status=201)
        replayed = await keyed.replayed()
        if replayed is not None:
            return replayed
        try:
            clock = await services.clocks.add(_asker(request, principal), asked.name.strip(), now, answer=keyed.answer)
        except KeyTaken:
            return await keyed.raced()
        except ClockRefused as refused:
            if refused.code is not Code.LIMIT_REACHED:
                raise TolemError(refused.code) from refused
            message = f"A merchant can have {CLOCKS_PER_MERCHANT} test clocks; delete one that is not needed."
            raise TolemError(refused.code, message, details={"limit": str(CLOCKS_PER_MERCHANT)}) from refused
        return _shown(clock, 201)

    @get(summary="List test clocks", operation_id="listTestClocks", responses=errors(401, 403, 503))
    async def list_(self, services: Services, principal: Principal) -> TestClockList:
        """GET /v1/sandbox/test-clocks."""
        _test_key_only(principal)
        found = await services.clocks.clocks(principal.merchant.id)
        return TestClockList(items=[v1.clock(one) for one in found])

    @get(
        "/{clock_id:str}",
        summary="Get a test clock",
        description="`state` is `ready` once all of its subscriptions have come to `now`.",
        operation_id="getTestClock",
        responses=errors(400, 401, 403, 404, 503),
    )
    async def read(self, services: Services, principal: Principal, clock_id: ClockId) -> TestClockJson:
        """GET /v1/sandbox/test-clocks/{id}."""
        return v1.clock(await _visible(services, principal, clock_id))

    @post(
        "/{clock_id:str}/advance",
        status_code=202,
        request_class=JsonRequest,
        dto=JsonDraft[ClockAdvance],
        return_dto=None,
        summary="Advance a test clock",
        description="Moves its subscriptions through every moment up to then, in order, in the background: read the"
        " clock until its `state` is `ready`. It never goes back.",
        operation_id="advanceTestClock",
        responses={
            **errors(400, 401, 403, 404, 409, 422, 503),
            202: ResponseSpec(TestClockJson, description="Accepted.", generate_examples=False),
        },
    )
    async def advance(
        self,
        request: AnyRequest,
        services: Services,
        principal: Principal,
        clock_id: ClockId,
        data: Draft[ClockAdvance],
        idempotency_key: idempotency.IdempotencyKey = None,
    ) -> Response[Any]:
        """POST /v1/sandbox/test-clocks/{id}/advance."""
        asked = data.finish(*_not_one(data))
        clock = await _visible(services, principal, clock_id)
        to = None if asked.to is None else _clock_moment(asked.to)
        keyed = _Keyed(services, principal, ADVANCE, idempotency_key, (clock.id, asked.by, to), status=202)
        replayed = await keyed.replayed()
        if replayed is None:
            replayed = await _advance(request, services, principal, clock, asked, keyed)
        # Also for a repeat: the wish stands in the books, and the engine may have been away when it was written down.
        await services.engine.advance_clock(clock.merchant_id, clock.id)
        return replayed

    @delete(
        "/{clock_id:str}",
        summary="Delete a test clock",
        description="Cancels the subscriptions on it that are not over, then removes the clock. They stay readable.",
        operation_id="deleteTestClock",
        responses=errors(400, 401, 403, 404, 409, 503),
    )
    async def remove(self, request: AnyRequest, services: Services, principal: Principal, clock_id: ClockId) -> None:
        """DELETE /v1/sandbox/test-clocks/{id}."""
        clock = await _visible(services, principal, clock_id)
        if clock.target_at is not None:
            raise TolemError(Code.TEST_CLOCK_ADVANCING)
        await _cancel_carried(request, services, principal, clock)
        if not await _delete(services, _asker(request, principal), clock):
            raise TolemError(Code.NOT_FOUND)


class _Keyed:
    """What a request's idempotency key stands for."""

    def __init__(
        self,
        services: Services,
        principal: Principal,
        operation: str,
        key: str | None,
        parts: tuple[Any, ...],
        *,
        status: int,
    ) -> None:
        self._services = services
        self._merchant = principal.merchant.id
        self._operation = operation
        self._key = idempotency.checked(key)
        self._fingerprint = idempotency.fingerprint(principal.id_salt, operation, *parts)
        self._status = status

    @property
    def answer(self) -> Any:
        """What keeps the answer, None without a key."""
        return None if self._key is None else self._answer

    def _answer(self, clock: TestClock) -> KeyedAnswer:
        return KeyedAnswer(
            mode=Mode.TEST,
            operation=self._operation,
            key=self._key or "",
            fingerprint=self._fingerprint,
            status=self._status,
            body=msgspec.json.encode(v1.clock(clock)),
        )

    async def replayed(self) -> Response[Any] | None:
        """The kept answer, None where the key is new."""
        if self._key is None:
            return None
        kept = await self._services.reads.kept_answer(self._merchant, Mode.TEST, self._operation, self._key)
        return idempotency.replay(kept, self._fingerprint) if kept else None

    async def raced(self) -> Response[Any]:
        """The answer that another request with this key has just been given."""
        kept = await self.replayed()
        if kept is None:
            raise TolemError(Code.DATABASE_UNAVAILABLE)
        return kept


async def _advance(
    request: AnyRequest,
    services: Services,
    principal: Principal,
    clock: TestClock,
    asked: ClockAdvance,
    keyed: _Keyed,
) -> Response[Any]:
    field, target = _target(clock, asked)
    fault = advance_fault(clock.now_at, target)
    # A clock that is on its way says so, and not that one would go back.
    if fault is not None and clock.target_at is None:
        raise fields.wrong(field, fault)
    try:
        advanced = await services.clocks.advance(_asker(request, principal), clock.id, target, answer=keyed.answer)
    except KeyTaken:
        return await keyed.raced()
    except ClockRefused as refused:
        raced = await keyed.replayed()
        if raced is not None:
            return raced
        raise TolemError(refused.code, details={"now": v1.clock(clock).now}) from refused
    if advanced is None:
        raise TolemError(Code.NOT_FOUND)
    return _shown(advanced, 202)


def _target(clock: TestClock, asked: ClockAdvance) -> tuple[str, datetime]:
    """Where it is to go, and the field that says so."""
    if asked.to is not None:
        return "to", _clock_moment(asked.to)
    try:
        duration = parse_duration(f"PT{asked.by}S") if isinstance(asked.by, int) else parse_duration(asked.by or "")
        target = moment_after(clock.now_at, duration)
    except (BadDuration, OverflowError):
        raise fields.wrong("by", f"Must not be more than {LONGEST_ADVANCE.days} days.") from None
    return "by", target


async def _cancel_carried(request: AnyRequest, services: Services, principal: Principal, clock: TestClock) -> None:
    asked = Asked(asked_by=principal.key_id, request_id=request_id_of(request.scope))
    for ref in await services.clocks.carried(clock.merchant_id, clock.id):
        try:
            await services.engine.act_on_subscription(ref, CancelSubscription(asked=asked), wait=PATIENCE_SECONDS)
        except TolemError as error:
            if error.code is not Code.SUBSCRIPTION_CLOSED:
                raise


async def _delete(services: Services, asker: Asker, clock: TestClock) -> bool:
    loop = asyncio.get_running_loop()
    ends = loop.time() + DELETE_PATIENCE_SECONDS
    while True:
        try:
            return await services.clocks.delete(asker, clock.id)
        except ClockRefused as refused:
            if refused.code is not Code.ILLEGAL_TRANSITION:
                raise TolemError(refused.code) from refused
            if loop.time() >= ends:
                raise EngineAway("a bill of a canceled subscription is still being withdrawn") from refused
            await asyncio.sleep(DELETE_STEP_SECONDS)


async def _visible(services: Services, principal: Principal, clock_id: str) -> TestClock:
    _test_key_only(principal)
    found = None if "\x00" in clock_id else await services.clocks.clock(principal.merchant.id, clock_id)
    if found is None:
        raise TolemError(Code.NOT_FOUND)
    return found


def _test_key_only(principal: Principal) -> None:
    if not sees_sandbox_only(principal):
        raise TolemError(Code.TEST_KEY_REQUIRED)


def _not_one(data: Draft[ClockAdvance]) -> list[FieldError]:
    by, to = data.get("by"), data.get("to")
    if UNSET in (by, to) or (by is None) != (to is None):
        return []
    message = "Give exactly one of by and to."
    return [FieldError("by", "invalid", message), FieldError("to", "invalid", message)]


def _asker(request: AnyRequest, principal: Principal) -> Asker:
    return Asker(
        merchant_id=principal.merchant.id,
        key_id=principal.key_id,
        sandbox_only=True,
        request_id=request_id_of(request.scope),
    )


def _shown(clock: TestClock, status: int) -> Response[Any]:
    body = msgspec.json.encode(v1.clock(clock))
    headers = {"Location": f"/api/v1/sandbox/test-clocks/{clock.id}"} if status == 201 else {}
    return Response(body, status_code=status, media_type=MediaType.JSON, headers=headers)
