"""Statements and transactions of `buildmaster.database.access`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import psycopg2
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from buildmaster.database import (
    BadDatabaseAddress,
    Cursor,
    Database,
    NoRow,
    NotCommitted,
    TooManyRows,
    TransactionOver,
)
from tests.buildmaster.database.farm_database import started


class StatementTests(TestCase):
    """One statement on its own."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await started(self, size=2)

    async def test_the_four_shapes_of_a_result(self) -> None:
        """All rows, one at most, exactly one, none but a count."""
        database = self.database
        self.assertEqual(
            await database.rows("SELECT g FROM generate_series(1, %s) g", (3,)),
            [(1,), (2,), (3,)],
        )
        self.assertEqual(await database.row("SELECT %(word)s", {"word": "mill"}), ("mill",))
        self.assertIsNone(await database.row("SELECT 1 WHERE false"))
        self.assertEqual(await database.one("SELECT 7"), (7,))
        await database.run("CREATE TABLE place (n integer)")
        self.assertEqual(
            await database.run(
                "INSERT INTO place SELECT unnest(%s::bigint[])", ([1, 2, 3],)
            ),
            3,
        )
        self.assertEqual(await database.run("DELETE FROM place WHERE n > 1"), 2)

    async def test_too_many_and_too_few_rows_are_told(self) -> None:
        """Who asked for one row gets no silent choice."""
        two = "SELECT generate_series(1, 2)"
        await self.assertFailure(
            Deferred.fromCoroutine(self.database.row(two)), TooManyRows
        )
        await self.assertFailure(
            Deferred.fromCoroutine(self.database.one(two)), TooManyRows
        )
        none = self.database.one("SELECT 1 WHERE false")
        await self.assertFailure(Deferred.fromCoroutine(none), NoRow)

    async def test_a_per_cent_sign_is_always_written_twice(self) -> None:
        """With parameters and without."""
        sql = "SELECT 'ab' LIKE 'a%%'"
        self.assertEqual(await self.database.one(sql), (True,))
        self.assertEqual(await self.database.one(sql + ", %s", (1,)), (True, 1))

    async def test_values_come_back_as_they_went(self) -> None:
        """Every kind of value that the stores use."""
        noon = datetime(2026, 1, 2, 12, tzinfo=timezone(timedelta(hours=3)))
        values: list[tuple[Any, str]] = [
            ({"a": [1, {"b": None}], "é": "\N{SNOWMAN}%s'\"\\"}, "jsonb"),
            ([1, 2], "int[]"),
            (["a", 'b"\\,{}', None], "text[]"),
            ([], "text[]"),
            ([{"a": 1}, {"b": "'"}], "jsonb[]"),
            ([b"\x00\xff", b"'\\"], "bytea[]"),
            (uuid4(), "uuid"),
            ([uuid4(), uuid4()], "uuid[]"),
            (bytes(range(256)), "bytea"),
            (b"", "bytea"),
            (noon, "timestamptz"),
            (None, "text"),
            (True, "boolean"),
            (2**62, "bigint"),
            ("%s %% %(a)s '; DROP TABLE x; --", "text"),
        ]
        for value, kind in values:
            with self.subTest(kind=kind, value=value):
                (back,) = await self.database.one(f"SELECT %s::{kind}", (value,))
                self.assertEqual(back, value)
                self.assertIs(type(back), type(value))

    async def test_times_come_in_utc(self) -> None:
        """Whatever the server's time zone is."""
        (now,) = await self.database.one("SELECT timestamptz '2026-07-01 12:00+02'")
        self.assertEqual(now.utcoffset(), timedelta(0))
        self.assertEqual(now, datetime(2026, 7, 1, 10, tzinfo=UTC))

    async def test_a_value_that_postgresql_cannot_hold_harms_only_its_statement(
        self,
    ) -> None:
        """A NUL in a text, NaN in json, a type nobody knows."""
        for value in ("a\x00b", {"n": float("nan")}, object()):
            for _ in range(3):  # more than there are connections
                bad = Deferred.fromCoroutine(self.database.one("SELECT %s", (value,)))
                await self.assertFailure(bad, ValueError, psycopg2.ProgrammingError)
        await gatherResults(
            [Deferred.fromCoroutine(self.database.one("SELECT 1")) for _ in range(4)]
        )

    async def test_the_error_of_a_statement_is_postgresqls_own(self) -> None:
        """So that a store can tell one broken constraint from another."""
        await self.database.run("CREATE TABLE place (n integer UNIQUE)")
        add = "INSERT INTO place VALUES (1)"
        await self.database.run(add)
        await self.assertFailure(
            Deferred.fromCoroutine(self.database.run(add)), psycopg2.errors.UniqueViolation
        )

    async def test_a_transaction_left_open_by_a_statement_is_not_passed_on(self) -> None:
        """The next borrower finds no strange transaction."""
        for _ in range(3):
            await self.database.run("BEGIN")
        await self.database.run("CREATE TABLE place (n integer)")
        self.assertEqual(
            await self.database.rows("SELECT n FROM place"), [], "it was committed"
        )


