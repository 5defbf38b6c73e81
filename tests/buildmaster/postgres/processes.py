"""Processes for tests: a daemon with a database, other programs, and their ends."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import cast

import psycopg2
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from buildmaster.postgres.embedded import PostgresReactor
from tests.buildmaster.postgres import daemon

reactor = cast(PostgresReactor, global_reactor)
CHECKOUT = Path(daemon.__file__).parents[3]


def python_for_all() -> str:
    """A Python that accounts without rights can run with what is installed for this one.

    This one itself may lie under /root. Empty if there is none.
    """
    environ = {**os.environ, "PYTHONPATH": python_path()}
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env"]
    for python in filter(os.path.exists, (sys.executable, "/usr/bin/python3")):
        check = [*drop, python, "-c", "import psycopg2, twisted.internet.reactor, tests"]
        if subprocess.run(check, env=environ, capture_output=True).returncode == 0:
            return python
    return ""


def python_path() -> str:
    return f"{CHECKOUT}:{Path(psycopg2.__file__).parents[1]}"


class Printed(ProcessProtocol):
    """A program: the first line that it printed, and all that it had when it ended."""

    def __init__(
        self, *command: str, uid: int | None = None, environ: dict[str, str] | None = None
    ) -> None:
        self.first_line: Deferred[str] = Deferred()
        self.output: Deferred[str] = Deferred()
        self._heard = b""
        environ = dict(os.environ) if environ is None else environ
        process = reactor.spawnProcess(
            self, command[0], command, env=environ, path="/", uid=uid
        )
        self.pid = cast(int, process.pid)

    def outReceived(self, data: bytes) -> None:
        self._heard += data
        if b"\n" in self._heard and not self.first_line.called:
            self.first_line.callback(self._heard.decode())

    def errReceived(self, data: bytes) -> None:
        self._heard += data

    def processEnded(self, reason: Failure) -> None:
        if not self.first_line.called:
            self.first_line.callback(f"ended: {self._heard.decode()}")
        self.output.callback(self._heard.decode())

    def signal(self, name: str) -> None:
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)  # type: ignore[union-attr]

    async def kill(self) -> None:
        if not self.output.called:
            self.signal("KILL")
            await self.output


def start_daemon(
    test: TestCase, data: Path, *before: str, python: str = sys.executable
) -> Printed:
    """``daemon.py`` in a process of its own, killed when ``test`` ends."""
    environ = {
        **os.environ,
        "PYTHONPATH": python_path(),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [*before, python, "-m", daemon.__name__, str(data)]
    started = Printed(*command, environ=environ)
    test.addCleanup(started.kill)
    return started


async def end_of(pid: int) -> None:
    """Wait until a process that need not be ours is gone; TimeoutError after 30 s."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await deferToThread(_wait_for, descriptor, pid)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, pid: int) -> None:
    if not select.select([descriptor], [], [], 30)[0]:
        raise TimeoutError(f"process {pid} still runs")
