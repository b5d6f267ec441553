"""Webhook endpoints through the API: registered, changed, rotated, disabled, deleted; and the ApiPay dialect."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.receiver import Received, WebhookReceiver
from tests.support.shop import Shop, close_shop, open_shop
from tests.support.stack import Stack
from webhooks.errors import SignatureMismatch
from webhooks.signing import verify

pytestmark = pytest.mark.stack

TOLERANCE = timedelta(minutes=5)
PATH = "/api/v1/webhooks"
# Of the operations on one endpoint, with a body where one is needed.
OPERATIONS: list[tuple[str, str, dict[str, object] | None]] = [
    ("GET", "", None),
    ("PATCH", "", {"description": "mine now"}),
    ("POST", "/enable", None),
    ("POST", "/disable", None),
    ("POST", "/rotate-secret", None),
    ("POST", "/test", None),
    ("DELETE", "", None),
]


@pytest.fixture
async def keeper(stack: Stack) -> AsyncIterator[Shop]:
    """A merchant without endpoints and without a bank."""
    shop = await open_shop(stack, "Keeper of hooks", scheme=None)
    yield shop
    await close_shop(shop)


async def registered(shop: Shop, receiver: WebhookReceiver, **fields: object) -> dict[str, Any]:
    answer = await shop.test.post(PATH, json={"url": receiver.url, "events": ["invoice.*"], **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def rotated(shop: Shop, endpoint_id: str, **body: object) -> dict[str, Any]:
    answer = await shop.test.post(f"{PATH}/{endpoint_id}/rotate-secret", json=body or None)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def paid(shop: Shop) -> str:
    invoice_id: str = (await shop.sandbox_bill(external_order_id="order_1"))["id"]
    assert (await shop.simulate(invoice_id, "paid")).status_code == 200
    return invoice_id


async def deliveries(shop: Shop, invoice_id: str) -> list[str]:
    """Of the events about the invoice; they were booked with them, so there is nothing to wait for."""
    found = (await shop.inspect(invoice_id)).told
    assert found  # there are events, whether or not anybody is told
    return [one.delivery_id for one in found if one.delivery_id is not None]


async def told(receiver: WebhookReceiver, count: int) -> Received:
    """The last of so many requests."""
    found = await receiver.wait_for(count=count)
    assert len(found) == count
    return found[-1]


def checks(key: str, one: Received) -> bool:
    """Whether a receiver with this secret (or public key) takes the request."""
    try:
        verify(key, one.headers, one.body, one.at, TOLERANCE)
    except SignatureMismatch:
        return False
    return True


def hex_of(secret: str, one: Received) -> str:
    """As ApiPay's documentation says it."""
    return "sha256=" + hmac.new(secret.encode(), one.body, hashlib.sha256).hexdigest()


async def test_the_life_of_an_endpoint(keeper: Shop) -> None:
    async with WebhookReceiver() as first, WebhookReceiver() as second:
        made = await registered(keeper, first, description=" Orders ", asymmetric=True)
        path = f"{PATH}/{made['id']}"
        assert (made["description"], made["dialect"], made["enabled"]) == ("Orders", "v1", True)
        assert made["public_key"].startswith("whpk_")
        shown = (await keeper.test.get(path)).json()
        assert "secret" not in shown
        assert [one["expires_at"] for one in shown["secrets"]] == [None]
        assert {name: shown[name] for name in made if name != "secret"} == {
            name: made[name] for name in made if name != "secret"
        }

        await paid(keeper)
        one = await told(first, 1)
        assert checks(made["secret"], one)
        assert checks(made["public_key"], one)

        # Both secrets are good for a day, and a receiver of either takes the request.
        once = await rotated(keeper, made["id"])
        assert once["secret"] != made["secret"]
        assert [one["expires_at"] is None for one in once["secrets"]] == [True, False]
        await paid(keeper)
        one = await told(first, 2)
        assert checks(made["secret"], one)
        assert checks(once["secret"], one)
        assert checks(made["public_key"], one)

        twice = await rotated(keeper, made["id"], overlap_hours=0)
        assert len(twice["secrets"]) == 1
        await paid(keeper)
        one = await told(first, 3)
        assert [checks(secret, one) for secret in (made["secret"], once["secret"], twice["secret"])] == [
            False,
            False,
            True,
        ]
        assert one.headers["x-webhook-signature"] == hex_of(twice["secret"], one)

        for _ in range(2):
            off = await keeper.test.post(f"{path}/disable")
            assert (off.status_code, off.json()["enabled"], off.json()["disabled_reason"]) == (200, False, "merchant")
        assert_error(await keeper.test.post(f"{path}/test"), Code.WEBHOOK_ENDPOINT_DISABLED)
        assert await deliveries(keeper, await paid(keeper)) == []
        for _ in range(2):
            on = await keeper.test.post(f"{path}/enable")
            assert (on.status_code, on.json()["enabled"], on.json()["disabled_reason"]) == (200, True, None)

        moved = await keeper.test.patch(path, json={"url": second.url, "description": None})
        assert (moved.status_code, moved.json()["url"], moved.json()["description"]) == (200, second.url, "")
        assert moved.json()["events"] == ["invoice.*"]
        invoice_id = await paid(keeper)
        one = await told(second, 1)
        assert checks(twice["secret"], one)
        assert json.loads(one.body)["data"]["object"]["id"] == invoice_id
        assert len(first.requests) == 3

        gone = await keeper.test.delete(path)
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await keeper.test.get(PATH)).json() == {"items": []}
        for method, tail, body in OPERATIONS:
            assert_error(await keeper.test.request(method, path + tail, json=body), Code.NOT_FOUND)
        assert await deliveries(keeper, await paid(keeper)) == []

    rows = (await keeper.live.get("/api/v1/audit-logs", params={"object_id": made["id"]})).json()["items"]
    assert [row["action"].removeprefix("webhook_endpoint.") for row in reversed(rows)] == [
        *("created", "secret_rotated", "secret_rotated", "disabled", "enabled", "updated", "deleted")
    ]
    log = json.dumps(rows)
    assert "whsec_" not in log
    assert "127.0.0.1" not in log


