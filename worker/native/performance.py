"""What a runner starts for a job: a child that calls Python, or an operator's command."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import msgspec

from protocol.order import OBJECT_LIMIT
from protocol.results import Result
from worker.environments import syscalls
from worker.native.control import Perform
from worker.native.interface import Context, INativeJob
from worker.native.outcome import BadOutput, Outcome, perform, printed_by_command
from worker.native.storing import Store, as_variables

#: Bytes that a child's outcome may take: its output and its reason.
OUTCOME_LIMIT = OBJECT_LIMIT + 16 * 1024

_outcomes = msgspec.msgpack.Decoder(Outcome)


class CannotStart(Exception):
    """There is nothing to watch; the sentence says why, and it is the worker's fault."""


class Performance(ABC):
    """A child that works on a job: what to read, and how to understand its end."""

    def __init__(self, pid: int, readers: Mapping[int, Callable[[bytes], None]]) -> None:
        self.pid = pid
        #: Descriptors to read, and who takes what of it is not for the log alone.
        self.readers = readers
        self.logged: frozenset[int] = frozenset()  #: those that go into the log

    @abstractmethod
    def outcome(self, status: int) -> Outcome:
        """How it ended, when all is read; ``status`` as `subprocess` tells it."""

    def close(self) -> None:
        """Let go of it."""
        for descriptor in self.readers:
            os.close(descriptor)


# -- callables


def of_callable(asked: Perform, callables: Mapping[str, INativeJob]) -> Performance:
    """A child that calls it; `CannotStart`."""
    native_job = callables.get(asked.performs)
    if native_job is None:
        raise CannotStart(
            f"this worker's runners have no {asked.performs}; restart the worker after "
            "native jobs were installed"
        )
    try:
        log_end, log = os.pipe()
        told_end, told = os.pipe()
        pid = os.fork()
    except OSError as error:
        raise CannotStart(f"no process could be started for it: {error}") from error
    if pid == 0:
        _be_child(native_job, asked, log, told)
    os.close(log)
    os.close(told)
    return _OfCallable(pid, log_end, told_end)


class _OfCallable(Performance):
    def __init__(self, pid: int, log: int, told: int) -> None:
        self._told = bytearray()
        super().__init__(pid, {log: _ignore, told: self._hear})
        self.logged = frozenset((log,))

    def _hear(self, data: bytes) -> None:
        # Only a job that writes into foreign descriptors says more.
        self._told += data[: OUTCOME_LIMIT - len(self._told)]

    def outcome(self, status: int) -> Outcome:
        if status == 0:
            try:
                return _outcomes.decode(self._told)
            except msgspec.DecodeError:
                pass
        return died(status) or Outcome(
            Result.FAILURE,
            f"its process ended with exit status {status} before it returned",
            exit_status=status,
        )


def _ignore(data: bytes) -> None:
    pass


def _be_child(native_job: INativeJob, asked: Perform, log: int, told: int) -> None:
    """Never returns."""
    status = 1
    try:
        os.setsid()
        syscalls.die_with_parent()
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(log, 1)
        os.dup2(log, 2)
        syscalls.close_all_but(0, 1, 2, told)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            raw = open(descriptor, "wb", closefd=False)
            stream = io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)
            setattr(sys, name, stream)
        logging.basicConfig(
            stream=sys.stderr,
            level=logging.INFO,
            format="%(levelname)s %(name)s: %(message)s",
            force=True,
        )
        store = Store(asked.storing, _log)
        context = Context(asked.job, asked.attempt, _log, store)
        outcome = perform(native_job, asked.arguments, context)
        _flush()
        with open(told, "wb") as stream_of_outcome:
            stream_of_outcome.write(msgspec.msgpack.encode(outcome))
        status = 0
    finally:
        os._exit(status)


def _log(text: str) -> None:
    print(text, flush=True)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # It closed them.


# -- commands


def of_command(asked: Perform) -> Performance:
    """The operator's command, its arguments on standard input; `CannotStart`."""
    assert asked.argv is not None
    arguments = -1
    try:
        arguments = _holding(msgspec.json.encode(asked.arguments) + b"\n")
        process = subprocess.Popen(
            asked.argv,
            stdin=arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={**os.environ, **as_variables(asked.storing)},
            start_new_session=True,
            preexec_fn=syscalls.die_with_parent,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotStart(
            f"the command {asked.performs} of this worker cannot be started: {error}; its "
            "operator must mend native_commands"
        ) from error
    finally:
        if arguments != -1:
            os.close(arguments)
    return _OfCommand(process)


def _holding(content: bytes) -> int:
    """A descriptor to read ``content`` from; unlike a pipe it takes any number of bytes."""
    descriptor = os.memfd_create("arguments")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class _OfCommand(Performance):
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None and process.stderr is not None
        self._process = process
        self._line = b""  # what follows the newest newline
        self._last = b""  # the newest whole line that is not blank
        out, errors = (os.dup(each.fileno()) for each in (process.stdout, process.stderr))
        process.stdout.close()
        process.stderr.close()
        super().__init__(process.pid, {out: self._hear, errors: _ignore})
        self.logged = frozenset((out, errors))

    def _hear(self, data: bytes) -> None:
        *whole, rest = (self._line + data).split(b"\n")
        for line in reversed(whole):
            if line.strip():
                self._last = line[: OBJECT_LIMIT + 1]
                break
        self._line = rest[: OBJECT_LIMIT + 1]

    def outcome(self, status: int) -> Outcome:
        if status:
            return died(status) or Outcome(
                Result.FAILURE, f"it exited with status {status}", exit_status=status
            )
        try:
            output = printed_by_command(self._line.strip() or self._last.strip())
        except BadOutput as error:
            return Outcome(Result.FAILURE, str(error), exit_status=0)
        return Outcome(Result.SUCCESS, output=output, exit_status=0)

    def close(self) -> None:
        super().close()
        # It was waited for, or will be, by its number.
        self._process.returncode = 0


# -- both


def died(status: int) -> Outcome | None:
    """The outcome of a process that a signal ended, which may be anybody's fault."""
    if status >= 0:
        return None
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return Outcome(
        Result.ERROR,
        f"the process that ran it was ended by {name}: the job crashed, or its worker's "
        "machine had no memory left for it",
        exit_status=status,
    )
