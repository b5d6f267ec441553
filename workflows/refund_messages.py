"""What one says to a refund's workflow, its state in one struct, and what the Temporal UI shows of it."""

from enum import StrEnum

import msgspec

from domain.money import format_amount
from domain.refund import (
    OPEN_REFUNDS,
    OpenRefund,
    RefundAttention,
    RefundStanding,
    RefundState,
    SimulatedRefund,
    Sums,
)


class AwaitOpened(msgspec.Struct, frozen=True, kw_only=True):
    """Argument of the update `opened`."""

    fingerprint: str


class SimulateRefund(msgspec.Struct, frozen=True, kw_only=True):
    """Argument of the update `simulate`: what the simulated bank did."""

    outcome: SimulatedRefund


class RefundResolution(StrEnum):
    """An operator's choices."""

    EXECUTED = "executed"
    NOT_EXECUTED = "not_executed"
    RECHECK = "recheck"
    RETRY = "retry"


class ResolveRefund(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Argument of the update `resolve`; `by` is who decided and `note` why, for the audit log."""

    action: RefundResolution
    by: str = ""
    note: str = ""


class RefundLook(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of the update `look`: our books, and the bank's sums (tiyn) now, None where it does not say."""

    standing: RefundStanding
    choices: list[RefundResolution]
    bank: Sums | None


class RefundStory(msgspec.Struct, kw_only=True):
    """All that the workflow knows besides its order; `standing` is what the books said last."""

    standing: RefundStanding | None = None
    retry_allowed: bool = False
    simulated: SimulatedRefund | None = None
    last_available: int | None = None
    shown: tuple[RefundState, RefundAttention | None] | None = None


# One home for an attention's meaning and its safe choices: the Temporal UI, the CLI and the validator read it.
CHOICES: dict[RefundAttention, tuple[RefundResolution, ...]] = {
    RefundAttention.OUTCOME_UNKNOWN: (
        RefundResolution.RECHECK,
        RefundResolution.RETRY,
        RefundResolution.EXECUTED,
        RefundResolution.NOT_EXECUTED,
    ),
    RefundAttention.REFUNDED_OUTSIDE: (
        RefundResolution.RECHECK,
        RefundResolution.EXECUTED,
        RefundResolution.NOT_EXECUTED,
    ),
    RefundAttention.AVAILABLE_TOO_HIGH: (RefundResolution.RECHECK, RefundResolution.NOT_EXECUTED),
}

MEANINGS: dict[RefundAttention, str] = {
    RefundAttention.OUTCOME_UNKNOWN: (
        "The answer to the refund was lost and the bank's sums do not show it, or the bank can't be asked for long. "
        "**Nothing is repeated by itself.** What was never sent goes on when the bank answers again. "
        "Look in the Kaspi Pay app whether the payment was refunded."
    ),
    RefundAttention.REFUNDED_OUTSIDE: (
        "The answer to the refund was lost, and meanwhile the bank's sums changed by another amount: **somebody else "
        "refunded this payment** (a cashier, another till). Look in the Kaspi Pay app which refunds it has."
    ),
    RefundAttention.AVAILABLE_TOO_HIGH: (
        "The bank has **more left to refund than our books say**: an earlier refund of this payment that we hold for "
        "done may not be. Nothing was sent. Look in the Kaspi Pay app which refunds the payment has."
    ),
}

SANDBOX_CHOICES = (RefundResolution.EXECUTED, RefundResolution.NOT_EXECUTED)


def choices(order: OpenRefund, attention: RefundAttention | None) -> tuple[RefundResolution, ...]:
    """What an operator may do now; a sandbox refund has no bank to ask."""
    if attention is None:
        return ()
    return SANDBOX_CHOICES if order.is_sandbox else CHOICES[attention]


WHAT_IT_DOES: dict[RefundResolution, str] = {
    RefundResolution.RECHECK: "read the bank's sums again and judge by them",
    RefundResolution.RETRY: "send it once more; refused unless the bank's sums show that it was not executed",
    RefundResolution.EXECUTED: "the app shows our refund: book it as completed",
    RefundResolution.NOT_EXECUTED: "the app shows no refund of ours: book it as failed, the money is free again",
}


def refund_details(order: OpenRefund, story: RefundStory) -> str:
    """Markdown for the Temporal UI: what the refund is, what it waits for, what one can do. No personal data."""
    standing = story.standing
    if standing is None:
        return f"Refund of `{order.invoice_id}`: not recorded yet."
    mode = "sandbox" if order.is_sandbox else "live"
    lines = [f"**{standing.state}** · {format_amount(standing.amount)} KZT of `{order.invoice_id}` · {mode}"]
    if standing.bank_payment_id is not None:
        lines.append(f"Bank payment `{standing.bank_payment_id}`.")
    for attempt in standing.attempts:
        said = attempt.outcome or "no answer known"
        lines.append(
            f"Attempt {attempt.number} at {attempt.intended_at:%Y-%m-%d %H:%M:%S} UTC, before it "
            f"{format_amount(attempt.available_before)} KZT could be refunded: **{said}**."
        )
    if story.last_available is not None:
        lines.append(f"The bank's last word: {format_amount(story.last_available)} KZT can be refunded.")
    if standing.attention is not None:
        lines.append(MEANINGS[standing.attention])
        lines.append("Then send the update `resolve` (`by` and `note` go into the audit log):")
        lines += [
            f'- `{{"action": "{one}", "by": "…"}}`: {WHAT_IT_DOES[one]}' for one in choices(order, standing.attention)
        ]
    elif standing.state not in OPEN_REFUNDS:
        lines.append("The story is over; webhooks that failed live on in `delivery-…` workflows.")
    elif order.is_sandbox and order.simulate is SimulatedRefund.PENDING:
        lines.append('Update `simulate` with `{"outcome": "completed"}` is the bank.')
    return "\n\n".join(lines)
