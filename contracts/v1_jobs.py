"""The JSON of the queue of jobs."""

from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.times import show, show_optional
from contracts.v1_json import Moment
from domain.job import Job, JobKind, JobState


class JobEngineJson(msgspec.Struct, frozen=True, kw_only=True):
    """What Temporal says of the workflow now. The last three are of a step that is being tried: how often, the kind of
    its last failure, and when it is tried next (null: now).
    """

    running: Annotated[
        bool, Meta(description="False also while the story of an event makes the first attempt of its deliveries.")
    ]
    attempt: int | None
    last_failure: Annotated[str | None, Meta(examples=["NotDelivered"])]
    next_attempt_at: Moment | None


class JobJson(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not at its end, or that ended dead.

    `id` names the delivery, refund, invoice, reconciliation, redelivery or subscription itself. `attempts` is null
    where nobody counts them, `next_attempt_at` where no moment is known. `engine` is null where Temporal gave no
    answer.
    """

    kind: JobKind
    id: Annotated[str, Meta(examples=["whd_4jq2m7v5o5y3c6d2xk4wz7h5uf"])]
    state: JobState
    object_id: Annotated[
        str,
        Meta(
            description="What it is about: the event's object, the refund's invoice, the invoice, the bank connection, "
            "the endpoint or the subscription.",
            examples=["inv_q3mjn2v7o5y3c6d2xk4wz7h5ua"],
        ),
    ]
    is_sandbox: bool
    attempts: int | None
    last_error: Annotated[str | None, Meta(examples=["http_status"])]
    next_attempt_at: Moment | None
    created_at: Moment
    updated_at: Moment
    workflow_id: Annotated[str, Meta(examples=["delivery-whd_4jq2m7v5o5y3c6d2xk4wz7h5uf"])]
    engine: JobEngineJson | None


def job(one: Job, engine: JobEngineJson | None) -> JobJson:
    """The JSON of a job."""
    return JobJson(
        kind=one.kind,
        id=one.id,
        state=one.state,
        object_id=one.object_id,
        is_sandbox=one.is_sandbox,
        attempts=one.attempts,
        last_error=one.last_error,
        next_attempt_at=show_optional(one.next_attempt_at),
        created_at=show(one.created_at),
        updated_at=show(one.updated_at),
        workflow_id=one.workflow_id,
        engine=engine,
    )
