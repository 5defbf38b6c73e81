"""Two transactions at the same moment: nothing is missed, and nothing happens twice."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from buildmaster import intervention
from buildmaster.database import Cursor
from buildmaster.joining import Door, Joined, Knock
from buildmaster.matching import Needs
from buildmaster.recording import record
from buildmaster.store import jobs as job_store
from buildmaster.store import queue
from buildmaster.store import submissions as store
from buildmaster.store.step import Claim
from protocol.messages import Report, ReportBody
from protocol.results import Result
from tests.buildmaster.books import (
    FAILED,
    NO_DELAY,
    PASSED,
    Books,
    Work,
    claim,
    ended,
    fresh_books,
    hello,
    over,
)


def reporting(claim: Claim, *bodies: ReportBody, first: int = 1) -> Work:
    """The work of recording reports."""
    reports = [
        Report(job=claim.job, attempt=claim.attempt, number=number, body=body)
        for number, body in enumerate(bodies, first)
    ]
    return lambda cursor: record(cursor, "ant", reports, NO_DELAY)


class RaceTests(TestCase):
    books: Books
    timeout = 30

    async def setUp(self) -> None:  # type: ignore[override]
        self.books = await fresh_books(self)

    def _retrying(self, job: int) -> Work:
        return lambda cursor: intervention.retry_job(cursor, job, "ann")

    def _cancelling(self, job: int) -> Work:
        return lambda cursor: intervention.cancel_job(cursor, job, "ann", "")

    async def test_a_class_that_is_committed_late_is_seen_all_the_same(self) -> None:
        async def add(cursor: Cursor, series: str) -> int:
            return await queue.class_for(cursor, Needs("amd64", "native", (series,)))

        async def look(cursor: Cursor) -> list[int]:
            await add(cursor, "second")
            return [each.id for each in await queue.classes_but(cursor, [])]

        async def first(cursor: Cursor) -> int:
            return await add(cursor, "first")

        late, early = await self.books.meanwhile(first, look)
        self.assertNotIn(late, early)
        rest = await self.books.database.transaction(
            lambda cursor: queue.classes_but(cursor, early)
        )
        self.assertEqual([each.id for each in rest], [late])

    async def test_a_job_that_is_queued_while_it_is_cancelled_leaves_the_queue(
        self,
    ) -> None:
        _, [job] = await self.books.run()
        [claim] = await self.books.claim()

        async def give_back(cursor: Cursor) -> None:
            await queue.give_back(cursor, "ant", claim.job, claim.attempt)

        await self.books.meanwhile(give_back, self._cancelling(job))
        self.assertEqual(await self.books.state(job), ("done", "cancelled", 1))
        self.assertEqual(await self.books.claim(), [])

    async def test_a_job_that_is_claimed_while_it_is_cancelled_is_asked_to_stop(
        self,
    ) -> None:
        _, [job] = await self.books.run()

        await self.books.meanwhile(claim, self._cancelling(job))
        self.assertEqual((await self.books.state(job))[0], "assigned")
        [lease] = await self.books.database.transaction(queue.leases)
        self.assertTrue(lease.cancelling)

    async def test_a_run_does_not_end_while_one_of_its_jobs_is_retried(self) -> None:
        run, [one, other] = await self.books.run(builds=2)
        await self.books.report(await self.books.begin(), *FAILED)
        claim = await self.books.begin()
        done, left = (one, other) if claim.job == other else (other, one)
        self.assertEqual((await self.books.state(done))[0], "done")
        await self.books.meanwhile(reporting(claim, *PASSED), self._retrying(done))
        self.assertIsNone(await self.books.run_result(run))
        await self.books.report(await self.books.begin(), *PASSED)
        self.assertEqual(await self.books.run_result(run), "success")
        self.assertEqual((await self.books.state(left))[1], "success")

    async def test_an_edge_that_comes_while_its_stage_passes_is_resolved(self) -> None:
        """Whoever is second sees what the first has done."""
        run, [up] = await self.books.run()
        claim = await self.books.begin()
        down = await self.books.add_to(run, (up, 1))

        async def add(cursor: Cursor) -> None:
            await job_store.lock(cursor, [up])
            await store.add_edge(cursor, up, 0, down)

        await self.books.report(claim, ended("unit"))
        await self.books.meanwhile(add, reporting(claim, ended("lint"), first=2))
        (left,) = await self.books.database.one(
            "SELECT blocked_by FROM job WHERE id = %s", (down,)
        )
        self.assertEqual(left, 1)

    async def test_a_lease_that_ends_while_its_worker_joins_is_not_lost_again(
        self,
    ) -> None:
        """Else it is the next attempt, wherever that is, which would be ended."""
        door = Door("m", 5.0, NO_DELAY)
        _, [job] = await self.books.run()
        claim = await self.books.begin()
        _, [joined] = await self.books.meanwhile(
            reporting(claim, over(Result.ERROR, "broken")),
            lambda cursor: door.join(cursor, [Knock(hello("ant"), "s-2", "?")]),
        )
        self.assertIsInstance(joined, Joined)
        self.assertEqual(await self.books.state(job), ("ready", None, 2))

    async def test_two_transactions_that_wait_for_each_other_both_succeed(self) -> None:
        _, [one, other] = await self.books.run(builds=2)
        met = [0, 0]

        def locking(place: int, first: int, then: int) -> Work:
            async def work(cursor: Cursor) -> int:
                await job_store.lock(cursor, [first])
                met[place] += 1
                if met == [1, 0]:  # The other is to begin before this goes on.
                    await self.books.database.rows("SELECT 1")
                await job_store.lock(cursor, [then])
                return then

            return work

        outcomes = await gatherResults(
            [
                Deferred.fromCoroutine(self.books.database.transaction(work))
                for work in (locking(0, one, other), locking(1, other, one))
            ]
        )
        self.assertEqual(outcomes, [other, one])
