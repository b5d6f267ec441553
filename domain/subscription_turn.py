"""One decision in the making: the standing as it changes, with what is booked and told on the way.

`domain.subscription_rules` is the way in. Nothing here outlives a decision.
"""

from datetime import datetime
from typing import Any

import msgspec

from domain.billing_calendar import due, last_number, missed
from domain.subscription import (
    CLOSED,
    REMEMBERED,
    TRANSITIONS,
    Bill,
    ChargeRef,
    Decision,
    MissedPolicy,
    Next,
    OpenPeriod,
    Over,
    PaidHow,
    PeriodChange,
    PeriodState,
    Phase,
    SkipReason,
    Standing,
    State,
    Tell,
    Told,
    Wait,
    Withdraw,
    fault_gap,
)


class Turn:
    """The standing at `now`, and what has become of it."""

    def __init__(self, standing: Standing, now: datetime) -> None:
        self.standing = standing
        self.now = now
        self.booked: list[PeriodChange] = []
        self.told: list[Told] = []

    # Small tools.

    def change(self, **fields: Any) -> None:
        """Replaces fields of the standing."""
        self.standing = msgspec.structs.replace(self.standing, **fields)

    def change_open(self, **fields: Any) -> None:
        """Replaces fields of the open period."""
        if self.standing.open is None:
            raise ValueError("no period is open")
        self.change(open=msgspec.structs.replace(self.standing.open, **fields))

    def become(self, state: State) -> None:
        """A legal change of state; staying is none."""
        if state is self.standing.state:
            return
        if state not in TRANSITIONS[self.standing.state]:
            raise ValueError(f"{self.standing.state} cannot become {state}")
        self.change(state=state)

    def tell(self, what: Tell, **facts: Any) -> None:
        """One event."""
        self.told.append(Told(what=what, **facts))

    def _book(self, number: int, state: PeriodState, reason: SkipReason | None = None) -> None:
        self.booked.append(PeriodChange(first=number, last=number, state=state, reason=reason))

    # The calendar.

    def catch_up(self, reason: SkipReason) -> None:
        """Does what time alone brings; `reason` is told of periods that were missed."""
        self._end_grace()
        standing = self.standing
        if standing.state not in CLOSED:
            if standing.cancel_at_period_end and due(standing.calendar, standing.next) <= self.now:
                self.cancel()
            elif standing.state is State.PAUSED:
                self.skip_due(SkipReason.PAUSED)
            else:
                self._bill_due(reason)
        self._complete()

    def skip_due(self, reason: SkipReason) -> None:
        """Leaves out every period that is due."""
        found = missed(self.standing.calendar, self.standing.next, self.now)
        if found is not None:
            self.skip(*found, reason)

    def skip(self, first: int, last: int, reason: SkipReason) -> None:
        """Leaves out `first` … `last`, which are the next ones."""
        self.booked.append(PeriodChange(first=first, last=last, state=PeriodState.SKIPPED, reason=reason))
        self.tell(Tell.PERIOD_SKIPPED, number=first, last=last, reason=reason)
        self.change(next=last + 1, last_due=due(self.standing.calendar, last))

    def open_next(self) -> None:
        """The next period is billed from now on."""
        standing = self.standing
        number, due_at = standing.next, due(standing.calendar, standing.next)
        self._book(number, PeriodState.BILLING)
        opened = OpenPeriod(number=number, due_at=due_at, terms=standing.terms, at=self.now)
        self.change(next=number + 1, last_due=due_at, open=opened)

    def _bill_due(self, reason: SkipReason) -> None:
        standing, open_ = self.standing, self.standing.open
        found = missed(standing.calendar, standing.next, self.now)
        if found is None:
            return
        first, newest = found
        several = first < newest
        if open_ is not None:
            if not _never_shown(open_):
                return
            # The payer never saw a bill of it and a newer period is due: to him that is an outage.
            reason, several = SkipReason.OUTAGE, True
            self._close_skipped(open_, reason)
        if several and standing.dunning.missed is MissedPolicy.NONE:
            self.skip(first, newest, reason)
            return
        if first < newest:
            self.skip(first, newest - 1, reason)
        self.open_next()

    def _complete(self) -> None:
        standing = self.standing
        last = last_number(standing.calendar)
        if standing.state in CLOSED or standing.open is not None or last is None or standing.next <= last:
            return
        self.become(State.COMPLETED)
        self.tell(Tell.COMPLETED)

    # The end of a period without money.

    def give_up(self, reason: SkipReason, *, withdraw: bool) -> None:
        """The open period, if any, ends unpaid: at once, or once its bill that is out has ended."""
        open_ = self.standing.open
        if open_ is None or open_.settled:
            return
        if open_.payable:
            # A pause can be taken back, what the merchant gave up before it cannot: resuming must not dun for that.
            stays = reason is SkipReason.PAUSED and open_.closing is not None
            closing = open_.closing if stays else reason
            self.change_open(closing=closing, withdraw=open_.withdraw or withdraw)
        else:
            self._close_skipped(open_, reason)

    def cancel(self) -> None:
        """The subscription ends here."""
        self.become(State.CANCELED)
        self.change(cancel_at_period_end=False)
        self.tell(Tell.CANCELED)
        self.give_up(SkipReason.CANCELED, withdraw=True)

    def exhausted(self) -> None:
        """No attempt is left: the grace begins, or without one the end has come."""
        open_ = self._opened()
        grace = self.standing.dunning.grace
        if not grace:
            self._expire(open_)
            return
        until = self.now + grace
        self.become(State.PAST_DUE)
        self.change_open(phase=Phase.GRACE, at=None, grace_until=until)
        self.tell(Tell.GRACE_PERIOD_STARTED, number=open_.number, until=until)

    def _end_grace(self) -> None:
        open_ = self.standing.open
        if open_ is not None and open_.phase is Phase.GRACE and open_.grace_until and open_.grace_until <= self.now:
            self._expire(open_)

    def _expire(self, open_: OpenPeriod) -> None:
        self._book(open_.number, PeriodState.FAILED)
        self._forget_open()
        self.become(State.EXPIRED)
        self.change(lapsed=open_.number)
        self.tell(Tell.EXPIRED, number=open_.number)
        self.skip_due(SkipReason.EARLIER_OPEN)

    def _close_skipped(self, open_: OpenPeriod, reason: SkipReason) -> None:
        self._book(open_.number, PeriodState.SKIPPED, reason)
        self.tell(Tell.PERIOD_SKIPPED, number=open_.number, last=open_.number, reason=reason)
        self._forget_open()
        self._current_again()

    def _forget_open(self) -> None:
        open_ = self._opened()
        unpaid = self.standing.unpaid
        if open_.charge:
            unpaid = (*unpaid, open_.number)[-REMEMBERED:]
        self.change(open=None, unpaid=unpaid)

    def _current_again(self) -> None:
        if self.standing.state is State.PAST_DUE:
            self.become(State.ACTIVE)

    def _opened(self) -> OpenPeriod:
        if self.standing.open is None:
            raise ValueError("no period is open")
        return self.standing.open

    # What bills bring.

    def paid(self, ref: ChargeRef) -> None:
        """A bill was paid; hearing of it again changes nothing. `ValueError` for a bill that never was."""
        standing = self.standing
        if ref in standing.paid:
            return
        open_ = standing.open
        if open_ is not None and open_.number == ref.number:
            self._paid_open(open_, ref)
        elif ref.number in standing.unpaid:
            self._paid_late(ref)
        elif ref.number >= standing.next:
            raise ValueError("a bill of a period that was never billed")
        elif _forgotten(standing, ref.number):
            self.tell(Tell.PAYMENT_SUCCEEDED, number=ref.number, charge=ref.charge, paid=PaidHow.UNCLEAR)
            return
        else:
            self._paid_twice(ref)
        # Sorted, so that what is forgotten is older than what is kept.
        known = sorted((*self.standing.paid, ref), key=lambda one: (one.number, one.charge))
        self.change(paid=tuple(known[-REMEMBERED:]))

    def _paid_open(self, open_: OpenPeriod, ref: ChargeRef) -> None:
        in_time = open_.payable and open_.ref == ref
        if open_.settled:
            self._paid_twice(ref)
            if in_time:
                self.change(open=None)
            return
        self._book(ref.number, PeriodState.PAID)
        how = None if in_time else PaidHow.LATE
        self.tell(Tell.PAYMENT_SUCCEEDED, number=ref.number, charge=ref.charge, paid=how)
        if open_.payable and not in_time:
            # An earlier bill brought the money: the one that is out must not bring it again.
            self.change_open(settled=ref.charge, withdraw=True, closing=None)
        else:
            self.change(open=None)
        self._current_again()

    def _paid_late(self, ref: ChargeRef) -> None:
        standing = self.standing
        self._book(ref.number, PeriodState.PAID)
        self.tell(Tell.PAYMENT_SUCCEEDED, number=ref.number, charge=ref.charge, paid=PaidHow.LATE)
        self.change(unpaid=tuple(number for number in standing.unpaid if number != ref.number))
        if standing.state is State.EXPIRED and standing.lapsed == ref.number:
            self.become(State.ACTIVE)
            self.change(lapsed=None)
            self.skip_due(SkipReason.EXPIRED)

    def _paid_twice(self, ref: ChargeRef) -> None:
        self.tell(Tell.PAYMENT_SUCCEEDED, number=ref.number, charge=ref.charge, paid=PaidHow.TWICE)

    def failed(self, ref: ChargeRef, *, declined: bool) -> None:
        """The payer let the bill that is out expire, or declined it."""
        open_ = self._ending(ref)
        if open_ is None:
            return
        # A bill in the grace is the merchant's extra one: it burns nothing.
        extra = open_.grace_until is not None
        attempts = open_.attempts + (not extra)
        facts: dict[str, Any] = {"number": ref.number, "charge": ref.charge, "attempt": attempts, "declined": declined}
        self.change_open(attempts=attempts, faults=0, unknown=False)
        if extra:
            self.tell(Tell.PAYMENT_FAILED, **facts, until=open_.grace_until)
            self.change_open(phase=Phase.GRACE, at=None)
        elif attempts <= self.standing.dunning.max_retry_attempts:
            at = self.now + self.standing.dunning.retry_interval
            self.tell(Tell.PAYMENT_FAILED, **facts, until=at)
            self.become(State.PAST_DUE)
            self.change_open(phase=Phase.WAITING, at=at)
        else:
            self.tell(Tell.PAYMENT_FAILED, **facts)
            self.exhausted()

    def faulted(self, ref: ChargeRef) -> None:
        """The bill that should be out does not exist: it is made again after a pause."""
        open_ = self._ending(ref)
        if open_ is None:
            return
        if open_.grace_until is not None:
            self.change_open(phase=Phase.GRACE, at=None, unknown=False)
            return
        faults = open_.faults + 1
        self.change_open(phase=Phase.WAITING, at=self.now + fault_gap(faults), faults=faults, unknown=False)

    def canceled(self, ref: ChargeRef) -> None:
        """The bill that was out is canceled: nobody wants the money of this period any more."""
        open_ = self._ending(ref)
        if open_ is not None:
            self._close_skipped(open_, SkipReason.MERCHANT)

    def doubt(self, ref: ChargeRef, *, unknown: bool) -> None:
        """The bill may be out, or is known to be out after all."""
        open_ = self.standing.open
        if open_ is not None and open_.payable and open_.ref == ref:
            self.change_open(unknown=unknown)

    def _ending(self, ref: ChargeRef) -> OpenPeriod | None:
        """The open period whose bill has just ended unpaid; None for an old one's news, and where that ends it."""
        open_ = self.standing.open
        if open_ is None or not open_.payable or open_.ref != ref:
            return None
        if open_.settled:
            self.change(open=None)
            return None
        if open_.closing is not None:
            self._close_skipped(open_, open_.closing)
            return None
        return open_

    # The outcome.

    def decision(self) -> Decision:
        """What the turn came to."""
        what = self._next()
        return Decision(standing=self.standing, booked=self.booked, told=self.told, next=what)

    def _next(self) -> Next:
        open_ = self.standing.open
        if open_ is None:
            return Over() if self.standing.state in CLOSED else Wait(until=wait_until(self.standing))
        if open_.phase is Phase.WAITING and open_.at is not None and open_.at <= self.now:
            self.change_open(phase=Phase.LIVE, at=None, charge=open_.charge + 1)
            return Bill(ref=self._opened().ref, terms=open_.terms)
        if open_.phase is Phase.LIVE and open_.withdraw:
            self.change_open(phase=Phase.WITHDRAWING)
            return Withdraw(ref=open_.ref)
        return Wait(until=wait_until(self.standing))