async def test_an_integration_of_apipay_gets_its_own_words(keeper: Shop) -> None:
    async with WebhookReceiver() as receiver:
        made = await registered(keeper, receiver, dialect="apipay", events=["*"])
        assert made["dialect"] == "apipay"
        invoice_id = (await keeper.sandbox_bill(external_order_id="order_7", description="Заказ"))["id"]
        assert (await keeper.simulate(invoice_id, "paid")).status_code == 200
        one = await told(receiver, 1)
        assert one.headers["x-webhook-signature"] == hex_of(made["secret"], one)
        assert checks(made["secret"], one)
        body, invoice = json.loads(one.body), await _read(keeper, invoice_id)
        assert (body["event"], body["source"]) == ("invoice.status_changed", "api")
        assert body["invoice"] == {
            "id": invoice["number"],
            "external_order_id": "order_7",
            "amount": "1500.00",
            "status": "paid",
            "description": "Заказ",
            "kaspi_invoice_id": invoice["kaspi_invoice_id"],
            "client_name": None,
            "client_phone": "8" + invoice["phone_number"][1:],
            "paid_at": invoice["paid_at"][:19] + "Z",
        }


async def _read(shop: Shop, invoice_id: str) -> dict[str, Any]:
    answer = await shop.test.get(f"/api/v1/invoices/{invoice_id}")
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (
            {"url": 1, "events": ["x"], "description": "x" * 201, "dialect": "v2", "asymmetric": "yes"},
            ["asymmetric", "description", "dialect", "events", "url"],
        ),
        ({"events": ["invoice.*"], "url": "https://10.0.0.1/"}, ["url"]),
        ({"events": [], "url": "https://example.kz"}, ["events"]),
        # What only we can say of a URL is said together with what is wrong by itself.
        ({"events": ["x"], "url": "https://10.0.0.1/"}, ["events", "url"]),
        ({"url": "https://10.0.0.1/"}, ["events", "url"]),
        ({"events": ["*"], "url": "http://example.kz/", "is_sandbox": "yes"}, ["is_sandbox"]),
        ({"events": ["*"], "url": "http://10.0.0.1/", "is_sandbox": "yes"}, ["is_sandbox", "url"]),
        (None, ["events", "url"]),
    ],
)
async def test_a_wrong_registration_names_every_wrong_field(
    keeper: Shop, body: dict[str, object] | None, wrong: list[str]
) -> None:
    refused = assert_error(await keeper.test.post(PATH, json=body), Code.INVALID_REQUEST)
    assert sorted(one["field"] for one in refused["errors"]) == wrong
    assert (await keeper.test.get(PATH)).json() == {"items": []}


