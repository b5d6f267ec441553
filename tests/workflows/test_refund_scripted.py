"""Refunds of sandbox bills whose scenario is about refunds: the simulated bank decides, by the live story."""

import pytest

from domain.refund import RefundReason, RefundState, ReturnOutcome, SimulatedRefund
from domain.scenario import Scenario, Scene
from tests.workflows.refund_scene import AMOUNT, PAID, REFUSED, RETURN_ID, Act, Line
from tests.workflows.refund_stage import NewRefund


@pytest.mark.parametrize("scenario", [Scenario.REFUND_REFUSED, Scenario.PARTIAL_REFUND_ONLY])
async def test_a_scripted_refund_goes_to_the_simulated_bank(new_refund: NewRefund, scenario: Scenario) -> None:
    refund = new_refund(is_sandbox=True)
    await refund.open(scenario=scenario)
    assert await refund.result() is RefundState.COMPLETED
    assert refund.scene.lines == [Line("completed", RefundState.COMPLETED)]
    assert refund.scene.changes[-1].bank_return_id == RETURN_ID
    (sent,) = refund.scene.sent
    assert (sent.amount, sent.scene) == (AMOUNT, Scene(scenario=scenario, paid=PAID))


async def test_a_scripted_refusal_fails_the_refund(new_refund: NewRefund) -> None:
    refund = new_refund(is_sandbox=True)
    refund.scene.acts.append(Act(REFUSED))
    await refund.open(scenario=Scenario.REFUND_REFUSED)
    assert await refund.result() is RefundState.FAILED
    assert refund.scene.lines == [Line("failed", RefundState.FAILED, None, RefundReason.REFUSED)]


async def test_the_simulated_bank_knows_what_was_given_back_before(new_refund: NewRefund) -> None:
    refund = new_refund(is_sandbox=True)
    refund.scene.recorded(expected=PAID - 30_000, refunded_outside=10_000)
    refund.scene.available = PAID - 30_000
    await refund.open(scenario=Scenario.PARTIAL_REFUND_ONLY)
    assert await refund.result() is RefundState.COMPLETED
    (sent,) = refund.scene.sent
    assert sent.scene == Scene(scenario=Scenario.PARTIAL_REFUND_ONLY, paid=PAID, given_back=20_000)


@pytest.mark.parametrize(
    ("scenario", "simulate", "end"),
    [
        (Scenario.PAID, SimulatedRefund.COMPLETED, RefundState.COMPLETED),
        (Scenario.REFUND_REFUSED, SimulatedRefund.FAILED, RefundState.FAILED),
    ],
)
async def test_otherwise_the_simulator_decides(
    new_refund: NewRefund, scenario: Scenario, simulate: SimulatedRefund, end: RefundState
) -> None:
    refund = new_refund(is_sandbox=True, simulate=simulate)
    await refund.open(scenario=scenario)
    assert await refund.result() is end
    assert refund.scene.sent == []
    assert refund.scene.changes[-1].reason is RefundReason.SIMULATED


async def test_a_live_refund_has_no_scene_whatever_its_order_says(new_refund: NewRefund) -> None:
    refund = new_refund()
    await refund.open(scenario=Scenario.REFUND_REFUSED)
    assert await refund.result() is RefundState.COMPLETED
    (sent,) = refund.scene.sent
    assert sent.scene is None
    (attempt,) = refund.scene._now().attempts
    assert attempt.outcome is ReturnOutcome.DONE
