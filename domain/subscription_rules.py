"""What follows from what happens to a subscription: pure decisions over `Standing`.

Three rules carry the rest. One period is open at a time, and one bill of it is payable. Every period is decided about
once, in order: billed or skipped, and a billed one ends paid, failed or skipped. Whatever was missed, at most the
newest due period is billed. docs/decisions/0018-subscription-calendar-and-dunning.md has the tables.
"""

from datetime import datetime
from itertools import islice

from domain import invoice
from domain.billing_calendar import Plan, calendar_from, first_due, keeps_dates, last_number, replanned, upcoming_from
from domain.subscription import (
    CLOSED,
    BillNow,
    Cancel,
    Change,
    ChargeCanceled,
    ChargeFailed,
    ChargeFaulted,
    ChargeIssued,
    ChargePaid,
    ChargeRef,
    ChargeUnknown,
    Decision,
    Dunning,
    Happening,
    NotAllowed,
    Pause,
    Phase,
    Refusal,
    Resume,
    SkipPeriod,
    SkipReason,
    Standing,
    State,
    Tell,
    Terms,
    TimeReached,
)
from domain.subscription_turn import Turn

ACTIONS = (Pause, Resume, Cancel, Change, BillNow, SkipPeriod)

# An invoice that failed for one of these was never shown to the payer.
_FAULTS = frozenset({invoice.Reason.UNAVAILABLE, invoice.Reason.MISCONFIGURED, invoice.Reason.DECLARED_ABSENT})


def begin(
    started_at: datetime, plan: Plan, terms: Terms, dunning: Dunning | None = None, *, bill_immediately: bool = False
) -> Standing:
    """A new subscription. Its first decision is about `TimeReached`. `ValueError` for a day that can't be."""
    return Standing(
        started_at=started_at,
        calendar=calendar_from(started_at, plan, bill_immediately=bill_immediately),
        terms=terms,
        dunning=dunning or Dunning(),
    )


def decide(standing: Standing, happening: Happening, now: datetime) -> Decision:
    """The new standing, what to book and tell, and what to do next. The caller carries out all of it.

    News of a bill that is no longer out, payments excepted, change nothing; so do repeated ones. `NotAllowed` for an
    action that can't be done now.
    """
    turn = Turn(standing, now)
    if isinstance(happening, ACTIONS):
        turn.catch_up(SkipReason.OUTAGE)
        refused = _refused(turn.standing, happening, now)
        if refused is not None:
            raise NotAllowed(refused)
    # News of a bill come before the clock: a payment that arrives with the end of the grace still counts in time.
    held = turn.standing.open is not None
    _hear(turn, happening)
    turn.catch_up(SkipReason.EARLIER_OPEN if held else SkipReason.OUTAGE)
    return turn.decision()


def refusal(standing: Standing, action: Happening, now: datetime) -> Refusal | None:
    """Why an action can't be done now, None when it can."""
    turn = Turn(standing, now)
    turn.catch_up(SkipReason.OUTAGE)
    return _refused(turn.standing, action, now)


def upcoming(standing: Standing, count: int, now: datetime) -> list[tuple[int, datetime]]:
    """The next periods and their due moments, as things stand; of a paused one, as if it were resumed now."""
    if standing.state in CLOSED or standing.cancel_at_period_end:
        return []
    number = max(standing.next, first_due(standing.calendar, now))
    return list(islice(upcoming_from(standing.calendar, number), count))


def bill_out(standing: Standing) -> ChargeRef | None:
    """The bill that is payable, or may be: whoever takes up the workflow again has to listen to it."""
    open_ = standing.open
    return open_.ref if open_ is not None and open_.payable else None


def outcome_of(ref: ChargeRef, state: invoice.State, reason: invoice.Reason | None) -> Happening | None:
    """What a bill's invoice says, None while it is open. Where it is unclear why it failed, no attempt burns."""
    if state in invoice.OPEN:
        return None
    if state not in invoice.CLOSED_UNPAID:
        return ChargePaid(ref=ref)
    unclear = state is invoice.State.FAILED and reason is None
    if unclear or reason in _FAULTS:
        return ChargeFaulted(ref=ref)
    if reason is invoice.Reason.CANCELED_BY_MERCHANT:
        return ChargeCanceled(ref=ref)
    return ChargeFailed(ref=ref, declined=state is not invoice.State.EXPIRED)


