"""What the end of a job means for its next attempt, for others, and for its runs."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from buildmaster import intervention
from buildmaster.requests import Refusal
from protocol.results import Result
from tests.buildmaster.books import FAILED, PASSED, Books, ended, fresh_books, over


class EndingTests(TestCase):
    books: Books

    async def setUp(self) -> None:  # type: ignore[override]
        self.books = await fresh_books(self)

    async def test_a_failure_is_final_and_names_the_reason(self) -> None:
        run, [job] = await self.books.run()
        await self.books.report(await self.books.begin(), *FAILED)
        self.assertEqual(await self.books.state(job), ("done", "failure", 1))
        self.assertEqual(await self.books.run_result(run), "failure")
        (reason,) = await self.books.database.one("SELECT reason FROM job")
        self.assertEqual(reason, "unit:0 failed (exit status 3)")

    async def test_the_farms_fault_is_tried_again_and_passed_stages_are_kept(self) -> None:
        run, [job] = await self.books.run()
        await self.books.report(
            await self.books.begin(), ended("unit"), ended("lint"), over(Result.ERROR, "io")
        )
        self.assertEqual(await self.books.state(job), ("ready", None, 2))
        self.assertIsNone(await self.books.run_result(run))
        rows = await self.books.database.rows(
            """
            SELECT name, state::text, result::text, kept_from FROM pipeline_job
            WHERE attempt = 2 ORDER BY stage, place LIMIT 9
            """
        )
        self.assertEqual(
            rows,
            [
                ("unit", "done", "success", 1),
                ("lint", "done", "success", 1),
                ("ship", "waiting", None, None),
            ],
        )

    async def test_the_farms_fault_ends_the_job_at_its_limit(self) -> None:
        _, [job] = await self.books.run()
        for attempt in (1, 2, 3):
            await self.books.let_time_pass(job)
            claim = await self.books.begin()
            self.assertEqual(claim.attempt, attempt)
            await self.books.report(claim, over(Result.ERROR, "io"))
        self.assertEqual(await self.books.state(job), ("done", "error", 3))

    async def test_a_fault_that_would_repeat_is_not_tried_again(self) -> None:
        _, [job] = await self.books.run()
        await self.books.report(
            await self.books.begin(), over(Result.ERROR, "no image", final=True)
        )
        self.assertEqual(await self.books.state(job), ("done", "error", 1))

    async def test_a_passed_stage_releases_who_waits_for_it_at_once(self) -> None:
        run, [up] = await self.books.run()
        down = await self.books.add_to(run, (up, 0))
        claim = await self.books.begin()
        self.assertEqual(await self.books.state(down), ("waiting", None, 1))
        await self.books.report(claim, ended("unit"))
        self.assertEqual(await self.books.state(down), ("waiting", None, 1))
        await self.books.report(claim, ended("lint"), first=2)
        self.assertEqual(await self.books.state(down), ("ready", None, 1))
        # It was judged; what comes after in that build changes nothing.
        await self.books.report(
            claim, ended("ship", Result.FAILURE, "no"), over(Result.FAILURE, "no"), first=3
        )
        self.assertEqual(await self.books.state(down), ("ready", None, 1))

    async def test_a_failed_stage_makes_all_downstream_unrun_with_the_root_cause(
        self,
    ) -> None:
        run, [up] = await self.books.run()
        middle = await self.books.add_to(run, (up, 1))
        last = await self.books.add_to(run, (middle, 0))
        await self.books.report(await self.books.begin(), *FAILED)
        for job in (middle, last):
            self.assertEqual(await self.books.state(job), ("done", "unrun", 1))
        rows = await self.books.database.rows(
            "SELECT root_cause, reason FROM job WHERE result = 'unrun' LIMIT 9"
        )
        self.assertEqual({root for root, _ in rows}, {up})
        for _, reason in rows:
            self.assertIn(f"job {up}", reason)
            self.assertIn("exit status 3", reason)
        self.assertEqual(await self.books.run_result(run), "failure")

    async def test_two_jobs_of_a_run_that_end_together_end_the_run(self) -> None:
        for _ in range(10):
            run, _ = await self.books.run(builds=2)
            claims = [await self.books.begin(), await self.books.begin()]
            await gatherResults(
                [Deferred.fromCoroutine(self.books.report(c, *PASSED)) for c in claims]
            )
            self.assertEqual(await self.books.run_result(run), "success")


class InterventionTests(TestCase):
    books: Books

    async def setUp(self) -> None:  # type: ignore[override]
        self.books = await fresh_books(self)

    async def _cancel(self, job: int) -> None:
        await self.books.database.transaction(
            lambda cursor: intervention.cancel_job(cursor, job, "ann", "enough")
        )

    async def _retry(
        self, job: int, only: tuple[str, int] | None = None, from_start: bool = False
    ) -> int:
        return await self.books.database.transaction(
            lambda cursor: intervention.retry_job(cursor, job, "ann", only, from_start)
        )

    async def _open(self, job: int) -> list[str]:
        rows = await self.books.database.rows(
            """
            SELECT pipeline_job.name FROM pipeline_job JOIN job ON job.id = job
            WHERE job = %s AND pipeline_job.attempt = job.attempt
              AND pipeline_job.state = 'waiting' ORDER BY stage, place LIMIT 9
            """,
            (job,),
        )
        return [name for (name,) in rows]

    async def test_a_queued_job_is_cancelled_at_once(self) -> None:
        run, [job] = await self.books.run()
        await self._cancel(job)
        self.assertEqual(await self.books.state(job), ("done", "cancelled", 1))
        self.assertEqual(await self.books.claim(), [])
        self.assertEqual(await self.books.run_result(run), "cancelled")

    async def test_a_running_job_is_asked_and_stays_until_its_worker_answers(self) -> None:
        _, [job] = await self.books.run()
        claim = await self.books.begin()
        await self._cancel(job)
        self.assertEqual(await self.books.state(job), ("running", None, 1))
        # A worker that dies of it has not failed.
        await self.books.report(claim, over(Result.ERROR, "killed"))
        self.assertEqual(await self.books.state(job), ("done", "cancelled", 1))

    async def test_cancelling_a_run_leaves_nothing_unrun(self) -> None:
        run, [up] = await self.books.run()
        down = await self.books.add_to(run, (up, 0))
        await self.books.database.transaction(
            lambda cursor: intervention.cancel_run(cursor, run, "ann", "")
        )
        for job in (up, down):
            self.assertEqual(await self.books.state(job), ("done", "cancelled", 1))

    async def test_a_job_that_another_run_wants_survives_the_cancel(self) -> None:
        run, [job] = await self.books.run()
        other, _ = await self.books.run()
        await self.books.database.run(
            "INSERT INTO run_job (run, job) VALUES (%s, %s)", (other, job)
        )
        await self.books.database.transaction(
            lambda cursor: intervention.cancel_run(cursor, run, "ann", "")
        )
        self.assertEqual(await self.books.state(job), ("ready", None, 1))

    async def test_a_retry_goes_on_at_the_failed_stage(self) -> None:
        run, [job] = await self.books.run()
        await self.books.report(
            await self.books.begin(),
            ended("unit"),
            ended("lint"),
            ended("ship", Result.FAILURE, "no"),
            over(Result.FAILURE, "no"),
        )
        self.assertEqual(await self._retry(job), 2)
        self.assertEqual(await self._open(job), ["ship"])
        self.assertEqual(await self.books.state(job), ("ready", None, 2))
        self.assertIsNone(await self.books.run_result(run))
        await self.books.report(await self.books.begin(), ended("ship"), over())
        self.assertEqual(await self.books.run_result(run), "success")

    async def test_a_retry_from_the_start_keeps_nothing(self) -> None:
        _, [job] = await self.books.run()
        await self.books.report(await self.books.begin(), *PASSED)
        await self._retry(job, from_start=True)
        self.assertEqual(await self._open(job), ["unit", "lint", "ship"])

    async def test_one_pipeline_job_alone_can_be_retried(self) -> None:
        _, [job] = await self.books.run()
        await self.books.report(await self.books.begin(), *FAILED)
        await self._retry(job, only=("unit", 0))
        self.assertEqual(await self._open(job), ["unit", "ship"])

    async def test_a_retry_revives_what_the_failure_made_impossible(self) -> None:
        run, [up] = await self.books.run()
        down = await self.books.add_to(run, (up, 0))
        await self.books.report(await self.books.begin(), *FAILED)
        with self.assertRaises(Refusal):
            await self._retry(down)
        await self._retry(up)
        self.assertEqual(await self.books.state(down), ("waiting", None, 2))
        claim = await self.books.begin()
        await self.books.report(claim, ended("unit"), ended("lint"))
        self.assertEqual(await self.books.state(down), ("ready", None, 2))

    async def test_what_is_not_done_cannot_be_retried(self) -> None:
        _, [job] = await self.books.run()
        for unknown in (job, 999):
            with self.assertRaises(Refusal) as caught:
                await self._retry(unknown)
            self.assertIn(caught.exception.status, (404, 409))

    async def test_a_pipeline_job_that_is_not_there_cannot_be_retried(self) -> None:
        _, [job] = await self.books.run()
        await self.books.report(await self.books.begin(), *FAILED)
        with self.assertRaises(Refusal) as caught:
            await self._retry(job, only=("unit", 7))
        self.assertIn("unit:0, lint:0, ship:0", str(caught.exception))
