"""Free and taken TCP ports of this machine."""

import itertools
import os
import socket

import psutil

# Below the range from which this machine gives ports to connections and to who asks for any: a port of a server that
# is still to start, or that was killed and comes back, must not go to somebody else meanwhile.
_RANGE = range(30_000, 32_768)
# Processes that run side by side have numbers side by side: each begins somewhere else.
_numbers = itertools.islice(itertools.cycle(_RANGE), os.getpid() * 61 % len(_RANGE), None)


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago; this process gives it again only after some thousand others."""
    return next(number for number in itertools.islice(_numbers, len(_RANGE)) if is_free(number))


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
