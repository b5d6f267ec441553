import os
import subprocess
import sys

import pytest

SCRIPT = """
import atexit, logging, sys, threading
from runtime.leave import leave
logging.basicConfig(stream=sys.stderr, format="%(message)s")
atexit.register(lambda: print("teardown ran"))
# A thread that never ends would keep a normal exit waiting for ever.
threading.Thread(target=threading.Event().wait).start()
sys.stdout.write("said, not flushed")
logging.error("logged")
try:
    leave({code})
finally:
    print("not reached")
"""


# Buffered as in production, or there would be nothing to flush.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.mark.parametrize("code", [0, 3])
def test_output_is_flushed_and_the_status_is_true(code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(code=code)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout == "said, not flushed"
    assert done.stderr == "logged\n"


def test_a_closed_pipe_does_not_change_the_status() -> None:
    script = "import sys; from runtime.leave import leave; sys.stdout.write('x'); sys.stdout.flush = None; leave(4)"
    assert subprocess.run([sys.executable, "-c", script], timeout=100, check=False).returncode == 4
