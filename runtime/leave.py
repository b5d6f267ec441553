"""How a process that used a Temporal client ends."""

import contextlib
import logging
import os
import sys
from typing import NoReturn


def leave(code: int = 0) -> NoReturn:
    """Flush stdout, stderr and logging, then end the process at once with this exit status.

    The last line of every entry point's `main`, on the error path too: the interpreter's own teardown
    races the Temporal SDK's threads and can abort or hang after a clean run (sdk-python #300). Neither
    `atexit` hooks nor `finally` blocks of callers run, so await or cancel client calls first.
    """
    # A closed pipe or a broken handler must not change the exit status.
    with contextlib.suppress(Exception):
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
