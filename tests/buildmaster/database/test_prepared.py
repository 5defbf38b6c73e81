"""Statements that are planned once on each connection."""

from __future__ import annotations

from psycopg2.errors import DivisionByZero
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from buildmaster.database import Cursor, Prepared
from tests.buildmaster.database.farm_database import started

HALF = Prepared("SELECT %s::integer / %s::integer, '100 %%'")


class PreparedTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await started(self, size=1)

    async def plans(self) -> list[int]:
        rows = await self.database.rows(
            "SELECT generic_plans + custom_plans FROM pg_prepared_statements ORDER BY name"
        )
        return [int(count) for (count,) in rows]

    async def test_it_is_planned_once_and_run_often(self) -> None:
        for number in range(20):
            self.assertEqual(
                await self.database.one(HALF, (number, 2)), (number // 2, "100 %")
            )
        self.assertEqual(await self.plans(), [20])

    async def test_it_needs_no_parameters(self) -> None:
        self.assertEqual(await self.database.one(Prepared("SELECT 7")), (7,))

    async def test_what_fails_or_is_rolled_back_can_be_run_again(self) -> None:
        with self.assertRaises(DivisionByZero):
            await self.database.one(HALF, (1, 0))

        async def work(cursor: Cursor) -> None:
            await cursor.one(Prepared("SELECT 8"))
            raise KeyError

        for _ in range(2):
            with self.assertRaises(KeyError):
                await self.database.transaction(work)
        self.assertEqual(await self.database.one(HALF, (8, 2)), (4, "100 %"))
        self.assertEqual(len(await self.plans()), 2)

    async def test_who_leaves_while_it_is_planned_harms_nobody(self) -> None:
        leaving = Deferred.fromCoroutine(self.database.one(HALF, (1, 1)))
        leaving.cancel()
        with self.assertRaises(CancelledError):
            await leaving
        self.assertEqual(await self.database.one(HALF, (8, 2)), (4, "100 %"))
