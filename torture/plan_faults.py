"""What goes wrong at the bank and at the merchant's receiver. Times in seconds."""

from random import Random

import msgspec

from torture.progress import When
from torture.settings import BANK_TIMEOUT, LONGEST_DELAY, LONGEST_LAG
from torture.size import Size

# Which calls are hit how often, and how many faults there are for each bill of a run.
_CALLS = {
    "remote/create": 14,
    "qr/create": 8,
    "qr/create-link": 6,
    "payment/status": 24,
    "remote/cancel": 10,
    "payment/details": 14,
    "payment/return": 24,
}
_PER_BILL = 0.7
_MUTE = (
    "delay",
    "drop_before",
    "execute_then_drop",
    "error_5xx_before",
    "error_5xx_after",
    "empty",
    "html",
    "malformed",
)
# No code of the bank's list: what it means is not known, whether it was executed neither.
_UNKNOWN_CODE = -77_777
_UNAVAILABLE = -999
_UNKNOWN_WORD = "TorturedByTheBank"
_MOST_TIMES = 4


class BankFault(msgspec.Struct, frozen=True, kw_only=True):
    """`spec` is what the emulator is told (emulator/README.md, "Faults")."""

    when: When
    spec: dict[str, object]


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """From now on AvailableReturnAmount shows refunds so many seconds late."""

    when: When
    seconds: float


class Hiccup(msgspec.Struct, frozen=True, kw_only=True):
    """How the merchant's receiver answers one request; `status` 0: the connection is reset."""

    status: int = 200
    delay: float = 0.0


# Slow, too slow for the sender's patience, wrong, gone.
_HICCUPS = {
    Hiccup(): 82,
    Hiccup(delay=1.0): 2,
    Hiccup(delay=5.0): 2,
    Hiccup(status=500): 7,
    Hiccup(status=404): 3,
    Hiccup(status=0): 4,
}


def plan_bank_faults(chance: Random, size: Size) -> list[BankFault]:
    """Each waits for the next call of its kind."""
    return [BankFault(when=_when(chance, size), spec=_spec(chance)) for _ in range(round(size.invoices * _PER_BILL))]


def plan_lags(chance: Random, size: Size) -> list[Lag]:
    """Now and then, and off again."""
    return [
        Lag(when=_when(chance, size), seconds=round(chance.choice((0.0, chance.uniform(0.2, LONGEST_LAG))), 2))
        for _ in range(max(2, size.steps // 3))
    ]


def plan_hiccups(chance: Random, size: Size) -> list[Hiccup]:
    """One answer for each of the first requests; those after them are answered 200."""
    return [chance.choices(list(_HICCUPS), list(_HICCUPS.values()))[0] for _ in range(4 * size.invoices)]


def _when(chance: Random, size: Size) -> When:
    return When(step=chance.randrange(size.steps), after=round(chance.uniform(0, 3), 2))


def _spec(chance: Random) -> dict[str, object]:
    call = chance.choices(list(_CALLS), list(_CALLS.values()))[0]
    spec: dict[str, object] = {"call": call, "times": 1}
    if call == "payment/status":
        spec["times"] = chance.randint(1, _MOST_TIMES)
        if chance.random() < 0.25:
            return spec | {"fault": "status_word", "word": _UNKNOWN_WORD}
    if chance.random() < 0.2:
        code = chance.choice((_UNKNOWN_CODE, _UNAVAILABLE))
        return spec | {"fault": "code", "code": code, "execute": chance.random() < 0.5}
    fault = chance.choice(_MUTE)
    if fault == "delay":
        # Some are longer than the client waits: executed, and the answer reaches nobody.
        return spec | {"fault": fault, "delay_ms": round(1000 * chance.uniform(0.3, LONGEST_DELAY))}
    if fault in {"empty", "html"}:
        spec["execute"] = chance.random() < 0.5
    if chance.random() < 0.3:
        # A crash may fall between the deed and its lost answer.
        spec["delay_ms"] = round(1000 * chance.uniform(0.1, BANK_TIMEOUT - 1))
    return spec | {"fault": fault}
