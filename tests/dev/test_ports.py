"""Ports for servers of ours: nobody else gets one, also while its server is dead."""

import platform
import socket

import pytest

from dev.ports import free_port, is_free

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere a port cannot be held for its server")


def test_a_port_is_given_once() -> None:
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    for _ in range(2000):
        with socket.socket() as somebody:
            somebody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            somebody.bind(("127.0.0.1", 0))
            assert somebody.getsockname()[1] not in ports


def test_who_connects_is_refused_until_the_server_listens_and_after_its_end() -> None:
    port = free_port()
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
        assert is_free(port)
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            assert not is_free(port)
