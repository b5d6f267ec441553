"""The sandbox's magic values: the one list that the API, the documentation and the tests are made from."""

import hashlib

import msgspec

from domain.errors import Code
from domain.event import EventType
from domain.invoice import Attention, Kind, Reason, State
from domain.refund import RefundReason
from domain.scenario import Scenario

PHONE_STEM = "7701000"  # of the examples; only the last four digits count
AMOUNT_STEM = 99  # 990001.00 and so on: nobody bills that by accident
EXPIRES_AFTER = 5.0  # seconds in which such a bill can be paid
EXPIRY_GRACE = 1.0
# Somebody looks into a lost answer: in the sandbox after seconds, at the bank when an operator comes to it.
OPERATOR_AFTER = 3.0
# The last look of a script is repeated until it settles the bill (a worker may have been away).
LOOK_AGAIN = 30.0


class Told(msgspec.Struct, frozen=True):
    """An event: its type, what its object says, and about how many seconds after the request it comes."""

    type: EventType
    state: str
    after: float
    reason: str | None = None
    attention: Attention | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the scenario is about: a request of yours, made while the bill is in `state`, and what comes of it.

    `share` is the part of the amount that a refund asks for; None is a refund without an amount.
    """

    operation: str
    state: State
    status: int
    share: float | None = None
    error: Code | None = None
    events: tuple[Told, ...] = ()


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a bill of one kind: at the bank, in the answer to its creation, and after it.

    `looks` are the seconds after it was issued at which the sandbox looks at the bank, as the poller does for live
    bills.
    """

    bank: str
    status: int = 201
    error: Code | None = None
    bank_code: int | None = None
    state: State = State.PENDING
    attention: Attention | None = None
    looks: tuple[float, ...] = ()
    events: tuple[Told, ...] = ()
    requests: tuple[Request, ...] = ()


