"""Every case that needs a human: what happened, and which choices are safe in which state. The one table of them."""

from typing import NamedTuple

from domain.invoice import CLOSED_UNPAID, OPEN, Attention, State
from workflows.invoice_messages import Resolution, Resolve

_EVERY = frozenset(State)
_SETTLED = _EVERY - OPEN
_UNPAID = OPEN | CLOSED_UNPAID
_PAID = _EVERY - _UNPAID


class Choice(NamedTuple):
    """What an operator may decide while the invoice is in one of `states`, and what that does."""

    action: Resolution
    states: frozenset[State]
    does: str


class Case(NamedTuple):
    """Why somebody has to look; `happened` may name the bill's `{reference}`."""

    happened: str
    choices: tuple[Choice, ...]


def _recheck(states: frozenset[State]) -> Choice:
    return Choice(Resolution.RECHECK, states, "read the payment at the bank again; settled when bank and books agree")


def _seen(states: frozenset[State]) -> Choice:
    return Choice(Resolution.ACKNOWLEDGE, states, "somebody has looked into it; nothing else changes")


CASES: dict[Attention, Case] = {
    Attention.OUTCOME_UNKNOWN: Case(
        "The bank's answer to the create was lost, so **the payer may hold a bill we cannot see**. Nothing is "
        "repeated. Look in the Kaspi Pay app for the reference `{reference}`.",
        (
            Choice(Resolution.BANK_PAYMENT, OPEN, "found: its QrPaymentId; it is read at the bank before it is booked"),
            Choice(Resolution.ABSENT, OPEN, "certainly not there: the invoice becomes failed"),
        ),
    ),
    Attention.AMOUNT_MISMATCH: Case(
        "The bank says it is paid **with another amount**. Check the payment in the Kaspi Pay app.",
        (
            Choice(Resolution.ACCEPT_PAID, _UNPAID, "that is fine: book it as paid"),
            _recheck(_EVERY),
            _seen(_PAID),
        ),
    ),
    Attention.PAYMENT_NOT_FOUND: Case(
        "The bank **does not know this payment**, though it gave us its id. Ask the bank.",
        (
            _recheck(_EVERY),
            Choice(Resolution.ABSENT, OPEN, "it certainly does not exist: the invoice becomes failed"),
            _seen(_SETTLED),
        ),
    ),
    Attention.UNKNOWN_WORD: Case(
        "The bank says **a status word we do not know**; the worker's log has it. We keep looking.",
        (_recheck(_EVERY), _seen(_SETTLED)),
    ),
    Attention.PAID_LATE: Case(
        "The money came **after the invoice was closed**. It is booked as paid; the merchant honours it or refunds it.",
        (_seen(_EVERY),),
    ),
    Attention.REFUNDED_OUTSIDE: Case(
        "**Somebody else refunded this payment** (a cashier, another till): the bank has less left than our books say. "
        "Look in the Kaspi Pay app which refunds it has.",
        (_seen(_EVERY),),
    ),
    Attention.STATUS_DIFFERS: Case(
        "**The bank's status and our books differ**. Look at the payment in the Kaspi Pay app; a bill that is closed "
        "here and can still be paid there is withdrawn in the app.",
        # Of a paid bill the sums may differ too (a refund that the bank does not have): its status settles nothing.
        (_recheck(_UNPAID), _seen(_EVERY)),
    ),
}


def choices(attention: Attention | None, state: State) -> list[Choice]:
    """What an operator may decide now; nothing where nothing needs a decision."""
    return [] if attention is None else [one for one in CASES[attention].choices if state in one.states]


def fits(ask: Resolve, attention: Attention | None, state: State) -> bool:
    """True when the decision is one of the choices and says all that it has to."""
    allowed = ask.action in {one.action for one in choices(attention, state)}
    return allowed and (ask.action is not Resolution.BANK_PAYMENT or ask.bank_payment_id is not None)
