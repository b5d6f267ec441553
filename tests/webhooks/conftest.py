import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from tests.webhooks.receivers import Receiver, answers, status


@pytest.fixture
async def listeners() -> AsyncIterator[tuple[int, Callable[[], int]]]:
    """One port on every local address of both families, and how many connections reached it."""
    async with Receiver(answers(status(200)), host="0.0.0.0") as four:
        reached = 0

        def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal reached
            reached += 1
            writer.close()

        six = socket.socket(socket.AF_INET6)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::", four.port))
        server = await asyncio.start_server(count, sock=six)
        yield four.port, lambda: four.connections + reached
        server.close()
        await server.wait_closed()
