"""A runner: a process that performs one native job at a time, each in a child of its own.

It never runs anything of a job's itself, so whatever the job does to its process, the
runner is there to kill what is left, to tell how it ended, and to do the next.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping
from types import FrameType

from protocol.messages import Ended, LogChunk, Report, ReportBody
from protocol.messages import encode as encode_report
from protocol.results import Result
from worker.environments import syscalls
from worker.native.control import Line, LineLost, Perform, Said, Up
from worker.native.family import Unkillable, kill_family
from worker.native.interface import INativeJob
from worker.native.outcome import Outcome
from worker.native.performance import CannotStart, Performance, of_callable, of_command
from worker.native.watching import watch
from worker.supervisor.endings import Failed
from worker.supervisor.log import Log

#: Bytes of log of one attempt, which the daemon keeps in memory until they are recorded.
LOG_LIMIT = 8 * 1024 * 1024


def serve(connection: socket.socket, callables: Mapping[str, INativeJob]) -> None:
    """Be a runner, until the daemon or the hatchery is gone. Leaves nothing behind."""
    os.setsid()
    signal.signal(signal.SIGTERM, _terminated)
    # Not SIGKILL: there may be a family to see off.
    syscalls.die_with_parent(signal.SIGTERM)
    syscalls.adopt_orphans(True)
    line = Line(connection)
    try:
        with contextlib.suppress(LineLost):
            line.say(Up(os.getpid()))
            while True:
                message = line.receive()
                if isinstance(message, Perform):
                    _Attempt(line, message, callables).run()
                # A stop that is read here came too late.
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        kill_family()


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(1)


class _Attempt:
    """One attempt of one job."""

    def __init__(
        self, line: Line, asked: Perform, callables: Mapping[str, INativeJob]
    ) -> None:
        self._line = line
        self._asked = asked
        self._callables = callables
        self._number = 0
        self._log = Log(self._append, LOG_LIMIT)

    def run(self) -> None:
        """Perform it and report its end; raises `LineLost`."""
        began = time.monotonic()
        outcome = self._outcome()
        self._log.flush()
        ended = Ended(
            at=time.time(),
            result=outcome.result,
            reason=outcome.reason,
            output=outcome.output,
            exit_status=outcome.exit_status,
            seconds=time.monotonic() - began,
        )
        self._say(ended, is_last=True)

    def _outcome(self) -> Outcome:
        try:
            performance = self._begin()
        except CannotStart as error:
            return Outcome(Result.ERROR, str(error))
        try:
            return watch(performance, self._asked, self._log, self._line)
        except Failed as error:
            return Outcome(Result.FAILURE, error.reason)
        except Unkillable as error:
            return Outcome(Result.ERROR, f"something it left running stays: {error}")
        finally:
            performance.close()

    def _begin(self) -> Performance:
        if self._asked.argv is not None:
            return of_command(self._asked)
        return of_callable(self._asked, self._callables)

    def _append(self, chunk: LogChunk) -> None:
        self._say(chunk, is_last=False)

    def _say(self, body: ReportBody, *, is_last: bool) -> None:
        self._number += 1
        report = Report(
            job=self._asked.job,
            attempt=self._asked.attempt,
            number=self._number,
            body=body,
        )
        self._line.say(Said(encode_report(report), is_last))
