"""A PostgreSQL server that a test may stop, start again and freeze."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest import TestCase

import psycopg2
from psycopg2.extensions import make_dsn

from buildmaster.postgres import launch
from buildmaster.postgres.account import Account, NoAccount, account_to_run_as
from buildmaster.postgres.binaries import Binaries, NoBinaries, find_binaries
from tests.requirements import require


class OwnServer:
    """One server process on a cluster that the tests of a process share, one by one."""

    def __init__(self) -> None:
        self._account, self._binaries, self._home = _cluster()
        self._process: subprocess.Popen[bytes] | None = None
        self.dsn = make_dsn(host=str(self._home), user="headrace", dbname="postgres")

    @classmethod
    def start(cls, test: TestCase) -> OwnServer:
        """A running server with an empty database, stopped when ``test`` ends."""
        try:
            server = cls()
        except (NoBinaries, NoAccount) as error:
            require(test, False, str(error))
            raise
        server.resume()
        test.addCleanup(server.stop)
        with psycopg2.connect(server.dsn) as connection, connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.close()
        return server

    def resume(self) -> None:
        """Start the process and wait until it takes connections."""
        account = self._account
        who = (account.uid, account.gid) if account.is_other else ("", "")
        words: list[object] = [os.getpid(), account.name, *who]
        words += [self._binaries.program("postgres"), "-D", self._home / "data"]
        words += ["-k", self._home, "-c", "listen_addresses=", "-c", "fsync=off"]
        words += ["-c", "log_min_messages=fatal", "-c", "shared_buffers=16MB"]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, *map(str, words)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ends = time.monotonic() + 60
        while True:
            try:
                psycopg2.connect(self.dsn).close()
                return
            except psycopg2.OperationalError:
                if self._process.poll() is not None or time.monotonic() > ends:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        """End the process at once, as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Every process of the server stands still: it takes bytes and never answers."""
        assert self._process is not None
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        everybody = [first, *map(int, children)]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in everybody:
                os.kill(pid, signal.SIGCONT)


@cache
def _cluster() -> tuple[Account, Binaries, Path]:
    account = account_to_run_as()
    binaries = find_binaries(os.environ, account)
    home = Path(tempfile.mkdtemp(prefix="headrace-own-", dir="/tmp"))  # a socket's path
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    if account.is_other:
        os.chown(home, account.uid, account.gid)
    options = ("--no-sync", "--auth=trust", "--username=headrace", "--encoding=UTF8")
    told = account.run(
        [binaries.program("initdb"), *options, "--locale=C", "-D", str(home / "data")],
        timeout=120,
    )
    if told.returncode != 0:
        raise RuntimeError(f"initdb failed: {told.stderr}")
    return account, binaries, home
