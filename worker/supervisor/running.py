"""Running one command to its end: its output into the log, a stop or a silence heard."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from protocol.results import Result
from worker.supervisor.endings import Stop, Stopped, exit_status
from worker.supervisor.log import Log
from worker.supervisor.stopping import Stopper

#: Bytes that the pipe may hold and that one read takes.
PIPE = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long what may take, in seconds."""

    idle: float | None  #: without a byte of output
    grace: float  #: between TERM and KILL


def run_to_end(
    process: subprocess.Popen[bytes],
    log: Log,
    stopper: Stopper,
    patience: Patience,
    kill: Callable[[], None],
) -> int:
    """Wait for ``process``, its output going to ``log``; its exit status as shells tell.

    A process that it left behind may hold the pipe open: what is in the pipe when the
    command itself has ended belongs to the log, what comes later does not.

    When a stop comes, or it was silent for too long, it gets SIGTERM, and after the
    grace ``kill`` must kill it; what it said until then is kept, and `Stopped` is raised.
    """
    assert process.stdout is not None
    with contextlib.closing(_Watched(process, log, stopper, patience)) as watched:
        watched.wait()
        if not watched.ended:
            kill()
        watched.take()
        log.flush()
        if watched.stop:
            raise Stopped(watched.stop)
    return exit_status(process.wait())


class _Watched:
    """A process whose pipe, end and reasons to stop are waited for together."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: Log,
        stopper: Stopper,
        patience: Patience,
    ) -> None:
        self._process = process
        assert process.stdout is not None
        self._stdout = process.stdout
        self._pipe = _widened(process.stdout.fileno())
        self._end = os.pidfd_open(process.pid)
        self._log = log
        self._stopper = stopper
        self._patience = patience
        self._kill_at: float | None = None
        self._poll = select.poll()
        for descriptor in (self._pipe, self._end, stopper.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        log.last_byte = log.now()
        self.stop: Stop | None = None
        self.ended = False

    def wait(self) -> None:
        """Return when the process has ended, or must be killed."""
        while not self.ended and not self._is_past(self._kill_at):
            ready = {descriptor for descriptor, _ in self._poll.poll(self._pause())}
            if self._pipe in ready and not self.take():
                self._poll.unregister(self._pipe)
            self._log.flush_if_due()
            self.ended = self._end in ready
            if self.stop is None and not self.ended:
                self._look_for_stop()

    def take(self) -> bool:
        """Move what is in the pipe, a pipe's worth at most, to the log; False at end."""
        room = PIPE
        while room > 0:
            try:
                data = os.read(self._pipe, room)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._log.write(data)
            room -= len(data)
        return True

    def close(self) -> None:
        """Let go of the process."""
        os.close(self._end)
        self._stdout.close()

    def _look_for_stop(self) -> None:
        self.stop = self._stopper.stop or self._silence()
        if self.stop is not None:
            self._poll.unregister(self._stopper.fileno())
            self._process.terminate()
            self._kill_at = self._log.now() + self._patience.grace

    def _silence(self) -> Stop | None:
        idle = self._patience.idle
        if idle is None or not self._is_past(self._log.last_byte + idle):
            return None
        return Stop(
            Result.TIMEOUT,
            f"nothing was printed for {idle:g} seconds, which is longer than it may be "
            "silent",
        )

    def _is_past(self, time: float | None) -> bool:
        return time is not None and self._log.now() >= time

    def _pause(self) -> float | None:
        """Milliseconds until there is something to do without being told."""
        times = [self._log.due, self._kill_at]
        if self._patience.idle is not None and self.stop is None:
            times.append(self._log.last_byte + self._patience.idle)
        known = [time for time in times if time is not None]
        return max(0.0, min(known) - self._log.now()) * 1000 + 1 if known else None


def _widened(pipe: int) -> int:
    os.set_blocking(pipe, False)
    # An ordinary user's share of pipe memory may be used up; a small pipe works, too.
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
    return pipe