class TransactionTests(TestCase):
    """Several statements: all or nothing."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await started(self, size=2)
        await self.database.run("CREATE TABLE place (n integer UNIQUE)")

    async def places(self) -> list[Any]:
        return [n for (n,) in await self.database.rows("SELECT n FROM place ORDER BY n")]

    async def test_what_an_async_function_did_is_committed(self) -> None:
        """The driver alone would commit an empty transaction and not run it at all."""

        async def work(cursor: Cursor) -> str:
            await cursor.run("INSERT INTO place VALUES (1)")
            await cursor.run("INSERT INTO place VALUES (2)")
            return "done"

        self.assertEqual(await self.database.transaction(work), "done")
        self.assertEqual(await self.places(), [1, 2])

    async def test_an_exception_rolls_everything_back(self) -> None:
        """And it arrives at the caller, when the rollback is over."""

        async def work(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO place VALUES (1)")
            await cursor.run("SELECT pg_advisory_xact_lock(5)")
            raise KeyError("mill")

        for _ in range(3):
            failing = Deferred.fromCoroutine(self.database.transaction(work))
            await self.assertFailure(failing, KeyError)
            (free,) = await self.database.one("SELECT pg_try_advisory_xact_lock(5)")
            self.assertTrue(free)
        self.assertEqual(await self.places(), [])

    async def test_a_swallowed_error_is_no_success(self) -> None:
        """PostgreSQL answers COMMIT with ROLLBACK then; nobody may take it for done."""

        async def work(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO place VALUES (1)")
            try:
                await cursor.run("INSERT INTO place VALUES (1)")
            except psycopg2.errors.UniqueViolation:
                pass

        failing = Deferred.fromCoroutine(self.database.transaction(work))
        await self.assertFailure(failing, NotCommitted)
        self.assertEqual(await self.places(), [])

    async def test_a_savepoint_lets_it_go_on_after_an_error(self) -> None:
        """The way to try something within a transaction."""

        async def work(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO place VALUES (1)")
            await cursor.run("SAVEPOINT here")
            try:
                await cursor.run("INSERT INTO place VALUES (1)")
            except psycopg2.errors.UniqueViolation:
                await cursor.run("ROLLBACK TO here")

        await self.database.transaction(work)
        self.assertEqual(await self.places(), [1])

    async def test_a_failure_at_the_commit_is_the_callers(self) -> None:
        """A deferred constraint, say; and the connection is good afterwards."""
        await self.database.run(
            "ALTER TABLE place ADD CONSTRAINT late UNIQUE (n) DEFERRABLE INITIALLY DEFERRED"
        )
        await self.database.run("ALTER TABLE place DROP CONSTRAINT place_n_key")

        async def work(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO place VALUES (1), (1)")

        for _ in range(3):
            failing = Deferred.fromCoroutine(self.database.transaction(work))
            await self.assertFailure(failing, psycopg2.errors.UniqueViolation)
        self.assertEqual(await self.places(), [])

    async def test_statements_sent_at_once_run_in_turn(self) -> None:
        """A connection carries one at a time; the cursor sees to it."""

        async def work(cursor: Cursor) -> list[Any]:
            return await gatherResults(
                [Deferred.fromCoroutine(cursor.one("SELECT %s", (n,))) for n in range(20)]
            )

        found = await self.database.transaction(work)
        self.assertEqual(found, [(n,) for n in range(20)])

    async def test_a_cursor_that_outlives_its_transaction_is_refused(self) -> None:
        """It would write into somebody else's transaction."""

        async def work(cursor: Cursor) -> Cursor:
            return cursor

        cursor = await self.database.transaction(work)
        late = Deferred.fromCoroutine(cursor.run("INSERT INTO place VALUES (9)"))
        await self.assertFailure(late, TransactionOver)
        self.assertEqual(await self.places(), [])

    async def test_two_transactions_do_not_see_each_other(self) -> None:
        """Each has a connection of its own."""
        inside: Deferred[None] = Deferred()
        go_on: Deferred[None] = Deferred()

        async def slow(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO place VALUES (1)")
            inside.callback(None)
            await go_on

        first = Deferred.fromCoroutine(self.database.transaction(slow))
        await inside
        self.assertEqual(await self.places(), [])
        go_on.callback(None)
        await first
        self.assertEqual(await self.places(), [1])


class AddressTests(SynchronousTestCase):
    """The DSN."""

    def test_a_dsn_that_cannot_be_read_is_the_operators_to_correct(self) -> None:
        """And what is told repeats nothing of it: a password may be in there."""
        for dsn in (
            "host=x password='mill race",
            "mill-race",
            "postgresql://mill-race:x@[y",
        ):
            with self.assertRaises(BadDatabaseAddress) as caught:
                Database(dsn, None)  # type: ignore[arg-type]
            self.assertNotIn("mill", str(caught.exception))
            self.assertIsNone(caught.exception.__cause__)
            self.assertTrue(caught.exception.__suppress_context__)
