"""The simulated bank: what a scenario makes it say, in the same words and errors as the real one's."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.bank import Verdict
from domain.invoice import Kind, OpenInvoice
from domain.refund import Sums
from domain.scenario import Scenario, Scene
from domain.scenarios import MAGIC_VALUES
from kaspi.errors import (
    KaspiError,
    KaspiMisconfigured,
    KaspiOutcomeUnknown,
    KaspiRefused,
    KaspiThrottled,
    KaspiUnavailable,
)
from kaspi.sandbox import SandboxBank
from kaspi.status import KNOWN_WORDS

DAY = timedelta(hours=24)
AMOUNT = 150_001


def order(scenario: Scenario | None, kind: Kind = Kind.PHONE, *, is_sandbox: bool = True) -> OpenInvoice:
    now = datetime.now(UTC)
    return OpenInvoice(
        invoice_id=f"inv_{scenario}",
        merchant_id="mer_1",
        kind=kind,
        is_sandbox=is_sandbox,
        amount=AMOUNT,
        issue_before=now,
        answer_by=now,
        fingerprint="f",
        operation="invoices",
        request_id="req_1",
        late_watch=1.0,
        scenario=scenario,
    )


def bank(scenario: Scenario | None = None, **scene: Any) -> SandboxBank:
    base = SandboxBank(phone_lifetime=DAY)
    return base if scenario is None else base.acting(Scene(scenario=scenario, **scene))


async def failed(call: Callable[[], Any]) -> KaspiError:
    with pytest.raises(KaspiError) as caught:
        await call()
    return caught.value


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("value", MAGIC_VALUES, ids=lambda value: value.digits)
async def test_a_create_fails_only_where_the_list_says_so(value: Any, kind: Kind) -> None:
    course, made = value.course(kind), order(value.scenario, kind)
    if course.error is None and course.attention is None and value.scenario is not Scenario.ANSWER_LOST:
        assert (await bank().create(made)).bank_payment_id > 0
        return
    error = await failed(lambda: bank().create(made))
    assert error.code == course.bank_code
    money = kind is Kind.PHONE
    expected = {
        Scenario.UNKNOWN_CLIENT: (KaspiRefused, "refused_1404" if money else "wrong_amount"),
        Scenario.ANSWER_LOST: (KaspiOutcomeUnknown if money else KaspiUnavailable, "timeout"),
        Scenario.MALFORMED_ANSWER: (KaspiOutcomeUnknown if money else KaspiUnavailable, "unreadable_answer"),
    }[value.scenario]
    assert (type(error), error.reason) == expected


async def test_the_answer_to_a_code_is_lost_once_and_to_a_phone_bill_each_time() -> None:
    at, code, phone = bank(), order(Scenario.ANSWER_LOST, Kind.QR), order(Scenario.ANSWER_LOST)
    for _ in range(2):
        await failed(lambda: at.create(code))
        assert (await at.create(code)).qr_token
    for _ in range(3):
        assert isinstance(await failed(lambda: at.create(phone)), KaspiOutcomeUnknown)


@pytest.mark.parametrize("kind", Kind)
async def test_what_expires_can_be_paid_for_five_seconds(kind: Kind) -> None:
    life, before = timedelta(seconds=5), datetime.now(UTC)
    issued = await bank().create(order(Scenario.EXPIRES, kind))
    assert before + life <= issued.expires_at <= datetime.now(UTC) + life
    assert issued.deadline > issued.expires_at
    assert (await bank(Scenario.EXPIRES, look=1).status(1, kind)).verdict is Verdict.EXPIRED
    ordinary = await bank().create(order(None, kind))
    assert ordinary.expires_at - datetime.now(UTC) > timedelta(minutes=3)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("scenario", "scene", "verdict"),
    [
        (Scenario.PAID, {}, Verdict.PAID),
        (Scenario.STAYS_PENDING, {}, Verdict.WAITING),
        (Scenario.DECLINED, {}, Verdict.FAILED),
        (Scenario.UNKNOWN_WORD, {"look": 1}, Verdict.UNKNOWN),
        (Scenario.UNKNOWN_WORD, {"look": 2}, Verdict.PAID),
        (Scenario.THROTTLED, {"attempt": 3}, Verdict.PAID),
        (Scenario.SESSION_LOST, {"attempt": 3}, Verdict.PAID),
        (Scenario.PAYMENT_WINS, {"cancel_asked": True}, Verdict.PAID),
    ],
)
async def test_a_look_hears_a_word_of_the_bank(
    scenario: Scenario, scene: dict[str, Any], verdict: Verdict, kind: Kind
) -> None:
    said = await bank(scenario, **scene).status(1, kind)
    assert said.verdict is verdict
    assert (said.word in KNOWN_WORDS) == (verdict is not Verdict.UNKNOWN)


async def test_the_payment_wins_only_once_somebody_cancels_a_phone_bill() -> None:
    assert (await bank(Scenario.PAYMENT_WINS).status(1, Kind.PHONE)).verdict is Verdict.WAITING
    assert (await bank(Scenario.PAYMENT_WINS).status(1, Kind.QR)).verdict is Verdict.PAID
    assert await bank(Scenario.PAYMENT_WINS, cancel_asked=True).cancel(1) is Verdict.PAID
    for other in set(Scenario) - {Scenario.PAYMENT_WINS}:
        assert await bank(other, cancel_asked=True).cancel(1) is Verdict.CANCELED


@pytest.mark.parametrize("attempt", [1, 2])
async def test_two_looks_are_turned_away(attempt: int) -> None:
    throttled = await failed(lambda: bank(Scenario.THROTTLED, attempt=attempt).status(1, Kind.PHONE))
    lost = await failed(lambda: bank(Scenario.SESSION_LOST, attempt=attempt).status(1, Kind.PHONE))
    assert (type(throttled), throttled.reason) == (KaspiThrottled, "http_429")
    assert (type(lost), lost.reason) == (KaspiMisconfigured, "http_401")


async def test_every_refund_is_refused_where_the_scenario_says_so() -> None:
    at = bank(Scenario.REFUND_REFUSED, paid=AMOUNT)
    assert await at.sums(1) == Sums(total=AMOUNT, available=AMOUNT)
    error = await failed(lambda: at.give_back(1, 1))
    assert (type(error), error.code, error.reason) == (KaspiRefused, -99000011, "not_refundable")


async def test_half_of_it_was_given_back_at_a_till() -> None:
    at = bank(Scenario.PARTIAL_REFUND_ONLY, paid=AMOUNT)
    half = AMOUNT // 2
    assert await at.sums(1) == Sums(total=AMOUNT, available=half)
    assert (await failed(lambda: at.give_back(1, half + 1))).code == -99000005
    first = await at.give_back(1, 1_000)
    later = bank(Scenario.PARTIAL_REFUND_ONLY, paid=AMOUNT, given_back=1_000)
    assert await later.sums(1) == Sums(total=AMOUNT, available=half - 1_000)
    assert await later.give_back(1, half - 1_000) != first
    spent = bank(Scenario.PARTIAL_REFUND_ONLY, paid=AMOUNT, given_back=half)
    assert (await spent.sums(1)).available == 0


async def test_an_ordinary_sandbox_bill_waits_and_its_refunds_ask_no_bank() -> None:
    assert (await bank().status(1, Kind.PHONE)).verdict is Verdict.WAITING
    assert await bank().cancel(1) is Verdict.CANCELED
    assert isinstance(await failed(lambda: bank().sums(1)), KaspiRefused)
    assert isinstance(await failed(lambda: bank().give_back(1, 1)), KaspiRefused)


async def test_a_scenario_in_a_live_order_is_not_acted_out() -> None:
    issued = await bank().create(order(Scenario.UNKNOWN_CLIENT, is_sandbox=False))
    assert issued.bank_payment_id > 0
