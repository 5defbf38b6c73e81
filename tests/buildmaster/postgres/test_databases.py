"""Of ``tests/postgres.py``: what other tests rely on."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2.extensions import parse_dsn
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.buildmaster.postgres.processes import Printed, end_of, python_path
from tests.postgres import fresh_dsn, server_dsn, sweep

HANG = """
import signal, unittest
from pathlib import Path
from tests.postgres import server_dsn
from psycopg2.extensions import parse_dsn
home = Path(parse_dsn(server_dsn(unittest.TestCase()))["host"])
pid = (home / "data" / "postmaster.pid").read_text().split()[0]
print(home, pid, flush=True)
signal.pause()
"""


class FreshDatabaseTests(SynchronousTestCase):
    def test_each_has_the_schema_and_is_its_test_s_own(self) -> None:
        first, second = fresh_dsn(self), fresh_dsn(self)
        with closing(psycopg2.connect(first)) as connection, connection:
            connection.cursor().execute("INSERT INTO worker (name) VALUES ('ant')")
        with closing(psycopg2.connect(second)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT count(*) FROM worker")
            self.assertEqual(cursor.fetchone(), (0,))

    def test_it_is_dropped_even_with_a_connection_left_open(self) -> None:
        other = SynchronousTestCase()
        dsn = fresh_dsn(other)
        left = psycopg2.connect(dsn)
        self.addCleanup(left.close)
        other.doCleanups()
        with closing(psycopg2.connect(server_dsn(self))) as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT FROM pg_database WHERE datname = %s", (parse_dsn(dsn)["dbname"],)
            )
            self.assertIsNone(cursor.fetchone())


class ThrowAwayServerTests(TestCase):
    timeout = 60

    async def test_a_killed_test_run_leaves_no_server(self) -> None:
        environ = {**os.environ, "PYTHONPATH": python_path(), "HEADRACE_TEST_DSN": ""}
        run = Printed(sys.executable, "-c", HANG, environ=environ)
        home, pid = (await run.first_line).split()
        await run.kill()
        await end_of(int(pid))
        sweep()  # as the next run does
        self.assertFalse(Path(home).exists())
