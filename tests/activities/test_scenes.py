"""Single calls to the simulated bank: what the story remembers for it, and which attempt this is, reach it."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.bank_calls import PaymentRef
from activities.failures import BANK_MISCONFIGURED, BANK_REFUSED, BANK_UNAVAILABLE
from activities.refunding import PaymentSums, Refunding
from domain.bank import BankFact, Verdict
from domain.invoice import Attention, Kind, Reason, State
from domain.refund import Sums
from domain.scenario import Scenario, Scene
from tests.activities.town import Town
from tests.db.books import Shop


@pytest.fixture(scope="module")
async def shop(town_of_run: Town) -> Shop:
    return await town_of_run.merchant()


def payment(shop: Shop, scenario: Scenario | None, **scene: Any) -> PaymentRef:
    return PaymentRef(
        merchant_id=shop.id,
        connection_id=None,
        invoice_id="inv_1",
        payment_id=1,
        kind=Kind.PHONE,
        scene=None if scenario is None else Scene(scenario=scenario, **scene),
    )


async def read(town: Town, of: PaymentRef, attempt: int = 1) -> BankFact:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=attempt)
    return await environment.run(town.calls.read_status, of)


@pytest.mark.parametrize(
    ("scenario", "type_"), [(Scenario.THROTTLED, BANK_UNAVAILABLE), (Scenario.SESSION_LOST, BANK_MISCONFIGURED)]
)
async def test_the_third_attempt_of_a_look_that_was_turned_away_is_answered(
    town: Town, shop: Shop, scenario: Scenario, type_: str
) -> None:
    for attempt in (1, 2):
        with pytest.raises(ApplicationError) as caught:
            await read(town, payment(shop, scenario, look=1), attempt)
        assert (caught.value.type, caught.value.non_retryable) == (type_, False)
    assert (await read(town, payment(shop, scenario, look=1), 3)).verdict is Verdict.PAID


async def test_a_bill_without_a_scene_waits_however_often_one_asks(town: Town, shop: Shop) -> None:
    for attempt in (1, 3):
        assert (await read(town, payment(shop, None), attempt)).verdict is Verdict.WAITING


async def test_a_cancel_is_answered_by_the_scene(town: Town, shop: Shop) -> None:
    environment = ActivityEnvironment()
    for scenario, verdict in ((Scenario.PAYMENT_WINS, Verdict.PAID), (Scenario.STAYS_PENDING, Verdict.CANCELED)):
        asked = payment(shop, scenario, cancel_asked=True)
        assert await environment.run(town.calls.cancel_remote, asked) is verdict


async def test_sums_are_those_of_the_scene_and_without_one_there_are_none(town: Town, shop: Shop) -> None:
    refunding = Refunding(town.books.refunds, town.banks)
    scene = Scene(scenario=Scenario.PARTIAL_REFUND_ONLY, paid=1_000, given_back=100)
    asked = PaymentSums(merchant_id=shop.id, connection_id=None, payment_id=1, scene=scene)
    assert await ActivityEnvironment().run(refunding.read_sums, asked) == Sums(total=1_000, available=400)
    with pytest.raises(ApplicationError) as caught:
        await ActivityEnvironment().run(refunding.read_sums, msgspec.structs.replace(asked, scene=None))
    assert caught.value.type == BANK_REFUSED


@pytest.mark.parametrize(
    ("scenario", "kind", "expected"),
    [
        (Scenario.UNKNOWN_CLIENT, Kind.PHONE, (State.FAILED, Reason.REFUSED, None)),
        (Scenario.ANSWER_LOST, Kind.PHONE, (State.PROCESSING, None, Attention.OUTCOME_UNKNOWN)),
        (Scenario.ANSWER_LOST, Kind.LINK, (State.PENDING, None, None)),
        (Scenario.MALFORMED_ANSWER, Kind.PHONE, (State.PROCESSING, None, Attention.OUTCOME_UNKNOWN)),
        (Scenario.MALFORMED_ANSWER, Kind.QR, (State.FAILED, Reason.UNAVAILABLE, None)),
        (Scenario.PAID, Kind.QR, (State.PENDING, None, None)),
    ],
)
async def test_a_create_is_booked_as_what_the_bank_said(
    town: Town,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    scenario: Scenario,
    kind: Kind,
    expected: tuple[State, Reason | None, Attention | None],
) -> None:
    monkeypatch.setattr("activities.issuing.NOT_SENT_PAUSES", (0.01, 0.01, 0.01))
    order = shop.order(kind, sandbox=True, scenario=scenario)
    await town.issue(order)
    invoice = await shop.invoice(order.invoice_id)
    assert (invoice.state, invoice.status_reason, invoice.attention) == expected
    assert await town.bills(order) == []
