"""What `tolem listen` does with an event: the request that production would make, to a server on this machine."""

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from domain.event import EventType, known_pattern, wanted
from operations.following import Event
from webhooks.attempt import Attempt
from webhooks.guard import EgressRules, check_url
from webhooks.sender import Sender
from webhooks.signing import sign

# Stands in the body where an endpoint's id does in production.
ENDPOINT_ID = "whe_listen"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants to know of an event at a glance."""

    object_id: str
    state: str


def rules_for(url: str) -> EgressRules:
    """Production's rules with the one exception that this URL's host may be private and plain http.

    Raises `UrlRefused` for a URL that could not be a webhook's anywhere, ValueError for one without a host.
    """
    host = urlsplit(url).netloc
    if not host:
        raise ValueError("write a whole URL, such as http://localhost:3000/webhooks")
    rules = EgressRules(allowed_hosts=frozenset({host}))
    check_url(url, rules)
    return rules


def types_of(patterns: Sequence[str]) -> list[str] | None:
    """The event types that an endpoint with these patterns would get; None for all. KeyError names an unknown one."""
    for name in patterns:
        if not known_pattern(name):
            raise KeyError(name)
    if not patterns:
        return None
    return [event for event in EventType if wanted(event, list(patterns))]


def webhook_body(event: Event) -> bytes:
    """The bytes of the webhook: the event, and the endpoint it is for, as the contract writes them."""
    # Not through the contract's own structs: a newer API may have events that this program doesn't know.
    return msgspec.json.encode({**msgspec.json.decode(event.data, type=dict), "endpoint_id": ENDPOINT_ID})


def told(event: Event) -> Told:
    """What it is about."""
    data = msgspec.json.decode(event.data, type=dict).get("data", {})
    thing = data.get("object") or {}
    id_ = thing.get("id") or thing.get("endpoint_id") or ""
    return Told(object_id=str(id_), state=str(thing.get("state") or thing.get("status") or ""))


async def forward(sender: Sender, url: str, secret: str, event: Event) -> Attempt:
    """One attempt, signed now; whatever the server does is in the answer. ValueError for a malformed secret."""
    body = webhook_body(event)
    return await sender.send(url, sign([secret], event.id, datetime.now(UTC), body), body)
