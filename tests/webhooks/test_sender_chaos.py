"""Receivers that answer with noise: whatever comes, `send` returns an attempt and never calls noise delivered."""

import asyncio
import random

import msgspec

from tests.webhooks.receivers import Receiver
from webhooks.attempt import Attempt
from webhooks.errors import FailureCode
from webhooks.guard import EgressRules
from webhooks.sender import Sender

PARTS = [
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/9 ", b"200 OK", b"204 No", b"500 Oops", b"20 x", b"100 Continue", b"101 Up",
    b"\r\n", b"\r\n\r\n", b"\n\n", b"Content-Length: 5", b"Content-Length: 5, 5",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Connection: close", b"Connection: Upgrade",
    b"Retry-After: Mon, 32 Jan 0000 99:99:99 +9999", b"Retry-After: " + b"1" * 400, b"5\r\nhello\r\n", b"0\r\n\r\n",
    b"hello", b"\x00", b"\xff\xfe", b"X" * 3000, b": ", b"Set-Cookie: \xff=\x01",
    b"Content-Encoding: br", b"FFFFFFFFFFFFFFFFF\r\n",
]  # fmt: skip


def noise(chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(0, 300))
    return b"".join(chance.choice(PARTS) for _ in range(chance.randrange(1, 14)))


async def test_no_answer_makes_send_raise() -> None:
    chance = random.Random(20261122)
    payloads = [noise(chance) for _ in range(600)]
    # Half of them follow a valid status line, so that the noise lands in headers and bodies too.
    payloads = [b"HTTP/1.1 200 OK\r\n" + p if i % 2 else p for i, p in enumerate(payloads)]
    sent: list[bytes] = []

    async def answers_noise(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receiver.read_request(reader)
        sent.append(payloads[len(sent)])
        writer.write(sent[-1])
        await writer.drain()

    results: list[Attempt] = []
    async with Receiver(answers_noise) as receiver:
        rules = EgressRules(allowed_hosts=frozenset({receiver.place}))
        async with Sender(rules, attempt_seconds=30) as sender:
            results = [await sender.send(receiver.url, {}, b"{}") for _ in payloads]
    assert len(sent) == len(payloads) == len(results)
    for payload, result in zip(payloads, results, strict=True):
        assert result.delivered == (result.error is None)
        if result.delivered:
            assert result.status is not None
            assert 200 <= result.status < 300
            assert b"20" in payload
        assert result.error is None or isinstance(result.error, FailureCode)
        assert "\x00" not in result.response_excerpt
        assert msgspec.json.decode(msgspec.json.encode(result), type=Attempt) == result
    assert any(r.delivered for r in results)
    assert {FailureCode.PROTOCOL_ERROR, FailureCode.CONNECTION_RESET} <= {r.error for r in results}
