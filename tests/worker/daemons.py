"""Worker daemons for tests: real processes, started by twistd."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.versions import TWISTD
from tests.worker.supervisor.attempts import folder
from worker.environments import traces
from worker.supervisor import attach


class WorkerHome:
    """The folder and the settings of a worker, whose daemons may come and go."""

    def __init__(self, test: TestCase, *ports: int, **settings: Any) -> None:
        self.test = test
        self.folder = folder(test)
        self.token = self.folder / "token"
        self.token.write_text("a-secret-token\n")
        self.token.chmod(0o600)
        self.settings = self.folder / "worker.yaml"
        self.daemons: list[WorkerProcess] = []
        self._fields: dict[str, Any] = {
            "data": ".",
            "masters": [f"pb://127.0.0.1:{port}" for port in ports],
            "name": "ant",
            "token_file": "token",
            "slots": 4,
            "isolations": ["native"],
            **settings,
        }
        self.settings.write_text(yaml.safe_dump(self._fields))
        test.addCleanup(lambda: Deferred.fromCoroutine(self.lose()))

    @property
    def builds(self) -> Path:
        """Where the attempts lie."""
        return self.folder / "builds"

    def start(self, twistd: str = TWISTD, before: Sequence[str] = ()) -> WorkerProcess:
        """A new daemon; ``twistd`` is the script that becomes it (`tests.versions`).

        ``before`` is put before its command, as in ``ip netns exec NAME``.
        """
        daemon = WorkerProcess(self.settings, twistd, before)
        self.daemons.append(daemon)
        return daemon

    async def lose(self) -> None:
        """Kill all that runs of it, and remove its builds, as if its machine were lost."""
        for daemon in self.daemons:
            daemon.signal(signal.SIGKILL)
            await daemon.gone()
        for place in self.builds.glob("*-*"):
            pid = attach.supervisor_pid(place)
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            while attach.is_alive(place):
                await _turn()
            traces.remove(place)


class WorkerProcess(ProcessProtocol):
    """One daemon's process."""

    def __init__(self, settings: Path, twistd: str, before: Sequence[str]) -> None:
        self.said = b""
        self.status: int | None = None
        self._waits: list[tuple[bytes, Deferred[None]]] = []
        self._gone: list[Deferred[None]] = []
        arguments = ["-n", "--pidfile=", "buildworker", "--config", str(settings)]
        command = [*before, sys.executable, "-P", "-c", twistd, *arguments]
        self._process = reactor.spawnProcess(
            self, command[0], command, env=attach.child_variables(), path="/"
        )
        self.pid: int = self._process.pid

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.status is None:
            os.kill(self.pid, number)

    def gone(self) -> Deferred[None]:
        """Fires when the process has ended; then `status` says how."""
        if self.status is not None:
            return succeed(None)
        self._gone.append(Deferred())
        return self._gone[-1]

    def until_said(self, text: bytes) -> Deferred[None]:
        """Fires when ``text`` is in its log."""
        self._waits.append((text, Deferred()))
        waiting = self._waits[-1][1]
        self._look()
        return waiting

    def outReceived(self, data: bytes) -> None:
        self.said += data
        self._look()

    errReceived = outReceived  # noqa: N815

    def processEnded(self, reason: Failure) -> None:
        ended = reason.value
        self.status = 0
        if isinstance(ended, ProcessTerminated):
            self.status = ended.exitCode if ended.exitCode is not None else -ended.signal
        for waiting in self._gone:
            waiting.callback(None)

    def _look(self) -> None:
        for wait in list(self._waits):
            if wait[0] in self.said:
                self._waits.remove(wait)
                wait[1].callback(None)


def _turn() -> Deferred[None]:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.01, turned.callback, None)
    return turned
