"""Cancelling and timeouts, which the driver alone gets wrong in several ways."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.trial.unittest import TestCase

from buildmaster.database import Cursor, StatementCancelled, TransactionOver
from buildmaster.database import connection as connection_module
from tests.buildmaster.database.farm_database import started, until_active
from tests.postgres import empty_dsn


def run(coroutine: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(coroutine)


class CancellingTests(TestCase):
    """With one connection only, so that one not usable afterwards would show."""

    async def setUp(self) -> None:  # type: ignore[override]
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.dsn = empty_dsn(self)
        self.database = await started(self, self.dsn, size=1)
        await self.database.run("CREATE TABLE place (n integer)")

    async def assert_usable(self) -> None:
        self.assertEqual(await self.database.one("SELECT 1"), (1,))
        await self.database.transaction(lambda cursor: cursor.one("SELECT 1"))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_cancelling_a_short_statement_gives_cancelled_error_at_once(self) -> None:
        """And the connection serves on, the same one."""
        [before] = await self.database.one("SELECT pg_backend_pid()")
        for _ in range(20):
            statement = run(self.database.one("SELECT 1"))
            statement.cancel()
            self.failureResultOf(statement, CancelledError)
        await self.assert_usable()
        self.assertEqual(await self.database.one("SELECT pg_backend_pid()"), (before,))

    async def test_cancelling_a_long_statement_ends_it_on_the_server(self) -> None:
        """Nobody would wait for its locks to go otherwise."""
        statement = run(self.database.one("SELECT pg_sleep(60)"))
        await until_active(self.dsn, "pg_sleep(60)")
        statement.cancel()
        self.failureResultOf(statement, CancelledError)
        await until_active(self.dsn, "pg_sleep(60)", 0)
        await self.assert_usable()

    async def test_cancelling_a_transaction_rolls_it_back(self) -> None:
        """In its first, a middle and a long statement, and between statements."""
        never: Deferred[None] = Deferred()

        async def work(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO place VALUES (1)")
            if point == "between":
                self.reactor.callLater(0, reached.callback, None)
                await never
            await cursor.one("SELECT pg_sleep(60)")

        for point in ("first", "between", "long"):
            reached: Deferred[None] = Deferred()
            transaction = run(self.database.transaction(work))
            if point == "between":
                await reached
            elif point == "long":
                await until_active(self.dsn, "pg_sleep(60)")
            transaction.cancel()
            self.failureResultOf(transaction, CancelledError)
            await self.assert_usable()
        self.assertEqual(await self.database.rows("SELECT * FROM place"), [])

    async def test_an_outer_coroutine_hears_cancelled_error_and_nothing_else(self) -> None:
        """The driver's own internal exception would come out here."""
        heard: list[BaseException] = []

        async def outer() -> None:
            try:
                await self.database.one("SELECT pg_sleep(60)")
            except BaseException as error:
                heard.append(error)
                raise

        waiting = run(outer())
        await until_active(self.dsn, "pg_sleep(60)")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual([type(each) for each in heard], [CancelledError])
        await self.assert_usable()

    async def test_a_timeout_of_the_caller_is_a_timeout_error(self) -> None:
        """As of any Deferred; nothing is logged."""
        statement = run(self.database.one("SELECT pg_sleep(60)"))
        statement.addTimeout(0.05, self.reactor)
        await self.assertFailure(statement, TimeoutError)
        await self.assert_usable()

    async def test_work_that_swallows_the_cancelling_gets_no_further(self) -> None:
        """Its connection is already being brought to rest."""

        async def work(cursor: Cursor) -> None:
            try:
                await cursor.one("SELECT pg_sleep(60)")
            except CancelledError:
                pass
            await cursor.run("INSERT INTO place VALUES (1)")

        transaction = run(self.database.transaction(work))
        await until_active(self.dsn, "pg_sleep(60)")
        transaction.cancel()
        await self.assertFailure(transaction, TransactionOver)
        await self.assert_usable()
        self.assertEqual(await self.database.rows("SELECT * FROM place"), [])

    async def test_cancelling_while_waiting_for_a_connection_takes_no_turn(self) -> None:
        """The others keep theirs."""
        busy = run(self.database.one("SELECT pg_sleep(0.05)"))
        first = run(self.database.one("SELECT 1"))
        second = run(self.database.one("SELECT 2"))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(await second, (2,))
        await busy
        await self.assert_usable()

    async def test_a_commit_that_is_cancelled_is_let_finish(self) -> None:
        """Ending the server's process in its midst would help nobody."""
        await self.database.run(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$"
        )
        await self.database.run(
            "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON place "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()"
        )

        async def work(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO place VALUES (1)")

        transaction = run(self.database.transaction(work))
        await until_active(self.dsn, "COMMIT")
        transaction.cancel()
        self.failureResultOf(transaction, CancelledError)
        self.assertEqual(await self.database.rows("SELECT n FROM place"), [(1,)])

    async def test_the_statement_timeout_is_told_for_what_it_is(self) -> None:
        """The driver would call it a cancelling by ourselves."""
        database = await started(self, self.dsn, size=1, statement_timeout=0.05)
        slow = run(database.one("SELECT pg_sleep(60)"))
        error = await self.assertFailure(slow, StatementCancelled)
        self.assertIn("statement timeout", str(error))

        async def work(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO place VALUES (1)")
            await cursor.one("SELECT pg_sleep(60)")

        await self.assertFailure(run(database.transaction(work)), StatementCancelled)
        self.assertEqual(await database.rows("SELECT * FROM place"), [])

    async def test_a_connection_that_comes_to_no_rest_is_replaced(self) -> None:
        """Here because nobody can reach the server to end the statement."""
        self.patch(connection_module, "_COME_TO_REST", 0.1)
        self.patch(connection_module.Connection, "_stop_statement", lambda it: None)
        statement = run(self.database.one("SELECT pg_sleep(60)"))
        await until_active(self.dsn, "pg_sleep(60)")
        statement.cancel()
        self.failureResultOf(statement, CancelledError)
        await self.assert_usable()

    async def test_stopping_waits_for_a_transaction_and_refuses_new_ones(self) -> None:
        """What is under way gets its two seconds."""

        async def work(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO place SELECT 1 FROM pg_sleep(0.1)")

        transaction = run(self.database.transaction(work))
        await until_active(self.dsn, "pg_sleep(0.1)")
        stopping = run(self.database.stop())
        late = run(self.database.one("SELECT 1"))
        self.assertIn("closed", str(self.failureResultOf(late).value))
        await transaction
        await stopping
        again = await started(self, self.dsn, size=1)
        self.assertEqual(await again.rows("SELECT n FROM place"), [(1,)])


class TurnTests(TestCase):
    """Who waits for a connection."""

    async def test_connections_are_lent_first_come_first_served(self) -> None:
        """However many ask."""
        database = await started(self, size=1)
        order: list[int] = []

        async def ask(number: int) -> None:
            await database.one("SELECT 1")
            order.append(number)

        await gatherResults([run(ask(number)) for number in range(200)])
        self.assertEqual(order, list(range(200)))
