"""Every setting of the system, grouped by what a process needs; nothing else reads ``TOLEM_*`` variables."""

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from runtime import env_parsers as parsers
from runtime.client_settings import Client
from runtime.env import Env, Loader, Problem, Row, Section, Settings, SettingsError
from runtime.rate_limit_settings import RateLimits
from runtime.reconciliation_settings import Reconciliation
from runtime.secrets import KeyRing, Secret, parse_keyring
from runtime.task_queues import QUEUE_WORDS
from runtime.webhook_settings import Webhooks

__all__ = [
    "SECTIONS",
    "Client",
    "RateLimits",
    "Reconciliation",
    "Settings",
    "SettingsError",
    "Webhooks",
    "describe",
    "load",
]


class Database(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Database"
    url: Annotated[
        Secret,
        Env("TOLEM_DATABASE_URL", "URL of the application role", parsers.postgres_url, secret=True),
    ]
    pool: Annotated[int, Env("TOLEM_DATABASE_POOL", "connections per process", parsers.whole(1, 500), "10")]


class OperatorDatabase(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Database, operators"
    url: Annotated[
        Secret,
        Env("TOLEM_OPERATOR_DATABASE_URL", "URL of the operator role", parsers.postgres_url, secret=True),
    ]


class OwnerDatabase(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Database, migrations"
    url: Annotated[
        Secret,
        Env("TOLEM_OWNER_DATABASE_URL", "URL of the role that owns the tables", parsers.postgres_url, secret=True),
    ]
    lock_timeout: Annotated[
        str,
        Env(
            "TOLEM_MIGRATION_LOCK_TIMEOUT",
            "how long a migration waits for a lock, in Postgres' spelling",
            parsers.word,
            "5s",
        ),
    ]


class Temporal(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Temporal"
    address: Annotated[
        str, Env("TOLEM_TEMPORAL_ADDRESS", "host:port of the frontend", parsers.address, "127.0.0.1:7233")
    ]
    namespace: Annotated[str, Env("TOLEM_TEMPORAL_NAMESPACE", "namespace", parsers.word, "default")]
    api_key: Annotated[
        Secret | None,
        Env("TOLEM_TEMPORAL_API_KEY", "API key (Temporal Cloud)", parsers.secret(), secret=True, optional=True),
    ]
    tls: Annotated[bool, Env("TOLEM_TEMPORAL_TLS", "connect with TLS", parsers.flag, "false")]
    client_certificate: Annotated[
        Secret | None,
        Env("TOLEM_TEMPORAL_CLIENT_CERT", "client certificate (PEM)", parsers.pem, secret=True, optional=True),
    ]
    client_key: Annotated[
        Secret | None,
        Env("TOLEM_TEMPORAL_CLIENT_KEY", "client private key (PEM)", parsers.pem, secret=True, optional=True),
    ]
    server_ca: Annotated[
        Secret | None,
        Env("TOLEM_TEMPORAL_SERVER_CA", "the server's CA (PEM)", parsers.pem, secret=True, optional=True),
    ]

    def problems(self) -> Sequence[Problem]:
        found = []
        if (self.client_certificate is None) != (self.client_key is None):
            missing = "TOLEM_TEMPORAL_CLIENT_KEY" if self.client_key is None else "TOLEM_TEMPORAL_CLIENT_CERT"
            found.append(Problem(missing, "certificate and key come together; set this one too"))
        if not self.tls and (self.api_key or self.client_certificate or self.server_ca):
            found.append(
                Problem("TOLEM_TEMPORAL_TLS", "an API key or certificate is set; set this to true to use it safely")
            )
        return found


class Keys(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Keys"
    seal: Annotated[
        KeyRing,
        Env(
            "TOLEM_SEAL_KEYS",
            "id:base64key,… of 32 bytes each for secrets in the database; the first seals, all open",
            parse_keyring,
            secret=True,
        ),
    ]
    payload: Annotated[
        KeyRing,
        Env(
            "TOLEM_PAYLOAD_KEYS",
            "id:base64key,… of 32 bytes each for Temporal payloads; the first encrypts, all decrypt",
            parse_keyring,
            secret=True,
        ),
    ]
    codec_token: Annotated[
        Secret,
        Env(
            "TOLEM_CODEC_TOKEN",
            "bearer token, 24 characters or more, that lets the Temporal UI decode payloads",
            parsers.secret(24),
            secret=True,
        ),
    ]


class Api(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "API"
    host: Annotated[str, Env("TOLEM_API_HOST", "address to listen on", parsers.text, "127.0.0.1")]
    port: Annotated[int, Env("TOLEM_API_PORT", "port to listen on", parsers.whole(0, 65535), "8000")]
    public_url: Annotated[str, Env("TOLEM_PUBLIC_URL", "the URL payers and merchants reach this at", parsers.origin)]
    temporal_ui_origin: Annotated[
        str | None,
        Env(
            "TOLEM_TEMPORAL_UI_ORIGIN",
            "origin of the Temporal UI, allowed to call the codec endpoint",
            parsers.bare_origin,
            optional=True,
        ),
    ]
    issue_window_seconds: Annotated[
        float,
        Env(
            "TOLEM_ISSUE_WINDOW_SECONDS",
            "after this a workflow that wakes up late no longer issues the invoice",
            parsers.seconds(1, 120),
            "8",
        ),
    ]
    answer_within_seconds: Annotated[
        float,
        Env(
            "TOLEM_ANSWER_WITHIN_SECONDS",
            "how long a create waits for the engine before it answers",
            parsers.seconds(1, 120),
            "10",
        ),
    ]
    events_readable_days: Annotated[
        int,
        Env("TOLEM_EVENTS_READABLE_DAYS", "how long events can be read again", parsers.whole(1, 3650), "90"),
    ]

    def problems(self) -> Sequence[Problem]:
        if self.issue_window_seconds < self.answer_within_seconds:
            return ()
        return [
            Problem(
                "TOLEM_ISSUE_WINDOW_SECONDS",
                "must be less than TOLEM_ANSWER_WITHIN_SECONDS, or the answer 503 (nothing was issued) could be untrue",
            )
        ]


class Invoices(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Invoices and the bank"
    phone_lifetime_seconds: Annotated[
        int,
        Env(
            "TOLEM_PHONE_INVOICE_LIFETIME_SECONDS",
            "how long an invoice to a phone stays open",
            parsers.whole(60, 30 * 86_400),
            "86400",
        ),
    ]
    late_watch_seconds: Annotated[
        int,
        Env(
            "TOLEM_LATE_WATCH_SECONDS",
            "how long a closed payment is still looked at for a late payment",
            parsers.whole(0, 30 * 86_400),
            "900",
        ),
    ]
    refund_window_seconds: Annotated[
        float,
        Env(
            "TOLEM_REFUND_WINDOW_SECONDS",
            "how long a refund whose answer was lost is looked for before it counts as not executed (then one more"
            " attempt is made): longer than the bank's sums can lag",
            parsers.seconds(1, 86_400),
            "300",
        ),
    ]
    phone_polling: Annotated[
        bool,
        Env("TOLEM_PHONE_POLLING", "look at open phone invoices by ourselves", parsers.flag, "true"),
    ]
    poll_tick_seconds: Annotated[
        float,
        Env(
            "TOLEM_POLL_TICK_SECONDS",
            "how often the poller looks for payments that are due",
            parsers.seconds(0.05, 60),
            "0.25",
        ),
    ]
    creates_per_connection: Annotated[
        int,
        Env(
            "TOLEM_CREATES_PER_CONNECTION",
            "creates that may wait for one merchant's bank at the same time, per worker; more are answered 503",
            parsers.whole(1, 1_000),
            "100",
        ),
    ]
    bank_calls_per_second: Annotated[
        int,
        Env(
            "TOLEM_BANK_CALLS_PER_SECOND",
            "status calls a second, per connection",
            parsers.whole(1, 10_000),
            "50",
        ),
    ]
    poll_connections: Annotated[
        int,
        Env(
            "TOLEM_POLL_CONNECTIONS",
            "status calls at the same time, per connection",
            parsers.whole(1, 1_000),
            "32",
        ),
    ]
    kaspi_read_timeout_seconds: Annotated[
        float,
        Env(
            "TOLEM_KASPI_READ_TIMEOUT_SECONDS",
            "how long an answer of the bank is waited for",
            parsers.seconds(1, 120),
            "25",
        ),
    ]


class Worker(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Worker"
    sandbox: Annotated[bool, Env("TOLEM_WORKER_SANDBOX", "run workflows in the strict sandbox", parsers.flag, "true")]
    max_cached_workflows: Annotated[
        int,
        Env(
            "TOLEM_WORKER_MAX_CACHED_WORKFLOWS",
            "workflows kept in memory",
            parsers.whole(0, 100_000),
            "2000",
        ),
    ]
    watched_connections: Annotated[
        int,
        Env(
            "TOLEM_WATCHED_CONNECTIONS",
            "bank connections that one worker polls at the same time; the workers together must have room for all",
            parsers.whole(1, 100_000),
            "500",
        ),
    ]
    shutdown_seconds: Annotated[
        float,
        Env(
            "TOLEM_WORKER_SHUTDOWN_SECONDS",
            "how long running activities may finish after SIGTERM; a webhook attempt takes up to 30",
            parsers.seconds(0, 600),
            "35",
        ),
    ]
    watchdog_seconds: Annotated[
        float,
        Env(
            "TOLEM_WATCHDOG_SECONDS",
            "how often the watchdog looks for invoices, refunds, pollers and webhooks that have lost their workflow",
            parsers.seconds(1, 3600),
            "60",
        ),
    ]
    watchdog_grace_seconds: Annotated[
        float,
        Env(
            "TOLEM_WATCHDOG_GRACE_SECONDS",
            "what changed more recently is left alone by the watchdog",
            parsers.seconds(1, 3600),
            "60",
        ),
    ]
    queues: Annotated[
        tuple[str, ...],
        Env(
            "TOLEM_WORKER_QUEUES",
            "the queues that this worker serves; the workers together must serve them all",
            parsers.some_of(*QUEUE_WORDS),
            ",".join(QUEUE_WORDS),
        ),
    ]
    task_queue_prefix: Annotated[
        str, Env("TOLEM_TASK_QUEUE_PREFIX", "first part of the task queues' names", parsers.word, "tolem")
    ]


class Log(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Logs"
    level: Annotated[
        str,
        Env(
            "TOLEM_LOG_LEVEL",
            "debug, info, warning or error",
            parsers.choice("debug", "info", "warning", "error"),
            "info",
        ),
    ]
    format: Annotated[
        str,
        Env("TOLEM_LOG_FORMAT", "console or json", parsers.choice("console", "json"), "console"),
    ]


class Dev(Section, frozen=True, kw_only=True):
    title: ClassVar[str] = "Development"
    port_base: Annotated[
        int,
        Env(
            "TOLEM_DEV_PORT_BASE",
            "first of the ports that make up uses",
            parsers.whole(1024, 65_000),
            "8000",
        ),
    ]


SECTIONS: tuple[type[Section], ...] = (
    Database,
    OperatorDatabase,
    OwnerDatabase,
    Temporal,
    Keys,
    Api,
    RateLimits,
    Invoices,
    Reconciliation,
    Webhooks,
    Worker,
    Log,
    Client,
    Dev,
)

_loader = Loader(SECTIONS)


def load(*sections: type[Section], environ: Mapping[str, str] | None = None) -> Settings:
    """The named sections from `environ`, by default the process's own.

    ``settings = load(Database, Temporal)`` then ``settings[Database].pool``. `SettingsError` lists every
    problem at once, unknown ``TOLEM_*`` variables of no section included.
    """
    return _loader.load(os.environ if environ is None else environ, *sections)


def describe() -> list[Row]:
    """A row for each setting, for the documentation and the CLI."""
    return _loader.describe()
