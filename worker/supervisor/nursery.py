"""The nursery: a process with everything loaded, of which supervisors are forks.

A Python that starts from nothing takes as long as a short build. One nursery per worker
daemon waits with all that supervisors import; it ends with the daemon, its supervisors
go on without it.

    daemon                  nursery
    -> path of the folder   <- process id of the supervisor       one packet each
"""

from __future__ import annotations

import gc
import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from worker.supervisor.attach import LOG, child_variables

_PACKET = 8192
_LOADED = (
    "hashlib",
    "http.client",
    "traceback",
    "worker.environments.chroot",
    "worker.environments.images",
    "worker.environments.native",
    "worker.supervisor.__main__",
    "worker.supervisor.archive",
    "worker.supervisor.git",
)
#: Seconds for the nursery to answer; the first time it must load everything.
_ANSWER = 20.0


class Nursery:
    """The daemon's end; its `launch` is for `attach.start`."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Start the process now, so that the first supervisor need not wait for it."""
        self.close()
        self._line, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.settimeout(_ANSWER)
        with far:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.supervisor.nursery"],
                stdin=far.fileno(),
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=child_variables(),
                start_new_session=True,
            )

    def launch(self, folder: Path) -> int:
        """Start a supervisor for ``folder``; its process id. OSError if that fails."""
        try:
            return self._ask(folder)
        except OSError:
            # The nursery died: somebody killed it, or memory was short.
            self.open()
            return self._ask(folder)

    def close(self) -> None:
        """End the nursery; its supervisors stay."""
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _ask(self, folder: Path) -> int:
        if self._line is None:
            raise ConnectionError("the nursery is not open")
        self._line.send(os.fsencode(folder))
        answer = self._line.recv(_PACKET)
        if not answer:
            raise ConnectionError("the nursery died")
        return int(answer)


def serve(line: socket.socket) -> None:
    """Be the nursery, until the daemon is gone."""
    _load()
    while folder := line.recv(_PACKET):
        # The child in between dies at once, so the supervisor is nobody's child.
        between = os.fork()
        if between == 0:
            _bear(line, Path(os.fsdecode(folder)))
        os.waitpid(between, 0)


def _load() -> None:
    """Import what supervisors need, and what they would import only when they need it."""
    for name in _LOADED:
        importlib.import_module(name)
    gc.collect()
    # What is here now is never collected, so that forks go on sharing its memory.
    gc.freeze()


def _bear(line: socket.socket, folder: Path) -> None:
    os.setsid()
    child = os.fork()
    if child:
        line.send(b"%d" % child)
        os._exit(0)
    status = 1
    try:
        line.close()
        null = os.open(os.devnull, os.O_RDWR)
        log = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for descriptor, target in ((null, 0), (null, 1), (log, 2)):
            os.dup2(descriptor, target)
        os.close(null)
        os.close(log)
        from worker.supervisor.__main__ import main

        status = main(folder)
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    # Standard input must be /dev/null for whoever is born here.
    connection = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
    serve(connection)
