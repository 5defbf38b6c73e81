"""Watching a child that works on a job: its output, its limits, a wish to stop it."""

from __future__ import annotations

import os
import select
from contextlib import closing

from protocol.results import Result
from worker.native.control import Line, Perform, Stop
from worker.native.family import kill_family
from worker.native.outcome import Outcome
from worker.native.performance import Performance
from worker.supervisor.log import Log

#: Bytes that one read takes.
_READ = 256 * 1024


def watch(performance: Performance, asked: Perform, log: Log, line: Line) -> Outcome:
    """How the child ended; nothing that it started is left then.

    Raises `Failed` if its log became too long, `LineLost` if the daemon is gone, and
    `Unkillable`; only after the last something may be left.
    """
    with closing(_Watch(performance, asked, log, line)) as watched:
        try:
            stop = watched.until_over()
            if stop is None:
                _, status = os.waitpid(performance.pid, 0)
        finally:
            kill_family()
        watched.take_rest()
    if stop is not None:
        return Outcome(stop.result, stop.reason)
    return performance.outcome(os.waitstatus_to_exitcode(status))


class _Watch:
    """All that is waited for together."""

    def __init__(
        self, performance: Performance, asked: Perform, log: Log, line: Line
    ) -> None:
        self._performance = performance
        self._asked = asked
        self._log = log
        self._line = line
        self._end = os.pidfd_open(performance.pid)
        self._open = set(performance.readers)
        self._poll = select.poll()
        for descriptor in (self._end, line.fileno(), *self._open):
            self._poll.register(descriptor, select.POLLIN)
        log.last_byte = log.now()
        self._deadline = None if asked.run is None else log.now() + asked.run

    def until_over(self) -> Stop | None:
        """Returns when the child has ended, or with why it must."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll(self._pause())}
            for descriptor in ready & self._open:
                self._take(descriptor)
            self._log.flush_if_due()
            if self._end in ready:
                return None
            if self._line.fileno() in ready:
                message = self._line.receive()
                if isinstance(message, Stop):
                    return message
            stop = self._late() or self._silent()
            if stop is not None:
                return stop

    def take_rest(self) -> None:
        """Read what is still in the pipes, now that nobody writes any more."""
        for descriptor in list(self._open):
            os.set_blocking(descriptor, False)
            try:
                while descriptor in self._open:
                    self._take(descriptor)
            except BlockingIOError:
                pass

    def close(self) -> None:
        """Stop watching."""
        os.close(self._end)

    def _take(self, descriptor: int) -> None:
        data = os.read(descriptor, _READ)
        if not data:
            self._open.discard(descriptor)
            self._poll.unregister(descriptor)
            return
        self._performance.readers[descriptor](data)
        if descriptor in self._performance.logged:
            self._log.write(data)

    def _late(self) -> Stop | None:
        if self._deadline is None or self._log.now() < self._deadline:
            return None
        return Stop(
            Result.TIMEOUT, f"it took longer than the {self._asked.run:g} s it may take"
        )

    def _silent(self) -> Stop | None:
        idle = self._asked.idle
        if idle is None or self._log.now() < self._log.last_byte + idle:
            return None
        return Stop(
            Result.TIMEOUT,
            f"nothing was printed for {idle:g} seconds, which is longer than it may be "
            "silent",
        )

    def _pause(self) -> float | None:
        """Milliseconds until there is something to do without being told."""
        times = [self._log.due, self._deadline]
        if self._asked.idle is not None:
            times.append(self._log.last_byte + self._asked.idle)
        known = [time for time in times if time is not None]
        return max(0.0, min(known) - self._log.now()) * 1000 + 1 if known else None
