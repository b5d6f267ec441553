"""What one says to a subscription's workflow, its argument, and what the Temporal UI shows of it."""

from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import msgspec

from domain.billing_calendar import Plan
from domain.money import format_amount
from domain.subscription import (
    BillNow,
    Cancel,
    Change,
    ChargeRef,
    Dunning,
    Happening,
    Pause,
    Resume,
    SkipPeriod,
    Standing,
    State,
)
from domain.subscription_record import Asked, NewTerms, OpenSubscription, SubscriptionRef, next_billing, terms_of


class RunSubscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The workflow's argument. What stands, it reads from the books; `open` is what to record first.

    `shown` is the state that operators can search for.
    """

    ref: SubscriptionRef
    open: OpenSubscription | None = None
    shown: State | None = None


class AwaitSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """Argument of the update `opened`."""

    fingerprint: str


class PauseSubscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Argument of the update `pause`."""

    asked: Asked = Asked()


class ResumeSubscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Argument of the update `resume`."""

    asked: Asked = Asked()


class CancelSubscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Argument of the update `cancel`."""

    at_period_end: bool = False
    asked: Asked = Asked()


class ChangeSubscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Argument of the update `change`; None keeps what there is, of `external_order_id` the empty text removes it.

    `terms` hold from the next period, with `at_once` from the next bill. `plan` as in `domain.subscription.Change`.
    `kept` names fields of the three that were not asked for: of those holds what stands when it is decided, not what
    the asker had read, so that of two changes at once neither undoes the other. With the amount the cart is kept.
    """

    terms: NewTerms | None = None
    plan: Plan | None = None
    dunning: Dunning | None = None
    at_once: bool = False
    metadata: dict[str, str] | None = None
    external_order_id: str | None = None
    kept: list[str] = []
    asked: Asked = Asked()

    @property
    def empty(self) -> bool:
        """Nothing is asked for."""
        return all(one is None for one in (self.terms, self.plan, self.dunning, self.metadata, self.external_order_id))


class BillSubscriptionNow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Argument of the update `bill_now`."""

    asked: Asked = Asked()


class SkipSubscriptionPeriod(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Argument of the update `skip_period`."""

    asked: Asked = Asked()


class AdvanceTo(msgspec.Struct, frozen=True, kw_only=True):
    """Argument of the update `advance`: the moment of the test clock to go to."""

    to: datetime


Part = TypeVar("Part", bound=msgspec.Struct)

Act: TypeAlias = (
    PauseSubscription
    | ResumeSubscription
    | CancelSubscription
    | ChangeSubscription
    | BillSubscriptionNow
    | SkipSubscriptionPeriod
)
# The update that carries each.
UPDATES: dict[type[Act], str] = {
    PauseSubscription: "pause",
    ResumeSubscription: "resume",
    CancelSubscription: "cancel",
    ChangeSubscription: "change",
    BillSubscriptionNow: "bill_now",
    SkipSubscriptionPeriod: "skip_period",
}


class Advanced(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of the update `advance`: how far it came. Short of the target it has to be asked again."""

    at: datetime
    over: bool


class Acted(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of an action: the books show the rest."""

    state: State
    version: int


def happening_of(act: Act, standing: Standing) -> Happening:
    """What the rules call it."""
    match act:
        case PauseSubscription():
            return Pause()
        case ResumeSubscription():
            return Resume()
        case CancelSubscription(at_period_end=later):
            return Cancel(at_period_end=later)
        case BillSubscriptionNow():
            return BillNow()
        case SkipSubscriptionPeriod():
            return SkipPeriod()
        case ChangeSubscription():
            change = settled_change(act, standing)
            terms = None if change.terms is None else terms_of(change.terms, standing.terms.revision + 1)
            return Change(terms=terms, plan=change.plan, dunning=change.dunning, at_once=change.at_once)


def settled_change(act: ChangeSubscription, standing: Standing) -> ChangeSubscription:
    """The change with what it keeps as it stands now; of a cart that is kept the books know the lines."""
    terms, calendar = standing.terms, standing.calendar
    stands: dict[str, Any] = {
        "amount": terms.amount,
        "description": terms.description,
        "period": calendar.period,
        "ends_at": calendar.ends_at,
        "total_cycles": calendar.total_cycles,
    } | msgspec.structs.asdict(standing.dunning)
    kept = {name: value for name, value in stands.items() if name in act.kept}
    return msgspec.structs.replace(
        act, terms=_with(act.terms, kept), plan=_with(act.plan, kept), dunning=_with(act.dunning, kept)
    )


def _with(asked: Part | None, kept: dict[str, Any]) -> Part | None:
    if asked is None:
        return None
    own = {name: value for name, value in kept.items() if name in asked.__struct_fields__}
    return msgspec.structs.replace(asked, **own)


def subscription_details(ref: SubscriptionRef, standing: Standing | None, clock: datetime | None) -> str:
    """Markdown for the Temporal UI: what it is, what it waits for, what one can do. No personal data."""
    if standing is None:
        return "Not recorded yet."
    mode = "sandbox" if ref.is_sandbox else "live"
    lines = [f"**{standing.state}** · {format_amount(standing.terms.amount)} KZT {standing.calendar.period} · {mode}"]
    if clock is not None:
        lines.append(f"On a test clock that shows {clock:%Y-%m-%d %H:%M} UTC; the update `advance` moves it.")
    open_ = standing.open
    if open_ is not None:
        lines.append(_open_line(open_.ref, str(open_.phase), open_.attempts, open_.faults))
    following = next_billing(standing)
    if following is not None:
        lines.append(
            f"Next bill {following:%Y-%m-%d %H:%M} UTC (period {standing.next if open_ is None else open_.number})."
        )
    if standing.cancel_at_period_end:
        lines.append("To be canceled when the next period would be due.")
    lines.append("Updates: `pause`, `resume`, `cancel`, `bill_now`, `skip_period` with `{}`.")
    return "\n\n".join(lines)


def _open_line(ref: ChargeRef, phase: str, attempts: int, faults: int) -> str:
    failed = f", {attempts} failed" if attempts else ""
    away = f", {faults} times without a bank" if faults else ""
    return f"Period {ref.number} is open: bill {ref.charge}, {phase}{failed}{away}."
