"""An address where nobody answers, now and later."""

import functools
import socket


@functools.cache
def deaf_port() -> int:
    """A port of 127.0.0.1 that refuses every connection for as long as this process runs.

    It is bound and nobody listens: a port that is only free may be somebody's a moment later.
    """
    deaf = socket.socket()
    deaf.bind(("127.0.0.1", 0))
    number: int = deaf.getsockname()[1]
    _kept.append(deaf)
    return number


_kept: list[socket.socket] = []
