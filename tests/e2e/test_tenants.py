"""Whose key sees what."""

from collections.abc import AsyncIterator

import httpx
import pytest

from domain.bank import Scheme
from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.inbox import Inbox
from tests.support.receiver import WebhookReceiver
from tests.support.shop import Shop, close_shop, fresh_key, fresh_phone, open_shop
from tests.support.stack import Stack

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def stranger(stack_of_run: Stack) -> AsyncIterator[Shop]:
    """Another merchant, without a bank."""
    await stack_of_run.heal()
    shop = await open_shop(stack_of_run, "Stranger", scheme=None)
    yield shop
    await close_shop(shop)


async def test_another_merchants_objects_do_not_exist(shop: Shop, stranger: Shop, inbox: Inbox) -> None:
    live, sandbox = await shop.bill(), await shop.sandbox_bill()
    for invoice in (live, sandbox):
        path = f"/api/v1/invoices/{invoice['id']}"
        assert_error(await stranger.live.get(path), Code.NOT_FOUND)
        assert_error(await stranger.live.post(f"{path}/cancel"), Code.NOT_FOUND)
    assert_error(await stranger.simulate(sandbox["id"], "paid"), Code.NOT_FOUND)
    assert_error(await stranger.live.post(f"/api/v1/webhooks/{inbox.endpoint_id}/test"), Code.NOT_FOUND)
    checked = await stranger.check(live["id"], sandbox["id"])
    assert checked == {"items": [], "not_found": [live["id"], sandbox["id"]]}
    assert await stranger.listed() == []
    assert await stranger.listed(search=live["id"]) == []
    assert (await stranger.live.get("/api/v1/webhooks")).json() == {"items": []}
    assert (await shop.read(live["id"]))["state"] == "pending"
    assert (await shop.read(sandbox["id"]))["state"] == "pending"


async def test_a_test_key_sees_and_makes_sandbox_objects_only(shop: Shop, inbox: Inbox, sandbox_inbox: Inbox) -> None:
    live, sandbox = await shop.bill(), await shop.sandbox_bill()
    path = f"/api/v1/invoices/{live['id']}"
    assert_error(await shop.test.get(path), Code.NOT_FOUND)
    assert_error(await shop.test.post(f"{path}/cancel"), Code.NOT_FOUND)
    seen = (await shop.test.get("/api/v1/invoices", params={"page_size": 100, "is_sandbox": "false"})).json()["items"]
    assert sandbox["id"] in {one["id"] for one in seen}
    assert all(one["is_sandbox"] for one in seen)
    checked = await shop.test.post("/api/v1/invoices/status/check", json={"ids": [live["id"]]})
    assert checked.json() == {"items": [], "not_found": [live["id"]]}

    phone = fresh_phone()
    body = {"amount": 5, "phone_number": phone, "is_sandbox": False}
    assert_error(await shop.test.post("/api/v1/invoices", json=body), Code.FORBIDDEN_MODE)
    assert_error(await shop.test.post("/api/v1/qr", json={"amount": 5, "is_sandbox": False}), Code.FORBIDDEN_MODE)
    hook = {"url": inbox.receiver.url, "events": ["*"], "is_sandbox": False}
    assert_error(await shop.test.post("/api/v1/webhooks", json=hook), Code.FORBIDDEN_MODE)
    assert_error(await shop.test.post(f"/api/v1/webhooks/{inbox.endpoint_id}/test"), Code.NOT_FOUND)
    hooks = (await shop.test.get("/api/v1/webhooks")).json()["items"]
    assert [one["id"] for one in hooks] == [sandbox_inbox.endpoint_id]
    assert await shop.purchases(phone=phone) == []


async def test_an_idempotency_key_means_one_thing_per_merchant_and_mode(shop: Shop, stranger: Shop) -> None:
    headers = {"Idempotency-Key": fresh_key()}
    body = {"amount": 7, "phone_number": fresh_phone(), "is_sandbox": True}
    answers = [
        await shop.test.post("/api/v1/invoices", json=body, headers=headers),
        await stranger.test.post("/api/v1/invoices", json=body, headers=headers),
        await shop.live.post("/api/v1/invoices", json=body | {"is_sandbox": False}, headers=headers),
        await shop.test.post("/api/v1/qr", json={"amount": 7}, headers=headers),
    ]
    assert [one.status_code for one in answers] == [201] * 4
    assert len({one.json()["id"] for one in answers}) == 4


