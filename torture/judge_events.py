"""Events: each end was told, truly signed, with the same bytes each time, in an order that makes sense."""

from collections import defaultdict
from itertools import pairwise

from domain.invoice import OPEN, Reason, State, can_become
from domain.refund import OPEN_REFUNDS
from torture.evidence import EventRow, Evidence, InvoiceRow, is_invoice
from torture.verdict import Crime, Findings, Violation

_BAD_GATEWAY = 502  # docs/errors.md: what the bank refused or could not be asked
_NOT_ISSUED = frozenset({Reason.REFUSED, Reason.MISCONFIGURED, Reason.UNAVAILABLE})


def judge_events(evidence: Evidence) -> Findings:
    """Every finding about events and webhooks."""
    yield from _arrived(evidence)
    heard = {one.event_id for one in evidence.heard}
    for invoice in evidence.invoices:
        yield from _end_was_told(evidence, invoice, heard)
    for refund in evidence.refunds:
        told = {event.state for event in evidence.events_of(refund.id) if event.id in heard}
        if refund.state not in OPEN_REFUNDS and refund.state not in told:
            yield Violation(Crime.MISSING_EVENT, f"{refund.id} is {refund.state}, and nobody was told")
    for object_id in {event.object_id for event in evidence.events}:
        yield from _order_makes_sense(evidence.events_of(object_id))


def _arrived(evidence: Evidence) -> Findings:
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for one in evidence.heard:
        bodies[one.event_id].add(one.body)
        if one.wrong is not None:
            yield Violation(Crime.MISSING_EVENT, f"{one.event_id}: {one.wrong}")
    for delivery in evidence.deliveries:
        sent = bodies.pop(delivery.event_id, set())
        if delivery.state != "delivered":
            yield Violation(Crime.MISSING_EVENT, f"the delivery of {delivery.event_id} is {delivery.state}")
        elif not sent:
            yield Violation(Crime.MISSING_EVENT, f"{delivery.event_id} is delivered, and the receiver never heard it")
        if sent - {delivery.body}:
            yield Violation(Crime.MISSING_EVENT, f"{delivery.event_id} was sent with other bytes than the books have")
    for event_id in bodies:
        yield Violation(Crime.MISSING_EVENT, f"{event_id} was sent and has no delivery in the books")


def _end_was_told(evidence: Evidence, invoice: InvoiceRow, heard: set[str]) -> Findings:
    events = [event for event in evidence.events_of(invoice.id) if event.id in heard]
    if (
        invoice.state not in OPEN
        and not _told_by_the_answer(evidence, invoice)
        and invoice.state not in {event.state for event in events}
    ):
        yield Violation(Crime.MISSING_EVENT, f"{invoice.id} is {invoice.state}, and nobody was told")
    if invoice.attention is not None and invoice.attention not in {event.attention for event in events}:
        yield Violation(Crime.MISSING_EVENT, f"{invoice.id} has {invoice.attention}, and nobody was told")


def _told_by_the_answer(evidence: Evidence, invoice: InvoiceRow) -> bool:
    """What the answer to the merchant's own POST has told is no event (docs/webhooks.md).

    Who hangs up before the answer hears nothing, and gets the answer by asking again.
    """
    if invoice.state != State.FAILED or invoice.status_reason not in _NOT_ISSUED:
        return False
    said = {one.status for asked in evidence.asked if asked.expected_id == invoice.id for one in asked.exchanges}
    return _BAD_GATEWAY in said or said <= {None}


def _order_makes_sense(events: list[EventRow]) -> Findings:
    for before, after in pairwise(events):
        if after.sequence <= before.sequence:
            yield Violation(Crime.MISSING_EVENT, f"{before.id} and {after.id} have the same place in the sequence")
        if not is_invoice(after.object_id) or before.state is None or after.state is None:
            continue
        if before.state != after.state and not _leads(State(before.state), State(after.state)):
            yield Violation(
                Crime.MISSING_EVENT, f"{after.object_id}: {before.state} then {after.state} ({before.id}, {after.id})"
            )


def _leads(start: State, end: State) -> bool:
    """Whether legal changes lead from one state to the other; what is booked silently stands between two events."""
    reached, grown = {start}, True
    while grown:
        following = {state for state in State if any(can_become(one, state) for one in reached)}
        grown = not following <= reached
        reached |= following
    return end in reached
