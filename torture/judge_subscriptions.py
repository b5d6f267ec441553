"""Subscriptions: no period billed twice, none passed over silently, each as its bills are, told once and in order."""

from collections import Counter, defaultdict
from itertools import pairwise

from domain.invoice import OPEN, Attention
from domain.subscription import TRANSITIONS, PeriodState, Phase, State, Tell
from torture.evidence import ACTIONS, SUBSCRIPTIONS, Asked, EventRow, Evidence, InvoiceRow, SubscriptionRow
from torture.judge_bills import PAID
from torture.verdict import Crime, Findings, Violation

_OUT = frozenset({Phase.LIVE, Phase.WITHDRAWING})
_TWICE = "twice"


def judge_subscriptions(evidence: Evidence) -> Findings:
    """Every finding about subscriptions."""
    for one in evidence.subscriptions:
        bills = [invoice for invoice in evidence.invoices if invoice.subscription_id == one.id]
        events = evidence.events_of(one.id)
        yield from _billed_once(evidence, one, bills, events)
        yield from _none_is_missing(evidence, one, events)
        yield from _periods_are_true(evidence, one, bills)
        yield from _open_is_true(one, bills)
        yield from _told_once(one, bills, events)
        yield from _told_in_order(one, events)
    yield from _answers_were_true(evidence)


def _billed_once(evidence: Evidence, one: SubscriptionRow, bills: list[InvoiceRow], events: list[EventRow]) -> Findings:
    """By the bank's ledger: one payable bill of a period at a time, and money once, or a word that it came twice."""
    twice = Counter(event.number for event in events if event.paid == _TWICE)
    by_period: dict[int | None, list[InvoiceRow]] = defaultdict(list)
    for invoice in bills:
        by_period[invoice.subscription_period].append(invoice)
    for number, invoices in by_period.items():
        at_bank = sorted(
            (bill for invoice in invoices for bill in evidence.bills_of(invoice.id)), key=lambda bill: bill.id
        )
        if sum(bill.open for bill in at_bank) > 1:
            yield Violation(Crime.DOUBLE_CHARGE, f"{one.id}: period {number} has several bills that can be paid")
        for before, after in pairwise(at_bank):
            # A bill is followed by another where it ended unpaid: what is paid late is paid after that.
            late = before.paid_at is None or before.id in evidence.late_deeds()
            if not late and before.paid_at is not None and before.paid_at < after.created_at:
                what = f"{one.id}: period {number} was billed by {after.id} though {before.id} was paid"
                yield Violation(Crime.DOUBLE_CHARGE, what)
        paid = [invoice for invoice in invoices if invoice.state in PAID]
        if len(paid) > 1 + twice[number]:
            yield Violation(
                Crime.DOUBLE_CHARGE, f"{one.id}: period {number} was paid {len(paid)} times, and nobody was told"
            )


def _none_is_missing(evidence: Evidence, one: SubscriptionRow, events: list[EventRow]) -> Findings:
    """Something is decided about every period up to the next, and what is skipped is told, each period once."""
    states = {period.number: period.state for period in evidence.periods if period.subscription_id == one.id}
    for number in range(1, one.next):
        if number not in states:
            yield Violation(Crime.LOST_PERIOD, f"{one.id}: nothing is decided about period {number}")
    skips = Counter(
        number
        for event in events
        if event.type == Tell.PERIOD_SKIPPED and event.number is not None
        for number in range(event.number, (event.last or event.number) + 1)
    )
    for number, state in states.items():
        if number >= one.next:
            yield Violation(Crime.LOST_PERIOD, f"{one.id}: period {number} is {state} before its turn")
        if state == PeriodState.SKIPPED and not skips[number]:
            yield Violation(Crime.LOST_PERIOD, f"{one.id}: period {number} was skipped, and nobody was told")
        if state in {PeriodState.BILLING, PeriodState.FAILED} and skips[number]:
            yield Violation(Crime.LOST_PERIOD, f"{one.id}: period {number} is {state}, and told to be skipped")
    for number, times in skips.items():
        if times > 1:
            yield Violation(Crime.MISSING_EVENT, f"{one.id}: that period {number} is skipped was told {times} times")


def _periods_are_true(evidence: Evidence, one: SubscriptionRow, bills: list[InvoiceRow]) -> Findings:
    for period in evidence.periods:
        if period.subscription_id != one.id:
            continue
        invoices = [invoice for invoice in bills if invoice.subscription_period == period.number]
        paid = [invoice.id for invoice in invoices if invoice.state in PAID]
        if (period.state == PeriodState.PAID) != bool(paid):
            yield Violation(
                Crime.LOST_PERIOD, f"{one.id}: period {period.number} is {period.state}, its paid bills are {paid}"
            )
        is_open = one.open is not None and one.open.number == period.number
        if (period.state == PeriodState.BILLING) and not is_open:
            yield Violation(Crime.LOST_PERIOD, f"{one.id}: period {period.number} is billed, and nobody sees to it")


