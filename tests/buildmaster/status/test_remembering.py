from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock

from buildmaster.feed import EventFeed
from buildmaster.status import questions as q
from buildmaster.status import remembering
from buildmaster.status.remembering import Remembering
from buildmaster.status.told import Told
from tests.buildmaster.status.test_reading import StatusCase


class _Counting:
    """A status that counts what it is asked."""

    def __init__(self, status: Any) -> None:
        self._status = status
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._status, name)

        async def ask(asked: q.Question) -> Told[Any]:
            self.asked.append(name)
            told: Told[Any] = await method(asked)
            return told

        return ask


class RememberingTests(StatusCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.clock = Clock()
        counting: Any = _Counting(self.status)
        self.counting = counting
        # A feed that tells of nothing: one that begins to listen says so, sooner or later.
        quiet = EventFeed(self.database, reactor)
        self.memory = Remembering(self.counting, quiet, self.clock)

    async def test_what_did_not_change_is_asked_once(self) -> None:
        job = await self.rows.job()
        for _ in range(3):
            told = await self.memory.job(q.OneJob(job=job))
            self.assertEqual(told.json, (await self.status.job(q.OneJob(job=job))).json)
            await self.memory.jobs(q.Jobs(limit=5))
        await self.memory.jobs(q.Jobs(limit=6))
        self.assertEqual(self.counting.asked, ["job", "jobs", "jobs"])

    async def test_what_tells_the_time_is_asked_each_time(self) -> None:
        job = await self.rows.job()
        for _ in range(2):
            await self.memory.explain(q.OneJob(job=job))
            await self.memory.events(q.Events())
        self.assertEqual(self.counting.asked, ["explain", "events"] * 2)

    async def test_an_answer_shows_all_that_was_told_before_it_was_asked_for(self) -> None:
        """As a reader does: hear of an event, ask, and find at least this change."""
        self.memory = Remembering(self.counting, self.feed, self.clock)
        job = await self.rows.job()
        asked = q.OneJob(job=job)
        follower = self.feed.follow()
        self.addCleanup(follower.close)
        for number in range(20):
            await self.memory.job(asked)
            await self.memory.jobs(q.Jobs())

            async def change(cursor: Any, number: int = number) -> None:
                await cursor.run(
                    "UPDATE job SET name = %s WHERE id = %s", (f"n{number}", job)
                )
                await cursor.run(
                    "INSERT INTO event (kind, job) VALUES ('changed', %s)", (job,)
                )

            await self.database.transaction(change)
            told: list[Any] = []
            while not told:
                told += await follower.next()
            self.assertEqual((await self.memory.job(asked)).read().name, f"n{number}")
            [entry] = (await self.memory.jobs(q.Jobs())).read().jobs
            self.assertEqual(entry.name, f"n{number}")

    async def test_what_happens_while_the_database_answers_is_not_lost(self) -> None:
        job = await self.rows.job()
        asked = q.OneJob(job=job)

        async def slow(question: q.OneJob) -> Told[Any]:
            told = await self.status.job(question)
            await self.rows.job()
            self.memory.forget()  # as the feed does, after the answer was made
            return told

        self.patch(self.counting, "job", slow)
        await self.memory.job(asked)
        self.assertIsNone(self.memory.remembered("job", asked))

    async def test_without_events_it_lasts_a_second(self) -> None:
        await self.memory.workers(q.Workers())
        self.clock.advance(remembering.AGE - 0.01)
        await self.memory.workers(q.Workers())
        self.assertEqual(len(self.counting.asked), 1)
        self.clock.advance(0.01)
        await self.memory.workers(q.Workers())
        self.assertEqual(len(self.counting.asked), 2)

    async def test_its_size_is_bounded(self) -> None:
        job = await self.rows.job(name="x" * 5000)
        self.patch(remembering, "MOST_BYTES", 20_000)
        for limit in range(1, 10):
            await self.memory.jobs(q.Jobs(limit=limit))
        self.assertLessEqual(self.memory._bytes, 20_000)
        self.assertIsNotNone(self.memory.remembered("jobs", q.Jobs(limit=9)))
        self.assertIsNone(self.memory.remembered("jobs", q.Jobs(limit=1)))
        kept = sum(len(each.told.json) for each in self.memory._kept.values())
        self.assertEqual(kept, self.memory._bytes)
        self.memory.forget()
        self.assertEqual(self.memory._bytes, 0)
        self.assertGreater(job, 0)
