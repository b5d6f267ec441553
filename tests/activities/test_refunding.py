"""payment/return against the emulated bank, whose ledger is the judge: sent once per number, and never called failed
when it may have happened. What a process does that dies in the middle stands in test_crash_points_refund.py.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import failures
from activities.refunding import (
    SEND_WITHIN_SECONDS,
    GiveBack,
    NoteAnswer,
    PaymentSums,
    Refunding,
)
from db.engine import create_engine
from db.errors import DatabaseUnavailable
from db.refunds import RefundLedger
from dev.ports import free_port
from dev.postgres import Database
from domain.invoice import State
from domain.refund import (
    RefundAttempt,
    RefundReason,
    RefundStanding,
    RefundState,
    Returned,
    ReturnOutcome,
)
from kaspi.directory import BankDirectory, BankLimits
from operations import sealed
from tests.activities.town import Town
from tests.activities.wire import Wire
from tests.db.books import Shop
from tests.support.waiting import until

PAID = 10_000
AMOUNT = 4_000
RETURN = "payment/return"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    # How long the activity keeps trying is a constant; that it does is what the tests ask.
    for name in ("NOT_SENT_PAUSES", "INTEND_PAUSES", "ANSWER_PAUSES"):
        monkeypatch.setattr(f"activities.refunding.{name}", (0.01, 0.01))


@pytest.fixture(scope="module")
async def shop(town_of_run: Town) -> Shop:
    return await town_of_run.merchant()


class Desk:
    """One refund at its turn, of a payment that the bank has, and the activities that serve it."""

    def __init__(self, town: Town, order: GiveBack) -> None:
        self.town = town
        self.order = order
        self.refunding = Refunding(town.books.refunds, town.banks)

    async def give_back(self, number: int = 1, refunding: Refunding | None = None) -> Returned:
        order = msgspec.structs.replace(self.order, number=number)
        return await ActivityEnvironment().run((refunding or self.refunding).give_back, order)

    async def at_bank(self) -> list[int]:
        """Every refund of the payment in the bank's own book: their ids."""
        found = await self.town.admin.call("GET", f"purchases/{self.order.payment_id}")
        return [one["id"] for one in found["refunds"]]

    async def standing(self) -> RefundStanding:
        return await self.town.books.refunds.standing(self.order.merchant_id, self.order.refund_id)

    async def attempts(self) -> list[RefundAttempt]:
        return (await self.standing()).attempts

    async def available(self) -> int:
        order = self.order
        payment = PaymentSums(
            merchant_id=order.merchant_id, connection_id=order.connection_id, payment_id=order.payment_id
        )
        return (await ActivityEnvironment().run(self.refunding.read_sums, payment)).available


async def opened(town: Town, shop: Shop, **changes: Any) -> Desk:
    ref = await town.issued(shop, amount=PAID, **changes)
    await town.admin.act(ref.payment_id, "pay")
    await shop.book(ref.invoice_id, "paid", State.PAID)
    refund = await shop.refund(await shop.invoice(ref.invoice_id), AMOUNT, to=RefundState.PROCESSING)
    order = GiveBack(
        refund_id=refund.id,
        merchant_id=shop.id,
        connection_id=refund.connection_id,
        payment_id=ref.payment_id,
        amount=AMOUNT,
        number=1,
        available=PAID,
        outside=0,
    )
    return Desk(town, order)


@pytest.fixture
async def desk(town: Town, shop: Shop) -> Desk:
    return await opened(town, shop)


