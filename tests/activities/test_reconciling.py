"""The reconciliation's walk over real books and the emulated bank; a mailbox stands where Temporal would be."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.reconciling import PlanReconciliations, Reconcile
from db.reconciliation_books import ReconciliationBooks
from domain.invoice import Attention, Kind, State
from domain.reconciliation import LineVerdict
from domain.reconciliation_run import Action, Line, RunState
from tests.activities.desk import LIMITS, Desk
from tests.activities.town import Town
from tests.support.discrepancies import kinds, wrong_conclusions


async def money(town: Town) -> dict[str, Any]:
    totals: dict[str, Any] = (await town.admin.ledger())["totals"]
    return totals


def only(lines: Sequence[Line]) -> Line:
    (line,) = lines
    return line


async def test_every_discrepancy_is_found_and_nothing_else(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(60, 16)
    before = await money(desk.town)
    run, lines = await desk.reconcile()
    assert run.state is RunState.COMPLETED
    assert wrong_conclusions(planted, lines) == []
    assert run.totals.bank[LineVerdict.MATCHED].count == 60, kinds(planted)
    assert run.totals.bank[LineVerdict.MATCHED].amount == sum(one.amount for one in planted if one.verdict is None)
    assert await money(desk.town) == before
    attention = {one.invoice_id for one in planted if one.action is Action.ATTENTION}
    assert set(desk.stories.resumed) == attention, "each case has a running story"


async def test_the_same_facts_are_told_once(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(6, 16)
    await desk.reconcile()
    events = {one.invoice_id: await desk.shop.events(one.invoice_id) for one in planted}
    _, lines = await desk.reconcile()
    assert {one.invoice_id: await desk.shop.events(one.invoice_id) for one in planted} == events
    # Late money is booked and what others refunded is in the books: both sides agree now.
    settled = {LineVerdict.PAID_AFTER_CLOSE, LineVerdict.REFUNDED_OUTSIDE}
    wrong = [one for one in planted if one.verdict is not None and one.verdict not in settled]
    assert {line.bank_payment_id for line in lines} == {one.payment_id for one in wrong}


async def test_what_an_operator_has_settled_is_not_asked_again(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(0, 8)
    await desk.reconcile()
    for one in planted:
        invoice = await desk.shop.invoice(one.invoice_id)
        if invoice.attention is Attention.AMOUNT_MISMATCH and invoice.paid_at is None:
            await desk.shop.book(one.invoice_id, "accepted_paid", State.PAID)
        await desk.shop.book(one.invoice_id, "acknowledged", clear_attention=True)
    _, lines = await desk.reconcile()
    assert {line.action for line in lines} == {Action.NONE}, "reported, and nobody is called again"
    assert len(lines) == 6, "late money and the cashier's refund are in the books by now"
    assert all([(await desk.shop.invoice(one.invoice_id)).attention is None for one in planted])


async def test_refunds_of_others_are_raised_to_the_banks_truth(desk: Desk) -> None:
    planter = await desk.planter()
    one = await planter.paid(Kind.QR, 100_000)
    for gone, total in (("100.00", 10_000), ("250.00", 35_000)):
        await desk.town.admin.call("POST", f"purchases/{one.payment_id}/refund", {"amount": gone})
        _, lines = await desk.reconcile()
        assert only(lines).verdict is LineVerdict.REFUNDED_OUTSIDE
        invoice = await desk.shop.invoice(one.invoice_id)
        assert (invoice.refunded_outside, invoice.attention) == (total, Attention.REFUNDED_OUTSIDE)
        assert invoice.state is State.PAID


async def test_another_case_of_the_invoice_is_not_covered_up(desk: Desk) -> None:
    planter = await desk.planter()
    one = await planter.paid(Kind.QR, 100_000)
    await desk.shop.book(one.invoice_id, "somebody_looks", attention=Attention.PAID_LATE)
    await desk.town.admin.call("POST", f"purchases/{one.payment_id}/refund", {"amount": "100.00"})
    _, lines = await desk.reconcile()
    assert (only(lines).verdict, only(lines).action) == (LineVerdict.REFUNDED_OUTSIDE, Action.NONE)
    invoice = await desk.shop.invoice(one.invoice_id)
    assert (invoice.attention, invoice.refunded_outside) == (Attention.PAID_LATE, 0)
    await desk.shop.book(one.invoice_id, "looked", clear_attention=True)
    _, lines = await desk.reconcile()
    assert only(lines).action is Action.ATTENTION, "the next run tells it"


async def test_a_refund_in_flight_is_not_judged(desk: Desk) -> None:
    planter = await desk.planter()
    one = await planter.paid(Kind.QR, 90_000)
    await planter.refunded_here(one, 30_000)
    desk_with_lag = ReconciliationBooks(desk.town.books.app, timedelta(minutes=15))
    activity = desk.activity()
    activity._books = desk_with_lag
    run = await desk.open()
    order = Reconcile(merchant_id=run.merchant_id, reconciliation_id=run.id)
    assert (await ActivityEnvironment().run(activity.walk, order)).over
    ended, lines = await desk.result(run)
    assert lines == []
    assert ended.totals.refunds_unjudged == 1


async def test_a_bank_ahead_of_us_is_no_discrepancy(desk: Desk) -> None:
    planter = await desk.planter()
    paid = await planter.issued(Kind.PHONE, 50_000)
    rejected = await planter.issued(Kind.PHONE, 50_000)
    await desk.town.admin.act(paid.payment_id, "pay")
    await desk.town.admin.act(rejected.payment_id, "reject")
    run, lines = await desk.reconcile()
    assert lines == []
    assert run.totals.bank[LineVerdict.MATCHED].count == 2
    assert (await desk.shop.invoice(paid.invoice_id)).state is State.PAID
    assert (await desk.shop.invoice(rejected.invoice_id)).state is State.CANCELED


async def test_a_story_that_does_not_book_money_calls_a_human(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(0, 1)
    desk.stories.deaf = True
    desk.limits["story_patience"] = 0.3
    _, lines = await desk.reconcile()
    assert (only(lines).verdict, only(lines).action) == (LineVerdict.PAID_AFTER_CLOSE, Action.ATTENTION)
    assert (await desk.shop.invoice(planted[0].invoice_id)).attention is Attention.STATUS_DIFFERS


async def test_a_bank_that_is_away_fails_the_run_visibly(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(3, 8)
    await desk.town.admin.fault("payment/details", "error_5xx_before", times=None)
    desk.limits["bank_patience"] = 3600.0
    run = await desk.open()
    walked = await desk.walk(run)
    assert (walked.over, walked.wait) == (False, LIMITS.away_pause)
    desk.limits["bank_patience"] = 0.0
    assert (await desk.walk(run)).over
    ended, lines = await desk.result(run)
    assert (ended.state, ended.reason) == (RunState.FAILED, "kaspi_unavailable")
    assert (lines, desk.stories.told) == ([], []), "no verdict on half an answer"
    assert all([(await desk.shop.invoice(one.invoice_id)).attention is None for one in planted])


async def test_a_hiccup_is_read_again(desk: Desk) -> None:
    planter = await desk.planter()
    planted = await planter.plant(4, 8)
    await desk.town.admin.fault("payment/status", "drop_before", times=5)
    run, lines = await desk.reconcile()
    assert run.state is RunState.COMPLETED
    assert wrong_conclusions(planted, lines) == []


async def test_the_night_opens_one_run_per_connection_once(desk: Desk) -> None:
    activity, cause = desk.activity(), f"night-{desk.shop.id}"
    ask = PlanReconciliations(cause=cause)
    planned, after = [], ""
    for _ in range(2):
        while True:
            found = await ActivityEnvironment().run(activity.plan, PlanReconciliations(cause=ask.cause, after=after))
            planned += [run for run in found.runs if run.merchant_id == desk.shop.id]
            if found.last is None:
                break
            after = found.last
        after = ""
    assert len(planned) == 2
    assert planned[0] == planned[1], "a repeat names the same run"
