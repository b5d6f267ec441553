"""The JSON shape of the audit log."""

from datetime import UTC
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.audit import ActorKind, AuditRow


class ActorJson(msgspec.Struct, frozen=True, kw_only=True):
    """Who acted: an API key, an operator, or a workflow of ours."""

    type: ActorKind
    id: Annotated[
        str, Meta(examples=["key_7h5ucq2m7v3o5y3c6d2xk4wz7a"], description="A key's or workflow's id, or a name.")
    ]


class AuditLogJson(msgspec.Struct, frozen=True, kw_only=True):
    """One act. `hash` covers `previous_hash` and every other field: no row can be changed or taken away unseen."""

    id: Annotated[str, Meta(examples=["aud_2m7v3o5y3c6d2xk4wz7h5uc5jq"])]
    position: Annotated[int, Meta(description="Its place in the merchant's chain, from 1, without gaps.")]
    merchant_id: str
    created_at: Annotated[
        str,
        Meta(examples=["2026-11-22T06:17:33.120456Z"], description="ISO 8601, UTC, to the microsecond it is hashed."),
    ]
    actor: ActorJson
    action: Annotated[str, Meta(examples=["invoice.paid"])]
    object_type: Annotated[str, Meta(examples=["invoice"])]
    object_id: Annotated[str, Meta(examples=["inv_q3mjn2v7o5y3c6d2xk4wz7h5ua"])]
    before: Annotated[str | None, Meta(description="The state before; `state/attention` where somebody had to look.")]
    after: str | None
    note: str | None
    request_id: str | None
    is_sandbox: bool
    previous_hash: str
    hash: str


def audit_log(row: AuditRow) -> AuditLogJson:
    """The JSON of a row."""
    return AuditLogJson(
        id=row.id,
        position=row.position,
        merchant_id=row.merchant_id,
        created_at=row.created_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        actor=ActorJson(type=row.actor_kind, id=row.actor_id),
        action=row.action,
        object_type=row.object_type,
        object_id=row.object_id,
        before=row.before,
        after=row.after,
        note=row.note,
        request_id=row.request_id,
        is_sandbox=row.is_sandbox,
        previous_hash=row.previous_hash.hex(),
        hash=row.hash.hex(),
    )
