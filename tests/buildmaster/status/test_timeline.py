"""What workers did, as a waterfall; and what one worker did lately."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from buildmaster.status import documents as d
from buildmaster.status import questions as q
from buildmaster.status.problems import StatusProblem
from buildmaster.store.documents import timeline
from tests.buildmaster.http.rows import HOSTILE
from tests.buildmaster.status.test_reading import StatusCase

NOON = 1767268800_000000  # 2026-01-01 12:00 UTC
MINUTE = 60_000_000


class TimelineCase(StatusCase):
    async def bar(
        self,
        worker: str,
        start: int,
        end: int | None,
        result: str = "success",
        **columns: Any,
    ) -> int:
        """An attempt from some minute after noon to another."""
        job = await self.rows.job(state="running" if end is None else "parked", **columns)
        await self.rows.worker(worker)
        at = "timestamptz '2026-01-01 12:00+00' + %s * interval '1 min'"
        if end is None:
            await self.database.run(
                "INSERT INTO attempt (job, number) VALUES (%s, 1)", (job,)
            )
            await self.database.run(
                f"""INSERT INTO running (job, attempt, worker, class, assigned_at,
                                         accepted_at)
                    SELECT id, 1, %s, class, {at}, {at} FROM job WHERE id = %s""",
                (worker, start, start, job),
            )
        else:
            await self.database.run(
                f"""INSERT INTO attempt (job, number, worker, result, reason, assigned_at,
                                         started_at, finished_at)
                    VALUES (%s, 1, %s, %s, 'x', {at}, {at}, {at})""",
                (job, worker, result, start, start, end),
            )
        return job

    async def timeline(
        self, since: str = "12:00", until: str = "13:00", **more: Any
    ) -> Any:
        asked = q.Timeline(
            since=f"2026-01-01T{since}:00Z", until=f"2026-01-01T{until}:00Z", **more
        )
        return (await self.status.timeline(asked)).read()

    async def jobs(self, *args: Any, **more: Any) -> list[int]:
        return [bar.job for bar in (await self.timeline(*args, **more)).bars]


class TimelineTests(TimelineCase):
    async def test_a_bar_says_what_a_worker_did_and_when(self) -> None:
        job = await self.bar("ant", 5, 7, "failure", name=HOSTILE)
        goes_on = await self.bar("bee", 30, None)
        await self.database.run("UPDATE worker SET slots = 3")
        found = await self.timeline()
        self.assertEqual([w.name for w in found.workers], ["ant", "bee"])
        self.assertEqual((found.workers[0].slots, found.workers[0].duty), (3, "active"))
        self.assertEqual(set(found.names), {HOSTILE, "hello"})
        hostile = found.names.index(HOSTILE)
        first = d.Bar(
            0, job, 1, hostile, NOON + 5 * MINUTE, NOON + 7 * MINUTE, "failure", "done", 1
        )
        second = d.Bar(
            1, goes_on, 1, 1 - hostile, NOON + 30 * MINUTE, None, None, "running", 1
        )
        self.assertEqual(found.bars, (first, second))
        self.assertEqual((found.since, found.more), ("2026-01-01T12:00:00.000000Z", False))

    async def test_whatever_overlaps_the_while_is_shown_and_nothing_else(self) -> None:
        await self.bar("ant", -20, -10)
        begins_before = await self.bar("ant", -5, 5)
        within = await self.bar("ant", 10, 20)
        spans_all = await self.bar("bee", -10, 70)
        ends_after = await self.bar("ant", 50, 70)
        await self.bar("ant", 65, 80)
        goes_on = await self.bar("bee", 55, None)
        await self.bar("bee", 61, None)
        wanted = {begins_before, within, spans_all, ends_after, goes_on}
        self.assertEqual(set(await self.jobs()), wanted)
        self.assertEqual(await self.jobs(worker="bee"), [spans_all, goes_on])
        self.assertEqual(await self.jobs(worker="ant"), [begins_before, within, ends_after])
        self.assertEqual(await self.jobs(worker="cat"), [])

    async def test_of_too_many_bars_the_latest_are_shown(self) -> None:
        jobs = [await self.bar("ant", n, n + 1) for n in range(4)]
        found = await self.timeline(limit=2)
        self.assertEqual([bar.job for bar in found.bars], jobs[2:])
        self.assertTrue(found.more)
        self.assertFalse((await self.timeline(limit=4)).more)
        self.assertEqual(await self.jobs(limit=2, worker="ant"), jobs[2:])

    async def test_of_too_many_workers_some_are_left_out_and_said_so(self) -> None:
        for name in ("ant", "bee", "cat"):
            await self.bar(name, 1, 2)
        with patch.object(timeline, "LARGEST_LIMIT", 2):
            found = await self.timeline()
        self.assertEqual(
            ([w.name for w in found.workers], found.more), (["ant", "bee"], True)
        )
        self.assertEqual([bar.worker for bar in found.bars], [0, 1])

    async def test_without_times_it_is_the_last_hour(self) -> None:
        await self.bar("ant", 0, 1)
        await self.database.run(
            """UPDATE attempt SET finished_at = farm_now(),
                   assigned_at = farm_now() - interval '30 min',
                   started_at = farm_now() - interval '30 min'"""
        )
        old = await self.bar("ant", 0, 1)
        found = (await self.status.timeline(q.Timeline())).read()
        self.assertEqual(len(found.bars), 1)
        self.assertNotEqual(found.bars[0].job, old)

    async def test_a_while_that_makes_no_sense_is_refused(self) -> None:
        for since, until in (
            ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"),
            ("2026-02-30T00:00:00Z", None),
            ("0001-01-01T00:00:00Z", None),
            (None, "9999-12-31T23:59:59Z"),
        ):
            with self.assertRaises(StatusProblem) as caught:
                await self.status.timeline(q.Timeline(since=since, until=until))
            self.assertEqual(caught.exception.code, "bad_parameter")


class WorkerTests(TimelineCase):
    async def worker(self, name: str = "ant") -> d.Worker:
        return (await self.status.worker(q.OneWorker(worker=name))).read()

    async def test_a_worker_tells_what_it_did_lately(self) -> None:
        await self.rows.worker("ant")
        jobs = []
        for minutes, result in ((200, "success"), (100, "failure"), (10, "success")):
            job = await self.bar("ant", 0, 1, result)
            await self.database.run(
                """UPDATE attempt SET assigned_at = farm_now() - %s * interval '1 min',
                       finished_at = farm_now() - %s * interval '1 min' WHERE job = %s""",
                (minutes, minutes - 5, job),
            )
            jobs.append(job)
        running = await self.bar("ant", 0, None)
        await self.database.run(
            "UPDATE running SET assigned_at = farm_now() - interval '1 min'"
        )
        await self.bar("bee", 0, None)
        await self.bar("ant", 0, 1)  # long ago
        found = await self.worker()
        self.assertEqual(
            [each.job for each in found.attempts][:4], [running, *reversed(jobs)]
        )
        self.assertEqual(len(found.attempts), 5)
        self.assertEqual(found.results_24h, {"success": 2, "failure": 1})
        self.assertTrue(16 * 60 <= found.busy_24h < 17 * 60, found.busy_24h)
        self.assertEqual(found.faults, ())

    async def test_a_worker_tells_the_faults_that_are_laid_to_it(self) -> None:
        job = await self.bar("ant", 0, 1)
        for worker in ("ant", "bee"):
            await self.database.run(
                """INSERT INTO fault (at, job, attempt, worker, reason, is_forgiven)
                   VALUES (farm_now(), %s, 1, %s, %s, true)""",
                (job, worker, HOSTILE),
            )
        [fault] = (await self.worker()).faults
        self.assertEqual((fault.job, fault.reason, fault.is_forgiven), (job, HOSTILE, True))

    async def test_only_the_last_attempts_are_listed(self) -> None:
        for n in range(52):
            await self.bar("ant", n, n + 1)
        self.assertEqual(len((await self.worker()).attempts), 50)
