"""Compares what the bank, our books, the receiver and the merchant know. Pure."""

from collections import Counter

from torture.evidence import Evidence
from torture.judge_bills import PAID, judge_bills
from torture.judge_events import judge_events
from torture.judge_refunds import judge_refunds
from torture.judge_subscriptions import judge_subscriptions
from torture.verdict import Crime, Findings, Verdict, Violation

# What the documentation lets a merchant run into while parts die; anything else is a defect.
_EXPECTED = frozenset({200, 201, 409, 422, 502, 503})


def judge(evidence: Evidence) -> Verdict:
    """Figures and violations of one run."""
    violations = [
        *judge_bills(evidence),
        *judge_refunds(evidence),
        *judge_subscriptions(evidence),
        *judge_events(evidence),
        *_defects(evidence),
    ]
    return Verdict(_figures(evidence), violations)


def _defects(evidence: Evidence) -> Findings:
    for asked in evidence.asked:
        for one in asked.exchanges:
            if one.status is not None and one.status not in _EXPECTED:
                yield Violation(Crime.DEFECT, f"{one.status} {one.code} to {asked.key} at {one.ended.isoformat()}")
    for line in evidence.defects:
        yield Violation(Crime.DEFECT, line)


def _figures(evidence: Evidence) -> dict[str, str]:
    exchanges = [one for asked in evidence.asked for one in asked.exchanges]
    lost = sum(one.status is None for one in exchanges)
    at_bank = sum(bill.amount_tiyn * bill.payments for bill in evidence.bank_bills)
    here = sum(invoice.amount for invoice in evidence.invoices if invoice.state in PAID)
    back_at_bank = Counter[str]()
    for refund in evidence.bank_refunds:
        back_at_bank[refund.source] += refund.amount_tiyn
    return {
        "kills": _listed(Counter(one.part for one in evidence.killed)),
        "faults that hit a call": _listed(Counter(call.fault for call in evidence.bank_calls)),
        "keys used": str(len(evidence.asked)),
        "requests under them": f"{len(exchanges)}, of which {lost} had no answer",
        "answers": _listed(Counter(f"{one.status} {one.code or ''}".strip() for one in exchanges if one.status)),
        "bills at the bank": _listed(Counter(bill.kind for bill in evidence.bank_bills)),
        "invoices": _listed(Counter(invoice.state for invoice in evidence.invoices)),
        "invoices in attention": _listed(Counter(one.attention for one in evidence.invoices if one.attention)),
        "refunds": _listed(Counter(refund.state for refund in evidence.refunds)),
        "refunds in attention": _listed(Counter(one.attention for one in evidence.refunds if one.attention)),
        "subscriptions": _listed(Counter(one.state for one in evidence.subscriptions)),
        "periods": _listed(Counter(period.state for period in evidence.periods)),
        "bills of subscriptions": str(sum(one.subscription_id is not None for one in evidence.invoices)),
        "paid at the bank, tiyn": f"{at_bank:,}",
        "paid here, tiyn": f"{here:,}",
        "paid at the bank, in doubt here, tiyn": f"{_doubtful(evidence):,}",
        "refunded at the bank, tiyn": f"{back_at_bank['api']:,} by us, {back_at_bank['cashier']:,} at the till",
        "refunded here, tiyn": f"{sum(invoice.refunded for invoice in evidence.invoices):,}",
        "events": str(len(evidence.events)),
        "webhooks heard": f"{len(evidence.heard)}, of {len({one.event_id for one in evidence.heard})} events",
    }


def _doubtful(evidence: Evidence) -> int:
    doubts = [one.id for one in evidence.invoices if one.attention and one.state not in PAID]
    return sum(bill.amount_tiyn * bill.payments for one in doubts for bill in evidence.bills_of(one))


def _listed(counts: "Counter[str]") -> str:
    """`5 (api 1, worker 4)`."""
    parts = ", ".join(f"{name} {counts[name]}" for name in sorted(counts))
    return f"{counts.total()} ({parts})" if parts else "0"
