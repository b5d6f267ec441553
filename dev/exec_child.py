"""Becomes another program that dies with its parent.

Run as `python -I -S exec_child.py PARENT_PID SIGNAL USER -- ARGV…`. A supervisor that is killed with SIGKILL
cannot stop its children; the kernel can (PR_SET_PDEATHSIG, Linux). It must be asked for by the child itself, after
the last change of user (which clears it), and the parent may already be gone by then: hence the comparison.
Stands alone on the standard library: it runs before any of our packages is importable by the target user.
"""

import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signal_number, user = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    argv = sys.argv[5:]
    if user != "-":
        account = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(0)
    os.execvp(argv[0], argv)  # noqa: S606 — becoming the given program is what this file is for


if __name__ == "__main__":
    main()
