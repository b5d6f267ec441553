"""The settings of webhooks; part of runtime.settings, which has no room for them."""

from typing import Annotated, ClassVar

from runtime import env_parsers as parsers
from runtime.env import Env, Section
from runtime.secrets import Secret

_WEBHOOK_SCHEDULE = "5,30,120,600,1800,7200,18000,36000,50400,72000,86400,daily"


class Webhooks(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Webhooks"
    allowed_hosts: Annotated[
        tuple[str, ...],
        Env(
            "TOLEM_WEBHOOK_ALLOWED_HOSTS",
            "comma list of host or host:port that may be private addresses (for development)",
            parsers.names,
            "",
        ),
    ]
    allow_http: Annotated[
        bool,
        Env(
            "TOLEM_WEBHOOK_ALLOW_HTTP",
            "allow receivers without TLS for live events too (sandbox endpoints may always use http)",
            parsers.flag,
            "false",
        ),
    ]
    proxy_url: Annotated[
        Secret | None,
        Env(
            "TOLEM_WEBHOOK_PROXY_URL",
            "egress proxy (CONNECT) for webhooks: http://host:port or https://user:password@host:port; hosts of"
            " TOLEM_WEBHOOK_ALLOWED_HOSTS are called without it",
            parsers.proxy_url,
            secret=True,
            optional=True,
        ),
    ]
    per_endpoint: Annotated[
        int,
        Env(
            "TOLEM_WEBHOOK_PER_ENDPOINT",
            "attempts to one endpoint at the same time, per worker; an endpoint that is slow gets fewer",
            parsers.whole(1, 1_000),
            "10",
        ),
    ]
    places: Annotated[
        int,
        Env(
            "TOLEM_WEBHOOK_PLACES",
            "attempts at the same time, per worker; slow endpoints together take at most half of them",
            parsers.whole(2, 10_000),
            "500",
        ),
    ]
    handovers: Annotated[
        int,
        Env(
            "TOLEM_WEBHOOK_HANDOVERS",
            "deliveries that failed at first and are handed to workflows of their own at the same time, per worker;"
            " more where Temporal is far away, fewer where it is small",
            parsers.whole(1, 1_000),
            "2",
        ),
    ]
    disable_after_hours: Annotated[
        int,
        Env(
            "TOLEM_WEBHOOK_DISABLE_AFTER_HOURS",
            "hours of nothing but failures after which an endpoint is disabled, at least 12",
            parsers.whole(12, 8_760),
            "120",
        ),
    ]
    secret_overlap_hours: Annotated[
        int,
        Env(
            "TOLEM_WEBHOOK_SECRET_OVERLAP_HOURS",
            "how long the secret before a rotation still signs, where the rotation does not say",
            parsers.whole(0, 720),
            "24",
        ),
    ]
    timeout_seconds: Annotated[
        float,
        Env(
            "TOLEM_WEBHOOK_TIMEOUT_SECONDS",
            "one whole attempt, the body included",
            parsers.seconds(1, 50),
            "30",
        ),
    ]
    schedule_seconds: Annotated[
        tuple[int, ...],
        Env(
            "TOLEM_WEBHOOK_SCHEDULE_SECONDS",
            "waits between attempts; daily at the end repeats a day's wait to day 30",
            parsers.schedule,
            _WEBHOOK_SCHEDULE,
        ),
    ]
