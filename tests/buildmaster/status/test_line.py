"""The line: in its order, with places, what holds a job, and when it should start."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

from buildmaster.status import documents as d
from buildmaster.status import questions as q
from buildmaster.status.problems import StatusProblem
from buildmaster.store.documents import line
from tests.buildmaster.http.rows import COMMIT, HOSTILE
from tests.buildmaster.status.test_reading import StatusCase

ELSEWHERE = "https://example.com/elsewhere.git"
OFFER = json.dumps(
    [{"isolation": "chroot", "architecture": "amd64", "series": ["bookworm"]}]
)


class LineTests(StatusCase):
    async def queued(
        self, position: int, architecture: str = "amd64", aside: str = "", **columns: Any
    ) -> int:
        """A job that is ready, at a position."""
        [number] = await self.database.one(
            """INSERT INTO job_class (architecture, isolation, series, tags)
               VALUES (%s, 'chroot', '{bookworm}', '{}')
               ON CONFLICT ON CONSTRAINT class_once DO UPDATE SET tags = '{}'
               RETURNING id""",
            (architecture,),
        )
        job = await self.rows.job(
            **{
                "class": number,
                "state": "ready",
                "ready_at": "2026-01-01 12:00+00",
                **columns,
            }
        )
        await self.database.run(
            "UPDATE build SET architecture = %s WHERE job = %s", (architecture, job)
        )
        await self.database.run("INSERT INTO attempt (job, number) VALUES (%s, 1)", (job,))
        if aside:
            await self.database.run(
                "INSERT INTO semaphore (name) VALUES (%s) ON CONFLICT DO NOTHING", (aside,)
            )
            await self.database.run(
                "INSERT INTO aside VALUES (%s, %s, %s, %s, 1)",
                (job, aside, number, position),
            )
        else:
            await self.database.run(
                "INSERT INTO ready VALUES (%s, %s, %s, 1)", (number, position, job)
            )
        return job

    async def worker(self, slots: int = 1) -> None:
        await self.rows.worker("ant")
        await self.database.run(
            """UPDATE worker SET state = 'connected', session = 's', master = 'm',
                                 slots = %s, offers = %s""",
            (slots, OFFER),
        )

    async def queue(self, **asked: Any) -> d.Queue:
        return (await self.status.queue(q.Queue(**asked))).read()

    async def ids(self, **asked: Any) -> list[int]:
        return [job.id for job in (await self.queue(**asked)).jobs]

    async def test_the_line_is_told_in_its_order_with_places(self) -> None:
        second = await self.queued(20, name=HOSTILE, owner="eve")
        first = await self.queued(10, "arm64")
        third = await self.queued(30)
        found = await self.queue()
        told = [(job.place, job.id, job.architecture) for job in found.jobs]
        self.assertEqual(
            told, [(1, first, "arm64"), (2, second, "amd64"), (3, third, "amd64")]
        )
        self.assertEqual((found.jobs[1].name, found.jobs[1].owner), (HOSTILE, "eve"))
        self.assertEqual(found.jobs[0].ready_at, "2026-01-01T12:00:00.000000Z")
        # Nobody can start them.
        self.assertEqual({job.likely_start for job in found.jobs}, {None})
        places = [
            (job.place, job.id) for job in (await self.queue(architecture="amd64")).jobs
        ]
        self.assertEqual(places, [(1, second), (2, third)])

    async def test_classes_are_counted_with_the_room_there_is(self) -> None:
        await self.worker(slots=3)
        await self.queued(10, ready_at="2026-01-02 12:00+00")
        await self.queued(20)
        running = await self.queued(5, state="running")
        await self.database.run("DELETE FROM ready WHERE job = %s", (running,))
        await self.database.run(
            """INSERT INTO running (job, attempt, worker, class)
               SELECT id, 1, 'ant', class FROM job WHERE id = %s""",
            (running,),
        )
        await self.queued(30, "arm64")
        other, own = (await self.queue()).classes[::-1]
        if own.architecture != "amd64":
            own, other = other, own
        self.assertEqual((own.ready, own.running, own.free_slots), (2, 1, 2))
        self.assertEqual(own.oldest_ready_at, "2026-01-01T12:00:00.000000Z")
        self.assertEqual(
            (own.isolation, own.series, own.performs), ("chroot", ("bookworm",), None)
        )
        self.assertEqual((other.architecture, other.free_slots), ("arm64", 0))
        self.assertEqual(
            [c.architecture for c in (await self.queue(architecture="arm64")).classes],
            ["arm64"],
        )

    async def test_who_stands_before_others_should_start_before_them(self) -> None:
        await self.worker()
        for position in range(5):
            await self.queued(position)
        starts = [
            (job.earliest_start, job.likely_start, job.latest_start)
            for job in (await self.queue()).jobs
        ]
        for each in starts:
            self.assertEqual(list(each), sorted(filter(None, each)))
        likely = [each[1] for each in starts]
        self.assertEqual(likely, sorted(filter(None, likely)))
        self.assertLess(str(likely[0]), str(likely[-1]))

    async def test_what_holds_a_job_is_named(self) -> None:
        free = await self.queued(1)
        aside = await self.queued(2, aside="disk")
        held = await self.queued(3, "s390x")
        await self.database.run(
            """INSERT INTO queue_hold (scope, name, reason, held_by)
               VALUES ('architecture', 's390x', 'a move', 'ada')"""
        )
        told = {job.id: job.held_by for job in (await self.queue()).jobs}
        self.assertEqual(
            told,
            {
                free: None,
                aside: d.HeldBy(what="semaphore", name="disk"),
                held: d.HeldBy(what="architecture", name="s390x"),
            },
        )
        await self.database.run(
            "INSERT INTO queue_hold (scope, reason, held_by) VALUES ('farm', 'x', 'ada')"
        )
        told = {job.id: job.held_by for job in (await self.queue()).jobs}
        self.assertEqual(set(told.values()), {d.HeldBy(what="farm", name="")})

    async def test_filters_leave_jobs_out_and_keep_their_places(self) -> None:
        await self.queued(1)
        job = await self.queued(
            2, "arm64", owner="eve", repository=ELSEWHERE, source_digest=COMMIT
        )
        await self.queued(3, "arm64")
        matching = {"owner": "eve", "repository": ELSEWHERE, "kind": "build"}
        for name, value in matching.items():
            self.assertIn(job, await self.ids(**{name: value}), name)
            mixed = {**matching, "architecture": "arm64", name: "x'--"}
            self.assertEqual(await self.ids(**mixed), [], name)
        [found] = (await self.queue(**matching)).jobs
        self.assertEqual((found.id, found.place), (job, 2))
        [found] = (await self.queue(**matching, architecture="arm64")).jobs
        self.assertEqual((found.id, found.place), (job, 1))

    async def pages(self, **asked: Any) -> list[list[tuple[int, int]]]:
        found, after = [], None
        while True:
            page = await self.queue(after=after, **asked)
            found.append([(job.place, job.id) for job in page.jobs])
            if (after := page.next) is None:
                return found

    async def test_pages_follow_each_other_with_running_places(self) -> None:
        jobs = [
            await self.queued(
                n, "arm64" if n % 2 else "amd64", aside="disk" if n == 2 else ""
            )
            for n in range(5)
        ]
        placed = list(enumerate(jobs, 1))
        self.assertEqual(await self.pages(limit=2), [placed[:2], placed[2:4], placed[4:]])
        self.assertEqual(await self.pages(limit=5), [placed])

    async def test_a_page_for_what_is_rare_goes_on_where_it_stopped_looking(self) -> None:
        for n in range(5):
            await self.queued(n)
        rare = await self.queued(7, owner="eve")
        with patch.object(line, "LOOKED_AT", 2):
            pages = await self.pages(owner="eve")
        self.assertEqual([each for page in pages for each in page], [(6, rare)])
        self.assertLessEqual(len(pages), 4)

    async def test_a_place_that_is_none_is_refused(self) -> None:
        with self.assertRaises(StatusProblem) as caught:
            await self.queue(after="1-2")
        self.assertEqual(caught.exception.code, "bad_parameter")


class OwnerTests(StatusCase):
    async def test_owners_are_counted_as_their_jobs_change(self) -> None:
        """From counters, before and after they are folded."""

        async def owners() -> dict[tuple[str, str], int]:
            found = (await self.status.overview(q.Nothing())).read().owners
            return {(each.owner, each.state): each.jobs for each in found}

        jobs = [await self.rows.job(owner=owner) for owner in ("ada", "ada", HOSTILE)]
        self.assertEqual(await owners(), {("ada", "waiting"): 2, (HOSTILE, "waiting"): 1})
        await self.database.run("SELECT fold_counts()")
        await self.database.run(
            "UPDATE job SET state = 'parked', parked_for = 'x' WHERE id = %s", (jobs[0],)
        )
        changed = {
            ("ada", "waiting"): 1,
            ("ada", "parked"): 1,
            (HOSTILE, "waiting"): 1,
        }
        self.assertEqual(await owners(), changed)
        await self.database.run("SELECT fold_counts()")
        self.assertEqual(await owners(), changed)
        await self.database.run("DELETE FROM build")
        await self.database.run("DELETE FROM job WHERE owner <> 'ada'")
        await self.database.run("SELECT fold_counts()")
        del changed[HOSTILE, "waiting"]
        self.assertEqual(await owners(), changed)
        self.assertEqual(
            await self.database.rows("SELECT count(*) FROM owner_count"), [(2,)]
        )

    async def test_classes_of_failures_are_counted(self) -> None:
        for n in range(3):
            job = await self.rows.job(
                state="done", result="failure", reason="x", finished_at="now"
            )
            await self.rows.attempt(job)
            await self.rows.end_attempt(job, result="failure")
            if n:
                await self.database.run(
                    """INSERT INTO classified (job, attempt, classification, classified_by)
                       VALUES (%s, 1, 'flaky', 'ada')""",
                    (job,),
                )
        await self.rows.job(
            state="done", result="failure", reason="x", finished_at="2020-01-01"
        )
        found = (await self.status.overview(q.Nothing())).read().classifications
        told = {each.classification: each.jobs for each in found}
        self.assertEqual(told, {None: 1, "flaky": 2})
