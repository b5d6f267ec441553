"""What a run does, and how much of it."""

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Create: `rounds` × `in_flight` × `seconds`. Paid: of `open` payments `pay` are paid within `window` seconds.

    `latency_ms` is what the bank takes for a call; `poll_connections` and `bank_calls_per_second` are the operator's
    settings of the same names. `patience`: seconds that the last webhook is waited for. The same `seed`, the same
    payer and the same times. Storm: `events` at `rate` a second to `receivers`, each told to one of them, in
    `storm_rounds` of both runs in turn; the first `warm_up` seconds of each are not timed, because the repeats of what
    failed pile up meanwhile. With `one_worker` what failed once has no worker process of its own.
    Told: `told_rate` events a second for `told_seconds`.
    """

    rounds: int = 3
    seconds: float = 10.0
    in_flight: tuple[int, ...] = (1, 8, 32)
    open: int = 1000
    pay: int = 300
    window: float = 60.0
    latency_ms: int = 100
    poll_connections: int = 64
    bank_calls_per_second: int = 300
    patience: float = 180.0
    events: int = 10_000
    receivers: int = 50
    rate: float = 10.0
    storm_rounds: int = 2
    warm_up: float = 160.0
    one_worker: bool = False
    told_rate: float = 20.0
    told_seconds: float = 120.0
    seed: int = 1
