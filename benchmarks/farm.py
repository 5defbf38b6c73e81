"""A master and workers as they are run anywhere: daemons, on the loopback interface."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg2
import yaml
from twisted.internet.task import deferLater

from benchmarks.bench import Bench
from benchmarks.books import Books
from benchmarks.processes import ProcessFailed
from buildmaster.addresses import FILE, Addresses
from buildmaster.postgres.child import Child
from worker.environments import traces
from worker.supervisor import attach

_CHECKOUT = Path(__file__).resolve().parent.parent
_PLUGINS = Path(__file__).parent / "plugins"
_TWISTD = "from twisted.scripts.twistd import run; run()"
_PAPER = "import sys; from benchmarks.paper_workers import main; main(sys.argv[1:])"
#: Seconds until a daemon must be there, and until all jobs must be done.
_PATIENCE = 60.0
_LONG = 600.0


class Farm:
    """A master on the database ``dsn``, and ``workers`` workers of ``slots`` slots each."""

    def __init__(
        self,
        bench: Bench,
        dsn: str,
        *,
        workers: int,
        slots: int,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """``settings`` are further ones of the master."""
        self._settings = dict(settings or {})
        self.dsn = dsn
        self.folder = bench.folder / f"farm-{secrets.token_hex(3)}"
        self.names = [f"worker-{number:02}" for number in range(1, workers + 1)]
        self._slots = slots
        self._bench = bench
        self._daemons: list[Child] = []

    @property
    def addresses(self) -> Addresses:
        """Where the master listens."""
        text = (self.folder / "master" / FILE).read_text()
        return Addresses(**json.loads(text))

    @property
    def pids(self) -> list[int]:
        """Of the daemons: the master's first."""
        return [daemon.pid for daemon in self._daemons]

    async def start_master(self) -> None:
        """Start the master, and wait until it listens."""
        self.folder.mkdir()
        self.folder.chmod(0o711)
        # Twisted puts a cache beside the plug-ins that it finds.
        shutil.copytree(_PLUGINS, self.folder / "plugins")
        settings = self._write_master()
        self._start(settings.parent, _TWISTD, *_daemon("buildmaster", settings))
        await self._until(lambda: (settings.parent / FILE).exists())

    async def start_front(self) -> str:
        """Start a master that gives no work beside the other; where it listens."""
        data = self.folder / "front"
        data.mkdir(mode=0o700)
        settings = _write(
            data / "master.yaml",
            {
                "data": ".",
                "name": "front",
                "database": self.dsn,
                "listen": {"workers": None, "http": "127.0.0.1:0"},
            },
        )
        self._start(data, _TWISTD, *_daemon("buildmaster", settings))
        await self._until(lambda: (data / FILE).exists())
        return Addresses(**json.loads((data / FILE).read_text())).http

    async def start_workers(self, performs: str) -> None:
        """Start every worker's daemon, and wait until all have joined.

        Raises `ProcessFailed` if they can't perform what is wanted of them.
        """
        for name in self.names:
            settings = self._write_worker(name)
            self._start(settings.parent, _TWISTD, *_daemon("buildworker", settings))
        await self._until(self._is_complete)
        if self._count("performs @> ARRAY[%s]", performs) != len(self.names):
            raise ProcessFailed(f"the workers perform no {performs}\n{self.last_words()}")

    async def start_paper_workers(self, performs: str) -> None:
        """Start one process that speaks for all workers, and wait until all have joined."""
        folder = self.folder / "paper"
        folder.mkdir(mode=0o700)
        assert self.addresses.workers is not None
        port = self.addresses.workers.rpartition(":")[2]
        tokens = [f"{name}={self._token(name)}" for name in self.names]
        self._start(folder, _PAPER, port, str(self._slots), performs, *tokens)
        await self._until(self._is_complete)

    async def until_idle(self, books: Books, *, pause: float) -> None:
        """Wait until nothing is in a line and nothing is leased.

        Raises `ProcessFailed` if a daemon ends meanwhile, or if that takes too long.
        """
        ends = monotonic() + _LONG
        while not await books.is_idle():
            self._require_alive(ends, _LONG)
            await deferLater(self._bench.reactor, pause)

    def last_words(self) -> str:
        """The ends of the daemons' logs."""
        logs = sorted(self.folder.glob("*/log"))
        return "\n".join(
            f"{log}: {log.read_text('utf-8', 'replace')[-1000:]}" for log in logs
        )

    async def stop(self) -> None:
        """End the workers, then the master; nothing of what they started is left."""
        while self._daemons:
            await self._bench.processes.end(self._daemons.pop())
        for place in self.folder.glob("worker-*/builds/*-*"):
            pid = attach.supervisor_pid(place)
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                await self._until(partial(_is_gone, place))
            traces.remove(place)

    def _write_master(self) -> Path:
        data = self.folder / "master"
        data.mkdir(mode=0o700)
        workers = {}
        for name in self.names:
            (data / f"{name}.token").write_text(secrets.token_hex(16))
            workers[name] = {"token_file": f"{name}.token"}
        listen = {"workers": "127.0.0.1:0", "http": "127.0.0.1:0"}
        return _write(
            data / "master.yaml",
            {
                "data": ".",
                "name": "benchmark",
                "database": self.dsn,
                "listen": listen,
                "workers": workers,
                **self._settings,
            },
        )

    def _write_worker(self, name: str) -> Path:
        data = self.folder / name
        data.mkdir(mode=0o700)
        token = data / "token"
        token.write_text(self._token(name))
        token.chmod(0o600)
        return _write(
            data / "worker.yaml",
            {
                "data": ".",
                "name": name,
                "masters": [self.addresses.workers],
                "token_file": "token",
                "slots": self._slots,
                "isolations": ["native"],
                "on_stop": "kill",
            },
        )

    def _token(self, name: str) -> str:
        return (self.folder / "master" / f"{name}.token").read_text()

    def _start(self, folder: Path, code: str, *arguments: str) -> Child:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
        environ["PYTHONPATH"] = f"{_CHECKOUT}:{self.folder / 'plugins'}"
        child = self._bench.processes.start(
            [sys.executable, "-P", "-c", code, *arguments], folder / "log", environ
        )
        self._daemons.append(child)
        return child

    def _is_complete(self) -> bool:
        return self._count("state = 'connected'") == len(self.names)

    def _count(self, condition: str, *parameters: str) -> int:
        with (
            closing(psycopg2.connect(self.dsn)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(f"SELECT count(*) FROM worker WHERE {condition}", parameters)
            row: Any = cursor.fetchone()
        return int(row[0])

    async def _until(self, reached: Callable[[], bool]) -> None:
        ends = monotonic() + _PATIENCE
        while not reached():
            self._require_alive(ends, _PATIENCE)
            await deferLater(self._bench.reactor, 0.02)

    def _require_alive(self, ends: float, patience: float) -> None:
        if any(daemon.end is not None for daemon in self._daemons):
            raise ProcessFailed(f"a daemon ended by itself\n{self.last_words()}")
        if monotonic() > ends:
            raise ProcessFailed(f"not there in {patience:.0f} s\n{self.last_words()}")


def _is_gone(place: Path) -> bool:
    return not attach.is_alive(place)


def _daemon(name: str, settings: Path) -> tuple[str, ...]:
    return ("-n", "--pidfile=", name, "--config", str(settings))


def _write(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings))
    return path
