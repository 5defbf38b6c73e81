"""Buildmaster daemons for tests: real processes on a database of the test's own."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from buildmaster.client.documents import JobDocument
from buildmaster.client.http import Client, FarmAway
from buildmaster.requests import GitRequest, SubmissionRequest
from protocol.trust import Trust
from tests.farm import environment, folder_for, repository
from tests.versions import TWISTD

TOKEN = "a-secret-token"


class MasterHome:
    """The folder and the settings of a master, whose daemons may come and go."""

    def __init__(
        self,
        test: TestCase,
        dsn: str,
        name: str = "m1",
        workers: Sequence[str] = ("ant",),
        twistd: str = TWISTD,
        host: str = "127.0.0.1",
        **settings: Any,
    ) -> None:
        """``twistd`` is the script that becomes the daemon (`tests.versions`)."""
        self.folder = folder_for(test) / name
        self.folder.mkdir(mode=0o700)
        self.host = host
        self.port, self.http = free_port(), free_port()
        self.daemons: list[MasterProcess] = []
        self._twistd = twistd
        self.environment: Mapping[str, str] = {}  #: of its daemons, besides the usual
        self.trust_file: str | None = None  #: with TLS: the file of its certificate
        (self.folder / "token-of-workers").write_text(TOKEN)
        self.settings = self.folder / "master.yaml"
        fields: dict[str, Any] = {
            "data": ".",
            "name": name,
            "database": dsn,
            "listen": {
                "workers": f"{host}:{self.port}",
                "http": f"{host}:{self.http}",
            },
            "local_repositories": True,
            "workers": {each: {"token_file": "token-of-workers"} for each in workers},
            "retry_delays": [0.1],
            **settings,
        }
        self.settings.write_text(yaml.safe_dump(fields))
        test.addCleanup(lambda: Deferred.fromCoroutine(self._clear()))

    async def start(self) -> MasterProcess:
        """A new daemon, once it answers."""
        log = self.folder / "log"
        daemon = MasterProcess(self.settings, log, self._twistd, self.environment)
        self.daemons.append(daemon)
        while not await self.is_healthy():
            if daemon.status is not None:
                raise AssertionError(f"the master ended: {self.log}")
            await deferLater(reactor, 0.02)
        return daemon

    @property
    def log(self) -> str:
        """What its daemons logged."""
        return (self.folder / "log").read_text("utf-8", "replace")

    @property
    def client(self) -> Client:
        """A client with the farm's token."""
        token = (self.folder / "token").read_text().strip()
        return Client(reactor, self.url, token, Trust(ca_file=self.trust_file))

    async def is_healthy(self) -> bool:
        """Whether it answers, and its database does."""
        try:
            trust = Trust(ca_file=self.trust_file)
            return await Client(reactor, self.url, None, trust).is_healthy()
        except FarmAway:
            return False

    @property
    def url(self) -> str:
        """Where its HTTP port is."""
        scheme = "http" if self.trust_file is None else "https"
        return f"{scheme}://{self.host}:{self.http}"

    async def worker(self, name: str, state: str) -> None:
        """Return once the farm says that the worker is in this state."""
        while True:
            workers = {each.name: each.state for each in await self.client.workers()}
            if workers.get(name) == state:
                return
            await deferLater(reactor, 0.02)

    async def submit(self, test: TestCase, configuration: str) -> list[int]:
        """Ask for all builds of a new repository with this pipeline; their jobs."""
        source = GitRequest(repository=str(repository(test, configuration)))
        run = await self.client.submit(SubmissionRequest(source=source))
        return [job.id for job in run.jobs]

    async def done(self, job: int) -> JobDocument:
        """The job, once it has ended."""
        while True:
            document = await self.client.job(job)
            if document.state == "done":
                return document
            await deferLater(reactor, 0.05)

    async def logged(self, job: int, text: str = "") -> str:
        """The log of the job's current attempt, once ``text`` is in it."""
        while True:
            pieces: list[bytes] = []
            await self.client.log(job, pieces.append)
            log = b"".join(pieces).decode()
            if text in log:
                return log
            await deferLater(reactor, 0.05)

    async def _clear(self) -> None:
        for daemon in self.daemons:
            daemon.signal(signal.SIGCONT)
            daemon.signal(signal.SIGTERM)
            await daemon.gone()


class MasterProcess(ProcessProtocol):
    """One daemon's process; its log is a file."""

    def __init__(
        self, settings: Path, log: Path, twistd: str, more: Mapping[str, str]
    ) -> None:
        self.status: int | None = None
        self._gone: list[Deferred[None]] = []
        arguments = ["-n", "--pidfile=", f"--logfile={log}", "buildmaster"]
        arguments += ["--config", str(settings)]
        command = [sys.executable, "-P", "-c", twistd, *arguments]
        self._process = reactor.spawnProcess(
            self, sys.executable, command, env={**environment(), **more}, path="/"
        )
        self.pid: int = self._process.pid

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.status is None:
            os.kill(self.pid, number)

    async def kill(self) -> None:
        """As a power failure would."""
        self.signal(signal.SIGKILL)
        await self.gone()

    def gone(self) -> Deferred[None]:
        """Fires when the process has ended; then `status` says how."""
        if self.status is not None:
            return succeed(None)
        self._gone.append(Deferred())
        return self._gone[-1]

    def processEnded(self, reason: Failure) -> None:
        ended = reason.value
        self.status = 0
        if isinstance(ended, ProcessTerminated):
            self.status = ended.exitCode if ended.exitCode is not None else -ended.signal
        for waiting in self._gone:
            waiting.callback(None)


def free_port() -> int:
    """A port of the loopback interface that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
