"""While a part is away nothing is issued, what can be read is read, and 503 keeps its promise afterwards."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from domain.errors import Code
from tests.support.api_errors import assert_error
from tests.support.shop import Shop, close_shop, fresh_key, fresh_phone, open_shop
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.long]


@pytest.fixture
async def lonely(stack: Stack) -> AsyncIterator[Shop]:
    """A merchant whose workflows are all this test's."""
    shop = await open_shop(stack, "Lonely shop")
    yield shop
    await close_shop(shop)


async def _open_workflows(shop: Shop, count: int) -> None:
    async def reached() -> bool:
        return await shop.open_workflows() == count

    await until(reached, f"Temporal to work on {count} bills")


@pytest.mark.parametrize("part", ["worker", "temporal"])
async def test_without_the_engine_nothing_is_issued_then_or_later(lonely: Shop, part: str) -> None:
    shop, standing = lonely, await lonely.bill()
    await _open_workflows(shop, 1)
    phone, key = fresh_phone(), fresh_key()
    body: dict[str, object] = {"amount": 31, "phone_number": phone, "external_order_id": key}
    await shop.stack.kill9(part)
    refused = await asyncio.gather(
        shop.live.post("/api/v1/invoices", json=body, headers={"Idempotency-Key": key}),
        shop.live.post("/api/v1/invoices", json=body),
        shop.live.post("/api/v1/qr", json={"amount": 31, "external_order_id": key}),
        shop.test.post("/api/v1/qr", json={"amount": 31, "external_order_id": key}),
        shop.live.get(f"/api/v1/invoices/{standing['id']}"),
        shop.live.get("/api/v1/invoices"),
        shop.live.get("/api/v1/me"),
        shop.live.get("/api/v1/kaspi/session"),
        shop.live.get("/api/v1/webhooks"),
        shop.live.get(standing["payment_url"]),
    )
    for answer in refused[:4]:
        assert_error(answer, Code.ENGINE_UNAVAILABLE)
        assert int(answer.headers["retry-after"]) > 0
    assert [answer.status_code for answer in refused[4:]] == [200] * 6
    assert refused[4].json() == standing
    ready = await shop.live.get("/health/ready")
    assert ready.json()["engine"] == ("unavailable" if part == "temporal" else "ok")
    assert (await shop.live.get("/health/live")).status_code == 200

    if part == "worker":
        await _open_workflows(shop, 5)  # the creations wait for a worker, and will wake up too late
    await shop.stack.start_part(part)
    await _open_workflows(shop, 1)
    assert await shop.listed(external_order_id=key) == []
    assert await shop.purchases(phone=phone) == []
    again = await shop.repeat_until_made(body, key)  # a poller may need a moment to find Temporal again
    assert [one["id"] for one in await shop.listed(external_order_id=key)] == [again.json()["id"]]
    (purchase,) = await shop.purchases(phone=phone)
    assert str(purchase["id"]) == again.json()["kaspi_invoice_id"]


async def test_without_the_database_nothing_is_issued(shop: Shop) -> None:
    phone, key = fresh_phone(), fresh_key()
    body = {"amount": 32, "phone_number": phone}
    await shop.stack.kill9("postgres")
    for answer in await asyncio.gather(
        shop.live.post("/api/v1/invoices", json=body, headers={"Idempotency-Key": key}),
        shop.live.get("/api/v1/invoices"),
        shop.live.get("/api/v1/me"),
    ):
        assert_error(answer, Code.DATABASE_UNAVAILABLE)
        assert int(answer.headers["retry-after"]) > 0
    ready = await shop.live.get("/health/ready")
    assert (ready.status_code, ready.json()["database"]) == (503, "unavailable")
    await shop.stack.start_part("postgres")

    async def serves() -> bool:
        return (await shop.live.get("/health/ready")).status_code == 200

    await until(serves, "the API to find the database again")
    assert await shop.purchases(phone=phone) == []
    made = await shop.live.post("/api/v1/invoices", json=body, headers={"Idempotency-Key": key})
    assert made.status_code == 201, made.text
    assert len(await shop.purchases(phone=phone)) == 1


async def test_a_worker_asked_to_stop_books_the_answer_that_is_on_its_way(shop: Shop) -> None:
    phone = fresh_phone()
    await shop.stack.emulator.fault("remote/create", "delay", delay_ms=3000)
    asked = asyncio.create_task(shop.live.post("/api/v1/invoices", json={"amount": 33, "phone_number": phone}))

    await shop.stack.emulator.until_hit()
    assert await shop.stack.stop_part("worker") == 0
    answer = await asked
    assert answer.status_code == 201, answer.text
    await shop.stack.start_part("worker")
    standing = await shop.read(answer.json()["id"])
    (purchase,) = await shop.purchases(phone=phone)
    assert (standing["state"], standing["attention"]) == ("pending", None)
    assert standing["kaspi_invoice_id"] == str(purchase["id"])