@pytest.mark.parametrize("key", [b"", b"tk_live_", b"tk_test_" + b"0" * 40, b"whsec_x", "ключ".encode(), b"x" * 5000])
async def test_a_wrong_key_opens_nothing(stack: Stack, key: bytes) -> None:
    async with httpx.AsyncClient(base_url=stack.system.api_url, trust_env=False) as nobody:
        for method, path in (
            ("GET", "/api/v1/me"),
            ("POST", "/api/organizations/verify"),
            ("POST", "/api/v1/invoices"),
        ):
            answer = await nobody.request(method, path, headers={b"X-API-Key": key})
            body = assert_error(answer, Code.UNAUTHORIZED)
            assert "www-authenticate" in answer.headers
            assert body["details"] == {}
        assert_error(await nobody.get("/api/v1/me"), Code.UNAUTHORIZED)


async def test_the_merchant_behind_a_key_is_told(shop: Shop, stranger: Shop) -> None:
    me = (await shop.live.get("/api/v1/me")).json()
    assert (me["id"], me["bin"], me["mode"], me["kaspi_connected"]) == (shop.merchant_id, shop.bin, "live", True)
    assert (await shop.test.get("/api/v1/me")).json() == me | {"mode": "test"}
    verified = await shop.live.post("/api/organizations/verify")
    assert (verified.status_code, verified.json()) == (200, {"verified": True, "organization": me})
    assert (await stranger.live.get("/api/v1/me")).json()["kaspi_connected"] is False


async def test_the_link_to_kaspi_is_told(shop: Shop, stranger: Shop) -> None:
    session = (await shop.live.get("/api/v1/kaspi/session")).json()
    assert (session["connected"], session["scheme"], session["organization_bin"]) == (True, "r3", shop.bin)
    assert session["trade_point"] == "Till"
    none = (await stranger.live.get("/api/v1/kaspi/session")).json()
    assert (none["connected"], none["status"], none["scheme"]) == (False, "not_connected", None)


async def test_without_a_link_to_kaspi_nothing_live_is_made(stranger: Shop) -> None:
    body = {"amount": 5, "phone_number": fresh_phone()}
    assert_error(await stranger.live.post("/api/v1/invoices", json=body), Code.KASPI_NOT_CONNECTED)
    assert_error(await stranger.live.post("/api/v1/qr", json={"amount": 5}), Code.KASPI_NOT_CONNECTED)
    assert await stranger.listed(is_sandbox="false") == []


async def test_scheme_r1_makes_codes_but_no_phone_bills(stack: Stack) -> None:
    shop = await open_shop(stack, "R1 shop", scheme=Scheme.R1)
    body = {"amount": 5, "phone_number": fresh_phone()}
    refused = assert_error(await shop.live.post("/api/v1/invoices", json=body), Code.KASPI_SCHEME_UNSUPPORTED)
    assert refused["details"] == {"scheme": "r1"}
    made = await shop.qr(amount=5)
    await shop.pay(made)
    await shop.until_state(made["id"], "paid")
    await close_shop(shop)


async def test_webhooks_are_listed_without_their_secrets_and_tested(shop: Shop) -> None:
    async with WebhookReceiver() as receiver:
        answer = await shop.live.post(
            "/api/v1/webhooks", json={"url": receiver.url, "events": ["invoice.refunded", "invoice.refunded"]}
        )
        made = answer.json()
        assert answer.status_code == 201
        assert made["secret"].startswith("whsec_")
        assert made["events"] == ["invoice.refunded"]
        listed = (await shop.live.get("/api/v1/webhooks")).json()["items"]
        assert {name: value for name, value in made.items() if name != "secret"} in listed
        assert all("secret" not in one for one in listed)

        queued = await shop.live.post(f"/api/v1/webhooks/{made['id']}/test")
        assert (queued.status_code, queued.json()) == (202, {"status": "queued", "endpoint_id": made["id"]})
        await receiver.wait_for()
        (told,) = Inbox(receiver, made).all()
        assert told.body["type"] == "webhook.test"
        assert told.object["endpoint_id"] == made["id"]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"events": ["invoice.payed"]}, ["events"]),
        ({"events": []}, ["events"]),
        ({"url": "ftp://example.kz/x"}, ["url"]),
        ({"url": "http://169.254.169.254/latest"}, ["url"]),
        ({"url": "https://user:secret@example.kz/x"}, ["url"]),
        ({"url": "not a url", "events": 1}, ["events", "url"]),
    ],
)
async def test_a_wrong_webhook_is_refused(shop: Shop, fields: dict[str, object], wrong: list[str]) -> None:
    body = {"url": "https://example.kz/hook", "events": ["*"], **fields}
    refused = assert_error(await shop.live.post("/api/v1/webhooks", json=body), Code.INVALID_REQUEST)
    assert sorted(one["field"] for one in refused["errors"]) == wrong
