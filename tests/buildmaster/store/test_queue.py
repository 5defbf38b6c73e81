"""The waiting line and the claims, on a real PostgreSQL."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from buildmaster import ending
from buildmaster.store import queue
from buildmaster.store.step import Claim
from tests.buildmaster.books import NO_DELAY, Books, claim, fresh_books


class ClaimTests(TestCase):
    books: Books

    async def setUp(self) -> None:  # type: ignore[override]
        self.books = await fresh_books(self)

    async def test_two_claims_that_race_never_get_the_same_job(self) -> None:
        await self.books.worker("ant", slots=100)
        await self.books.worker("bee", slots=100)
        await self.books.run(builds=30)
        claims = await gatherResults(
            [
                Deferred.fromCoroutine(self.books.claim(worker, slots=4))
                for worker in ("ant", "bee") * 6
            ]
        )
        got = [claim.job for batch in claims for claim in batch]
        self.assertEqual(len(got), len(set(got)))
        got += [claim.job for claim in await self.books.claim(slots=100)]
        self.assertEqual(sorted(got), sorted(set(got)))
        self.assertEqual(len(got), 30)

    async def test_the_most_urgent_comes_first_then_the_oldest(self) -> None:
        _, [first] = await self.books.run()
        _, [second] = await self.books.run()
        _, [urgent] = await self.books.run()
        await self.books.database.run(
            "UPDATE ready SET position = queue_position(900000, job) WHERE job = %s",
            (urgent,),
        )
        claims = [claim.job for claim in await self.books.claim(slots=2)]
        claims += [claim.job for claim in await self.books.claim(slots=2)]
        self.assertEqual([sorted(claims[:2]), claims[2:]], [[first, urgent], [second]])

    async def test_a_worker_gets_nothing_of_classes_it_does_not_name(self) -> None:
        await self.books.run()
        claims = await self.books.database.transaction(
            lambda cursor: claim(cursor, "ant", 5, classes=[999])
        )
        self.assertEqual(claims, [])

    async def _refuse(self, worker: str, claim: Claim) -> None:
        await self.books.database.transaction(
            lambda cursor: ending.refused(
                cursor, worker, claim.job, claim.attempt, "the disk is full", NO_DELAY
            )
        )

    async def test_a_refused_job_goes_to_another_worker(self) -> None:
        await self.books.worker("bee")
        await self.books.run()
        [claim] = await self.books.claim("ant")
        await self._refuse("ant", claim)
        self.assertEqual(await self.books.claim("ant"), [])
        [again] = await self.books.claim("bee")
        self.assertEqual((again.job, again.attempt), (claim.job, claim.attempt))

    async def test_a_job_that_all_refuse_is_tried_again_a_few_times(self) -> None:
        await self.books.worker("bee")
        _, [job] = await self.books.run()
        [claim] = await self.books.claim("ant")
        await self._refuse("ant", claim)
        for attempt in (1, 2, 3):
            await self.books.let_time_pass(job)
            [claim] = await self.books.claim("bee")
            self.assertEqual(claim.attempt, attempt)
            await self._refuse("bee", claim)
        self.assertEqual(await self.books.state(job), ("done", "error", 3))
        (reason,) = await self.books.database.one("SELECT reason FROM job")
        self.assertEqual(reason, "worker bee refused it: the disk is full")

    async def test_what_was_accepted_cannot_be_given_back(self) -> None:
        await self.books.run()
        claim = await self.books.begin()
        given = await self.books.database.transaction(
            lambda cursor: queue.give_back(cursor, "ant", claim.job, claim.attempt)
        )
        self.assertFalse(given)
        self.assertEqual(await self.books.state(claim.job), ("running", None, 1))

    async def test_only_the_leaseholder_can_accept_and_only_once(self) -> None:
        await self.books.worker("bee")
        await self.books.run()
        [claim] = await self.books.claim("ant")

        async def accept(worker: str, attempt: int) -> bool:
            return await self.books.database.transaction(
                lambda cursor: queue.accept(cursor, worker, claim.job, attempt)
            )

        self.assertFalse(await accept("bee", 1))
        self.assertFalse(await accept("ant", 2))
        self.assertTrue(await accept("ant", 1))
        self.assertTrue(await accept("ant", 1), "it is told again that it has it")
        (count,) = await self.books.database.one(
            "SELECT count(*) FROM event WHERE kind = 'job.running'"
        )
        self.assertEqual(count, 1)

    async def test_a_claim_reads_each_class_in_order_without_sorting_the_queue(
        self,
    ) -> None:
        await self.books.run(builds=3)
        await self.books.database.run(
            """
            INSERT INTO job (kind, name, requester, owner, class, state)
            SELECT 'build', 'x', 'a', 'a', 1, 'ready' FROM generate_series(1, 5000)
            """
        )
        await self.books.database.run(
            "INSERT INTO attempt (job, number) SELECT id, 1 FROM job WHERE name = 'x'"
        )
        await self.books.database.run(
            """
            INSERT INTO ready (class, position, job, attempt)
            SELECT class, queue_position(score, id), id, 1 FROM job WHERE name = 'x'
            """
        )
        await self.books.database.run("ANALYZE ready")
        plan = await self.books.database.rows(
            """
            EXPLAIN SELECT position FROM ready WHERE class = 1
            ORDER BY position LIMIT 5 FOR UPDATE SKIP LOCKED
            """
        )
        text = "\n".join(line for (line,) in plan)
        self.assertIn("Index Scan using ready_pkey", text)
        self.assertNotIn("Sort", text)