async def test_a_refund_is_made_and_both_books_have_it(desk: Desk) -> None:
    answer = await desk.give_back()
    assert answer.outcome is ReturnOutcome.DONE
    (attempt,) = await desk.attempts()
    assert (attempt.outcome, attempt.available_before) == (ReturnOutcome.DONE, PAID)
    assert [attempt.bank_return_id] == [answer.bank_return_id] == await desk.at_bank()
    assert await desk.available() == PAID - AMOUNT


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-99000011, RefundReason.REFUSED),
        (-1601, RefundReason.REFUSED),
        (-99000005, RefundReason.ABOVE_AVAILABLE),
        (-99000020, RefundReason.PARTIAL_IMPOSSIBLE),
        (-99000003, RefundReason.MISCONFIGURED),
        (-1501, RefundReason.MISCONFIGURED),
    ],
)
async def test_a_typed_refusal_is_the_banks_word(town: Town, desk: Desk, code: int, reason: RefundReason) -> None:
    await town.admin.fault(RETURN, "code", code=code, execute=False)
    answer = await desk.give_back()
    assert answer == Returned(outcome=ReturnOutcome.REFUSED, reason=reason, bank_code=code)
    (attempt,) = await desk.attempts()
    assert (attempt.outcome, attempt.reason, attempt.bank_code) == (ReturnOutcome.REFUSED, reason, code)
    assert await desk.at_bank() == []


UNCLEAR = [
    ({"fault": "drop_before"}, False),
    ({"fault": "execute_then_drop"}, True),
    ({"fault": "error_5xx_before"}, False),
    ({"fault": "error_5xx_after"}, True),
    ({"fault": "malformed"}, True),
    ({"fault": "empty"}, True),
    ({"fault": "empty", "execute": False}, False),
    ({"fault": "html"}, True),
    ({"fault": "throttle_429"}, False),
    ({"fault": "code", "code": -999}, True),
    ({"fault": "code", "code": -99000006, "execute": False}, False),
    ({"fault": "code", "code": -424242}, True),
]


@pytest.mark.parametrize(("knobs", "executed"), UNCLEAR, ids=str)
async def test_whatever_is_not_the_banks_word_is_unknown_and_never_tried_again(
    town: Town, desk: Desk, knobs: dict[str, Any], executed: bool
) -> None:
    before = await town.received(RETURN)
    await town.admin.fault(RETURN, **knobs)
    answer = await desk.give_back()
    assert answer.outcome is ReturnOutcome.UNKNOWN
    assert await town.received(RETURN) == before + 1
    (attempt,) = await desk.attempts()
    assert attempt.outcome is ReturnOutcome.UNKNOWN
    assert len(await desk.at_bank()) == executed
    assert await desk.available() == (PAID - AMOUNT if executed else PAID)


@pytest.mark.parametrize("fault", [None, "execute_then_drop", "drop_before"])
async def test_a_number_is_sent_once_for_ever_whoever_comes_later(town: Town, desk: Desk, fault: str | None) -> None:
    if fault:
        await town.admin.fault(RETURN, fault)
    first = await desk.give_back()
    before = await town.received(RETURN)
    for refunding in (desk.refunding, Refunding(town.books.refunds, town.banks)):
        assert (await desk.give_back(refunding=refunding)).outcome is ReturnOutcome.UNKNOWN
    assert await town.received(RETURN) == before
    (attempt,) = await desk.attempts()
    assert attempt.outcome is first.outcome  # the latecomer's "unknown" says nothing about the first


async def test_of_ten_processes_at_once_one_sends(town: Town, desk: Desk) -> None:
    answers = await asyncio.gather(
        *(desk.give_back(refunding=Refunding(town.books.refunds, town.banks)) for _ in range(10))
    )
    assert sorted(answer.outcome for answer in answers) == [ReturnOutcome.DONE, *[ReturnOutcome.UNKNOWN] * 9]
    assert len(await desk.at_bank()) == 1


async def test_a_second_run_in_the_same_process_joins_the_first(town: Town, desk: Desk) -> None:
    await town.admin.fault(RETURN, "delay", delay_ms=300)
    answers = await asyncio.gather(desk.give_back(), desk.give_back())
    assert answers[0] == answers[1]
    assert answers[0].outcome is ReturnOutcome.DONE
    assert len(await desk.at_bank()) == 1


