"""What requests about webhook endpoints may hold."""

from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, UnsetType

from api.bodies import RequestBody, Rule
from domain.event import PATTERNS, Dialect, known_pattern

EVENT_NAMES = sorted(PATTERNS)
MAX_OVERLAP_HOURS = 720

UrlIn = Annotated[
    str,
    Meta(
        max_length=2000,
        examples=["https://example.kz/webhooks/kaspi"],
        description="https and a public address; http too for a sandbox endpoint.",
    ),
]
EventsIn = Annotated[
    list[str],
    Meta(
        min_length=1,
        max_length=50,
        description="Event names, groups such as `invoice.*`, or `*` for all.",
        examples=[["invoice.status_changed", "invoice.refunded"]],
        extra_json_schema={"items": {"type": "string", "enum": EVENT_NAMES}},
    ),
]
NoteIn = Annotated[str, Meta(max_length=200, description="For people.", examples=["Orders of the web shop"])]


def _known_events(value: list[str]) -> list[str]:
    unknown = [name for name in value if not known_pattern(name)]
    if unknown:
        raise ValueError(f"unknown event; the events are {', '.join(EVENT_NAMES)}")
    return value


class WebhookCreate(RequestBody):
    """Where to send which events."""

    RULES: ClassVar[dict[str, Rule]] = {"events": _known_events}

    url: UrlIn
    events: EventsIn
    is_sandbox: (
        Annotated[bool, Meta(description="Get events of sandbox objects (true) or of live ones (false).")] | None
    ) = None
    description: NoteIn | None = None
    dialect: Dialect = Dialect.V1
    asymmetric: Annotated[
        bool,
        Meta(description="Also sign with ed25519 (`v1a`); `public_key` in the answer is what checks it."),
    ] = False


class WebhookUpdate(RequestBody, forbid_unknown_fields=True):
    """What is to be other than it was. A field that is left out stays as it is."""

    RULES: ClassVar[dict[str, Rule]] = {"events": _known_events}

    url: UrlIn | UnsetType = UNSET
    events: EventsIn | UnsetType = UNSET
    description: NoteIn | UnsetType | None = UNSET
    dialect: Dialect | UnsetType = UNSET


class SecretRotate(RequestBody, forbid_unknown_fields=True):
    """How the secrets before the new one end."""

    overlap_hours: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=MAX_OVERLAP_HOURS,
                description="How long the secret before this still signs; 0 ends all older ones at once. By default 24 "
                "(the operator may have set another).",
                examples=[48],
            ),
        ]
        | None
    ) = None