def wait_until(standing: Standing) -> datetime | None:
    """When time alone brings something, None where it never does."""
    moments: list[datetime | None] = []
    open_ = standing.open
    if open_ is not None:
        moments += [open_.at if open_.phase is Phase.WAITING else None]
        moments += [open_.grace_until if open_.phase is Phase.GRACE else None]
    if standing.state is State.PAUSED:
        # Nothing is billed, but a subscription whose last date has passed is over.
        last = last_number(standing.calendar)
        moments += [due(standing.calendar, last) if last is not None and standing.next <= last else None]
    waits = standing.cancel_at_period_end or (open_ is None and standing.state is not State.PAUSED)
    if standing.state not in CLOSED and waits:
        moments += [due(standing.calendar, standing.next)]
    return min((moment for moment in moments if moment is not None), default=None)


def _forgotten(standing: Standing, number: int) -> bool:
    """Is the period so old that its payment, or its lack of one, may have been dropped from memory?"""
    paid = len(standing.paid) == REMEMBERED and number <= standing.paid[0].number
    return paid or (len(standing.unpaid) == REMEMBERED and number < standing.unpaid[0])


def _never_shown(open_: OpenPeriod) -> bool:
    return open_.phase is Phase.WAITING and open_.faults > 0 and open_.attempts == 0
