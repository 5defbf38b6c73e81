"""Schedules start what they say: each time once, also one that was missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from buildmaster.requests import Refusal
from buildmaster.scheduling import NewSchedule, Scheduler, Schedules, caught_up
from buildmaster.store.schedules import Schedule
from tests.buildmaster.orchestration.stage import Killed, WorkflowCase
from tests.buildmaster.orchestration.test_stepping import Sleeper
from tests.buildmaster.source.repository import Repository

WORKFLOW = {"workflow": {"class": "Sleeper", "arguments": [3600]}}
JOBS = {"jobs": {"jobs": [{"performs": "build"}]}}


class ScheduleCase(WorkflowCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.one = self.master(Sleeper)
        self.schedules = Schedules(self.database, self.one.control)
        self.cancelled = 0

    def scheduler(self) -> Scheduler:
        def cancelled() -> None:
            self.cancelled += 1

        return Scheduler(
            self.database,
            self.one.control,
            self.farm.prepare,
            self.farm.enqueue_within,
            cancelled,
        )

    async def add(self, starts: Any, cron: str = "@hourly", **more: Any) -> Any:
        body = {"name": "s", "cron": cron, "starts": starts, **more}
        return await self.schedules.add(msgspec.convert(body, NewSchedule), "ann")

    async def come(self, hours: float = 0) -> None:
        """Let the next time of each schedule be some hours ago, on the hour."""
        await self.database.run(
            "UPDATE schedule SET next_at = date_trunc('hour', farm_now())"
            " - make_interval(hours => %s)",
            (int(hours),),
        )

    async def firings(self) -> list[tuple[str, str]]:
        rows = await self.database.rows("SELECT state, reason FROM firing ORDER BY at")
        return [(row[0], row[1]) for row in rows]


class SchedulingTests(ScheduleCase):
    async def test_it_starts_workflows_jobs_and_pipelines(self) -> None:
        repository = Repository(self.mktemp_path())
        pipeline = "{unit: {series: noble, architectures: amd64, run: make}}"
        repository.commit(__launchpad__yaml=f"pipeline: [unit]\njobs: {pipeline}\n")
        run = {"run": {"source": {"kind": "git", "repository": str(repository.folder)}}}
        await self.add(WORKFLOW, name="w")
        await self.add(JOBS, name="j", owner="bob")
        await self.add(run, name="r")
        await self.come()
        await self.scheduler().round()
        self.assertEqual(await self.firings(), [("started", "")] * 3)
        [(name, requester)] = await self.database.rows(
            "SELECT name, requester FROM workflow"
        )
        self.assertRegex(name, r"^w@\d{4}-\d\d-\d\dT\d\d:00$")
        self.assertEqual(requester, "schedule w")
        owners = await self.database.rows("SELECT kind, owner FROM job ORDER BY kind")
        self.assertEqual(owners, [("build", "ann"), ("native", "bob")])
        # The same commit is built again the next time.
        await self.finish()
        await self.finish()
        await self.database.run("DELETE FROM firing")
        await self.come()
        await self.scheduler().round()
        (attempts,) = await self.database.one("SELECT max(attempt) FROM job")
        self.assertEqual(attempts, 2)

    def mktemp_path(self) -> Any:
        return Path(self.mktemp())

    async def test_each_time_happens_once_however_many_masters_look(self) -> None:
        await self.add(JOBS)
        await self.come()
        rounds = [Deferred.fromCoroutine(self.scheduler().round()) for _ in range(4)]
        await gatherResults(rounds)
        await self.scheduler().round()
        self.assertEqual(await self.count("job"), 1)
        (following,) = await self.database.one("SELECT next_at > farm_now() FROM schedule")
        self.assertTrue(following)

    async def test_a_crash_between_leaves_the_time_waiting(self) -> None:
        await self.add(JOBS)
        await self.come()
        dying = self.scheduler()

        async def dies(*arguments: Any) -> Any:
            raise Killed

        dying._enqueue = dies
        await self.killed(dying.round())
        self.assertEqual(await self.firings(), [("waiting", "")])
        await self.scheduler().round()
        self.assertEqual(await self.firings(), [("started", "")])

    async def test_what_overlaps(self) -> None:
        for overlap, count, states in (
            ("skip", 1, ["started", "skipped"]),
            ("queue", 1, ["started", "waiting"]),
            ("replace", 2, ["started", "started"]),
        ):
            await self.add(JOBS, overlap=overlap)
            for hours in (2, 0):
                await self.come(hours)
                await self.scheduler().round()
                if hours:
                    await self.database.run("UPDATE firing SET at = at - interval '1 day'")
            jobs = await self.jobs()
            self.assertEqual(len(jobs), count, overlap)
            self.assertEqual([state for state, _ in await self.firings()], states)
            if overlap == "replace":
                self.assertEqual([result for _, _, result in jobs], ["cancelled", None])
                self.assertEqual(self.cancelled, 2)
            if overlap == "queue":
                await self.finish()
                await self.scheduler().round()
                self.assertEqual([s for s, _ in await self.firings()], ["started"] * 2)
            await self.schedules.remove("s")
            await self.database.run(
                "DELETE FROM ready; DELETE FROM run_job; DELETE FROM run;"
                "DELETE FROM delayed; DELETE FROM attempt; DELETE FROM native_job;"
                "DELETE FROM job"
            )

    async def test_what_cannot_start_says_why(self) -> None:
        await self.add({"jobs": {"jobs": [{"performs": "build", "semaphores": ["no"]}]}})
        await self.come()
        await self.scheduler().round()
        [(state, reason)] = await self.firings()
        self.assertEqual(state, "failed")
        self.assertIn("no semaphore", reason)

    async def test_it_can_be_paused_and_removed(self) -> None:
        await self.add(JOBS)
        await self.schedules.pause("s", True)
        await self.database.run("UPDATE schedule SET next_at = farm_now()")
        await self.scheduler().round()
        self.assertEqual(await self.count("firing"), 0)
        told = await self.schedules.pause("s", False)
        assert told.next_at is not None
        self.assertGreater(told.next_at, datetime.now(UTC))
        await self.schedules.remove("s")
        for act in (self.schedules.remove("s"), self.schedules.pause("s", True)):
            self.assertEqual((await self.refused(act)).status, 404)

    async def test_what_makes_no_sense_is_refused(self) -> None:
        await self.add(JOBS)
        for starts, more in (
            ({}, {}),
            ({**JOBS, **WORKFLOW}, {}),
            (JOBS, {"cron": "* * * *"}),
            (JOBS, {"cron": "0 0 30 2 *"}),
            (JOBS, {"zone": "Nowhere"}),
            (JOBS, {"name": "s"}),
            ({"workflow": {"class": "Nothing"}}, {}),
            ({"workflow": {"class": "Sleeper", "arguments": []}}, {}),
        ):
            refusal = await self.refused(self.add(starts, **{"name": "other", **more}))
            self.assertIsInstance(refusal, Refusal)
            self.assertIn(refusal.status, (409, 422))

    def test_catching_up(self) -> None:
        now = datetime(2026, 1, 2, 12, 0, 30, tzinfo=UTC)

        def times(catch_up: str, limit: int, hours: int) -> list[int]:
            schedule = Schedule(
                id=1,
                name="s",
                cron="@hourly",
                zone="UTC",
                starts={},
                overlap="skip",
                catch_up=catch_up,
                catch_up_limit=limit,
                owner="a",
                next_at=now.replace(second=0) - timedelta(hours=hours),
            )
            found = caught_up(schedule, now - timedelta(seconds=0))
            return [round((now - each).total_seconds() // 3600) for each in found]

        self.assertEqual(times("none", 10, 3), [0])
        self.assertEqual(times("last", 10, 3), [0])
        self.assertEqual(times("all", 10, 3), [3, 2, 1, 0])
        self.assertEqual(times("all", 2, 24 * 300), [1, 0])
        later = now + timedelta(minutes=10)
        missed = Schedule(
            id=1, name="s", cron="0 12 * * *", zone="UTC", starts={}, overlap="skip",
            catch_up="none", catch_up_limit=5, owner="a", next_at=now.replace(second=0),
        )  # fmt: skip
        self.assertEqual(caught_up(missed, later), [])
        last = msgspec.structs.replace(missed, catch_up="last")
        self.assertEqual(caught_up(last, later), [missed.next_at])
