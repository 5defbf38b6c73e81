"""What was not followable by events alone, and the documents of pages: no gap anywhere."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from buildmaster.forecasting import Forecaster
from buildmaster.kinds.details import Details
from buildmaster.kinds.registry import Kinds
from buildmaster.status import questions as q
from buildmaster.status.interface import IFollow
from buildmaster.status.news import News
from buildmaster.status.reading import Status
from tests.buildmaster.status.test_following import FollowingCase
from tests.buildmaster.status.test_ways import TEAM

MINE, YOURS = f"{TEAM}/a.git", "https://example.com/b.git"


class RenewalTests(FollowingCase):
    async def queued(self, position: int = 5, **columns: Any) -> int:
        job = await self.rows.job(state="ready", **columns)
        await self.database.run("INSERT INTO attempt (job, number) VALUES (%s, 1)", (job,))
        await self.database.run(
            "INSERT INTO ready SELECT class, %s, id, 1 FROM job WHERE id = %s",
            (position, job),
        )
        return job

    async def news(self, following: IFollow) -> News:
        """What is told next; not only that there is nothing."""
        while True:
            news = await following.__anext__()
            if news.snapshot is not None or news.events:
                return news

    async def until(self, following: IFollow, place: str) -> bytes:
        """The answer that knows of an event.

        One before it may be made from a picture of a moment ago; then another comes.
        """
        self.renewals = 0
        while True:
            news = await self.news(following)
            self.renewals += 1
            assert news.snapshot is not None
            self.assertEqual(news.events, ())
            if news.cursor == place:
                return news.snapshot

    async def test_who_follows_the_line_is_told_all_of_it_again(self) -> None:
        first = await self.queued()
        for way, following in (await self.ways("queue", q.Queue())).items():
            told = await self.news(following)
            assert told.snapshot is not None
            before = [job["id"] for job in json.loads(told.snapshot)["jobs"]]
            self.assertIn(first, before)
            job = await self.queued(position=9 + len(before))
            place = await self.rows.event("job.ready", job=job)
            document = json.loads(await self.until(following, place))
            self.assertEqual([job["id"] for job in document["jobs"]], [*before, job], way)
            self.assertEqual(document["cursor"], place)
            following.close()

    async def test_many_events_are_one_answer(self) -> None:
        following = self.status.follow("queue", q.Queue())
        self.addCleanup(following.close)
        await self.news(following)
        job = await self.rows.job()
        for _ in range(20):
            last = await self.rows.event("job.ready", job=job)
        await self.told(last)
        await self.until(following, last)
        self.assertLessEqual(self.renewals, 3)
        await deferLater(reactor, 0.1)
        follower = following._follower
        assert follower is not None
        self.assertEqual(len(follower._waiting), 0)

    async def test_an_answer_made_from_an_old_picture_is_followed_by_another(self) -> None:
        slow = Forecaster(self.database, reactor, seen_for=1.5)
        details = Details(self.database, Kinds())
        status = Status(self.database, details, slow, self.feed)
        following = status.follow("queue", q.Queue())
        self.addCleanup(following.close)
        await self.news(following)
        job = await self.rows.job()
        await self.until(following, await self.rows.event("job.ready", job=job))
        self.assertEqual(self.renewals, 2)

    async def test_who_comes_back_to_the_line_is_told_what_came_meanwhile(self) -> None:
        following = self.status.follow("queue", q.Queue())
        cursor = (await self.news(following)).cursor
        following.close()
        job = await self.queued()
        await self.told(await self.rows.event("job.ready", job=job))
        back = self.status.follow("queue", q.Queue(), cursor)
        self.addCleanup(back.close)
        self.assertIsNone((await back.__anext__()).snapshot)
        renewed = await self.news(back)
        assert renewed.snapshot is not None
        self.assertEqual([j["id"] for j in json.loads(renewed.snapshot)["jobs"]], [job])

    async def test_an_explanation_is_told_again_when_the_job_or_the_line_moves(
        self,
    ) -> None:
        job, other = await self.queued(), await self.rows.job()
        for way, following in (await self.ways("explain", q.OneJob(job=job))).items():
            told = await self.news(following)
            assert told.snapshot is not None
            self.assertEqual(json.loads(told.snapshot)["id"], job)
            place = await self.rows.event("job.rescored", job=other)
            renewed = await self.until(following, place)
            self.assertEqual(json.loads(renewed)["id"], job, way)
            following.close()

    async def test_a_following_that_waits_for_its_time_ends_when_it_is_closed(self) -> None:
        following = self.status.follow("queue", q.Queue())
        await self.news(following)
        job = await self.rows.job()
        await self.told(await self.rows.event("job.ready", job=job))
        waiting = self.news(following)
        waits = Deferred.fromCoroutine(waiting)
        await deferLater(reactor, 0.2)
        self.assertFalse(waits.called)
        following.close()
        await self.assertFailure(waits, StopAsyncIteration)

    async def test_who_steps_aside_and_back_is_told_to_who_follows_semaphores(self) -> None:
        job = await self.rows.job(state="ready", limits=["disk"])
        await self.rows.job()
        await self.database.run("INSERT INTO attempt (job, number) VALUES (%s, 1)", (job,))
        await self.database.run("INSERT INTO semaphore (name, capacity) VALUES ('disk', 0)")
        for way, following in (await self.ways("semaphores", q.Semaphores())).items():
            await self.news(following)
            await self.database.run(
                "INSERT INTO aside SELECT id, 'disk', class, 5, 1 FROM job WHERE id = %s",
                (job,),
            )
            [told] = await self.take(following, 1)
            self.assertEqual((told.kind, json.loads(told.json)["job"]), ("job.aside", job))
            page = (await self.status.semaphores(q.Semaphores())).read()
            self.assertEqual(page.semaphores[0].aside, 1)
            await self.database.run("SELECT set_semaphore('disk', 1)")
            [told] = await self.take(following, 1)
            self.assertEqual(told.kind, "job.in_line", way)
            await self.database.run("DELETE FROM ready")
            await self.rows.event("job.assigned", job=job)
            [told] = await self.take(following, 1)
            self.assertEqual(told.kind, "job.assigned")
            following.close()

    async def test_only_what_holds_concern_is_told_to_who_follows_them(self) -> None:
        job = await self.rows.job()
        for following in (await self.ways("holds", q.Nothing())).values():
            await self.news(following)
            await self.rows.event("job.done", job=job)
            await self.rows.event("queue.held")
            await self.rows.event("queue.released")
            told = [each.kind for each in await self.take(following, 2)]
            self.assertEqual(told, ["queue.held", "queue.released"])
            following.close()

    async def test_the_documents_of_pages_are_followed_from_their_snapshots_on(
        self,
    ) -> None:
        run = await self.rows.run(repository=MINE)
        job = await self.rows.job(run, repository=MINE, source_digest="a" * 40, name="in")
        await self.rows.attempt(job, worker="ant")
        other = await self.rows.job(await self.rows.run(repository=YOURS), name="out")
        followed: tuple[tuple[str, q.Question, str], ...] = (
            ("grid", q.Grid(repository=MINE), "job.running"),
            ("graph", q.OneRun(run=run), "job.running"),
            ("build", q.OneBuild(job=job), "job.classified"),
            ("history", q.History(name="in"), "job.done"),
            ("timeline", q.Timeline(since="2026-01-01T00:00:00Z"), "job.done"),
        )
        for name, asked, kind in followed:
            for way, following in (await self.ways(name, asked)).items():
                first = await self.news(following)
                assert first.snapshot is not None, (name, way)
                if name != "timeline":
                    await self.rows.event("job.done", job=other)
                place = await self.rows.event(kind, job=job)
                [told] = await self.take(following, 1)
                self.assertEqual((told.id, told.kind), (place, kind), (name, way))
                following.close()

    async def test_who_follows_a_worker_is_told_what_it_ended(self) -> None:
        """The event itself names no worker."""
        job, other = await self.rows.job(), await self.rows.job()
        await self.rows.attempt(job, worker="ant")
        await self.rows.attempt(other, worker="bee")
        for following in (await self.ways("worker", q.OneWorker(worker="ant"))).values():
            await self.news(following)
            for each in (other, job):
                await self.rows.event("job.done", job=each, payload='{"attempt": 1}')
            [told] = await self.take(following, 1)
            self.assertEqual(json.loads(told.json)["job"], job)
            self.assertIsNone(json.loads(told.json)["worker"])
            following.close()

    async def test_a_job_without_a_source_is_told_with_the_run_that_has_one(self) -> None:
        """As the recipe that makes the source of the others: it has a cell in the grid."""
        run = await self.rows.run(repository=MINE)
        job = await self.rows.job(run)
        following = self.status.follow("grid", q.Grid(repository=MINE))
        self.addCleanup(following.close)
        await self.news(following)
        await self.rows.event("job.done", job=job)
        [told] = await self.take(following, 1)
        self.assertEqual(json.loads(told.json)["job"], job)


class ProjectTests(FollowingCase):
    open_reading = False

    async def test_a_project_sees_its_own_rows_and_nobody_elses(self) -> None:
        runs, jobs = {}, {}
        for repository in (MINE, YOURS):
            runs[repository] = await self.rows.run(repository=repository)
            jobs[repository] = await self.rows.job(
                runs[repository],
                repository=repository,
                source_digest="a" * 40,
                state="done",
                result="success",
                finished_at="2026-01-01",
            )
            await self.rows.attempt(jobs[repository], worker="ant")
            await self.rows.end_attempt(jobs[repository])
        await self.database.run(
            "INSERT INTO edge (up, down) VALUES (%s, %s)", (jobs[YOURS], jobs[MINE])
        )
        token = await self.admission.add_client("ci", ["read"], TEAM, "test")
        await self.clients.round()
        for status in (await self.over_pb(token), self.over_http(token)):
            grid = (await status.grid(q.Grid(repository=MINE))).read()
            self.assertEqual([row.run for row in grid.rows], [runs[MINE]])
            history = (await status.history(q.History(repository=MINE))).read()
            self.assertEqual([entry.job for entry in history.entries], [jobs[MINE]])
            self.assertEqual(sum(day.jobs for day in history.trend), 1)
            listed = (await status.jobs(q.Jobs(repository=MINE))).read()
            self.assertEqual([job.id for job in listed.jobs], [jobs[MINE]])
            graph = (await status.graph(q.OneRun(run=runs[MINE]))).read()
            self.assertEqual((len(graph.nodes), graph.edges), (1, ()))
            build = (await status.build(q.OneBuild(job=jobs[MINE]))).read()
            self.assertEqual(build.similar, ())
            self.assertEqual(sum(day.jobs for day in build.history), 1)
            # Lists show what there is for whoever asks.
            listed = (await status.jobs(q.Jobs(repository=YOURS))).read()
            self.assertEqual(listed.jobs, ())
            self.assertEqual((await status.runs(q.Runs(repository=YOURS))).read().runs, ())
            for asking in (
                status.grid(q.Grid()),
                status.grid(q.Grid(repository=YOURS)),
                status.grid(q.Grid(repository=f"{TEAM}/../b.git")),
                status.history(q.History()),
                status.history(q.History(name="hello")),
                status.history(q.History(repository=YOURS)),
                status.jobs(q.Jobs(repository=MINE, run=runs[YOURS])),
                status.graph(q.OneRun(run=runs[YOURS])),
                status.build(q.OneBuild(job=jobs[YOURS])),
                status.queue(q.Queue()),
                status.queue(q.Queue(repository=MINE)),
                status.timeline(q.Timeline()),
                status.timeline(q.Timeline(worker="ant")),
                status.worker(q.OneWorker(worker="ant")),
            ):
                told = await self.problem(asking)
                self.assertEqual(told[:2], (403, "outside_project"))

    async def test_a_project_follows_its_own_and_nobody_elses(self) -> None:
        jobs = [
            await self.rows.job(
                await self.rows.run(repository=repository),
                repository=repository,
                source_digest="a" * 40,
            )
            for repository in (MINE, YOURS)
        ]
        native = await self.rows.job(await self.rows.run(repository=YOURS))
        token = await self.admission.add_client("ci", ["read"], TEAM, "test")
        await self.clients.round()
        own: tuple[tuple[str, q.Question], ...]
        foreign: tuple[tuple[str, q.Question], ...]
        for status in (await self.over_pb(token), self.over_http(token)):
            own = (
                ("grid", q.Grid(repository=MINE)),
                ("jobs", q.Jobs(repository=MINE)),
                ("runs", q.Runs(repository=MINE)),
                ("history", q.History(repository=MINE)),
            )
            for name, asked in own:
                following = status.follow(name, asked)
                self.addCleanup(following.close)
                await following.__anext__()
                for job in (jobs[1], native, jobs[0]):
                    await self.rows.event("job.done", job=job)
                [told] = await self.take(following, 1)
                self.assertEqual(json.loads(told.json)["job"], jobs[0])
                following.close()
            foreign = (
                ("queue", q.Queue()),
                ("timeline", q.Timeline()),
                ("grid", q.Grid(repository=YOURS)),
            )
            for name, theirs in foreign:
                following = status.follow(name, theirs)
                self.addCleanup(following.close)
                problem = await self.problem(following.__anext__())
                self.assertEqual(problem[:2], (403, "outside_project"))
