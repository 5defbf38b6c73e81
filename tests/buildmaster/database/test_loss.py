"""That the database layer survives losing connections, and the whole server."""

from __future__ import annotations

import socket
from typing import Any

from psycopg2.extensions import make_dsn
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from buildmaster.database import Cursor, Database, DatabaseAway, OutcomeUnknown
from buildmaster.database.connection import connect, connection_string
from tests.buildmaster.database.farm_database import (
    NAME,
    Waiting,
    at_once,
    kill_all,
    started,
    until_active,
)
from tests.buildmaster.database.own_server import OwnServer
from tests.postgres import empty_dsn


def run(coroutine: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(coroutine)


class LossTests(TestCase):
    """Connections that the server ends."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.dsn = empty_dsn(self)
        self.database = await started(self, self.dsn, size=4)
        await self.database.run("CREATE TABLE place (n integer)")

    async def all_work(self) -> None:
        sleeps = [self.database.one("SELECT 1 FROM pg_sleep(0.02)") for _ in range(8)]
        self.assertEqual(await gatherResults([run(s) for s in sleeps]), [(1,)] * 8)

    async def test_dead_connections_are_replaced(self) -> None:
        """The driver's pool would fail every so many queries for ever."""
        for _ in range(3):
            self.assertGreaterEqual(kill_all(self.dsn), 1)
            await self.all_work()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_loss_that_nobody_noticed_yet_is_found_before_use(self) -> None:
        """The kill and the query come without a turn of the reactor between them."""
        for _ in range(5):
            kill_all(self.dsn)
            self.assertEqual(await self.database.one("SELECT 2"), (2,))
            kill_all(self.dsn)

            async def work(cursor: Cursor) -> Any:
                return await cursor.one("SELECT 3")

            self.assertEqual(await self.database.transaction(work), (3,))

    async def test_one_dead_connection_of_four_is_enough_to_notice(self) -> None:
        """The other three go on; the fourth comes back."""
        [(one,)] = at_once(
            self.dsn,
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s LIMIT 1",
            (NAME,),
        )
        at_once(self.dsn, "SELECT pg_terminate_backend(%s, 5000)", (one,))
        await self.all_work()

    async def test_a_statement_cut_off_in_its_midst_has_an_unknown_outcome(self) -> None:
        """And it is not sent again."""
        statement = run(self.database.run("INSERT INTO place SELECT 1 FROM pg_sleep(30)"))
        await until_active(self.dsn, "pg_sleep(30)")
        kill_all(self.dsn)
        error = await self.assertFailure(statement, OutcomeUnknown)
        self.assertIn("lost", str(error))
        self.assertEqual(await self.database.rows("SELECT * FROM place"), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_transaction_cut_off_before_its_commit_changed_nothing(self) -> None:
        """That much is known, and said."""
        runs: list[int] = []

        async def work(cursor: Cursor) -> None:
            runs.append(1)
            await cursor.run("INSERT INTO place VALUES (1)")
            kill_all(self.dsn)
            await cursor.run("INSERT INTO place VALUES (2)")

        error = await self.assertFailure(run(self.database.transaction(work)), DatabaseAway)
        self.assertNotIsInstance(error, OutcomeUnknown)
        self.assertEqual(await self.database.rows("SELECT * FROM place"), [])
        self.assertEqual(runs, [1], "nothing is retried")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_commit_cut_off_has_an_unknown_outcome(self) -> None:
        """The caller must look."""

        async def work(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO place VALUES (1)")
            kill_all(self.dsn)

        await self.assertFailure(run(self.database.transaction(work)), OutcomeUnknown)
        await self.all_work()

    async def test_a_new_connection_with_the_number_of_a_dead_one_is_not_deaf(self) -> None:
        """A reactor that still holds a closed descriptor ignores its successor."""
        for _ in range(3):
            busy = [run(self.database.one("SELECT pg_sleep(30)")) for _ in range(4)]
            await until_active(self.dsn, "pg_sleep(30)", 4)
            kill_all(self.dsn)
            for each in busy:
                await self.assertFailure(each, OutcomeUnknown)
            await self.all_work()


class AwayTests(TestCase):
    """A server that is not there at all."""

    async def setUp(self) -> None:  # type: ignore[override]
        from twisted.internet import reactor

        self.reactor: Any = reactor

    async def test_a_database_that_was_never_there_is_told_in_a_sentence(self) -> None:
        """After a bounded time, and without the password."""
        for dsn in (
            "host=/nonexistent dbname=farm password=mill-race",
            "host=127.0.0.1 port=1 dbname=farm password=mill-race",
        ):
            database = Database(dsn, self.reactor, patience=0.2)
            error = await self.assertFailure(run(database.start()), DatabaseAway)
            self.assertIn("dbname=farm cannot be reached", str(error))
            self.assertIn("check that PostgreSQL runs there", str(error))
            self.assertNotIn("mill-race", str(error))
            await self.assertFailure(run(database.one("SELECT 1")), DatabaseAway)

    async def test_a_database_that_does_not_exist_is_named(self) -> None:
        """The server's own words are in the sentence."""
        dsn = connection_string(make_dsn(empty_dsn(self), dbname="nowhere"), NAME)
        error = await self.assertFailure(run(connect(self.reactor, dsn)), DatabaseAway)
        self.assertIn("does not exist", str(error))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_server_that_never_answers_is_given_up(self) -> None:
        """It accepts, and says nothing."""
        self.patch_connect_timeout(0.2)
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        dsn = f"host=127.0.0.1 port={silent.getsockname()[1]} dbname=farm"
        database = Database(dsn, self.reactor, patience=0.5)
        error = await self.assertFailure(run(database.start()), DatabaseAway)
        self.assertIn("no answer within", str(error))

    def patch_connect_timeout(self, seconds: float) -> None:
        from buildmaster.database import connection

        self.patch(connection, "CONNECT_TIMEOUT", seconds)

    async def test_a_restart_of_the_server_is_survived(self) -> None:
        """While it is away callers hear so in time; afterwards all is as before."""
        server = OwnServer.start(self)
        database = await started(self, server.dsn, size=3, patience=0.3)
        beginnings = Waiting()
        database.listen("race", beginnings.add)
        await beginnings.until(1)
        await database.run("CREATE TABLE place (n integer)")
        server.stop()
        waiting = [run(database.one("SELECT 1")) for _ in range(10)]
        for each in waiting:
            error = await self.assertFailure(each, DatabaseAway)
            self.assertIn("cannot be reached", str(error))
        # It has been away for longer than the patience: known at once.
        self.failureResultOf(run(database.one("SELECT 1")), DatabaseAway)
        server.resume()
        await beginnings.until(2)
        while True:
            try:
                await database.run("INSERT INTO place VALUES (1)")
                break
            except DatabaseAway:
                await deferLater(self.reactor, 0.02)
        await gatherResults([run(database.one("SELECT 1")) for _ in range(10)])
        await database.run("NOTIFY race, 'x'")
        self.assertEqual((await beginnings.until(3))[-1], "x")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_frozen_server_cannot_hold_a_statement_beyond_its_timeout(self) -> None:
        """A stopped process keeps its sockets; only our own clock helps."""
        from buildmaster.database import connection

        self.patch(connection, "_COME_TO_REST", 0.2)
        self.patch_connect_timeout(0.5)
        server = OwnServer.start(self)
        database = await started(
            self, server.dsn, size=1, statement_timeout=0.3, patience=0.3
        )
        with server.frozen():
            await self.assertFailure(run(database.one("SELECT 1")), OutcomeUnknown)
            await self.assertFailure(run(database.one("SELECT 1")), DatabaseAway)

    async def test_stopping_while_the_database_is_away_leaves_nothing(self) -> None:
        """No timer, no reader (trial would complain), no waiting caller."""
        server = OwnServer.start(self)
        database = await started(self, server.dsn, size=2, patience=30)
        server.stop()
        waiting = run(database.one("SELECT 1"))
        await deferLater(self.reactor, 0.2)  # into its attempts to reconnect
        await database.stop()
        await self.assertFailure(waiting, DatabaseAway)
