"""The knobs of the emulated bank; kept in the state file, changed with PUT /emulator/settings."""

from typing import Annotated, Literal

import msgspec

NonNegative = Annotated[int, msgspec.Meta(ge=0)]


class PollGuard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The overload protection against timed status polling of remote invoices (fact sheet §3.2, form unknown)."""

    enabled: bool = False
    min_interval_s: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    answer: Literal["-999", "429", "html"] = "-999"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`time_scale` multiplies the lives of purchases made from then on: 0.01 turns 180 s into 1.8 s."""

    time_scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    scan_timeout_word: str = "QrTokenCreated"
    confirm_timeout_word: str = "Wait"
    reject_word: str = "RemotePaymentRejected"
    expire_word: str = "Expired"
    remote_poll_guard: PollGuard = PollGuard()
    unknown_phones: tuple[str, ...] = ("77000000000",)
    refund_lag_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    client_info_limit: NonNegative = 50
    latency_ms: NonNegative = 0