def _refused(standing: Standing, action: Happening, now: datetime) -> Refusal | None:
    if standing.state in CLOSED and not (standing.state is State.EXPIRED and isinstance(action, Cancel)):
        return Refusal.CLOSED
    if standing.state is State.PAUSED:
        return Refusal.PAUSED if isinstance(action, Pause | BillNow | SkipPeriod) else None
    match action:
        case Resume() if not standing.cancel_at_period_end:
            return Refusal.NOT_PAUSED
        case BillNow():
            return _no_bill_now(standing, now)
        case SkipPeriod() if not _can_give_up(standing) and _nothing_left(standing):
            return Refusal.NOTHING_LEFT
        case _:
            return None


def _no_bill_now(standing: Standing, now: datetime) -> Refusal | None:
    if standing.open is not None:
        return Refusal.CHARGE_IN_FLIGHT if standing.open.payable else None
    if _nothing_left(standing):
        return Refusal.NOTHING_LEFT
    # One period ahead, and no more: the one before must have begun.
    ahead = standing.last_due is not None and standing.last_due > now
    return Refusal.BILLED_AHEAD if ahead else None


def _nothing_left(standing: Standing) -> bool:
    last = last_number(standing.calendar)
    return standing.cancel_at_period_end or (last is not None and standing.next > last)


def _can_give_up(standing: Standing) -> bool:
    open_ = standing.open
    return open_ is not None and open_.closing is None and not open_.settled


def _hear(turn: Turn, happening: Happening) -> None:
    match happening:
        case ChargePaid(ref=ref):
            turn.paid(ref)
        case ChargeFailed(ref=ref, declined=declined):
            turn.failed(ref, declined=declined)
        case ChargeFaulted(ref=ref):
            turn.faulted(ref)
        case ChargeUnknown(ref=ref):
            turn.doubt(ref, unknown=True)
        case ChargeIssued(ref=ref):
            turn.doubt(ref, unknown=False)
        case ChargeCanceled(ref=ref):
            turn.canceled(ref)
        case _:
            _act(turn, happening)


def _act(turn: Turn, action: Happening) -> None:
    match action:
        case Pause():
            turn.become(State.PAUSED)
            turn.tell(Tell.PAUSED)
            turn.give_up(SkipReason.PAUSED, withdraw=False)
        case Resume():
            _resume(turn)
        case Cancel(at_period_end=later):
            _cancel(turn, later=later)
        case Change():
            _change(turn, action)
        case BillNow() if turn.standing.open is None:
            turn.open_next()
        case BillNow():
            turn.change_open(phase=Phase.WAITING, at=turn.now)
        case SkipPeriod() if _can_give_up(turn.standing):
            turn.give_up(SkipReason.MERCHANT, withdraw=True)
        case SkipPeriod():
            turn.skip(turn.standing.next, turn.standing.next, SkipReason.MERCHANT)
        case TimeReached():
            return  # the clock does the rest
        case _:
            raise TypeError(f"{type(action).__name__} is no happening")


def _resume(turn: Turn) -> None:
    if turn.standing.state is not State.PAUSED:
        turn.change(cancel_at_period_end=False)
        return
    open_ = turn.standing.open
    state = State.ACTIVE
    if open_ is not None and open_.closing is SkipReason.PAUSED:
        # Its bill is still out: dunning goes on as if nothing had been.
        turn.change_open(closing=None)
        state = State.PAST_DUE if open_.attempts else State.ACTIVE
    turn.become(state)
    ahead = upcoming(turn.standing, 1, turn.now)
    turn.tell(Tell.RESUMED, until=ahead[0][1] if ahead else None)


def _cancel(turn: Turn, *, later: bool) -> None:
    state = turn.standing.state
    if state in {State.ACTIVE, State.PAST_DUE}:
        # What fell due behind an open period can't be billed any more, and the period's end lies ahead.
        turn.skip_due(SkipReason.EARLIER_OPEN if later else SkipReason.CANCELED)
        if later:
            turn.change(cancel_at_period_end=True)
            return
    turn.cancel()


def _change(turn: Turn, change: Change) -> None:
    if change.terms is not None:
        turn.change(terms=change.terms)
        if change.at_once and turn.standing.open is not None:
            turn.change_open(terms=change.terms)
    if change.plan is not None:
        if not keeps_dates(turn.standing.calendar, change.plan):
            # What waits behind an open period belongs to the old rhythm; other limits alone take nothing from it.
            turn.skip_due(SkipReason.EARLIER_OPEN)
        standing = turn.standing
        start = max(standing.started_at, turn.now) if standing.last_due is None else None
        turn.change(calendar=replanned(standing.calendar, change.plan, standing.next, start=start))
    if change.dunning is not None:
        turn.change(dunning=change.dunning)
        open_ = turn.standing.open
        if open_ is not None and open_.phase is Phase.WAITING and open_.attempts > change.dunning.max_retry_attempts:
            turn.exhausted()
