"""The reconciliation's part of the examples."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from contracts import v1_reconciliation as v1
from domain.invoice import State
from domain.reconciliation import Detail, LineVerdict
from domain.reconciliation_run import Action, Line, Run, RunState, Source, Tally, Totals, Trigger

_AT = datetime(2026, 11, 21, 22, 30, tzinfo=UTC)
_STATEMENT = (
    "date_time,operation,payment_id,amount,comment\n"
    "2026-11-21 14:05:11,payment,12800012345,10000.00,Заказ #1042 · T-q3mjn2v7o5\n"
    "2026-11-21 18:40:00,refund,12800012345,2500.00,\n"
)

RUNNING = Run(
    id="rec_b3qjm2v7o5y3c6d2xk4wz7h5ub",
    merchant_id="mer_6rzpebtuombeggmvdqnbyeugjy",
    connection_id="con_iewhsdauauk3efv2ffg5mhzst4",
    trigger=Trigger.API,
    asked_by="key_iewhsdauauk3efv2ffg5mhzst4",
    period_from=_AT - timedelta(days=3),
    period_to=_AT,
    state=RunState.RUNNING,
    created_at=_AT,
)
OVER = msgspec.structs.replace(
    RUNNING,
    state=RunState.COMPLETED,
    finished_at=_AT + timedelta(minutes=4),
    totals=Totals(
        bank={
            LineVerdict.MATCHED: Tally(count=1998, amount=2_497_500_00),
            LineVerdict.PAID_AFTER_CLOSE: Tally(count=1, amount=10_000_00),
            LineVerdict.REFUNDED_OUTSIDE: Tally(count=1, amount=10_000_00),
        },
        actions={Action.BOOKED: 1, Action.ATTENTION: 1},
    ),
)
_LINE = Line(
    number=2,
    source=Source.BANK,
    verdict=LineVerdict.REFUNDED_OUTSIDE,
    detail=Detail.REFUNDED_ELSEWHERE,
    action=Action.ATTENTION,
    invoice_id="inv_q3mjn2v7o5y3c6d2xk4wz7h5ua",
    bank_payment_id=12800012345,
    our_state=State.PAID,
    our_amount=10_000_00,
    our_refunded=0,
    bank_word="Processed",
    bank_amount=10_000_00,
    bank_refunded=2_500_00,
)
_PAGE = {"has_more": False, "next_cursor": None}

REQUESTS: dict[str, Any] = {
    "createReconciliation": {"date_from": "2026-11-21", "date_to": "2026-11-21", "statement": _STATEMENT}
}
ANSWERS: dict[str, Any] = {
    "createReconciliation": v1.reconciliation(RUNNING),
    "listReconciliations": {"items": [v1.reconciliation(OVER)], **_PAGE},
    "getReconciliation": v1.reconciliation(OVER),
    "listReconciliationLines": {"items": [v1.line(_LINE)], **_PAGE},
}
