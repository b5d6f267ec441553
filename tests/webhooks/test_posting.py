"""How the worker signs and sends what is due: opened at the last moment, fresh at each attempt."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.event import DeliveryState, DueDelivery, EventType
from operations import sealed
from runtime.secrets import KeyRing, SealBox
from tests.webhooks.receivers import NameServer, Receiver, answers, status
from tests.webhooks.test_sender_refusals import address_in_label, label_for
from webhooks.errors import FailureCode, SignatureMismatch
from webhooks.guard import EgressRules
from webhooks.sender import Sender
from webhooks.signing import new_secret, new_signing_key, verify

ENDPOINT = "whe_1"
BODY = '{"сумма":"10000.00","чек":"🧾"}'.encode()
START = datetime(2026, 11, 22, 7, 30, 15, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def box() -> SealBox:
    return SealBox(KeyRing("k1", {"k1": bytes(range(32))}))


@pytest.fixture
def due(box: SealBox) -> Callable[..., DueDelivery]:
    def make(url: str, *secrets: str, signing_key: str | None = None, **fields: Any) -> DueDelivery:
        sealed = [box.seal(one.encode(), f"endpoint:{ENDPOINT}") for one in secrets]
        key = None if signing_key is None else box.seal(signing_key.encode(), f"endpoint:{ENDPOINT}")
        values: dict[str, Any] = {
            "id": "whd_1", "event_id": "evt_1", "event_type": EventType.INVOICE_STATUS_CHANGED,
            "endpoint_id": ENDPOINT, "url": url, "is_sandbox": False, "secrets_sealed": sealed,
            "signing_key_sealed": key, "body": BODY, "state": DeliveryState.PENDING, "attempts": 0, "failures": 0,
            "endpoint_enabled": True, "endpoint_deleted": False, "replay": None,
        }  # fmt: skip
        return DueDelivery(**(values | fields))

    return make


async def test_each_attempt_has_a_fresh_time_and_signature_and_the_same_id_and_bytes(
    box: SealBox, due: Callable[..., DueDelivery]
) -> None:
    moments = iter([START, START + 26 * 3600 * SECOND])
    secret = new_secret()
    async with (
        Receiver(answers(status(500))) as receiver,
        Sender(EgressRules(allowed_hosts=frozenset({receiver.place}))) as sender,
    ):
        post = sealed.poster(sender, box, now=lambda: next(moments))
        order = due(receiver.url, secret)
        first, second = [(await post(order)).request_headers for _ in range(2)]
    assert [body for _, body in receiver.requests] == [BODY, BODY]
    assert first["webhook-id"] == second["webhook-id"] == "evt_1"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 26 * 3600
    assert first["webhook-signature"] != second["webhook-signature"]
    verify(secret, first, BODY, START, SECOND)
    verify(secret, second, BODY, START + 26 * 3600 * SECOND, SECOND)
    with pytest.raises(SignatureMismatch):
        verify(secret, second, BODY, START, timedelta(minutes=5))


async def test_every_secret_in_force_and_the_signing_key_sign(box: SealBox, due: Callable[..., DueDelivery]) -> None:
    newest, oldest, (private, public) = new_secret(), new_secret(), new_signing_key()
    async with (
        Receiver(answers(status(200))) as receiver,
        Sender(EgressRules(allowed_hosts=frozenset({receiver.place}))) as sender,
    ):
        post = sealed.poster(sender, box, now=lambda: START)
        attempt = await post(due(receiver.url, newest, oldest, signing_key=private))
        alone = await post(due(receiver.url, newest))
    for key in (newest, oldest, public):
        verify(key, attempt.request_headers, BODY, START, SECOND)
    assert [one.split(",")[0] for one in attempt.request_headers["webhook-signature"].split(" ")] == ["v1", "v1", "v1a"]
    assert "v1a" not in alone.request_headers["webhook-signature"]


async def test_a_secret_sealed_for_another_endpoint_signs_nothing(
    box: SealBox, due: Callable[..., DueDelivery]
) -> None:
    async with Receiver(answers(status(200))) as receiver, Sender(EgressRules()) as sender:
        attempt = await sealed.poster(sender, box)(due(receiver.url, new_secret(), endpoint_id="whe_2"))
    # On the schedule and in the log, like any failure: nobody would find one that is only repeated.
    assert (attempt.delivered, attempt.error, attempt.request_headers) == (False, "signing_failed", {})
    assert receiver.connections == 0


async def test_only_a_sandbox_endpoint_gets_plain_http(box: SealBox, due: Callable[..., DueDelivery]) -> None:
    url = f"http://{label_for('127.0.0.1')}.shop.kz/"
    async with NameServer(address_in_label) as names, Sender(EgressRules(), resolver=names.resolver) as sender:
        post = sealed.poster(sender, box)
        live = await post(due(url, new_secret()))
        assert names.lookups == 0  # refused by its scheme
        sandbox = await post(due(url, new_secret(), is_sandbox=True))
        assert names.lookups == 1  # refused by its address
    assert (live.error, sandbox.error) == (FailureCode.URL_REFUSED, FailureCode.URL_REFUSED)
