"""Runs one daemon of a farm as a child that ends when its parent does."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.process import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

#: Bytes of a daemon's last words that are kept.
_LAST_WORDS = 8192
#: Lines of its log that are shown when it died.
_LOG_LINES = 15
#: Seconds that its pipes may stay open after it is gone.
_PIPES_WITHIN = 0.5
_TWISTD = "from twisted.scripts.twistd import run; run()"


class Daemon(ProcessProtocol):
    """A child process made by ``twistd``; ``ended`` fires with how, once it is gone."""

    def __init__(self, reactor: Any, name: str, log: Path) -> None:
        self._reactor = reactor
        self.name = name
        self.log = log
        self.ended: Deferred[str] = Deferred()
        self.is_stopping = False
        self._said = b""
        self._process: IProcessTransport | None = None
        self._telling: IDelayedCall | None = None

    def start(self, arguments: Sequence[str], options: Sequence[str] = ()) -> None:
        """Start ``twistd -n OPTIONS ARGUMENTS``."""
        self.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [
            *_ends_with_us(),
            *(sys.executable, "-P", "-c", _unless_orphaned(_TWISTD)),
            *("--nodaemon", "--pidfile=", f"--logfile={self.log}", *options),
            *arguments,
        ]
        self._process = self._reactor.spawnProcess(
            self,
            command[0],
            command,
            env=os.environ,
            path="/",
            childFDs={0: "w", 1: "r", 2: "r"},
        )
        assert self._process is not None
        self._process.closeStdin()

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return None if self._process is None else self._process.pid

    async def stop(self, within: float) -> None:
        """Ask it to end, and kill it if it has not after ``within`` seconds."""
        self.is_stopping = True
        self._signal("TERM")
        killing = self._reactor.callLater(within, self._signal, "KILL")
        await self._gone()
        if killing.active():
            killing.cancel()

    def kill(self) -> None:
        """End it at once; ``ended`` fires when it is gone."""
        self.is_stopping = True
        self._signal("KILL")

    def last_words(self) -> list[str]:
        """What it said at its end: on standard error, else the end of its log."""
        said = self._said.decode("utf-8", "replace").strip().splitlines()
        if said:
            return said[-_LOG_LINES:]
        try:
            with open(self.log, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - _LAST_WORDS))
                return log.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
        except OSError:
            return []

    def outReceived(self, data: bytes) -> None:
        """Keep the end of what it says."""
        self._said = (self._said + data)[-_LAST_WORDS:]

    def errReceived(self, data: bytes) -> None:
        """Keep the end of what it complains of."""
        self._said = (self._said + data)[-_LAST_WORDS:]

    def processExited(self, reason: Failure) -> None:
        """It is gone; what it said may still be on the way."""
        # Pipes that something else inherited must not hold us up.
        self._telling = self._reactor.callLater(_PIPES_WITHIN, self._tell, reason)

    def processEnded(self, reason: Failure) -> None:
        """It is gone, and so are its pipes."""
        self._tell(reason)

    def _tell(self, reason: Failure) -> None:
        if self.ended.called:
            return
        if self._telling is not None and self._telling.active():
            self._telling.cancel()
        ended = reason.value
        if isinstance(ended, ProcessTerminated) and ended.signal is not None:
            how = f"was ended by {signal.Signals(ended.signal).name}"
        elif isinstance(ended, ProcessTerminated):
            how = f"ended with status {ended.exitCode}"
        else:
            how = "ended by itself"
        self.ended.callback(how)

    async def _gone(self) -> None:
        gone: Deferred[None] = Deferred()

        def tell(how: str) -> str:
            gone.callback(None)
            return how

        self.ended.addCallback(tell)
        await gone

    def _signal(self, name: str) -> None:
        if self._process is not None:
            with suppress(ProcessExitedAlready):
                self._process.signalProcess(name)


def _ends_with_us() -> list[str]:
    """What to put before a command so that it neither outlives us nor hears our Ctrl-C."""
    before = []
    # A session of its own: an interrupt at the keyboard goes to the whole process group,
    # but who stops first is ours to say.
    if setsid := shutil.which("setsid"):
        before += [setsid]
    if setpriv := shutil.which("setpriv"):
        before += [setpriv, "--pdeathsig", "TERM"]
    return before


def _unless_orphaned(script: str) -> str:
    """``script``, not begun if we died before `setpriv` could arrange for that."""
    check = f"import os, sys\nif os.getppid() != {os.getpid()}: sys.exit('its parent died')"
    return f"{check}\n{script}"
