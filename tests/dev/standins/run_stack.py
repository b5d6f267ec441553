"""Runs the dev stack with the programs of a given folder: `run_stack.py STATE_DIR PORT_BASE ROOT`."""

import asyncio
import os
import sys
from pathlib import Path

from dev.layout import Ports
from dev.stack import run
from dev.terminal import own_foreground_group

if __name__ == "__main__":
    with own_foreground_group():
        code = asyncio.run(run(Path(sys.argv[1]), Ports.from_base(int(sys.argv[2])), Path(sys.argv[3])))
    sys.stdout.flush()
    os._exit(code)