@asynccontextmanager
async def at_port(town: Town, shop: Shop, port: int) -> AsyncIterator[Refunding]:
    """The activities of a process that finds the merchant's bank at this port."""
    url = "update connections set base_url = :url where merchant_id = :id"
    await town.books.do(url, url=f"https://127.0.0.1:{port}/r3/v01", id=shop.id)
    banks = BankDirectory(
        sealed.connection_loader(town.books.records, town.box), BankLimits(read_timeout=10, concurrency=8)
    )
    yield Refunding(town.books.refunds, banks)
    await banks.aclose()


async def test_a_bank_that_nobody_answers_for_was_not_asked(town: Town) -> None:
    lonely = await town.merchant()
    desk = await opened(town, lonely)
    async with at_port(town, lonely, free_port()) as refunding:
        assert (await desk.give_back(refunding=refunding)).outcome is ReturnOutcome.NOT_SENT
    (attempt,) = await desk.attempts()
    assert attempt.outcome is ReturnOutcome.NOT_SENT
    # Known not to have happened, so the next number may be sent.
    assert (await desk.give_back(2)).outcome is ReturnOutcome.DONE
    assert len(await desk.at_bank()) == 1


async def test_a_bank_that_comes_back_between_the_tries_gets_one_refund(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.refunding.NOT_SENT_PAUSES", (0.05,) * 100)
    shop = await town.merchant()
    desk = await opened(town, shop)
    async with Wire(town.emulator.bank_port) as wire, at_port(town, shop, wire.port) as refunding:
        wire.cut()
        giving = asyncio.create_task(desk.give_back(refunding=refunding))
        await wire.refused_somebody()
        wire.mend()
        assert (await giving).outcome is ReturnOutcome.DONE
    assert len(await desk.at_bank()) == 1


# --- time


class Stopwatch:
    """The process's clock; `paused` is what it stood still for before each further look."""

    def __init__(self, *paused: float) -> None:
        self._paused = list(paused)
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += self._paused.pop(0) if self._paused else 0.0
        return self.now


@pytest.mark.parametrize("paused", [SEND_WITHIN_SECONDS + 1, 3600.0])
async def test_a_process_that_stood_still_after_its_intent_does_not_send_any_more(
    town: Town, desk: Desk, paused: float
) -> None:
    before = await town.received(RETURN)
    answer = await desk.give_back(refunding=Refunding(town.books.refunds, town.banks, clock=Stopwatch(0.0, paused)))
    assert answer.outcome is ReturnOutcome.NOT_SENT
    assert await town.received(RETURN) == before
    (attempt,) = await desk.attempts()
    assert attempt.outcome is ReturnOutcome.NOT_SENT


async def test_the_time_counts_from_before_the_intent_and_at_every_try(town: Town) -> None:
    lonely = await town.merchant()
    desk = await opened(town, lonely)
    async with at_port(town, lonely, free_port()) as refunding:
        # In time for the first try, too late for the second.
        refunding._clock = clock = Stopwatch(0.0, SEND_WITHIN_SECONDS - 1, 2.0, 1000.0)
        assert (await desk.give_back(refunding=refunding)).outcome is ReturnOutcome.NOT_SENT
    assert clock.now == 1000.0 + SEND_WITHIN_SECONDS + 1
    assert await desk.at_bank() == []


async def test_whoever_stops_waits_for_the_banks_answer(town: Town, desk: Desk) -> None:
    await town.admin.fault(RETURN, "delay", delay_ms=4000)  # until everything below has happened
    giving = asyncio.create_task(desk.give_back())
    await until(desk.attempts, "the intent")
    giving.cancel()  # the worker's grace is over
    await asyncio.gather(giving, return_exceptions=True)
    (attempt,) = await desk.attempts()
    assert attempt.outcome is None
    await desk.refunding.drain()
    (attempt,) = await desk.attempts()
    assert [attempt.bank_return_id] == await desk.at_bank() != []


async def test_a_call_under_way_tells_that_it_lives(town: Town, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.heartbeats.HEARTBEAT_SECONDS", 0.05)
    await town.admin.fault(RETURN, "delay", delay_ms=1000)
    environment, beats = ActivityEnvironment(), []
    environment.on_heartbeat = lambda *details: beats.append(details)
    await environment.run(desk.refunding.give_back, desk.order)
    assert beats


# --- our own failures


class Ill:
    """The ledger while some of its methods fail; `times` is how often."""

    def __init__(self, real: RefundLedger, method: str, times: int, *, after: bool = False) -> None:
        self._real, self._method, self._after = real, method, after
        self.left = times

    def __getattr__(self, name: str) -> Any:
        real: Callable[..., Awaitable[Any]] = getattr(self._real, name)
        if name != self._method:
            return real

        async def failing(*given: Any, **named: Any) -> Any:
            if not self.left:
                return await real(*given, **named)
            self.left -= 1
            if self._after:
                await real(*given, **named)
            raise DatabaseUnavailable("away")

        return failing


def with_ledger(town: Town, ledger: object) -> Refunding:
    return Refunding(ledger, town.banks)  # type: ignore[arg-type]  # a real ledger behind it


@pytest.mark.parametrize("after", [False, True])
async def test_without_a_written_intent_the_bank_is_not_called(town: Town, desk: Desk, after: bool) -> None:
    before = await town.received(RETURN)
    with pytest.raises(DatabaseUnavailable):
        await desk.give_back(refunding=with_ledger(town, Ill(town.books.refunds, "intend", 100, after=after)))
    assert await town.received(RETURN) == before
    assert len(await desk.attempts()) == after


async def test_a_database_that_is_not_there_at_all_sends_nothing(town: Town, desk: Desk, postgres: Database) -> None:
    away = create_engine(postgres.app_url.replace(f":{postgres.port}/", f":{free_port()}/"))
    before = await town.received(RETURN)
    with pytest.raises(DatabaseUnavailable):
        await desk.give_back(refunding=with_ledger(town, RefundLedger(away, town.books.renderer)))
    await away.dispose()
    assert await town.received(RETURN) == before


@pytest.mark.parametrize("after", [False, True])
async def test_an_intent_whose_commit_was_not_heard_is_still_our_own(town: Town, desk: Desk, after: bool) -> None:
    ill = Ill(town.books.refunds, "intend", 2, after=after)
    assert (await desk.give_back(refunding=with_ledger(town, ill))).outcome is ReturnOutcome.DONE
    assert len(await desk.at_bank()) == 1


async def test_an_answer_that_cannot_be_kept_is_handed_to_the_story(town: Town, desk: Desk) -> None:
    ill = Ill(town.books.refunds, "answered", 100)
    answer = await desk.give_back(refunding=with_ledger(town, ill))
    assert [answer.bank_return_id] == await desk.at_bank()
    (attempt,) = await desk.attempts()
    assert attempt.outcome is None
    note = NoteAnswer(refund_id=desk.order.refund_id, merchant_id=desk.order.merchant_id, number=1, answer=answer)
    standing = await ActivityEnvironment().run(desk.refunding.note, note)
    assert standing.attempts[0].outcome is ReturnOutcome.DONE


async def test_a_connection_that_cannot_be_used_leaves_no_attempt(town: Town, desk: Desk, shop: Shop) -> None:
    other = await town.books.merchant()
    wrong = msgspec.structs.replace(desk.order, connection_id=other.connection_id)
    with pytest.raises(ApplicationError) as caught:
        await ActivityEnvironment().run(desk.refunding.give_back, wrong)
    assert caught.value.type == failures.BANK_MISCONFIGURED
    assert await desk.attempts() == []
