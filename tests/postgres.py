"""A migrated database of its own for each test.

The server is the one that ``HEADRACE_TEST_DSN`` names (an account that may create
databases), else a throw-away one that this process starts when first asked, without
durability, and that cannot outlive it.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any
from unittest import TestCase
from uuid import uuid4

import psycopg2
from psycopg2.extensions import make_dsn

from buildmaster.postgres import launch
from buildmaster.postgres.account import Account, NoAccount, account_to_run_as
from buildmaster.postgres.binaries import Binaries, NoBinaries, find_binaries
from schema.migrate import FOLDER, migrate
from tests.requirements import require

#: Whoever has this advisory lock makes the template; others wait for it.
_LOCK = int.from_bytes(b"hr-tests", "big")

_PREFIX = "headrace-server-"

#: Nothing here is worth a write to disk; many small tests share the machine.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_min_messages": "fatal",  # into a file; shown if it does not start
}


async def fresh_database(test: TestCase) -> str:
    """The DSN of a migrated database of the test's own, dropped when ``test`` ends.

    Skips the test where there is no PostgreSQL.
    """
    return fresh_dsn(test)


def fresh_dsn(test: TestCase) -> str:
    """The same for tests that do not wait."""
    server = server_dsn(test)
    return _copy(test, server, _template(server))


def empty_dsn(test: TestCase) -> str:
    """The DSN of a database of the test's own without any schema."""
    return _copy(test, server_dsn(test), "template0")


def server_dsn(test: TestCase) -> str:
    """The DSN of the server's maintenance database. Starts the server if need be."""
    try:
        return os.environ.get("HEADRACE_TEST_DSN") or _throw_away_server()
    except (NoBinaries, NoAccount) as error:
        require(test, False, str(error))
        raise


def _copy(test: TestCase, server: str, template: str) -> str:
    name = f"test_{uuid4().hex}"
    _run(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    test.addCleanup(_run, server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    return make_dsn(server, dbname=name)


@cache
def _template(server: str) -> str:
    """Make the template of today's schema files unless another process did."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.sql")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    name = f"template_{digest.hexdigest()[:16]}"
    with closing(psycopg2.connect(server)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        if cursor.fetchone() is None:
            # Renamed only when complete: a test run killed here leaves no half template.
            cursor.execute(f"DROP DATABASE IF EXISTS {name}_new WITH (FORCE)")
            cursor.execute(f"CREATE DATABASE {name}_new TEMPLATE template0 ENCODING 'UTF8'")
            migrate(make_dsn(server, dbname=f"{name}_new"))
            cursor.execute(f"ALTER DATABASE {name}_new WITH ALLOW_CONNECTIONS false")
            cursor.execute(f"ALTER DATABASE {name}_new RENAME TO {name}")
    return name


def query(dsn: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What a statement gives, in a transaction of its own."""
    with closing(psycopg2.connect(dsn)) as connection:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            rows = cursor.fetchall() if cursor.description else []
        connection.commit()
        return rows


def _run(dsn: str, statement: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


@cache
def _throw_away_server() -> str:
    account = account_to_run_as()
    binaries = find_binaries(os.environ, account)
    sweep()
    home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))  # short: a socket lies in it
    lock = os.open(home / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # until this process ends, however that comes about
    private = home / "private"
    private.mkdir(0o700)
    if account.is_other:
        home.chmod(0o711)
        os.chown(private, account.uid, account.gid)
    _initialise(binaries, account, private / "data")
    server = _launch(binaries, account, private, home / "log")
    atexit.register(_stop, os.getpid(), server, home)
    return _wait_until_ready(server, private, home / "log")


def sweep() -> None:
    """Remove the files that killed test runs left; their servers are gone already."""
    for home in Path("/tmp").glob(f"{_PREFIX}*"):
        try:
            if home.is_symlink() or home.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(home / "lock", os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue  # being made or removed just now
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home, ignore_errors=True)
        except OSError:
            pass  # its process lives
        finally:
            os.close(lock)


def _initialise(binaries: Binaries, account: Account, data: Path) -> None:
    options = ("--no-sync", "--auth=trust", "--username=headrace", "--encoding=UTF8")
    told = account.run(
        [binaries.program("initdb"), *options, "--locale=C", "-D", str(data)], timeout=120
    )
    if told.returncode != 0:
        raise RuntimeError(f"initdb failed: {told.stderr}")


def _launch(
    binaries: Binaries, account: Account, private: Path, log: Path, **more: str
) -> subprocess.Popen[bytes]:
    # It gets SIGINT when the thread that started it ends: call this in the main one.
    who = (account.uid, account.gid) if account.is_other else ("", "")
    settings = {"unix_socket_directories": str(private), **_SETTINGS, **more}
    program = [binaries.program("postgres"), "-D", str(private / "data")]
    for name, value in settings.items():
        program += ["-c", f"{name}={value}"]
    words = (os.getpid(), account.name, *who, *program)
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, *map(str, words)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _wait_until_ready(server: subprocess.Popen[bytes], private: Path, log: Path) -> str:
    dsn = make_dsn(host=str(private), user="headrace", dbname="postgres")
    ends = time.monotonic() + 60
    while True:
        try:
            psycopg2.connect(dsn).close()
            return dsn
        except psycopg2.OperationalError as error:
            if server.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"no server for tests: {log.read_text()}") from error
            time.sleep(0.02)


def _stop(starter: int, server: subprocess.Popen[bytes], home: Path) -> None:
    if os.getpid() != starter:
        return  # a fork of the test process ends
    if server.poll() is None:
        server.send_signal(signal.SIGQUIT)  # nothing in it is worth an orderly shutdown
        server.wait(30)
    shutil.rmtree(home, ignore_errors=True)


class OwnServer:
    """A server for one test alone, that may be stopped and started again.

    Call `start` and `restart` in the main thread. A crash loses nothing that was
    committed: it keeps its files when its processes die, and the machine does not.
    """

    def __init__(self, test: TestCase) -> None:
        try:
            self._account = account_to_run_as()
            self._binaries = find_binaries(os.environ, self._account)
        except (NoBinaries, NoAccount) as error:
            require(test, False, str(error))
            raise
        self._home = Path(tempfile.mkdtemp(prefix="headrace-own-", dir="/tmp"))
        self._private = self._home / "private"
        self._private.mkdir(0o700)
        if self._account.is_other:
            self._home.chmod(0o711)
            os.chown(self._private, self._account.uid, self._account.gid)
        _initialise(self._binaries, self._account, self._private / "data")
        self.start()
        test.addCleanup(lambda: _stop(os.getpid(), self._server, self._home))
        self.dsn = make_dsn(self._dsn, dbname="farm")
        _run(self._dsn, "CREATE DATABASE farm TEMPLATE template0 ENCODING 'UTF8'")

    def start(self) -> None:
        """Return when it answers."""
        log = self._home / "log"
        # A commit reaches the system's cache, which outlives a crash of the server.
        self._server = _launch(
            self._binaries, self._account, self._private, log, synchronous_commit="on"
        )
        self._dsn = _wait_until_ready(self._server, self._private, log)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT closes all connections first, SIGQUIT is a crash."""
        self._server.send_signal(number)
        self._server.wait(60)

    def kill_backends(self) -> None:
        """End every connection of the farm's database."""
        _run(
            self._dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'farm'",
        )
