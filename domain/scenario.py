"""Which outcome a sandbox bill acts out, and what the simulated bank is told of it."""

from enum import StrEnum

import msgspec


class Scenario(StrEnum):
    """The outcomes that the end of a sandbox phone, or the amount of a sandbox QR or link, can ask for."""

    PAID = "paid"
    STAYS_PENDING = "stays_pending"
    DECLINED = "declined"
    EXPIRES = "expires"
    UNKNOWN_CLIENT = "unknown_client"
    ANSWER_LOST = "answer_lost"
    THROTTLED = "throttled"
    SESSION_LOST = "session_lost"
    PAYMENT_WINS = "payment_wins"
    UNKNOWN_WORD = "unknown_word"
    REFUND_REFUSED = "refund_refused"
    PARTIAL_REFUND_ONLY = "partial_refund_only"
    MALFORMED_ANSWER = "malformed_answer"


# Of these the bank decides about refunds too; of all others the simulator does.
AT_REFUNDS = frozenset({Scenario.REFUND_REFUSED, Scenario.PARTIAL_REFUND_ONLY})


class Scene(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that the simulated bank goes by: it keeps no books, so that it can answer from any process.

    `look` counts the story's looks from 1, `attempt` the tries of one look. `paid` and `given_back` (tiyn) are what our
    own books say, for questions about refunds.
    """

    scenario: Scenario
    look: int = 0
    attempt: int = 1
    cancel_asked: bool = False
    paid: int = 0
    given_back: int = 0

    @property
    def at_a_till(self) -> int:
        """Tiyn that a cashier has refunded."""
        return self.paid - self.paid // 2 if self.scenario is Scenario.PARTIAL_REFUND_ONLY else 0

    @property
    def available(self) -> int:
        """Tiyn that the bank can still give back."""
        return max(0, self.paid - self.at_a_till - self.given_back)
