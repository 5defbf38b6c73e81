from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, cast

import psycopg2
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from buildmaster.postgres.account import account_to_run_as
from buildmaster.postgres.binaries import Binaries, NoBinaries, find_binaries
from buildmaster.postgres.cluster import OtherVersion
from buildmaster.postgres.embedded import (
    DidNotStart,
    EmbeddedPostgres,
    InUse,
    PostgresReactor,
)
from buildmaster.postgres.placement import note_of
from tests.buildmaster.postgres.folders import give_cluster, short_folder
from tests.buildmaster.postgres.processes import (
    Printed,
    end_of,
    python_for_all,
    start_daemon,
)
from tests.requirements import require

reactor = cast(PostgresReactor, global_reactor)


def ask(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


class EmbeddedCase(TestCase):
    """A data folder, and what starts a PostgreSQL in it."""

    timeout = 60

    def setUp(self) -> None:
        self.data = short_folder(self)
        self.lost: list[str] = []
        try:
            self.binaries: Binaries = find_binaries(os.environ)
        except NoBinaries as error:
            require(self, False, str(error))

    def make(self, data: Path | None = None, **environ: str) -> EmbeddedPostgres:
        postgres = EmbeddedPostgres(
            reactor,
            data or self.data,
            {**os.environ, **environ},
            self.lost.append,
            clusters=self.data / "elsewhere",
        )
        self.addCleanup(postgres.stop)
        return postgres

    def pid(self) -> int:
        return int((self.data / "postgres.pid").read_text())


class StartTests(EmbeddedCase):
    """From nothing."""

    async def test_a_second_start_finds_the_data_of_the_first(self) -> None:
        postgres = self.make()
        dsn = await postgres.start()
        self.assertEqual(ask(dsn, "SHOW jit"), [("off",)])
        ask(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        await postgres.stop()
        dsn = await self.make().start()
        self.assertEqual(ask(dsn, "SELECT number FROM kept"), [(7,)])
        self.assertEqual(self.lost, [])

    async def test_data_survives_where_the_path_has_spaces_and_quotes(self) -> None:
        self.data = self.data / 'it\'s a "data" $HOME `folder`, 100% ünusual'
        dsn = await self.make().start()
        self.assertEqual(ask(dsn, "SELECT 1"), [(1,)])

    async def test_a_long_path_of_the_data_folder_does_not_matter(self) -> None:
        self.data = self.data / ("long" * 30) / ("path" * 30)
        dsn = await self.make().start()
        self.assertEqual(ask(dsn, "SELECT 1"), [(1,)])

    async def test_a_data_folder_closed_to_its_account_keeps_it_elsewhere(self) -> None:
        require(self, os.geteuid() == 0, "needs root: others run PostgreSQL themselves")
        private = self.data / "private"
        private.mkdir(mode=0o700)
        postgres = self.make(private)
        dsn = await postgres.start()
        ask(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        await postgres.stop()
        place = Path(note_of(private).read_text().strip())
        self.assertEqual(place.parent, self.data / "elsewhere")
        again = self.make(private)
        self.assertEqual(ask(await again.start(), "SELECT number FROM kept"), [(7,)])
        await again.discard()
        self.assertFalse(place.exists())
        self.assertEqual(list(private.iterdir()), [])

    async def test_a_discarded_one_leaves_nothing(self) -> None:
        postgres = self.make()
        dsn = await postgres.start()
        await postgres.discard()
        self.assertEqual(list(self.data.iterdir()), [])
        self.assertFalse(Path(psycopg2.extensions.parse_dsn(dsn)["host"]).exists())


class RunningTests(EmbeddedCase):
    """From a cluster that is there."""

    def setUp(self) -> None:
        super().setUp()
        give_cluster(self.data)

    async def test_what_is_promised_to_be_stored_is_stored(self) -> None:
        dsn = await self.make().start()
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            self.assertEqual(ask(dsn, f"SHOW {setting}"), [("on",)])
        self.assertEqual(ask(dsn, "SHOW server_encoding"), [("UTF8",)])

    async def test_the_farm_s_role_owns_its_database_and_nothing_more(self) -> None:
        """A statement that an attacker smuggled in reads no files and runs no programs."""
        dsn = await self.make().start()
        self.assertEqual(
            ask(
                dsn,
                "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user",
            ),
            [(False, False)],
        )
        with self.assertRaises(psycopg2.errors.InsufficientPrivilege):
            ask(dsn, "COPY (SELECT 1) TO PROGRAM 'true'")
        ask(dsn, "CREATE TABLE allowed (number integer)")

    async def test_nothing_listens_on_the_network(self) -> None:
        dsn = await self.make().start()
        self.assertEqual(ask(dsn, "SHOW listen_addresses"), [("",)])

    async def test_another_account_is_refused_even_with_the_socket_folder_open(
        self,
    ) -> None:
        require(self, os.geteuid() == 0, "needs root, to act as another account")
        dsn = await self.make().start()
        parameters = psycopg2.extensions.parse_dsn(dsn)
        sockets = Path(parameters["host"])
        sockets.chmod(0o755)
        (sockets / ".s.PGSQL.5432").chmod(0o777)
        code = "import os, psycopg2, sys; os.setgid(65534); os.setuid(65534)"
        code += "; psycopg2.connect(sys.argv[1])"
        stranger = Printed(sys.executable, "-c", code, dsn)
        self.assertIn("Peer authentication failed", await stranger.output)
        sockets.chmod(0o700)

    async def test_the_operator_s_own_settings_do_not_lead_it_astray(self) -> None:
        dsn = await self.make(PGDATA="/nonexistent", PGPORT="1", PGOPTIONS="-c x").start()
        self.assertEqual(ask(dsn, "SELECT 1"), [(1,)])

    async def test_its_process_id_stands_in_the_data_folder_while_it_runs(self) -> None:
        postgres = self.make()
        await postgres.start()
        os.kill(self.pid(), 0)
        await postgres.stop()
        self.assertFalse((self.data / "postgres.pid").exists())

    async def test_two_of_one_folder_are_refused(self) -> None:
        await self.make().start()
        error = await self.assertFailure(Deferred.fromCoroutine(self.make().start()), InUse)
        self.assertIn(f"Process {os.getpid()}", str(error))
        os.kill(self.pid(), 0)

    async def test_another_major_version_is_refused(self) -> None:
        postgres = self.make()
        await postgres.start()
        await postgres.stop()
        version = self.data / "postgres" / "data" / "PG_VERSION"
        version.write_text("11\n")
        error = await self.assertFailure(
            Deferred.fromCoroutine(self.make().start()), OtherVersion
        )
        self.assertIn("made by PostgreSQL 11", str(error))
        self.assertIn(f"PostgreSQL {self.binaries.major}", str(error))
        self.assertIn("postgresql-11", str(error))
        self.assertEqual(version.read_text(), "11\n")

    async def test_a_broken_cluster_is_told_with_the_server_s_last_words(self) -> None:
        postgres = self.make()
        await postgres.start()
        await postgres.stop()
        shutil.rmtree(self.data / "postgres" / "data" / "global")
        error = await self.assertFailure(
            Deferred.fromCoroutine(self.make().start()), DidNotStart
        )
        self.assertIn("global/pg_control", str(error))
        self.assertFalse((self.data / "postgres.pid").exists())

    async def test_a_stranger_with_the_process_id_of_a_dead_server_is_no_hindrance(
        self,
    ) -> None:
        """As after a reboot, or at every restart of a container."""
        postgres = self.make()
        await postgres.start()
        lines = (self.data / "postgres" / "data" / "postmaster.pid").read_text()
        await postgres.stop()
        account = account_to_run_as()
        stranger = Printed("sleep", "1000", uid=account.uid if account.is_other else None)
        self.addCleanup(stranger.kill)
        stale = self.data / "postgres" / "data" / "postmaster.pid"
        stale.write_text("\n".join([str(stranger.pid), *lines.split("\n")[1:]]))
        os.chown(stale, account.uid, account.gid)
        await self.make().start()
        os.kill(stranger.pid, 0)


class FailingInitdbTests(EmbeddedCase):
    def pretend(self, initdb: str) -> str:
        """A folder with the real server, and something else for its ``initdb``."""
        folder = short_folder(self)
        (folder / "postgres").symlink_to(self.binaries.folder / "postgres")
        (folder / "initdb").write_text(f"#!/bin/sh\n{initdb}\n")
        (folder / "initdb").chmod(0o755)
        return str(folder)

    async def test_what_it_said_is_told_and_nothing_is_kept(self) -> None:
        full = self.pretend("echo 'initdb: No space left on device' >&2; exit 1")
        start = self.make(HEADRACE_PG_BIN=full).start()
        error = await self.assertFailure(Deferred.fromCoroutine(start), DidNotStart)
        self.assertIn("No space left on device", str(error))
        self.assertEqual(list((self.data / "postgres").glob("new-*")), [])
        await self.make().start()

    async def test_a_stop_in_the_middle_ends_it(self) -> None:
        fifo = self.data / "fifo"
        os.mkfifo(fifo)
        fifo.chmod(0o666)
        slow = self.pretend(f"echo $$ > {shlex.quote(str(fifo))}; exec sleep 1000")
        postgres = self.make(HEADRACE_PG_BIN=slow)
        starting = Deferred.fromCoroutine(postgres.start())
        pid = int(await deferToThread(fifo.read_text))
        await postgres.stop()
        await self.assertFailure(starting, DidNotStart)
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    async def test_a_killed_daemon_leaves_neither_it_nor_half_a_cluster(self) -> None:
        fifo = self.data / "fifo"
        os.mkfifo(fifo)
        fifo.chmod(0o666)
        slow = self.pretend(f"echo $$ > {shlex.quote(str(fifo))}; exec sleep 1000")
        killed = start_daemon(self, self.data, "env", f"HEADRACE_PG_BIN={slow}")
        pid = int(await deferToThread(fifo.read_text))
        await killed.kill()
        await end_of(pid)
        self.assertFalse((self.data / "postgres" / "data").exists())
        await self.make().start()
        self.assertEqual(list((self.data / "postgres").glob("new-*")), [])


class EndTests(EmbeddedCase):
    def setUp(self) -> None:
        super().setUp()
        give_cluster(self.data)

    async def test_its_death_is_told(self) -> None:
        told: Deferred[str] = Deferred()
        postgres = EmbeddedPostgres(reactor, self.data, lost=told.callback)
        self.addCleanup(postgres.stop)
        await postgres.start()
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        reason = await told
        self.assertIn(f"process {pid}", reason)
        self.assertIn("signal 9", reason)

    async def test_a_killed_server_s_data_is_recovered(self) -> None:
        told: Deferred[str] = Deferred()
        postgres = EmbeddedPostgres(reactor, self.data, lost=told.callback)
        self.addCleanup(postgres.stop)
        dsn = await postgres.start()
        ask(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        os.kill(self.pid(), signal.SIGKILL)
        await told
        await postgres.stop()
        self.assertEqual(ask(await self.make().start(), "SELECT number FROM kept"), [(7,)])

    async def test_an_open_connection_does_not_delay_the_stop(self) -> None:
        postgres = self.make()
        connection = psycopg2.connect(await postgres.start())
        self.addCleanup(connection.close)
        await postgres.stop()
        self.assertEqual(self.lost, [])

    async def test_stopping_twice_or_without_a_start_does_nothing(self) -> None:
        postgres = self.make()
        await postgres.stop()
        await postgres.start()
        await postgres.stop()
        await postgres.stop()
        self.assertEqual(self.lost, [])

    async def test_it_can_be_started_again(self) -> None:
        postgres = self.make()
        await postgres.start()
        await postgres.stop()
        self.assertEqual(ask(await postgres.start(), "SELECT 1"), [(1,)])

    async def test_a_killed_daemon_leaves_nothing_running(self) -> None:
        killed = start_daemon(self, self.data)
        word, pid, dsn = (await killed.first_line).split(maxsplit=2)
        self.assertEqual(word, "ready")
        ask(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        await killed.kill()
        # At once, while the old server may still be stopping: it is waited for.
        again = await self.make().start()
        self.assertEqual(ask(again, "SELECT number FROM kept"), [(7,)])
        await end_of(int(pid))

    async def test_a_server_that_was_not_told_to_stop_is_told(self) -> None:
        """As if its daemon had died in the moment of starting it."""
        postgres = self.make()
        dsn = await postgres.start()
        ask(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        self.addCleanup(self.flushLoggedErrors)
        postgres._release()  # the lock of a dead daemon is free; its server lives on
        again = await self.make().start()
        self.assertEqual(ask(again, "SELECT number FROM kept"), [(7,)])

    async def test_two_daemons_on_one_folder_are_refused(self) -> None:
        first = start_daemon(self, self.data)
        self.assertIn("ready", await first.first_line)
        second = start_daemon(self, self.data)
        refused = await second.first_line
        self.assertIn("refused InUse", refused)
        self.assertIn("choose another data folder", refused)
        os.kill(self.pid(), 0)

    async def test_a_daemon_that_ends_in_order_ends_it_first(self) -> None:
        first = start_daemon(self, self.data)
        _, pid, _ = (await first.first_line).split(maxsplit=2)
        first.signal("TERM")
        await first.output
        self.assertRaises(ProcessLookupError, os.kill, int(pid), 0)
        self.assertFalse((self.data / "postgres.pid").exists())

    async def test_an_ordinary_user_can_run_it(self) -> None:
        python = python_for_all() if os.geteuid() == 0 else sys.executable
        require(self, python != "", "no Python and checkout that all can reach")
        before = []
        if os.geteuid() == 0:
            shutil.rmtree(self.data / "postgres")
            os.chown(self.data, 65534, 65534)
            before = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        first = start_daemon(self, self.data, *before, python=python)
        self.assertIn("ready", await first.first_line)
        owner = os.stat(f"/proc/{self.pid()}").st_uid
        self.assertEqual(owner, os.stat(self.data).st_uid)
