"""Runs a private PostgreSQL as a child of this daemon."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import NoReturn

import psycopg2
from psycopg2.extensions import make_dsn
from twisted.internet.defer import TimeoutError as WaitedTooLong
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from buildmaster.postgres import cluster
from buildmaster.postgres.account import Account, account_to_run_as, owner_of
from buildmaster.postgres.binaries import Binaries, find_binaries
from buildmaster.postgres.child import Child, start_child
from buildmaster.postgres.placement import (
    CLUSTERS,
    Home,
    make_home,
    make_socket_folder,
    note_of,
    recorded_home,
    remove_socket_folder,
    require_reachable,
)
from buildmaster.postgres.remnants import forget_stranger, remnants, signal_all

#: Seconds between two looks at what has no event to wait for.
_LOOK = 0.01

#: Seconds for the end of a server: in order, then without saving (it recovers later).
_POLITE, _RUDE = 30.0, 10.0

#: Seconds until a server takes connections; replaying a long log after a crash counts.
_RECOVERY = 600.0

#: The log is put aside at the start that finds it longer than this many bytes.
_LONGEST_LOG = 10_000_000

#: Bytes of the log that an error quotes at most.
_LAST_WORDS = 2000

log = Logger()


class InUse(Exception):
    """Another daemon runs the PostgreSQL of this data folder."""


class DidNotStart(Exception):
    """PostgreSQL could not make its cluster or start; the message quotes its last words."""


class PostgresReactor(IReactorProcess, IReactorTime):
    """What of a reactor is needed: processes and time."""


def _nobody_told(reason: str) -> None:
    """The default for ``lost``."""


class EmbeddedPostgres:
    """A PostgreSQL of a farm's own, in its data folder, for as long as this daemon runs.

    It takes connections on a private socket only. ``lost`` is called with a sentence
    when it ends without having been asked to; nobody starts it again: a daemon that lost
    its database should end, and be started again by whoever started it.
    """

    def __init__(
        self,
        reactor: PostgresReactor,
        data_folder: Path,
        environ: Mapping[str, str] = os.environ,
        lost: Callable[[str], None] = _nobody_told,
        clusters: Path = CLUSTERS,
    ) -> None:
        self._reactor = reactor
        self._data_folder = data_folder.absolute()
        self._environ = environ
        self._lost = lost
        self._clusters = clusters
        self._lock: int | None = None
        self._log: _Log | None = None
        self._home: Home | None = None
        self._sockets: Path | None = None
        self._child: Child | None = None
        self._is_up = False
        self._is_stopping = False

    async def start(self) -> str:
        """Make the cluster if there is none, start it; the DSN of the farm's database.

        The database is empty at first: migrating it is the caller's. Raises, with a
        sentence that says what to do: ``InUse``, ``DidNotStart``, ``NoAccount``,
        ``NoBinaries``, ``OtherVersion``, ``Unplaceable`` or ``UnsafeFolder``. Nothing is
        left running then, nor when the waiting is cancelled.
        """
        self._is_stopping = False
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End PostgreSQL in order, by force if it takes too long. Safe to repeat."""
        await self._end_child()
        self._release()

    async def discard(self) -> None:
        """Stop, and delete the database: for a farm that lives for one run only."""
        await self._end_child()
        if self._home is not None and self._lock is not None:
            shutil.rmtree(self._home.folder)
            note_of(self._data_folder).unlink(missing_ok=True)
        self._release()

    async def _start(self) -> str:
        home = recorded_home(self._data_folder)
        major = None if home is None else cluster.version_of(home)
        if home is None or major is None:
            account = account_to_run_as()
        else:
            account = owner_of(home.cluster)
        home = self._home = home or make_home(self._data_folder, account, self._clusters)
        require_reachable(home, account)
        binaries = find_binaries(self._environ, account, major)
        self._lock = _lock(home)
        self._log = _Log(home.log)
        if major is None:
            await self._make_cluster(home, account, binaries)
        else:
            cluster.require_version(home, binaries)
            await self._outlive_remnants(home)
        sockets = self._sockets = make_socket_folder(home, account, self._environ)
        await self._run(home, sockets, account, binaries)
        return _ready_dsn(sockets)

    async def _make_cluster(self, home: Home, account: Account, binaries: Binaries) -> None:
        """Under another name at first: a kill in the middle leaves no half cluster."""
        for unfinished in home.folder.glob("new-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        new = home.folder / f"new-{secrets.token_hex(4)}"
        new.mkdir(mode=0o700)
        if account.is_other:
            os.chown(new, account.uid, account.gid)
        options = ["--auth=peer", "--username=postgres", "--encoding=UTF8", "--locale=C"]
        initdb = self._spawn(
            account, [binaries.program("initdb"), *options, "-D", str(new)]
        )
        await initdb.when_ended()
        if not initdb.succeeded:
            shutil.rmtree(new, ignore_errors=True)
            self._give_up(f"Making the database in {home.folder} failed ({initdb.end})")
        cluster.adopt(new, home)

    async def _outlive_remnants(self, home: Home) -> None:
        """Wait for the server of a daemon that was just killed.

        It was told to stop when its daemon died; telling it again does no harm, and
        reaches one whose daemon died in the very moment of starting it.
        """
        for number, patience in ((signal.SIGINT, _POLITE), (signal.SIGQUIT, _RUDE)):
            left = remnants(home)
            signal_all(left[:1] if number == signal.SIGINT else left, number)
            ends = self._reactor.seconds() + patience
            while left and self._reactor.seconds() < ends:
                await self._pause()
                left = remnants(home)
            if not left:
                return forget_stranger(home)
        raise InUse(
            f"An earlier PostgreSQL of {self._data_folder} (process {left[0]}) does not "
            "end: look what keeps it (a disk that does not answer?), then kill it."
        )

    async def _run(
        self, home: Home, sockets: Path, account: Account, binaries: Binaries
    ) -> None:
        cluster.write_access(home)
        command = [binaries.program("postgres"), "-D", str(home.cluster)]
        for name, value in cluster.fixed_settings(home, sockets).items():
            command += ["-c", f"{name}={value}"]
        server = self._spawn(account, command)
        cluster.write_pid(home, server.pid)
        told = server.when_ended().addCallback(lambda _: self._ended(server))
        told.addErrback(lambda failure: log.failure("after PostgreSQL's end", failure))
        await self._until_ready(home, server)
        self._is_up = True

    async def _until_ready(self, home: Home, server: Child) -> None:
        ends = self._reactor.seconds() + _RECOVERY
        while not cluster.is_ready(home, server.pid):
            if server.end is not None:
                self._give_up(f"PostgreSQL in {home.folder} did not start ({server.end})")
            if self._reactor.seconds() > ends:
                self._give_up(f"PostgreSQL was not ready after {_RECOVERY:.0f} s")
            await self._pause()

    def _ended(self, server: Child) -> None:
        if not self._is_up:
            return  # starting or stopping knows
        self._is_up = False
        self._lost(
            f"PostgreSQL (process {server.pid}) ended without having been asked to "
            f"({server.end}); start the daemon again. {self._last_words()}"
        )

    async def _end_child(self) -> None:
        self._is_stopping = True
        self._is_up = False
        if self._child is None:
            return
        child = self._child
        for name, patience in (("INT", _POLITE), ("QUIT", _RUDE), ("KILL", _RUDE)):
            child.signal(name)
            try:
                await child.when_ended().addTimeout(patience, self._reactor)
                return
            except WaitedTooLong:
                continue

    def _spawn(self, account: Account, command: list[str]) -> Child:
        assert self._log is not None
        environ = cluster.environment(self._environ)
        child = start_child(self._reactor, account, command, environ, self._log.descriptor)
        self._child = child
        return child

    async def _pause(self) -> None:
        await deferLater(self._reactor, _LOOK)
        if self._is_stopping:
            self._give_up("PostgreSQL was told to stop while it started")

    def _give_up(self, what: str) -> NoReturn:
        raise DidNotStart(f"{what}. {self._last_words()}")

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        return f"Its last words, from {self._log.path}:\n{self._log.last_words()}"

    def _release(self) -> None:
        if self._sockets is not None:
            remove_socket_folder(self._sockets)
        if self._home is not None and self._lock is not None:
            self._home.pid_file.unlink(missing_ok=True)
        if self._log is not None:
            self._log.close()
        if self._lock is not None:
            os.close(self._lock)
        self._sockets = self._home = self._log = self._lock = self._child = None


class _Log:
    """The file that a server prints to, and what of it is of this start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with suppress(FileNotFoundError):
            if path.lstat().st_size > _LONGEST_LOG:
                path.replace(path.with_name("log.old"))
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self.descriptor = os.open(path, flags, 0o600)
        self._start = os.fstat(self.descriptor).st_size

    def last_words(self) -> str:
        end = os.fstat(self.descriptor).st_size
        start = max(self._start, end - _LAST_WORDS)
        text = os.pread(self.descriptor, end - start, start)
        return text.decode(errors="replace").strip() or "(it said nothing)"

    def close(self) -> None:
        os.close(self.descriptor)


def _lock(home: Home) -> int:
    """Take the home for this process; the kernel gives it back when the process ends."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(home.lock, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise InUse(
            f"Process {holder or '(unknown)'} already runs the farm of "
            f"{home.data_folder}: use that one, stop it, or choose another data folder."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _ready_dsn(sockets: Path) -> str:
    """Make role and database where they are missing; the DSN to use."""
    where = {"host": str(sockets), "port": "5432"}
    dsn = make_dsn(**where, user="postgres", dbname="postgres", connect_timeout=30)
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True  # a database can't be made in a transaction
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (cluster.ROLE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE ROLE {cluster.ROLE} LOGIN")
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (cluster.ROLE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {cluster.ROLE} OWNER {cluster.ROLE}")
    return make_dsn(**where, user=cluster.ROLE, dbname=cluster.ROLE)
