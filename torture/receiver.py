"""The merchant's clumsy webhook receiver, and whether what it heard is truly signed."""

from collections.abc import Iterable
from datetime import timedelta

import msgspec

from dev.receiver import Answer, Received, WebhookReceiver
from torture.evidence import Heard
from torture.plan_faults import Hiccup
from webhooks.errors import SignatureMismatch
from webhooks.signing import verify

_TOLERANCE = timedelta(minutes=5)


class _Body(msgspec.Struct):
    id: str


def trouble(receiver: WebhookReceiver, hiccups: Iterable[Hiccup]) -> None:
    """The first requests get these answers, in order of arrival."""
    receiver.answer_next(*(Answer(status=one.status or 200, delay=one.delay, drop=one.status == 0) for one in hiccups))


def heard(receiver: WebhookReceiver, secret: str) -> list[Heard]:
    """Everything that arrived, answered well or not."""
    return [_heard(one, secret) for one in receiver.requests]


def _heard(request: Received, secret: str) -> Heard:
    event_id = request.headers.get("webhook-id", "")
    wrong = None
    try:
        verify(secret, request.headers, request.body, request.at, _TOLERANCE)
    except SignatureMismatch as mismatch:
        wrong = str(mismatch)
    if msgspec.json.decode(request.body, type=_Body).id != event_id:
        wrong = "the body names another event than the header"
    return Heard(event_id=event_id, body=request.body, wrong=wrong)
