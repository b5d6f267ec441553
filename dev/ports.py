"""Free and taken TCP ports of this machine."""

import itertools
import os
import socket

import psutil

# Below the range that Linux and macOS give to connections and to whoever asks for any port: one of those may be taken
# by the next connection of any process before its server listens, or while a server that was killed is away. Each
# process begins elsewhere, because what one has given out and not used yet looks free to another.
_FIRST, _COUNT = 10_000, 20_000
_count = itertools.count(os.getpid() * 997)


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago; never the same one twice."""
    numbers = (_FIRST + number % _COUNT for number in _count)
    return next(number for number in numbers if is_free(number))


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now; old connections in TIME_WAIT do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def holder(port: int) -> str:
    """Who listens on `port`, as words for a message: another user's process cannot always be named."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        connections = []
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.pid and tuple(connection.laddr)[1:] == (port,):
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                break
    return "another program"
