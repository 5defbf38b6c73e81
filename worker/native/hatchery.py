"""The hatchery: a process with every native job loaded, of which runners are forks.

    daemon                          hatchery
    -> one end of a socket          a new runner has it

It ends with the daemon, and its runners with it; what runners left behind, because they
were killed themselves, it sees off.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from worker.environments import syscalls
from worker.native import runner
from worker.native.family import Unkillable, kill_family
from worker.native.interface import INativeJob
from worker.native.registry import find_callables
from worker.supervisor.attach import child_variables

_WORD = b"hatch"
#: Seconds that it may take to end.
_PATIENCE = 5.0


class Hatchery:
    """The daemon's end."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def hatch(self) -> socket.socket:
        """The daemon's end of a line to a new runner. OSError if there can be none.

        The runner may be some time in coming, the first time above all; if none comes,
        the line is closed.
        """
        near, far = socket.socketpair()
        try:
            with far:
                try:
                    self._send(far)
                except BlockingIOError:
                    raise  # It is there, but has much to do.
                except OSError:
                    # There was no hatchery yet, or somebody killed it.
                    self._open()
                    self._send(far)
        except BaseException:
            near.close()
            raise
        near.setblocking(False)
        return near

    def close(self) -> None:
        """End the hatchery with all its runners; returns when they are gone."""
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._process is not None:
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                # It is busy with somebody's import. Its runners hear of its death.
                self._process.kill()
                self._process.wait()
            self._process = None

    def _send(self, far: socket.socket) -> None:
        if self._line is None:
            raise ConnectionError("there is no hatchery yet")
        socket.send_fds(self._line, [_WORD], [far.fileno()])

    def _open(self) -> None:
        self.close()
        self._line, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.setblocking(False)
        with far:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.native.hatchery"],
                stdin=far.fileno(),
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=child_variables(),
                start_new_session=True,
            )


class _Serving:
    """The hatchery itself."""

    def __init__(self, line: socket.socket, callables: Mapping[str, INativeJob]) -> None:
        self._line = line
        self._callables = callables
        self._runners: set[int] = set()
        self._poll = select.poll()
        # Written to by the kernel when a child has ended.
        self._ended, wakeup = os.pipe()
        for descriptor in (self._ended, wakeup):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._poll.register(self._ended, select.POLLIN)
        self._poll.register(line, select.POLLIN)

    def serve(self) -> None:
        """Returns when the daemon is gone."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if self._ended in ready:
                with suppress(BlockingIOError):
                    os.read(self._ended, 4096)
                self._see_off()
            if self._line.fileno() in ready and not self._hatch():
                return

    def _hatch(self) -> bool:
        word, descriptors, _, _ = socket.recv_fds(self._line, len(_WORD), 1)
        if not word:
            return False
        for descriptor in descriptors:
            pid = os.fork()
            if pid == 0:
                self._be_runner(descriptor)
            os.close(descriptor)
            self._runners.add(pid)
        return True

    def _be_runner(self, descriptor: int) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            syscalls.close_all_but(0, 1, 2, descriptor)
            runner.serve(socket.socket(fileno=descriptor), self._callables)
            status = 0
        except SystemExit:
            pass
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _see_off(self) -> None:
        """Forget runners that ended, and kill the orphans that they left."""
        orphaned = False
        with suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                # One that ended well has left nobody.
                orphaned = True
                self._runners.discard(pid)
        if orphaned:
            with suppress(Unkillable):
                kill_family(self._runners)


def main() -> None:
    """Be the hatchery; its line is standard input."""
    line = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
    syscalls.adopt_orphans(True)
    callables = find_callables()
    gc.collect()
    # What is here now is never collected, so that forks go on sharing its memory.
    gc.freeze()
    try:
        _Serving(line, callables).serve()
    finally:
        kill_family()


if __name__ == "__main__":
    main()
