"""Becomes another program that is told to stop when the process that started it dies.

Run as a script of its own, by path, without site packages: it must start in a few
milliseconds and need nothing of ours. Arguments: the starter's process id, the account's
name, user and group number (empty: stay who we are), then the program and its arguments.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, name, uid, gid, *command = arguments
    os.setsid()  # Ctrl-C on the terminal is for the daemon, which stops us in its order
    if uid:
        os.initgroups(name, int(gid))
        os.setgid(int(gid))
        os.setuid(int(uid))
    os.umask(0o077)
    # After the change of account, which clears it. SIGINT is PostgreSQL's fast shutdown.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the process that wanted this one is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
