"""A merchant's webhook endpoint: what arrives is verified before a test may look at it."""

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from standardwebhooks.webhooks import Webhook

from tests.support.receiver import Received, WebhookReceiver
from tests.support.waiting import PATIENCE
from webhooks.signing import verify

TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Told:
    """One verified request."""

    request: Received
    body: dict[str, Any]

    @property
    def id(self) -> str:
        return self.request.headers["webhook-id"]

    @property
    def object(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["data"]["object"]
        return found


class Inbox:
    """`receiver` registered as an endpoint with `secret`."""

    def __init__(self, receiver: WebhookReceiver, endpoint: dict[str, Any]) -> None:
        self.receiver = receiver
        self.endpoint_id: str = endpoint["id"]
        self._secret: str = endpoint["secret"]
        self._told: dict[int, Told] = {}

    @classmethod
    async def register(cls, api: httpx.AsyncClient, receiver: WebhookReceiver, **fields: object) -> "Inbox":
        answer = await api.post("/api/v1/webhooks", json={"url": receiver.url, "events": ["*"], **fields})
        assert answer.status_code == 201, answer.text
        return cls(receiver, answer.json())

    def all(self) -> list[Told]:
        """Every request so far; each must carry both signatures, right."""
        return [self._verified(one) for one in list(self.receiver.requests)]

    def about(self, object_id: str) -> list[Told]:
        """Everything told about one invoice."""
        mine = [one for one in self.receiver.requests if _object_id(one) == object_id]
        return [self._verified(one) for one in mine]

    async def wait(self, object_id: str, *, state: str | None = None, count: int = 1) -> list[Told]:
        """What was told about the invoice (in this state), once it is `count` requests."""

        def matches(one: Received) -> bool:
            about = json.loads(one.body)["data"]["object"]
            return about.get("id") == object_id and state in {None, about.get("state")}

        found = await self.receiver.wait_for(matches, count=count, seconds=PATIENCE)
        return [self._verified(one) for one in found]

    def _verified(self, one: Received) -> Told:
        """Verified when it is first looked at: the library takes no message that is older than five minutes."""
        if id(one) not in self._told:
            self._told[id(one)] = self._verify(one)
        return self._told[id(one)]

    def _verify(self, one: Received) -> Told:
        verify(self._secret, one.headers, one.body, one.at, TOLERANCE)
        # The library every receiver of Standard Webhooks would use, and the older header by hand.
        Webhook(self._secret).verify(one.body, dict(one.headers))
        expected = hmac.new(self._secret.encode(), one.body, hashlib.sha256).hexdigest()
        assert one.headers["x-webhook-signature"] == f"sha256={expected}"
        body = json.loads(one.body)
        assert body["id"] == one.headers["webhook-id"]
        assert body["endpoint_id"] == self.endpoint_id
        return Told(one, body)


def _object_id(one: Received) -> str | None:
    found: str | None = json.loads(one.body)["data"]["object"].get("id")
    return found
