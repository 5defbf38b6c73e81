"""The watch: sees to it that a build ends, and that everybody who asks hears of it.

It is the supervisor's own process; the build is its child. It tells daemons how many
reports there are, hears what they want, and stops the build when one of them says so,
when nobody renews its lease, or when it takes too long: first by asking it to, then by
killing it. If the build dies without a word, the watch reports its end.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from protocol.order import Order
from protocol.results import Result
from worker.supervisor import stopping
from worker.supervisor.aftermath import report_end
from worker.supervisor.control import CancelAttempt, FromDaemon, Kill, Renew, Reports
from worker.supervisor.endings import Stop, disk_full, no_room
from worker.supervisor.line import Line, LineLost
from worker.supervisor.spool import SpoolReader

#: Seconds, after a build was asked to end and its commands had their grace, until it is
#: killed. Cancelling takes no longer than five seconds in all.
_HANG = 2.0
#: The clock for leases goes on while the machine sleeps, the clock for waiting does not:
#: so never wait longer than this at a time.
_LONGEST_WAIT = 1.0
_LINES = 16
#: Seconds for which a full disk is asked again to take the end of the attempt.
_STUBBORN = 10.0


def boot_time() -> float:
    """Seconds since the machine started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Watch:
    """Watches one build."""

    def __init__(
        self,
        folder: Path,
        order: Order,
        grace: float,
        listener: socket.socket,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self._folder = folder
        self._order = order
        self._grace = grace
        self._listener = listener
        self._clock = clock
        self._news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stop_end, self._stop_pipe = os.pipe()
        os.set_blocking(self._stop_pipe, False)
        self._reader = SpoolReader(folder)
        self._lines: dict[int, Line] = {}
        self._begun = self._renewed = clock()
        self._stop: Stop | None = None
        self._kill_at: float | None = None
        self._silent = False
        self._terminated = False

    @property
    def inherited(self) -> tuple[int, int]:
        """For the build: the event to count up at each report, the pipe to hear a stop."""
        return self._news, self._stop_end

    def run(self, build: int) -> None:
        """Watch the child process ``build`` until it has ended and all is reported."""
        os.close(self._stop_end)
        signal.signal(signal.SIGTERM, self._terminate)
        ended = os.pidfd_open(build)
        poll = select.epoll()
        for descriptor in (ended, self._news, self._listener.fileno()):
            poll.register(descriptor, select.EPOLLIN)
        while True:
            ready = dict(poll.poll(self._pause()))
            if ended in ready:
                break
            for descriptor in ready:
                self._serve(descriptor, poll)
            self._tell_all(poll)
            self._look_at_the_clock(build)
        _, status = os.waitpid(build, 0)
        if not self._silent and not self._reader.ended:
            self._report_end(os.waitstatus_to_exitcode(status))
            self._tell_all(poll)

    def _serve(self, descriptor: int, poll: select.epoll) -> None:
        if descriptor == self._news:
            with suppress(BlockingIOError):
                os.eventfd_read(self._news)
        elif descriptor == self._listener.fileno():
            with suppress(BlockingIOError):
                connection, _ = self._listener.accept()
                line = Line(connection)
                if len(self._lines) >= _LINES:
                    line.close()
                    return
                self._lines[line.fileno()] = line
                poll.register(line.fileno(), select.EPOLLIN)
        elif descriptor in self._lines:
            try:
                for message in self._lines[descriptor].receive():
                    self._hear(message)
            except LineLost:
                self._drop(descriptor, poll)

    def _hear(self, message: FromDaemon) -> None:
        if isinstance(message, Renew):
            self._renewed = self._clock()
        elif isinstance(message, CancelAttempt):
            self._ask(Stop(Result.CANCELLED, message.why))
        elif isinstance(message, Kill):
            self._silent = True

    def _ask(self, stop: Stop) -> None:
        """Want the build to end; the first reason to want it counts."""
        if self._stop is None:
            self._stop = stop

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True

    def _look_at_the_clock(self, build: int) -> None:
        now = self._clock()
        if not self._is_over():
            self._look_at_the_lease(now)
        if self._terminated:
            self._ask(Stop(Result.ERROR, "its worker's machine is shutting down"))
        self._enforce(build, now)

    def _look_at_the_lease(self, now: float) -> None:
        fence_after = self._order.fence_after
        run = self._order.limits.run
        if now >= self._renewed + fence_after:
            self._ask(
                Stop(
                    Result.ERROR,
                    f"for {fence_after:g} seconds no master renewed the lease of this "
                    "build, so its worker stopped it",
                )
            )
        if run is not None and now >= self._begun + run:
            self._ask(
                Stop(
                    Result.TIMEOUT, f"the build took longer than the {run:g} s it may take"
                )
            )

    def _enforce(self, build: int, now: float) -> None:
        deaf = self._kill_at is not None and self._is_over()
        if self._silent or (self._terminated and deaf):
            # An environment that lingers has nothing to tell.
            os.kill(build, signal.SIGKILL)
        elif self._stop is not None and self._kill_at is None:
            self._kill_at = now + self._grace + _HANG
            stopping.tell(self._stop_pipe, build, self._stop)
        elif self._kill_at is not None and now >= self._kill_at and not self._is_over():
            # What it is busy with cannot be interrupted. Its environments die with it.
            os.kill(build, signal.SIGKILL)

    def _is_over(self) -> bool:
        """Whether only the removal of the environments is left to do, now or later."""
        return self._reader.ended

    def _pause(self) -> float:
        until = []
        if self._kill_at is not None and not self._is_over():
            until.append(self._kill_at)
        elif self._stop is None and not self._is_over():
            until.append(self._renewed + self._order.fence_after)
            if self._order.limits.run is not None:
                until.append(self._begun + self._order.limits.run)
        wait = min(until, default=float("inf")) - self._clock()
        return min(max(wait, 0.0), _LONGEST_WAIT)

    def _tell_all(self, poll: select.epoll) -> None:
        reports = Reports(last=self._reader.last_number, ended=self._reader.ended)
        for descriptor, line in list(self._lines.items()):
            try:
                line.tell(reports)
            except LineLost:
                self._drop(descriptor, poll)
                continue
            wanted = select.EPOLLOUT if line.is_waiting else 0
            poll.modify(descriptor, select.EPOLLIN | wanted)

    def _drop(self, descriptor: int, poll: select.epoll) -> None:
        poll.unregister(descriptor)
        self._lines.pop(descriptor).close()

    def _report_end(self, status: int) -> None:
        result, reason = self._explanation(status)
        until = time.monotonic() + _STUBBORN
        while True:
            try:
                return report_end(self._folder, self._order, result, reason)
            except OSError:
                # If it stays so, the daemon will report the end later.
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def _explanation(self, status: int) -> tuple[Result, str]:
        """Why a build is over that did not say so itself."""
        if self._stop is not None:
            return self._stop.result, self._stop.reason
        if no_room(self._folder):
            return Result.ERROR, disk_full(self._folder)
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        hint = "; perhaps memory was short there" if status == -signal.SIGKILL else ""
        return (
            Result.ERROR,
            f"the build's own process on the worker died ({how}){hint}; "
            f"{self._folder / 'supervisor.log'} there may tell more",
        )
