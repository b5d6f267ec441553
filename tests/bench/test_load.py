"""The load generator's parts against real servers: no answer may be taken for a created bill."""

import asyncio

import pytest

from bench.generator import http_create
from bench.load import MOST_FAILURES_A_LANE, closed_loop
from bench.wire import BadAnswer, Connection, error_code
from tests.support.emulator import EmulatorServer
from tests.support.receiver import Answer, WebhookReceiver


async def test_one_connection_carries_many_calls(emulator: EmulatorServer) -> None:
    async with Connection(str(emulator.admin.client.base_url).rstrip("/")) as bank:
        for _ in range(3):
            assert await bank.json("GET", "/emulator/health") == {"status": "ok"}
        with pytest.raises(BadAnswer, match="404"):
            await bank.json("POST", "/emulator/purchases/1/pay")
        assert await bank.json("GET", "/emulator/health") == {"status": "ok"}


async def test_a_lost_connection_is_a_failure_and_the_next_call_opens_another(receiver: WebhookReceiver) -> None:
    origin = receiver.url.removesuffix("/webhook")
    receiver.answer_next(Answer(status=201, body=b"{}"), Answer(drop=True), Answer(status=201, body=b"[1]"))
    connection = Connection(origin)
    assert await connection.call("POST", "/one", b"{}") == (201, b"{}")
    connection.close()
    with pytest.raises((BadAnswer, OSError)):
        await connection.call("POST", "/two", b"{}")
    assert await connection.call("POST", "/three", b"{}", Idempotency_Key="k") == (201, b"[1]")
    connection.close()
    assert [one.path for one in receiver.requests] == ["/one", "/two", "/three"]
    assert receiver.requests[-1].headers["idempotency-key"] == "k"


async def test_only_a_201_counts_as_created(receiver: WebhookReceiver) -> None:
    receiver.default = Answer(status=503, body=b'{"error": "engine_unavailable"}', headers={"connection": "close"})
    async with Connection(receiver.url.removesuffix("/webhook"), {"X-API-Key": "tk_test_key"}) as api:
        assert await http_create(api)() == "HTTP 503 engine_unavailable"
    sent = receiver.requests[0]
    assert sent.path == "/api/v1/invoices"
    assert sent.headers["x-api-key"] == "tk_test_key"


async def test_a_lane_that_only_fails_stops_and_its_failures_are_counted() -> None:
    async def fails() -> str:
        await asyncio.sleep(0)
        return "HTTP 500"

    tally = await closed_loop([fails, fails], seconds=60)
    assert tally.failures == {"HTTP 500": 2 * MOST_FAILURES_A_LANE}
    assert tally.latencies == []


async def test_each_lane_has_one_operation_at_a_time() -> None:
    running, most = 0, 0

    async def works() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    tally = await closed_loop([works] * 4, seconds=0.5)
    assert most == 4
    assert running == 0
    assert tally.latencies
    assert tally.failures == {}


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'{"detail": 1}', b'{"error": 5}'])
def test_an_answer_that_is_no_error_of_ours_has_no_code(answer: bytes) -> None:
    assert error_code(answer) == ""
