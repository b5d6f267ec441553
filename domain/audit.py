"""The audit log's nouns: who did what to which object."""

from datetime import datetime
from enum import StrEnum

import msgspec


class ActorKind(StrEnum):
    """`KEY` is a merchant's API key, `OPERATOR` a person at the CLI or the Temporal UI, `WORKFLOW` a story of ours."""

    KEY = "key"
    OPERATOR = "operator"
    WORKFLOW = "workflow"


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acted: `id` is the key's id, the operator's name or the workflow's id."""

    kind: ActorKind
    id: str


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One act, before the books give it its place in the chain. Words only: no personal data, no secrets."""

    merchant_id: str
    actor: Actor
    action: str
    object_type: str
    object_id: str
    is_sandbox: bool
    before: str | None = None
    after: str | None = None
    request_id: str | None = None
    note: str | None = None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One link of a merchant's chain; `hash` covers every other field and the hash before it."""

    id: str
    merchant_id: str
    position: int
    actor_kind: ActorKind
    actor_id: str
    action: str
    object_type: str
    object_id: str
    is_sandbox: bool
    created_at: datetime
    previous_hash: bytes
    hash: bytes
    before: str | None = None
    after: str | None = None
    request_id: str | None = None
    note: str | None = None


def standing(state: str, attention: str | None) -> str:
    """How `before` and `after` show a state: the word alone, or `paid/paid_after_close` where somebody has to look."""
    return state if attention is None else f"{state}/{attention}"