class MagicValue(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list; `code` is the course of QRs and links."""

    number: int
    scenario: Scenario
    title: str
    phone: Course
    code: Course

    @property
    def digits(self) -> str:
        """The last four digits of the phone."""
        return f"{self.number:04d}"

    @property
    def phone_example(self) -> str:
        """A phone that asks for it."""
        return f"{PHONE_STEM}{self.digits}"

    @property
    def amount(self) -> int:
        """The amount of a QR or link that asks for it, in tiyn."""
        return (AMOUNT_STEM * 10_000 + self.number) * 100

    def course(self, kind: Kind) -> Course:
        """What happens to a bill of this kind."""
        return self.phone if kind is Kind.PHONE else self.code


def _moved(state: State, after: float, *, reason: Reason | None = None, attention: Attention | None = None) -> Told:
    return Told(EventType.INVOICE_STATUS_CHANGED, state, after, reason, attention)


def _doubted(state: State, after: float, attention: Attention) -> Told:
    return Told(EventType.INVOICE_ATTENTION_REQUIRED, state, after, None, attention)


def _both(number: int, scenario: Scenario, title: str, course: Course) -> MagicValue:
    return MagicValue(number=number, scenario=scenario, title=title, phone=course, code=course)


_PAID_SOON = (_moved(State.PAID, 2),)
_REFUND_FAILED = EventType.REFUND_FAILED

MAGIC_VALUES: tuple[MagicValue, ...] = (
    _both(
        1,
        Scenario.PAID,
        "Paid after two seconds",
        Course(bank="The payer pays.", looks=(2,), events=_PAID_SOON),
    ),
    _both(
        2,
        Scenario.STAYS_PENDING,
        "Stays pending",
        Course(
            bank="Nothing happens until the bill's own end: 24 hours of a phone bill, four minutes of a QR or link."
        ),
    ),
    _both(
        3,
        Scenario.DECLINED,
        "Declined",
        Course(
            bank="The payment goes wrong: the bank says `Error`.",
            looks=(2,),
            events=(_moved(State.FAILED, 2, reason=Reason.DECLINED_OR_ERROR),),
        ),
    ),
    _both(
        4,
        Scenario.EXPIRES,
        "Expires",
        Course(
            bank="The bill can be paid for five seconds only; after them the bank says that it is over.",
            events=(_moved(State.EXPIRED, EXPIRES_AFTER + EXPIRY_GRACE, reason=Reason.EXPIRED),),
        ),
    ),
    MagicValue(
        number=5,
        scenario=Scenario.UNKNOWN_CLIENT,
        title="Unknown client",
        phone=Course(
            bank="The create is refused: the phone is no client's (code -1404).",
            status=502,
            error=Code.KASPI_REFUSED,
            bank_code=-1404,
            state=State.FAILED,
        ),
        code=Course(
            bank="A QR or link names no client; its create is refused as a wrong amount (code 990000028).",
            status=502,
            error=Code.KASPI_REFUSED,
            bank_code=990000028,
            state=State.FAILED,
        ),
    ),
    MagicValue(
        number=6,
        scenario=Scenario.ANSWER_LOST,
        title="Created, but the answer is lost",
        phone=Course(
            bank="The create is executed and its answer lost. It is not repeated; after three seconds the operator,"
            " whom the sandbox plays, finds the bill at the bank, and then the payer pays.",
            state=State.PROCESSING,
            attention=Attention.OUTCOME_UNKNOWN,
            looks=(2,),
            events=(
                _doubted(State.PROCESSING, 0, Attention.OUTCOME_UNKNOWN),
                _moved(State.PENDING, OPERATOR_AFTER),
                _moved(State.PAID, OPERATOR_AFTER + 2),
            ),
        ),
        code=Course(
            bank="The answer to the first create is lost. Nobody saw that code, so a second one is made at once; the"
            " payer pays.",
            looks=(2,),
            events=_PAID_SOON,
        ),
    ),
    _both(
        7,
        Scenario.THROTTLED,
        "Throttled twice, then works",
        Course(
            bank="The payer pays, but the bank answers the first two looks with 429; the third one sees it.",
            looks=(2,),
            events=(_moved(State.PAID, 5),),
        ),
    ),
    _both(
        8,
        Scenario.SESSION_LOST,
        "Session lost while pending, resumes",
        Course(
            bank="The payer pays, but the bank turns the first two looks away with 401; then the session is back. There"
            " is no `kaspi.session_changed`: a sandbox has no link to the bank.",
            looks=(2,),
            events=(_moved(State.PAID, 5),),
        ),
    ),
    MagicValue(
        number=9,
        scenario=Scenario.PAYMENT_WINS,
        title="Cancel accepted, but the payment wins",
        phone=Course(
            bank="Stays pending until you cancel. The bank accepts the cancel, and says that the bill is paid.",
            requests=(
                Request(
                    operation="cancel",
                    state=State.PENDING,
                    status=409,
                    error=Code.INVOICE_ALREADY_PAID,
                    events=(_moved(State.PAID, 0),),
                ),
            ),
        ),
        code=Course(
            bank="A QR or link cannot be withdrawn, so your cancel never reaches the bank; the payer pays.",
            looks=(5,),
            events=(_moved(State.PAID, 5),),
            requests=(Request(operation="cancel", state=State.PENDING, status=409, error=Code.INVOICE_NOT_CANCELABLE),),
        ),
    ),
    _both(
        10,
        Scenario.UNKNOWN_WORD,
        "A status word nobody knows, then paid",
        Course(
            bank="The first look hears a word that is not in the bank's guide, the second one that the bill is paid.",
            looks=(2, 4),
            events=(_doubted(State.PENDING, 2, Attention.UNKNOWN_WORD), _moved(State.PAID, 4)),
        ),
    ),
    _both(
        11,
        Scenario.REFUND_REFUSED,
        "Paid, and every refund is refused",
        Course(
            bank="The payer pays. Every refund is refused (code -99000011).",
            looks=(2,),
            events=_PAID_SOON,
            requests=(
                Request(
                    operation="refund",
                    state=State.PAID,
                    status=201,
                    events=(Told(_REFUND_FAILED, "failed", 1, RefundReason.REFUSED),),
                ),
            ),
        ),
    ),
    _both(
        12,
        Scenario.PARTIAL_REFUND_ONLY,
        "Paid, and only part of it can be refunded",
        Course(
            bank="The payer pays, and a cashier has given half of it back at a till: the other half can be refunded.",
            looks=(2,),
            events=_PAID_SOON,
            requests=(
                Request(
                    operation="refund",
                    state=State.PAID,
                    status=201,
                    events=(Told(_REFUND_FAILED, "failed", 1, RefundReason.ABOVE_AVAILABLE),),
                ),
                Request(
                    operation="refund",
                    state=State.PAID,
                    share=0.5,
                    status=201,
                    events=(
                        Told(EventType.REFUND_COMPLETED, "completed", 1),
                        Told(EventType.INVOICE_REFUNDED, State.PARTIALLY_REFUNDED, 1),
                    ),
                ),
            ),
        ),
    ),
    MagicValue(
        number=13,
        scenario=Scenario.MALFORMED_ANSWER,
        title="An answer that cannot be read",
        phone=Course(
            bank="The answer to the create breaks off in the middle, so it may have been executed. It is not repeated;"
            " after three seconds the operator, whom the sandbox plays, finds no such bill at the bank.",
            state=State.PROCESSING,
            attention=Attention.OUTCOME_UNKNOWN,
            events=(
                _doubted(State.PROCESSING, 0, Attention.OUTCOME_UNKNOWN),
                _moved(State.FAILED, OPERATOR_AFTER, reason=Reason.DECLARED_ABSENT),
            ),
        ),
        code=Course(
            bank="Every answer to the create breaks off in the middle. Nobody saw a code, so nothing was issued.",
            status=502,
            error=Code.KASPI_UNAVAILABLE,
            state=State.FAILED,
        ),
    ),
)

BY_SCENARIO = {one.scenario: one for one in MAGIC_VALUES}
_BY_DIGITS = {one.digits: one.scenario for one in MAGIC_VALUES}
_BY_AMOUNT = {one.amount: one.scenario for one in MAGIC_VALUES}


def scenario_of(
    *, is_sandbox: bool, kind: Kind, phone: str | None, amount: int, subscribed: bool = False
) -> Scenario | None:
    """What a bill acts out; None for live bills, subscriptions' bills and ordinary ones of the sandbox.

    `amount` in tiyn.
    """
    if not is_sandbox or subscribed:
        return None
    if kind is Kind.PHONE:
        return _BY_DIGITS.get((phone or "")[-4:])
    return _BY_AMOUNT.get(amount)


def sandbox_payment_id(invoice_id: str) -> int:
    """The simulated bank's id of a bill's payment: the same bill always has the same one."""
    return int.from_bytes(hashlib.sha256(invoice_id.encode()).digest()[:6]) % 10**11