async def test_a_wrong_change_names_every_wrong_field_and_changes_nothing(keeper: Shop) -> None:
    async with WebhookReceiver() as receiver:
        made = await registered(keeper, receiver)
        path = f"{PATH}/{made['id']}"
        before = (await keeper.test.get(path)).json()

        async def refused(method: str, tail: str, body: object) -> list[str]:
            answer = assert_error(await keeper.test.request(method, path + tail, json=body), Code.INVALID_REQUEST)
            return sorted(one["field"] for one in answer["errors"])

        assert await refused(
            "PATCH",
            "",
            {"url": None, "events": None, "dialect": None, "description": 5, "is_sandbox": False, "nonsense": 1},
        ) == ["description", "dialect", "events", "is_sandbox", "nonsense", "url"]
        assert await refused("PATCH", "", {"url": "http://169.254.169.254/", "events": ["*"]}) == ["url"]
        assert await refused("PATCH", "", {"url": "http://169.254.169.254/", "events": ["x"], "urls": 1}) == [
            *("events", "url", "urls")
        ]
        assert await refused("PATCH", "", {"description": "a\u0000b"}) == ["description"]
        assert await refused("PATCH", "", []) == [""]
        for hours in (-1, 721, 1.5, "24", True):
            assert await refused("POST", "/rotate-secret", {"overlap_hours": hours}) == ["overlap_hours"]
        assert await refused("POST", "/rotate-secret", {"overlap": 0}) == ["overlap"]
        assert (await keeper.test.get(path)).json() == before
        # An unknown event is refused with the list of those there are.
        answer = await keeper.test.patch(path, json={"events": ["invoice.paid"]})
        assert "invoice.status_changed" in assert_error(answer, Code.INVALID_REQUEST)["errors"][0]["message"]
        same = await keeper.test.patch(path, json={})
        assert (same.status_code, same.json()) == (200, before)
        missing = await keeper.test.patch(path, content=b"", headers={"Content-Type": "application/json"})
        assert_error(missing, Code.INVALID_REQUEST)


async def test_ten_secrets_are_the_most_and_the_refusal_says_what_to_do(keeper: Shop) -> None:
    async with WebhookReceiver() as receiver:
        made = await registered(keeper, receiver)
        rotations = [await rotated(keeper, made["id"], overlap_hours=720) for _ in range(9)]
        secrets = [one["secret"] for one in [made, *rotations]]
        answer = await keeper.test.post(f"{PATH}/{made['id']}/rotate-secret")
        refused = assert_error(answer, Code.LIMIT_REACHED)
        first_to_end = (await keeper.test.get(f"{PATH}/{made['id']}")).json()["secrets"][-1]
        assert refused["details"] == {"limit": "10", "room_at": first_to_end["expires_at"]}
        assert refused["errors"] == []
        assert "10 secrets are in force" in refused["message"]
        assert len(set(secrets)) == 10
        await paid(keeper)
        one = await told(receiver, 1)
        assert all(checks(secret, one) for secret in secrets)
        assert len((await rotated(keeper, made["id"], overlap_hours=0))["secrets"]) == 1


async def test_fifty_endpoints_are_the_most_and_a_deleted_one_makes_room(keeper: Shop) -> None:
    body = {"url": "https://example.kz/hooks", "events": ["*"]}
    made = [await keeper.test.post(PATH, json=body) for _ in range(50)]
    assert {one.status_code for one in made} == {201}
    refused = assert_error(await keeper.test.post(PATH, json=body), Code.LIMIT_REACHED)
    assert (refused["details"], refused["errors"]) == ({"limit": "50"}, [])
    assert len((await keeper.test.get(PATH)).json()["items"]) == 50
    assert (await keeper.test.delete(f"{PATH}/{made[0].json()['id']}")).status_code == 204
    assert (await keeper.test.post(PATH, json=body)).status_code == 201


async def test_nobody_elses_endpoint_can_be_seen_or_touched(keeper: Shop, shop: Shop) -> None:
    async with WebhookReceiver() as receiver:
        answer = await keeper.live.post(PATH, json={"url": receiver.url, "events": ["*"]})
        live = answer.json()
        assert (answer.status_code, live["is_sandbox"]) == (201, False)
        before = (await keeper.live.get(f"{PATH}/{live['id']}")).json()
        for method, tail, body in OPERATIONS:
            for stranger in (shop.live, keeper.test):  # another merchant, and a test key for a live endpoint
                answer = await stranger.request(method, f"{PATH}/{live['id']}{tail}", json=body)
                assert_error(answer, Code.NOT_FOUND)
            for nonsense in ("whe_nobody", "%00", "whe_%00", "x" * 1000, "..%2f", "%D0%B9", "'; drop table events; --"):
                assert_error(await keeper.live.request(method, f"{PATH}/{nonsense}{tail}", json=body), Code.NOT_FOUND)
        assert (await keeper.live.get(f"{PATH}/{live['id']}")).json() == before
