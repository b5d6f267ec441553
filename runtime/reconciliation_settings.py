"""The settings of reconciliation; part of runtime.settings, which has no room for them."""

from typing import Annotated, ClassVar

from runtime import env_parsers as parsers
from runtime.env import Env, Section


class Reconciliation(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Reconciliation"
    at: Annotated[
        tuple[int, int],
        Env(
            "TOLEM_RECONCILE_AT",
            "when the nightly reconciliation of every bank connection begins, HH:MM in Asia/Almaty",
            parsers.time_of_day,
            "03:30",
        ),
    ]
    days: Annotated[
        int,
        Env(
            "TOLEM_RECONCILE_DAYS",
            "how many days back payments are compared, where no period is given",
            parsers.whole(1, 366),
            "3",
        ),
    ]
    calls_per_second: Annotated[
        int,
        Env(
            "TOLEM_RECONCILE_CALLS_PER_SECOND",
            "bank calls a second of a reconciliation, per connection, beside the poller's",
            parsers.whole(1, 10_000),
            "20",
        ),
    ]
    concurrency: Annotated[
        int,
        Env(
            "TOLEM_RECONCILE_CONNECTIONS",
            "bank calls of a reconciliation at the same time",
            parsers.whole(1, 100),
            "8",
        ),
    ]
    pause_seconds: Annotated[
        float,
        Env(
            "TOLEM_RECONCILE_PAUSE_SECONDS",
            "a payment that differs is looked at again after this; only then it counts",
            parsers.seconds(0, 600),
            "5",
        ),
    ]
    lag_seconds: Annotated[
        int,
        Env(
            "TOLEM_RECONCILE_LAG_SECONDS",
            "how long after a refund the bank's sums are not judged: they may lag behind it",
            parsers.whole(0, 7 * 86_400),
            "900",
        ),
    ]
    bank_patience_seconds: Annotated[
        float,
        Env(
            "TOLEM_RECONCILE_PATIENCE_SECONDS",
            "how long a bank may be away before its reconciliation fails",
            parsers.seconds(1, 86_400),
            "1800",
        ),
    ]
