"""Ctrl-C for us alone: `make` would answer it by dying from the signal, whatever our exit code."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def own_foreground_group() -> Iterator[None]:
    """Takes the terminal's foreground for this process only, and gives it back. Without a terminal: nothing.

    Ctrl-Z is switched off meanwhile: the shell would never learn that only we, not `make`, were stopped.
    """
    try:
        terminal = sys.stdin.fileno()
        before = os.tcgetpgrp(terminal)
    except (OSError, ValueError):
        yield
        return
    if before != os.getpgrp() or os.getpgrp() == os.getpid():
        # In the background, or started without make: nothing to shield.
        yield
        return
    # Taking the foreground from within a background group would stop us.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(terminal, before)
