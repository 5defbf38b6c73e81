"""A program that runs as an account and ends, at the latest, with this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from buildmaster.postgres import launch
from buildmaster.postgres.account import Account


class Child(ProcessProtocol):
    """A started program; what it prints goes to a file."""

    def __init__(self) -> None:
        self.end: str | None = None  #: how it ended, as words; None while it runs
        self.succeeded = False
        self.pid = 0
        self._waiting: list[Deferred[None]] = []

    def connectionMade(self) -> None:
        self.pid = self.transport.pid  # type: ignore[union-attr]

    def signal(self, name: str) -> None:
        """Send a signal (``INT``, ``QUIT``, ``KILL``); nothing if it has ended."""
        if self.end is not None:
            return
        try:
            self.transport.signalProcess(name)  # type: ignore[union-attr]
        except ProcessExitedAlready:
            pass  # the reactor is about to tell us

    def when_ended(self) -> Deferred[None]:
        """Fires when the program has ended, at once if it has already."""
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if self.end is not None:
            self._wake()
        return waiting

    def processEnded(self, reason: Failure) -> None:
        self.succeeded = reason.check(ProcessDone) is not None
        self.end = _in_words(reason)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            self._waiting.pop(0).callback(None)


def start_child(
    reactor: IReactorProcess,
    account: Account,
    command: list[str],
    environ: Mapping[str, str],
    output: int,
) -> Child:
    """Start ``command`` in ``/`` as ``account``; it prints to the descriptor ``output``.

    It gets SIGINT when the thread that called this ends: call it from the reactor's.
    """
    who = (account.uid, account.gid) if account.is_other else ("", "")
    words = (os.getpid(), account.name, *who, *command)
    child = Child()
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        reactor.spawnProcess(
            child,
            sys.executable,
            [sys.executable, "-I", "-S", launch.__file__, *map(str, words)],
            env=dict(environ),
            path="/",
            childFDs={0: nothing, 1: output, 2: output},
        )
    finally:
        os.close(nothing)
    return child


def _in_words(reason: Failure) -> str:
    status = getattr(reason.value, "exitCode", None)
    signal = getattr(reason.value, "signal", None)
    return f"killed by signal {signal}" if signal else f"exit status {status}"
