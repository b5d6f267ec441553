"""The event stream of the system as processes: it outlives none of them, and nothing is lost or told twice."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from tests.support.event_stream import Following, StreamClient
from tests.support.shop import Shop, close_shop, open_shop
from tests.support.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.long]


@pytest.fixture
async def quiet_shop(stack: Stack) -> AsyncIterator[Shop]:
    """A merchant without webhooks, a bank, or events so far."""
    shop = await open_shop(stack, "Streaming shop", scheme=None)
    yield shop
    await close_shop(shop)


@pytest.fixture
async def client(quiet_shop: Shop) -> AsyncIterator[StreamClient]:
    made = StreamClient(quiet_shop.stack.system.api_url, quiet_shop.test.headers["X-API-Key"])
    yield made
    await made.http.aclose()


async def sandbox_payment(shop: Shop) -> str:
    """A sandbox bill whose payment is one event."""
    invoice = await shop.sandbox_bill()
    assert (await shop.simulate(invoice["id"], "paid")).status_code == 200
    return str(invoice["id"])


async def objects(stream: Following, count: int) -> list[str]:
    return [(await stream.event())["data"]["object"]["id"] for _ in range(count)]


async def test_payments_are_streamed_in_the_order_of_the_feed(quiet_shop: Shop, client: StreamClient) -> None:
    async with client.follow() as stream:
        await stream.next()
        paid = await asyncio.gather(*(sandbox_payment(quiet_shop) for _ in range(10)))
        streamed = await objects(stream, 10)
    feed = (await quiet_shop.test.get("/api/v1/events", params={"order": "asc"})).json()["items"]
    assert streamed == [event["data"]["object"]["id"] for event in feed]
    assert sorted(streamed) == sorted(paid)


async def test_an_api_that_is_stopped_ends_its_streams_by_itself(
    stack: Stack, quiet_shop: Shop, client: StreamClient
) -> None:
    async with client.follow() as stream:
        opening = await stream.next()
        assert opening is not None
        said_before = len(stack.log_path("api").read_bytes())
        stopping = asyncio.create_task(stack.stop_part("api"))
        (end,) = await stream.to_end()
        assert msgspec.json.decode(end.data or b"")["reason"] == "shutdown"
        assert await stopping == 0
    # What the server says when it has to cut requests off.
    assert b"timeout graceful shutdown exceeded" not in stack.log_path("api").read_bytes()[said_before:]
    await stack.start_part("api")
    paid = await sandbox_payment(quiet_shop)
    async with client.follow(opening.id) as stream:
        assert await objects(stream, 1) == [paid]


async def test_after_a_crash_of_the_api_the_stream_goes_on_from_the_last_id(
    stack: Stack, quiet_shop: Shop, client: StreamClient
) -> None:
    async with client.follow() as stream:
        await stream.next()
        first = await sandbox_payment(quiet_shop)
        event = await stream.event()
        assert event["data"]["object"]["id"] == first
        await stack.kill9("api")
        with pytest.raises(httpx.TransportError):
            await stream.to_end()
    await stack.start_part("api")
    later = [await sandbox_payment(quiet_shop) for _ in range(2)]
    async with client.follow(event["id"]) as stream:
        assert await objects(stream, 2) == later


async def test_a_stream_outlives_a_restart_of_postgres(stack: Stack, quiet_shop: Shop, client: StreamClient) -> None:
    async with client.follow() as stream:
        await stream.next()
        await stack.restart("postgres")
        paid = await sandbox_payment(quiet_shop)
        assert await objects(stream, 1) == [paid]
