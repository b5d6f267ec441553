"""A run in which nothing went wrong, to be spoilt by tests one fact at a time."""

from datetime import UTC, datetime, timedelta

import msgspec

from domain.invoice import Kind, bank_reference
from torture.evidence import (
    Asked,
    BankBill,
    BankRefund,
    DeliveryRow,
    EventRow,
    Evidence,
    Exchange,
    Heard,
    InvoiceRow,
    RefundRow,
)

BEGAN = datetime(2026, 11, 22, 12, tzinfo=UTC)
PHONE, LINK = f"inv_{'a' * 26}", f"inv_{'b' * 26}"
REFUND = f"ref_{'c' * 26}"


def clean() -> Evidence:
    """A paid phone bill of 1,000 with a completed refund of 300, and a link that nobody paid."""
    return Evidence(
        bank_bills=[
            bank_bill(1, "remote", 1000, comment=f"Order 1 · {bank_reference(PHONE)}", payments=1, refunded_tiyn=300),
            bank_bill(2, "link", 500, external_id=LINK, status="QrTokenCreated"),
        ],
        bank_refunds=[BankRefund(id=7, purchase_id=1, amount_tiyn=300, source="api")],
        bank_calls=[],
        invoices=[
            invoice(PHONE, Kind.PHONE, 1000, state="partially_refunded", refunded=300, bank_payment_id=1),
            invoice(LINK, Kind.LINK, 500, state="expired", bank_payment_id=2),
        ],
        refunds=[refund(REFUND, 300, state="completed", bank_return_id=7)],
        events=[
            event(1, PHONE, 1, state="paid"),
            event(2, PHONE, 2, state="partially_refunded"),
            event(3, LINK, 1, state="expired"),
            event(4, REFUND, 1, state="completed"),
        ],
        deliveries=[DeliveryRow(event_id=f"evt_{n}", state="delivered", body=b"%d" % n) for n in (1, 2, 3, 4)],
        heard=[Heard(event_id=f"evt_{n}", body=b"%d" % n, wrong=None) for n in (1, 1, 2, 3, 4)],
        asked=[
            asked("bill", "invoices", PHONE, (None, None), (503, "engine_unavailable"), (201, None)),
            asked("link", "qr", LINK, (201, None)),
            asked("back", "refunds", REFUND, (201, None)),
        ],
        killed=[],
        done=[],
        defects=[],
    )


def bank_bill(number: int, kind: str, amount: int, **fields: object) -> BankBill:
    usual: dict[str, object] = {
        "status": "Processed",
        "open": False,
        "payments": 0,
        "refunded_tiyn": 0,
        "comment": None,
        "external_id": None,
        "paid_at": None,
    }
    facts = {"id": number, "kind": kind, "amount_tiyn": amount, "created_at": BEGAN}
    return msgspec.convert(usual | facts | fields, BankBill)


def invoice(invoice_id: str, kind: Kind, amount: int, **fields: object) -> InvoiceRow:
    usual: dict[str, object] = {
        "refunded": 0,
        "refund_pending": 0,
        "status_reason": None,
        "attention": None,
        "bank_payment_id": None,
        "claimed_at": BEGAN,
        "updated_at": BEGAN,
    }
    return msgspec.convert(usual | {"id": invoice_id, "kind": kind, "amount": amount} | fields, InvoiceRow)


def refund(refund_id: str, amount: int, **fields: object) -> RefundRow:
    usual: dict[str, object] = {
        "invoice_id": PHONE,
        "attention": None,
        "bank_return_id": None,
        "created_at": BEGAN,
        "updated_at": BEGAN,
    }
    return msgspec.convert(usual | {"id": refund_id, "amount": amount} | fields, RefundRow)


def event(number: int, object_id: str, sequence: int, /, **fields: object) -> EventRow:
    facts = {"id": f"evt_{number}", "type": "any", "object_id": object_id, "sequence": sequence, "attention": None}
    return msgspec.convert(facts | fields, EventRow)


def asked(key: str, operation: str, expected_id: str, *answers: tuple[int | None, str | None]) -> Asked:
    """Answers one second apart; each 201 names the expected object."""
    exchanges = [
        Exchange(
            began=BEGAN + timedelta(seconds=second),
            ended=BEGAN + timedelta(seconds=second + 0.5),
            status=status,
            code=code,
            made=expected_id if status == 201 else None,
        )
        for second, (status, code) in enumerate(answers)
    ]
    return Asked(key=key, operation=operation, bill=0, amount=None, expected_id=expected_id, exchanges=exchanges)
