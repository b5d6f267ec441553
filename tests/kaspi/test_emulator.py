"""The client against the emulated bank, a process of its own that shares no code with us."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.bank import Verdict
from domain.invoice import Kind
from kaspi.client import KaspiClient, KaspiConfig, Scheme, tls_context
from kaspi.errors import (
    KaspiError,
    KaspiMisconfigured,
    KaspiNotFound,
    KaspiOutcomeUnknown,
    KaspiRefused,
    KaspiThrottled,
    KaspiUnavailable,
)
from kaspi.status import meaning
from tests.support.emulator import EmulatorAdmin, EmulatorServer

BIN = "210140000016"
API_KEY = "test_6f1d3c52-8a47-4d0b-9b1e-2f5a7c9e0d11"
SHOP, CAFE = 10001, 10002
PHONE = "77011234567"
NOT_A_CLIENT = "77000000000"


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmulatorServer]:
    running = EmulatorServer(tmp_path_factory.mktemp("emulator"))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def admin(server: EmulatorServer) -> AsyncIterator[EmulatorAdmin]:
    await server.admin.call("POST", "reset")
    yield server.admin
    await server.admin.clear_faults()


def config(server: EmulatorServer, scheme: Scheme) -> KaspiConfig:
    folder = server.certificates
    pem = scheme is not Scheme.R1
    return KaspiConfig(
        scheme=scheme,
        base_url=f"{server.bank_url}/{scheme.value}/v01",
        organization_bin=BIN if scheme is Scheme.R3 else None,
        api_key=None if pem else API_KEY,
        certificate_pem=(folder / "client.pem").read_text() if pem else None,
        private_key_pem=(folder / "client.key").read_text() if pem else None,
        trust_pem=(folder / "ca.pem").read_text(),
    )


@pytest.fixture(scope="module")
def tls(server: EmulatorServer) -> ssl.SSLContext:
    return tls_context(config(server, Scheme.R3))


@pytest.fixture
async def r3(server: EmulatorServer, tls: ssl.SSLContext, admin: EmulatorAdmin) -> AsyncIterator[KaspiClient]:
    async with KaspiClient(config(server, Scheme.R3), tls=tls) as client:
        yield client


@pytest.fixture
async def till(r3: KaspiClient) -> str:
    return await r3.register_device("till-1", SHOP)


@pytest.mark.parametrize("scheme", list(Scheme))
async def test_every_scheme_gets_in_and_sells(server: EmulatorServer, admin: EmulatorAdmin, scheme: Scheme) -> None:
    async with KaspiClient(config(server, scheme)) as client:
        await client.ping()
        assert [point.id for point in await client.tradepoints()] == [SHOP, CAFE]
        token = await client.register_device(f"till-{scheme.value}", SHOP)
        assert await client.register_device(f"till-{scheme.value}", SHOP) == token
        qr = await client.create_qr(token, 10_050, "order 7")
        assert (await client.payment_status(qr.payment_id)).word == "QrTokenCreated"
        await admin.act(qr.payment_id, "scan")
        assert (await client.payment_status(qr.payment_id)).word == "Wait"
        await admin.act(qr.payment_id, "pay")
        paid = await client.payment_status(qr.payment_id)
    assert (meaning(paid.word, Kind.QR), paid.amount) == (Verdict.PAID, 10_050)
    (purchase,) = await admin.purchases(external_id="order 7")
    assert (purchase["qr_token"], purchase["amount_tiyn"]) == (qr.token, 10_050)
    assert qr.expires_at is not None
    assert (qr.poll_interval, qr.scan_timeout, qr.confirm_timeout) == (5, 180, 65)


async def test_pfx(server: EmulatorServer, admin: EmulatorAdmin) -> None:
    pem = config(server, Scheme.R2)
    pfx = KaspiConfig(
        scheme=Scheme.R2,
        base_url=pem.base_url,
        pfx=(server.certificates / "client.pfx").read_bytes(),
        pfx_password="emulator",
        trust_pem=pem.trust_pem,
    )
    async with KaspiClient(pfx) as client:
        await client.ping()


async def test_strangers_need_an_operator(server: EmulatorServer, tls: ssl.SSLContext) -> None:
    stranger = KaspiConfig(
        scheme=Scheme.R1,
        base_url=f"{server.bank_url}/r1/v01",
        api_key="test_00000000-0000-4000-8000-000000000000",
        trust_pem=(server.certificates / "ca.pem").read_text(),
    )
    async with KaspiClient(stranger, tls=tls) as client:
        with pytest.raises(KaspiMisconfigured):
            await client.tradepoints()
    without = tls_context(stranger)
    async with KaspiClient(config(server, Scheme.R3), tls=without) as client:
        with pytest.raises(KaspiMisconfigured, match="certificate_missing"):
            await client.tradepoints()


async def test_a_link(r3: KaspiClient, till: str, admin: EmulatorAdmin) -> None:
    link = await r3.create_link(till, 500, "order 8")
    assert link.link.startswith("https://")
    await admin.act(link.payment_id, "pay")
    assert (await r3.payment_status(link.payment_id)).word == "Processed"


async def test_an_invoice_to_a_phone(r3: KaspiClient, till: str, admin: EmulatorAdmin) -> None:
    assert await r3.client_info(PHONE, till)
    first = await r3.create_remote(till, 1_000_000, PHONE, "order 9 · ref")
    assert (await r3.payment_status(first)).word == "RemotePaymentCreated"
    (purchase,) = await admin.purchases(comment_contains="ref")
    assert purchase["amount_tiyn"] == 1_000_000
    await admin.act(first, "pay")
    assert (await r3.payment_status(first)).word == "Processed"
    with pytest.raises(KaspiError):
        await r3.cancel_remote(till, first)

    second = await r3.create_remote(till, 1_000_000, PHONE, "order 10")
    assert meaning(await r3.cancel_remote(till, second), Kind.PHONE, cancel_requested=True) is Verdict.CANCELED
    third = await r3.create_remote(till, 1_000_000, PHONE, "order 11")
    await admin.act(third, "reject")
    assert meaning((await r3.payment_status(third)).word, Kind.PHONE) is Verdict.REJECTED


async def test_refusals(r3: KaspiClient, till: str, admin: EmulatorAdmin) -> None:
    with pytest.raises(KaspiRefused, match="-1404"):
        await r3.create_remote(till, 100, NOT_A_CLIENT, "x")
    with pytest.raises(KaspiNotFound):
        await r3.payment_status(1)
    with pytest.raises(KaspiNotFound):
        await r3.cancel_remote(till, 1)
    with pytest.raises(KaspiMisconfigured, match="device_not_found"):
        await r3.create_remote("00000000-0000-4000-8000-000000000000", 100, PHONE, "x")
    with pytest.raises(KaspiMisconfigured, match="device_elsewhere"):
        await r3.register_device("till-1", CAFE)
    with pytest.raises(KaspiMisconfigured, match="trade_point_not_found"):
        await r3.register_device("till-9", 1)
    assert (await admin.ledger())["purchases"] == []


async def test_a_deleted_device(r3: KaspiClient, admin: EmulatorAdmin) -> None:
    token = await r3.register_device("till-gone", SHOP)
    await r3.delete_device(token)
    await r3.delete_device(token)
    with pytest.raises(KaspiMisconfigured):
        await r3.create_qr(token, 100)


async def test_refunds(r3: KaspiClient, till: str, admin: EmulatorAdmin) -> None:
    qr = await r3.create_qr(till, 10_000)
    with pytest.raises(KaspiRefused, match="not_refundable"):
        await r3.return_payment(till, qr.payment_id, 5_000)
    await admin.act(qr.payment_id, "pay")
    assert await r3.return_payment(till, qr.payment_id, 5_000) > 0
    details = await r3.payment_details(till, qr.payment_id)
    assert (details.total, details.available) == (10_000, 5_000)
    with pytest.raises(KaspiRefused, match="refund_above_payment"):
        await r3.return_payment(till, qr.payment_id, 5_001)
    cafe = await r3.register_device("till-cafe", CAFE)
    with pytest.raises(KaspiMisconfigured, match="trade_point_differs"):
        await r3.return_payment(cafe, qr.payment_id, 1)
    assert (await admin.ledger())["totals"]["refunded_tiyn"] == 5_000


# fault, its knobs, whether the bank did it all the same
BLIND: list[tuple[str, dict[str, Any], bool]] = [
    ("drop_before", {}, False),
    ("execute_then_drop", {}, True),
    ("error_5xx_before", {}, False),
    ("error_5xx_after", {}, True),
    ("empty", {}, True),
    ("empty", {"execute": False}, False),
    ("html", {}, True),
    ("malformed", {}, True),
    ("throttle_429", {}, False),
    ("code", {"code": -999}, True),
    ("code", {"code": 424242, "execute": False}, False),
]


@pytest.mark.parametrize(("fault", "knobs", "made"), BLIND)
async def test_a_blind_create_is_unknown_and_sent_once(
    r3: KaspiClient, till: str, admin: EmulatorAdmin, fault: str, knobs: dict[str, Any], made: bool
) -> None:
    await admin.fault("remote/create", fault, **knobs)
    with pytest.raises(KaspiOutcomeUnknown) as caught:
        await r3.create_remote(till, 100, PHONE, "once")
    purchases = await admin.purchases(comment_contains="once")
    assert len(purchases) == (1 if made else 0)
    if made:
        assert purchases[0]["x_request_id"] == caught.value.request_id


@pytest.mark.parametrize(("fault", "knobs", "made"), BLIND)
async def test_a_blind_refund_is_unknown_and_sent_once(
    r3: KaspiClient, till: str, admin: EmulatorAdmin, fault: str, knobs: dict[str, Any], made: bool
) -> None:
    qr = await r3.create_qr(till, 10_000)
    await admin.act(qr.payment_id, "pay")
    await admin.fault("payment/return", fault, **knobs)
    with pytest.raises(KaspiOutcomeUnknown):
        await r3.return_payment(till, qr.payment_id, 4_000)
    assert (await r3.payment_details(till, qr.payment_id)).available == (6_000 if made else 10_000)


@pytest.mark.parametrize(("fault", "knobs", "made"), BLIND)
async def test_a_blind_read_is_only_unavailable(
    r3: KaspiClient, till: str, admin: EmulatorAdmin, fault: str, knobs: dict[str, Any], made: bool
) -> None:
    qr = await r3.create_qr(till, 10_000)
    await admin.fault("payment/status", fault, times=None, **knobs)
    with pytest.raises(KaspiUnavailable) as caught:
        await r3.payment_status(qr.payment_id)
    assert isinstance(caught.value, KaspiThrottled) == (fault in {"html", "throttle_429"} or knobs.get("code") == -999)
    await admin.clear_faults()
    assert (await r3.payment_status(qr.payment_id)).word == "QrTokenCreated"


async def test_an_invented_status_word_arrives_as_it_is(r3: KaspiClient, till: str, admin: EmulatorAdmin) -> None:
    qr = await r3.create_qr(till, 10_000)
    await admin.fault("payment/status", "status_word", word="IrisBlockCode7")
    word = (await r3.payment_status(qr.payment_id)).word
    assert (word, meaning(word, Kind.QR)) == ("IrisBlockCode7", Verdict.UNKNOWN)


async def test_more_calls_than_connections(r3: KaspiClient, till: str) -> None:
    made = await asyncio.gather(*(r3.create_remote(till, 100 + n, PHONE, f"many {n}") for n in range(40)))
    assert len(set(made)) == 40
    words = await asyncio.gather(*(r3.payment_status(payment_id) for payment_id in made))
    assert {status.word for status in words} == {"RemotePaymentCreated"}


async def test_a_bank_that_dies_and_comes_back(r3: KaspiClient, till: str, server: EmulatorServer) -> None:
    """Nothing was sent to the dead, so nothing is unknown; and the client needs no new start."""
    qr = await r3.create_qr(till, 100)
    await server.kill9()
    try:
        with pytest.raises(KaspiUnavailable):
            await r3.payment_status(qr.payment_id)
        with pytest.raises(KaspiUnavailable):
            await r3.create_remote(till, 100, PHONE, "dead")
    finally:
        await server.start()
    assert (await r3.payment_status(qr.payment_id)).word == "QrTokenCreated"
