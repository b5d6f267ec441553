"""A statement against our books, and against the bank where only the statement knows."""

from datetime import UTC, datetime

from domain.invoice import Attention, Kind, Reason, State
from domain.reconciliation import Detail, LineVerdict
from domain.reconciliation_run import Action, RunState, Source
from domain.statement import read_statement
from tests.activities.desk import Desk
from tests.support.discrepancies import HEADER, statement_of


async def test_a_statement_is_compared_row_by_row(desk: Desk) -> None:
    planter = await desk.planter()
    clean = [await planter.paid(Kind.QR, 40_000 + place) for place in range(3)]
    lacking = await planter.paid(Kind.LINK, 70_000)
    other = await planter.paid(Kind.QR, 80_000)
    last = await planter.paid(Kind.QR, 90_000)
    unclear = await desk.shop.opened(Kind.PHONE)
    await desk.shop.book(unclear.invoice_id, "outcome_unknown", attention=Attention.OUTCOME_UNKNOWN)
    reference = f"T-{unclear.invoice_id[4:14]}"
    payments = [one.payment_id for one in (*clean, other, last)]
    rows = await statement_of(desk.town.admin, payments)
    rows = [row.replace(",800.00,", ",801.00,") for row in rows]
    rows += [
        f"{datetime.now(UTC).isoformat()},payment,555000111,123.45,nobody's",
        f"{datetime.now(UTC).isoformat()},payment,555000112,10000.00,Торт · {reference}",
        f"{datetime.now(UTC).isoformat()},refund,{clean[0].payment_id},15.00,",
    ]
    run, lines = await desk.reconcile(read_statement("\n".join([HEADER, *rows])))
    assert run.state is RunState.COMPLETED
    found = {line.bank_payment_id: line for line in lines}
    assert {id_: (line.source, line.verdict, line.detail) for id_, line in found.items()} == {
        clean[0].payment_id: (Source.STATEMENT, LineVerdict.REFUNDED_OUTSIDE, Detail.REFUNDED_ELSEWHERE),
        lacking.payment_id: (Source.STATEMENT, LineVerdict.MISSING_AT_BANK, Detail.NOT_IN_STATEMENT),
        other.payment_id: (Source.STATEMENT, LineVerdict.AMOUNT_DIFFERS, Detail.OTHER_AMOUNT),
        555000111: (Source.STATEMENT, LineVerdict.MISSING_HERE, Detail.NO_INVOICE),
        555000112: (Source.STATEMENT, LineVerdict.MISSING_HERE, Detail.REFERENCE_FITS),
    }
    assert found[555000112].suggested_invoice_id == unclear.invoice_id
    assert run.totals.statement[LineVerdict.MATCHED].count == 3
    assert run.totals.bank[LineVerdict.MATCHED].count == 6
    assert (await desk.shop.invoice(clean[0].invoice_id)).refunded_outside == 1_500


async def test_late_money_that_only_the_statement_knows_is_asked_of_the_bank_and_booked(desk: Desk) -> None:
    planter = await desk.planter()
    (late,) = await planter.plant(0, 1)
    never = await planter.issued(Kind.PHONE, 33_300)
    await desk.town.admin.act(never.payment_id, "expire")
    await desk.shop.book(never.invoice_id, "expired", State.EXPIRED, reason=Reason.EXPIRED, announce=False)
    rows = await statement_of(desk.town.admin, [late.payment_id])
    rows.append(f"{datetime.now(UTC).isoformat()},payment,{never.payment_id},333.00,")
    run = await desk.open(read_statement("\n".join([HEADER, *rows])), days_ago=9)
    assert (await desk.walk(run)).over
    ended, lines = await desk.result(run)
    assert ended.totals.bank == {}, "neither is in the period"
    found = {line.bank_payment_id: line for line in lines}
    assert (found[late.payment_id].verdict, found[late.payment_id].action) == (
        LineVerdict.PAID_AFTER_CLOSE,
        Action.BOOKED,
    )
    assert (await desk.shop.invoice(late.invoice_id)).state is State.PAID
    only_there = found[never.payment_id]
    assert (only_there.verdict, only_there.detail) == (LineVerdict.STATUS_DIFFERS, Detail.PAID_IN_STATEMENT)
    assert only_there.action is Action.ATTENTION
