"""Free and taken TCP ports of this machine."""

import atexit
import platform
import socket
from collections import deque

import psutil

# Bound and never listening: nobody else is given such a port, neither before its server is there nor while it is dead;
# and the server itself can listen, because it says SO_REUSEADDR as every server does. The oldest are let go.
_HELD: deque[socket.socket] = deque()
_HELD_AT_MOST = 256
_CAN_BE_HELD = platform.system() == "Linux"  # elsewhere the server, too, would find the port taken


def free_port() -> int:
    """A port of 127.0.0.1 for a server of ours; until that listens, and after its end, a connection is refused."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    number: int = held.getsockname()[1]
    _HELD.append(held)
    while len(_HELD) > (_HELD_AT_MOST if _CAN_BE_HELD else 0):
        _HELD.popleft().close()
    return number


@atexit.register
def _let_go() -> None:
    """Python would warn of each socket that is still open, a line each under the summary of every test run."""
    while _HELD:
        _HELD.pop().close()


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
