"""Performs callables that say that they are quick: in the daemon, in its own turn.

That costs no process and no message, so it is what makes thousands of jobs a second
possible. One that is not as quick as it says is interrupted, and from then on performed
as all others are.
"""

from __future__ import annotations

import signal
import time
from contextlib import redirect_stderr, redirect_stdout
from io import TextIOBase
from types import FrameType
from typing import Any

from twisted.logger import Logger

from protocol.messages import LogChunk
from protocol.results import Result
from worker.native.interface import Context, INativeJob
from worker.native.outcome import Interrupted, Outcome, perform
from worker.native.runner import LOG_LIMIT
from worker.supervisor.endings import Failed
from worker.supervisor.log import Log

#: Seconds of a processor, and seconds altogether, after which it is interrupted. Where many
#: want the processors, an innocent one may take long without using much.
BUSY_LIMIT = 0.5
WAIT_LIMIT = 5.0
#: Seconds between two looks whether that is so.
LOOK = 0.1


class Quick:
    """Performs callables here and now; one per process, for it takes SIGALRM."""

    log = Logger()

    def __init__(self) -> None:
        self._slow: set[str] = set()
        self._was_slow = False
        self._began = (0.0, 0.0)
        signal.signal(signal.SIGALRM, self._interrupt)

    def may(self, name: str) -> bool:
        """Whether the callable ``name``, which calls itself quick, has always been so."""
        return name not in self._slow

    def perform(
        self, native_job: INativeJob, job: int, attempt: int, arguments: dict[str, Any]
    ) -> tuple[Outcome, list[LogChunk]]:
        """How it ended, and what it printed."""
        printed = _Printed()
        context = Context(job, attempt, printed.add_line)
        self._was_slow = False
        self._began = (time.thread_time(), time.monotonic())
        with redirect_stdout(printed), redirect_stderr(printed):
            signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)
            try:
                outcome = perform(native_job, arguments, context)
            except Interrupted as error:  # Just when it had returned.
                outcome = Outcome(Result.FAILURE, str(error))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        if self._was_slow:
            self._slow.add(native_job.name)
            self.log.error(
                "native job {name} says that it is quick, and is not: from now on it runs "
                "in processes of its own",
                name=native_job.name,
            )
        return (outcome, []) if not printed.parts else _logged(outcome, printed)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        busy, began = self._began
        if time.thread_time() - busy < BUSY_LIMIT and time.monotonic() - began < WAIT_LIMIT:
            return
        self._was_slow = True
        raise Interrupted(
            f"it says that it is quick, but took {time.monotonic() - began:.1f} s; its "
            "author must take is_quick away"
        )


class _Printed(TextIOBase):
    """Standard output and errors of a quick job."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._room = LOG_LIMIT

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        # One byte more than may be makes the job fail, as it does in a runner.
        if self._room >= 0:
            self.parts.append(data[: self._room + 1])
            self._room -= len(data)
        return len(text)

    def add_line(self, text: str) -> None:
        """As ``print`` does."""
        self.write(f"{text}\n")


def _logged(outcome: Outcome, printed: _Printed) -> tuple[Outcome, list[LogChunk]]:
    chunks: list[LogChunk] = []
    log = Log(chunks.append, LOG_LIMIT)
    try:
        log.write(b"".join(printed.parts))
    except Failed as error:
        outcome = Outcome(Result.FAILURE, error.reason)
    log.flush()
    return outcome, chunks
