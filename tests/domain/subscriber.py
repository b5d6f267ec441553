"""A world around a subscription's decisions: keeps its own books, counts and bills, and complains of what must not be.

It takes from the decisions only what a caller would: what to book, tell and do. Dates come from `billing_days`.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import takewhile

import msgspec
import pytest

from domain.subscription import (
    CLOSED,
    PERIOD_TRANSITIONS,
    TRANSITIONS,
    Bill,
    BillNow,
    Change,
    ChargeCanceled,
    ChargeFailed,
    ChargeFaulted,
    ChargeIssued,
    ChargePaid,
    ChargeRef,
    ChargeUnknown,
    Decision,
    Happening,
    NotAllowed,
    PaidHow,
    PeriodState,
    SkipReason,
    Standing,
    State,
    Tell,
    Terms,
    TimeReached,
    Told,
    Wait,
    Withdraw,
)
from domain.subscription_rules import bill_out, decide, refusal

LARGEST = 2000  # bytes of a standing


class Subscriber:
    def __init__(self, standing: Standing, now: datetime) -> None:
        self.standing = standing
        self.now = now
        self.next: object = None
        self.terms = standing.terms
        self.books: dict[int, PeriodState] = {}
        self.why: dict[int, SkipReason] = {}
        self.told: list[Told] = []
        self.bills: list[Bill] = []
        self.billed_at: dict[ChargeRef, datetime] = {}
        self.live: ChargeRef | None = None
        self.burned: dict[int, int] = {}
        self.extra: set[ChargeRef] = set()
        self.terms_of: dict[int, Terms] = {}
        self.ahead: set[int] = set()
        self.money: list[ChargeRef] = []

    def happen(self, happening: Happening) -> list[Told]:
        """One happening now; the events it brought."""
        before = self.standing
        decision = decide(before, happening, self.now)
        assert decision.standing.state is before.state or decision.standing.state in TRANSITIONS[before.state]
        text = msgspec.json.encode(decision.standing)
        assert len(text) < LARGEST
        self.standing = msgspec.json.decode(text, type=Standing)
        assert self.standing == decision.standing
        self._book(decision)
        self.told += decision.told
        opened = self.standing.open
        if isinstance(happening, BillNow) and opened is not None and opened.number >= before.next:
            self.ahead.add(opened.number)
        if isinstance(happening, Change) and happening.terms is not None:
            self.terms = happening.terms
            if happening.at_once and opened is not None:
                self.terms_of[opened.number] = happening.terms
        self._do(decision)
        return decision.told

    def wish(self, action: Happening) -> bool:
        """Asks for an action; False where it is refused, which must change nothing."""
        refused = refusal(self.standing, action, self.now)
        if refused is None:
            self.happen(action)
            return True
        with pytest.raises(NotAllowed, match=refused.value):
            self.happen(action)
        return False

    def wake(self) -> list[Told]:
        """Sleeps until the moment it waits for, then looks at the clock."""
        assert isinstance(self.next, Wait)
        assert self.next.until is not None
        self.now = self.next.until
        return self.happen(TimeReached())

    def sleep(self, span: timedelta) -> list[Told]:
        """Nothing runs for so long."""
        self.now += span
        return self.happen(TimeReached())

    def outcome(self, kind: str) -> list[Told]:
        """The bill that is out ends, or not."""
        ref = self.live
        assert ref is not None
        if kind == "unknown":
            return self.happen(ChargeUnknown(ref=ref))
        if kind == "issued":
            return self.happen(ChargeIssued(ref=ref))
        self.live = None
        if kind == "paid":
            self.money.append(ref)
            return self.happen(ChargePaid(ref=ref))
        if kind == "faulted":
            return self.happen(ChargeFaulted(ref=ref))
        if kind == "canceled":
            return self.happen(ChargeCanceled(ref=ref))
        open_ = self.standing.open
        if open_ is not None and open_.closing is None and not open_.settled and ref not in self.extra:
            self.burned[ref.number] = self.burned.get(ref.number, 0) + 1
        return self.happen(ChargeFailed(ref=ref, declined=kind == "declined"))

    def late(self, ref: ChargeRef) -> list[Told]:
        """Money for a bill that had been closed."""
        assert ref != self.live
        self.money.append(ref)
        return self.happen(ChargePaid(ref=ref))

    def run(self, until: datetime, answer: str = "paid") -> None:
        """Lives on, each bill ending `answer` at once."""
        while self.live is not None or self._waits_before(until):
            self.outcome(answer) if self.live is not None else self.wake()
        self.now = max(self.now, until)

    def _waits_before(self, until: datetime) -> bool:
        return isinstance(self.next, Wait) and self.next.until is not None and self.next.until <= until

    def _book(self, decision: Decision) -> None:
        for change in decision.booked:
            for number in range(change.first, change.last + 1):
                old = self.books.get(number, PeriodState.UPCOMING)
                assert change.state in PERIOD_TRANSITIONS[old], (number, old, change.state)
                if old is PeriodState.UPCOMING:
                    assert number == len(self.books) + 1, "a period was passed over"
                self.books[number] = change.state
                if change.state is PeriodState.BILLING:
                    self.terms_of[number] = self.terms
                if change.state is PeriodState.SKIPPED:
                    assert change.reason is not None
                    self.why[number] = change.reason
        assert len(self.books) == self.standing.next - 1

    def _do(self, decision: Decision) -> None:
        self.next = decision.next
        match decision.next:
            case Bill() as bill:
                assert self.live is None, "two bills are payable"
                assert bill.ref not in self.billed_at, "a bill was asked for twice"
                assert self.books[bill.ref.number] is PeriodState.BILLING
                assert bill.terms == self.terms_of[bill.ref.number]
                self.live = bill.ref
                self.bills.append(bill)
                self.billed_at[bill.ref] = self.now
                if self.standing.open is not None and self.standing.open.grace_until is not None:
                    self.extra.add(bill.ref)
            case Withdraw(ref=ref):
                assert ref == self.live
            case Wait(until=until):
                assert until is None or until > self.now, "it would wake at once, for ever"
        assert bill_out(self.standing) == self.live

    def settle(self) -> None:
        """What must be true after every step."""
        standing, open_ = self.standing, self.standing.open
        assert [number for number, state in self.books.items() if state is PeriodState.BILLING] == (
            [open_.number] if open_ is not None and not open_.settled else []
        )
        assert all(burned <= 1 + standing.dunning.max_retry_attempts for burned in self.burned.values())
        if open_ is not None:
            assert open_.attempts == self.burned.get(open_.number, 0)
        earned = [told for told in self.told if told.what is Tell.PAYMENT_SUCCEEDED]
        clear = [(told.number, told.charge) for told in earned if told.paid is not PaidHow.UNCLEAR]
        assert len(clear) == len(set(clear)), "a payment was told twice"
        assert {(told.number, told.charge) for told in earned} == {(ref.number, ref.charge) for ref in self.money}
        once = [told.number or 0 for told in earned if told.paid not in {PaidHow.TWICE, PaidHow.UNCLEAR}]
        paid = [number for number, state in self.books.items() if state is PeriodState.PAID]
        assert sorted(once) == sorted(paid)
        told_skipped = [told for told in self.told if told.what is Tell.PERIOD_SKIPPED]
        skipped = {number for told in told_skipped for number in range(told.number or 0, (told.last or 0) + 1)}
        assert skipped == set(self.why)
        if standing.state in CLOSED and open_ is None:
            assert not isinstance(self.next, Wait)

    def settle_dates(self, days: Iterator[datetime]) -> None:
        """Every period due by now was decided about, none too early, and only the newest one was billed."""
        due = list(takewhile(lambda moment: moment <= self.now, days))
        if self.standing.state in {State.ACTIVE, State.PAST_DUE} and self.standing.open is None:
            assert len(self.books) >= len(due)
        early = [
            number for number in self.books if number > len(due) and self.why.get(number) is not SkipReason.MERCHANT
        ]
        assert set(early) <= self.ahead
        for bill in self.bills:
            number = bill.ref.number
            if bill.ref.charge == 1 and number not in self.ahead:
                at = self.billed_at[bill.ref]
                assert due[number - 1] <= at
                assert number == len(due) or at < due[number], "an old period was billed though a newer one was due"
