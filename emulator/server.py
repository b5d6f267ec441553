"""One process, two listeners: the bank (HTTPS) and the admin side (HTTP)."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import uvicorn

from emulator import certs, directory
from emulator.admin import make_admin
from emulator.bank import Bank
from emulator.protocol import BankProtocol
from emulator.store import Store
from emulator.world import World


class _Server(uvicorn.Server):
    """Leaves the signals to us: uvicorn would raise them again and spoil the exit code."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(
    *, host: str, bank_port: int, admin_port: int, state: str, certificates: Path, time_scale: float | None
) -> None:
    """Runs until SIGTERM or SIGINT. Port 0 takes a free one; the ready line on stdout names both."""
    certs.ensure(certificates)
    if state != ":memory:":
        Path(state).parent.mkdir(parents=True, exist_ok=True)
    store = Store(state)
    try:
        directory.ensure_demo(store)
        world = World(store, time_scale)
        bank_socket, admin_socket = _listen(host, bank_port), _listen(host, admin_port)
        bank = _Server(_bank_config(Bank(world), certificates))
        admin = _Server(_config(make_admin(world)))
        _stop_on_signals(bank, admin)
        sys.stdout.write(
            f"emulator ready: bank https://{host}:{bank_socket.getsockname()[1]}"
            f" admin http://{host}:{admin_socket.getsockname()[1]}\n"
        )
        sys.stdout.flush()
        await asyncio.gather(bank.serve([bank_socket]), admin.serve([admin_socket]))
    finally:
        store.close()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port), backlog=1024, reuse_port=False)
    # Accepted sockets inherit it. asyncio would set it, but not on sockets made without a protocol number:
    # without it each answer waits 40 ms for the client's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    return listener


def _config(app: Any, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # Two loops' worth of features are not needed; the plain loop's transports can be reset.
        loop="asyncio",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        **more,
    )


def _bank_config(app: Bank, certificates: Path) -> uvicorn.Config:
    config = _config(
        app,
        http=BankProtocol,
        ssl_certfile=str(certificates / "server.pem"),
        ssl_keyfile=str(certificates / "server.key"),
        ssl_ca_certs=str(certificates / "ca.pem"),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,
    )
    config.load()
    if config.ssl is not None:
        # Mutual TLS 1.2, as the guide says: with 1.3 a refused client certificate would show only after the handshake.
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        config.ssl.maximum_version = ssl.TLSVersion.TLSv1_2
    return config


def _stop_on_signals(*servers: uvicorn.Server) -> None:
    def stop() -> None:
        # Calls cut off in the middle are no errors any more.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        for server in servers:
            server.should_exit = server.force_exit = True

    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop)
