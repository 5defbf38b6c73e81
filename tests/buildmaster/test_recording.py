"""Reports become rows: in order, once, and only for a lease that holds."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from buildmaster.recording import BadReport
from protocol.messages import FileMade
from protocol.results import Result
from tests.buildmaster.books import (
    PASSED,
    Books,
    ended,
    fresh_books,
    log,
    over,
    started,
)


class RecordingTests(TestCase):
    books: Books

    async def setUp(self) -> None:  # type: ignore[override]
        self.books = await fresh_books(self)
        self.run_id, [self.job] = await self.books.run()
        self.claim = await self.books.begin()

    async def _log(self) -> list[tuple[int, bytes]]:
        rows = await self.books.database.rows(
            "SELECT start, data FROM log_chunk WHERE job = %s ORDER BY start", (self.job,)
        )
        return [(start, bytes(data)) for start, data in rows]

    async def test_a_whole_attempt(self) -> None:
        first = await self.books.report(
            self.claim, log(0, b"ab"), started("unit"), log(2, b"c"), log(3, b"d")
        )
        self.assertEqual((first.recorded, first.forget, first.ended), (4, False, False))
        last = await self.books.report(self.claim, *PASSED, first=5)
        self.assertEqual((last.recorded, last.forget, last.ended), (8, False, True))
        self.assertEqual(await self._log(), [(0, b"ab"), (2, b"c"), (3, b"d")])
        self.assertEqual(await self.books.state(self.job), ("done", "success", 1))
        self.assertEqual(await self.books.run_result(self.run_id), "success")

    async def test_a_repeated_report_changes_nothing_and_is_acknowledged(self) -> None:
        await self.books.report(self.claim, log(0, b"ab"), log(2, b"c"))
        again = await self.books.report(self.claim, log(0, b"ab"), log(2, b"c"))
        self.assertEqual((again.recorded, again.forget), (2, False))
        self.assertEqual(await self._log(), [(0, b"ab"), (2, b"c")])

    async def test_the_end_told_twice_is_recorded_once(self) -> None:
        await self.books.report(self.claim, *PASSED)
        again = await self.books.report(self.claim, *PASSED)
        self.assertEqual((again.recorded, again.forget, again.ended), (4, False, True))
        self.assertEqual(await self.books.state(self.job), ("done", "success", 1))

    async def test_a_gap_is_refused_whole(self) -> None:
        with self.assertRaises(BadReport):
            await self.books.report(self.claim, log(0), first=2)
        self.assertEqual(await self._log(), [])

    async def test_a_log_that_does_not_follow_on_is_refused_whole(self) -> None:
        with self.assertRaises(BadReport):
            await self.books.report(self.claim, log(0, b"ab"), log(3))
        self.assertEqual(await self._log(), [])

    async def test_another_worker_is_told_to_forget(self) -> None:
        await self.books.worker("bee")
        outcome = await self.books.report(self.claim, log(0), worker="bee")
        self.assertTrue(outcome.forget)
        self.assertEqual(await self._log(), [])

    async def test_a_stale_attempt_is_told_to_forget(self) -> None:
        await self.books.report(self.claim, over(Result.ERROR, "disk full"))
        outcome = await self.books.report(self.claim, log(0), first=2)
        self.assertTrue(outcome.forget)
        self.assertEqual(await self._log(), [])
        self.assertEqual(await self.books.state(self.job), ("ready", None, 2))

    async def test_nothing_may_follow_the_end(self) -> None:
        with self.assertRaises(BadReport):
            await self.books.report(self.claim, *PASSED, log(0))
        self.assertEqual(await self.books.state(self.job), ("running", None, 1))

    async def test_a_pipeline_job_that_the_build_lacks_is_refused(self) -> None:
        for body in (started("nobody"), ended("nobody")):
            with self.assertRaises(BadReport):
                await self.books.report(self.claim, body)

    async def test_a_pipeline_job_ends_once(self) -> None:
        await self.books.report(self.claim, ended("unit", Result.FAILURE, "no"))
        with self.assertRaises(BadReport):
            await self.books.report(self.claim, ended("unit"), first=2)

    async def test_a_worker_cannot_call_a_failed_build_passed(self) -> None:
        with self.assertRaises(BadReport):
            await self.books.report(
                self.claim, ended("unit", Result.FAILURE, "no"), over(Result.SUCCESS)
            )
        self.assertEqual(await self.books.state(self.job), ("running", None, 1))

    async def test_characters_that_postgresql_refuses_are_replaced(self) -> None:
        await self.books.report(
            self.claim,
            ended("unit", Result.FAILURE, "a\0b", properties={"k\0": ["v\0"]}),
        )
        row = await self.books.database.one(
            "SELECT reason, properties FROM pipeline_job WHERE job = %s AND name = 'unit'",
            (self.job,),
        )
        self.assertEqual(row, ("a\ufffdb", {"k\ufffd": ["v\ufffd"]}))

    async def test_a_file_must_be_stored_before_it_is_named(self) -> None:
        made = FileMade(path="a.deb", sha256="ab" * 32, size=3)
        with self.assertRaises(BadReport):
            await self.books.report(self.claim, ended("unit", files=(made,)))
        await self.books.database.run(
            "INSERT INTO blob (sha256, size) VALUES (%s, 3)", (bytes.fromhex("ab" * 32),)
        )
        outcome = await self.books.report(self.claim, ended("unit", files=(made,)))
        self.assertEqual(outcome.recorded, 1)

    async def test_every_change_is_told_once(self) -> None:
        await self.books.report(self.claim, started("unit"), *PASSED)
        rows = await self.books.database.rows(
            "SELECT kind FROM event WHERE job = %s ORDER BY transaction, id LIMIT 50",
            (self.job,),
        )
        self.assertEqual(
            [kind for (kind,) in rows],
            ["job.ready", "job.assigned", "job.running", "pipeline-job.running"]
            + ["pipeline-job.done"] * 3
            + ["job.done"],
        )