def _open_is_true(one: SubscriptionRow, bills: list[InvoiceRow]) -> Findings:
    """What is still open waits for its moment or for a human, and says so."""
    if one.open is None:
        return
    newest = next((bill for bill in bills if _charge(bill) == (one.open.number, one.open.charge)), None)
    waits = newest is not None and newest.state in OPEN and newest.attention is not None
    if one.open.overdue or (one.open.phase in _OUT and not waits):
        yield Violation(Crime.UNSETTLED, f"{one.id}: period {one.open.number} is still {one.open.phase}")
    doubtful = newest is not None and newest.attention == Attention.OUTCOME_UNKNOWN
    if one.open.phase in _OUT and one.open.unknown != doubtful:
        yield Violation(
            Crime.BOOKS_DIFFER,
            f"{one.id}: of period {one.open.number} it says unknown: {one.open.unknown}, its bill: {doubtful}",
        )


def _told_once(one: SubscriptionRow, bills: list[InvoiceRow], events: list[EventRow]) -> Findings:
    paid = Counter(_charge(invoice) for invoice in bills if invoice.state in PAID)
    told = Counter((event.number, event.charge) for event in events if event.type == Tell.PAYMENT_SUCCEEDED)
    for bill in paid - told:
        yield Violation(Crime.MISSING_EVENT, f"{one.id}: bill {bill} is paid, and its subscription told nobody")
    for bill in told - paid:
        yield Violation(Crime.MISSING_EVENT, f"{one.id}: bill {bill} was told to be paid once too often")
    failed = Counter((event.number, event.charge) for event in events if event.type == Tell.PAYMENT_FAILED)
    ended = {_charge(invoice) for invoice in bills if invoice.state not in OPEN}
    for bill, times in failed.items():
        if times > 1 or bill not in ended:
            yield Violation(Crime.MISSING_EVENT, f"{one.id}: that bill {bill} failed was told {times} times")
    for state, what in ((State.CANCELED, Tell.CANCELED), (State.COMPLETED, Tell.COMPLETED)):
        times = sum(event.type == what for event in events)
        if times != (one.state == state):
            yield Violation(Crime.MISSING_EVENT, f"{one.id} is {one.state}, and {what} was told {times} times")


def _told_in_order(one: SubscriptionRow, events: list[EventRow]) -> Findings:
    places = [event.sequence for event in events]
    if places != list(range(1, one.sequence + 1)):
        yield Violation(Crime.MISSING_EVENT, f"{one.id} told {one.sequence} events, and there are those of {places}")
    states = [State(event.state) for event in events if event.state is not None]
    for before, after in pairwise([State.ACTIVE, *states, State(one.state)]):
        if before is not after and not _leads(before, after):
            yield Violation(Crime.MISSING_EVENT, f"{one.id} told {before} and then {after}")
    ahead = [event.number for event in events if event.number is not None and event.number >= one.next]
    if ahead:
        yield Violation(Crime.MISSING_EVENT, f"{one.id} told of periods {ahead}, and the next is {one.next}")


def _charge(invoice: InvoiceRow) -> tuple[int | None, int | None]:
    return invoice.subscription_period, invoice.subscription_charge


def _leads(start: State, end: State) -> bool:
    """Whether legal changes lead from one state to the other; what tells nothing stands between two events."""
    reached, grown = {start}, True
    while grown:
        following = {state for one in reached for state in TRANSITIONS[one]}
        grown = not following <= reached
        reached |= following
    return end in reached


def _answers_were_true(evidence: Evidence) -> Findings:
    known = {one.id for one in evidence.subscriptions}
    for asked in evidence.asked:
        if asked.operation == SUBSCRIPTIONS:
            if asked.made - {asked.expected_id}:
                yield Violation(
                    Crime.DOUBLE_CHARGE, f"key {asked.key} leads to {asked.expected_id}, not {sorted(asked.made)}"
                )
            for made in asked.made - known:
                yield Violation(Crime.LOST_PERIOD, f"{made} was answered to {asked.key} and is not in the books")
    yield from _acted_once(evidence)


def _acted_once(evidence: Evidence) -> Findings:
    """Each action that was answered is in the audit log once, and none that was refused."""
    sure: Counter[tuple[str, str]] = Counter()
    perhaps: Counter[tuple[str, str]] = Counter()
    for asked in evidence.asked:
        if asked.operation.startswith(ACTIONS):
            act = (asked.expected_id, _action(asked))
            said = asked.last.status if asked.last is not None else None
            sure[act] += said == 200
            perhaps[act] += said not in {200, 409}
    booked = Counter({(one.subscription_id, one.action): one.times for one in evidence.acts})
    for act in {*booked, *sure}:
        if not sure[act] <= booked[act] <= sure[act] + perhaps[act]:
            yield Violation(
                Crime.BOOKS_DIFFER,
                f"{act[0]}: {act[1]} was answered {sure[act]} times, and was done {booked[act]} times",
            )


def _action(asked: Asked) -> str:
    """As the audit log says it."""
    return "subscription." + asked.operation.removeprefix(ACTIONS).replace("-", "_")
