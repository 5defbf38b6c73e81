"""A PostgreSQL of a run's own, with the settings that every contender gets.

Durable as PostgreSQL is by default: every commit is on disk before it is answered. What
differs from the defaults is what an operator of a queue would set, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn
from twisted.internet.task import deferLater

from benchmarks import machine
from benchmarks.processes import Processes, ProcessFailed
from buildmaster.postgres.account import account_to_run_as
from buildmaster.postgres.binaries import find_binaries
from buildmaster.postgres.child import Child
from buildmaster.postgres.cluster import environment
from schema.migrate import migrate

#: In order, then without saving: what is in the cluster is of no further use.
_END = (("INT", 30.0), ("QUIT", 10.0), ("KILL", 10.0))


def settings(major: int, *, small: bool) -> dict[str, str]:
    """What goes beyond PostgreSQL's defaults. ``small``: for runs that measure nothing."""
    buffers = min(4 * 2**30, machine.memory() // 4)
    return {
        "shared_buffers": "64MB" if small else f"{buffers // 2**20}MB",
        "max_wal_size": "1GB" if small else "8GB",
        "checkpoint_timeout": "15min",
        "wal_compression": "lz4" if major >= 15 else "on",
        "random_page_cost": "1.1",
        "jit": "off",
        "autovacuum_naptime": "10s",
        "max_connections": "200",
    }


class Server:
    """One cluster and its server process, in ``folder``."""

    def __init__(
        self, reactor: Any, processes: Processes, folder: Path, *, small: bool = False
    ) -> None:
        self._reactor = reactor
        self._processes = processes
        self._folder = folder
        self.account = account_to_run_as()
        self.binaries = find_binaries(os.environ, self.account)
        self.settings = settings(self.binaries.major, small=small)
        self._child: Child | None = None

    @property
    def sockets(self) -> Path:
        """The folder of its socket; the server listens nowhere else."""
        return self._folder / "sockets"

    def dsn(self, database: str = "postgres") -> str:
        """How to connect to one of its databases, as its superuser."""
        return make_dsn(host=str(self.sockets), user="headrace", dbname=database)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._child is not None
        return self._child.pid

    async def start(self) -> None:
        """Make the cluster, start the server, and wait until it takes connections."""
        await self._initialise()
        if not self._takes("wal_compression"):
            self.settings["wal_compression"] = "on"
        command = [self.binaries.program("postgres"), "-D", str(self._folder / "data")]
        for name, value in self._all_settings().items():
            command += ["-c", f"{name}={value}"]
        log = self._folder.parent / "postgresql.log"
        self._child = self._processes.start(
            command, log, environment(os.environ), self.account, _END
        )
        await self._until_ready(log)

    async def stop(self) -> None:
        """End it; nothing if it does not run."""
        if self._child is not None:
            await self._processes.end(self._child)
            self._child = None

    async def make_cluster(self, data: Path, superuser: str = "headrace") -> None:
        """A new cluster in ``data``, a folder that is the account's."""
        options = ["--auth=trust", f"--username={superuser}", "--encoding=UTF8"]
        await self._processes.run(
            [self.binaries.program("initdb"), *options, "--locale=C", "-D", str(data)],
            environment(os.environ),
            account=self.account,
        )

    def database(self, name: str, *, migrated: bool = True) -> str:
        """The DSN of a new database; one of that name is dropped first."""
        self.drop(name)
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        if migrated:
            migrate(self.dsn(name))
        return self.dsn(name)

    def copy(self, name: str, of: str) -> str:
        """The DSN of a new database with all that another one holds."""
        self.drop(name)
        strategy = " STRATEGY file_copy" if self.binaries.major >= 15 else ""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {of}{strategy}")
        return self.dsn(name)

    def databases(self) -> set[str]:
        """The names of those that there are."""
        with closing(psycopg2.connect(self.dsn())) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SELECT datname FROM pg_database")
                return {name for (name,) in cursor.fetchall()}

    def drop(self, name: str) -> None:
        """Remove a database, whoever uses it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def settle(self, database: str) -> None:
        """Write everything out and gather statistics, so that measurements start alike."""
        self.execute("VACUUM ANALYZE", database)
        self.execute("CHECKPOINT", database)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement, outside a transaction."""
        with closing(psycopg2.connect(self.dsn(database))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    async def _initialise(self) -> None:
        account = self.account
        self._folder.mkdir()
        self._folder.chmod(0o711)
        for folder in (self.sockets, self._folder / "data"):
            folder.mkdir(mode=0o700)
            if account.is_other:
                os.chown(folder, account.uid, account.gid)
        await self.make_cluster(self._folder / "data")

    def _takes(self, setting: str) -> bool:
        """Whether these programs were built with what the value of ``setting`` needs."""
        told = self.account.run(
            [
                *(self.binaries.program("postgres"), "-D", str(self._folder / "data")),
                *("-C", setting, "-c", f"{setting}={self.settings[setting]}"),
            ]
        )
        return told.returncode == 0

    def _all_settings(self) -> Mapping[str, str]:
        private = {"listen_addresses": "", "unix_socket_directories": str(self.sockets)}
        return {**self.settings, **private}

    async def _until_ready(self, log: Path) -> None:
        assert self._child is not None
        ends = monotonic() + 60
        while True:
            try:
                psycopg2.connect(self.dsn()).close()
                return
            except psycopg2.OperationalError as error:
                if self._child.end is not None or monotonic() > ends:
                    words = log.read_text("utf-8", "replace")[-2000:]
                    raise ProcessFailed(f"PostgreSQL did not start: {words}") from error
            await deferLater(self._reactor, 0.02)
