"""Groups, semaphores and caps: never more at work than was said, and nobody left behind."""

from __future__ import annotations

from typing import Any

from buildmaster import semaphores as semaphores_module
from buildmaster.requests import GitRequest, Refusal, SubmissionRequest
from buildmaster.semaphores import Semaphores
from buildmaster.series import DEFAULT_SERIES
from buildmaster.submission import (
    Material,
    Submission,
    SubmissionRules,
    read_configuration,
)
from protocol.order import GitSource
from protocol.results import Result
from tests.buildmaster.test_enqueueing import EnqueueCase

ONE = """\
pipeline: [unit]
jobs:
  unit: {series: jammy, architectures: amd64, run: make}
"""
REPOSITORY = "https://git.example/p.git"


class SemaphoreCase(EnqueueCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.semaphores = Semaphores(self.books.database)

    async def one(self, **job: Any) -> int:
        return (await self.enqueue(job)).jobs[0].id

    async def in_group(self, policy: str = "queue", **job: Any) -> int:
        return await self.one(concurrency={"group": "g", "policy": policy}, **job)

    async def begun(self) -> list[int]:
        """Jobs that a worker with much room is given now."""
        first = [claim.job for claim in await self.books.claim(slots=4)]
        return first + [claim.job for claim in await self.books.claim(slots=4)]

    async def end(self, job: int) -> tuple[str | None, str, int | None]:
        row = await self.books.database.one(
            "SELECT result::text, reason, superseded_by FROM job WHERE id = %s", (job,)
        )
        return (row[0], row[1], row[2])


class GroupTests(SemaphoreCase):
    async def test_members_that_queue_run_one_at_a_time(self) -> None:
        a, b = await self.in_group(), await self.in_group()
        other = await self.one(name="other")
        self.assertEqual(await self.begun(), [a, other])
        await self.finish(a)
        self.assertEqual(await self.begun(), [b])

    async def test_a_newer_one_replaces_those_that_have_not_begun(self) -> None:
        a = await self.in_group()
        await self.begun()
        b = await self.in_group()
        blocked = await self.in_group(needs=[await self.one(name="up")])
        c = await self.in_group("replace_pending")
        for job in (b, blocked):
            result, reason, superseded_by = await self.end(job)
            self.assertEqual((result, superseded_by), ("cancelled", c))
            self.assertIn(f"superseded by job {c}", reason)
        self.assertEqual((await self.books.state(a))[0], "assigned")
        (asked,) = await self.books.database.one(
            "SELECT cancel_asked_at IS NOT NULL FROM job WHERE id = %s", (a,)
        )
        self.assertFalse(asked)

    async def test_replacing_all_stops_what_may_be_interrupted(self) -> None:
        a = await self.in_group()
        await self.begun()
        publish = await self.one(name="p", interruptible=False, concurrency={"group": "h"})
        await self.begun()
        c = await self.in_group("replace_all")
        await self.one(concurrency={"group": "h", "policy": "replace_all"})
        asked = await self.books.database.rows(
            "SELECT id, superseded_by FROM job WHERE cancel_asked_at IS NOT NULL"
        )
        self.assertEqual(asked, [(a, c)])
        # The newer one begins only when the older is gone.
        self.assertNotIn(c, await self.begun())
        await self.finish(a, Result.CANCELLED)
        self.assertEqual((await self.end(a))[0], "cancelled")
        self.assertIn(c, await self.begun())
        self.assertEqual((await self.books.state(publish))[1], None)

    async def test_members_of_one_graph_do_not_replace_each_other(self) -> None:
        group = {"concurrency": {"group": "g", "policy": "replace_all"}}
        enqueued = await self.enqueue({"name": "a", **group}, {"name": "b", **group})
        self.assertEqual([job.state for job in enqueued.jobs], ["ready", "ready"])
        self.assertEqual(await self.begun(), [enqueued.jobs[0].id])
        refusal = await self.refusal(
            self.enqueue(
                {"name": "a", **group}, {"name": "b", "concurrency": {"group": "g"}}
            )
        )
        self.assertIn("two policies", refusal.problems[0].message)

    async def test_what_was_replaced_can_be_tried_again(self) -> None:
        a = await self.in_group()
        await self.in_group("replace_pending")
        self.assertEqual((await self.end(a))[0], "cancelled")
        await self.farm.retry_job(a, "ann", None, False)
        self.assertEqual((await self.end(a))[2], None)


class CapacityTests(SemaphoreCase):
    async def test_more_room_lets_those_aside_go_on(self) -> None:
        await self.semaphores.set("lab", 1, "ann")
        jobs = [await self.one(name=f"j{n}", semaphores=["lab"]) for n in range(4)]
        self.assertEqual(await self.begun(), jobs[:1])
        await self.semaphores.set("lab", 3, "ann")
        self.assertEqual(await self.begun(), jobs[1:3])
        await self.semaphores.set("lab", 0, "ann")
        await self.finish(jobs[0])
        self.assertEqual(await self.begun(), [])

    async def test_one_that_is_named_stays(self) -> None:
        await self.semaphores.set("lab", 1, "ann")
        job = await self.one(semaphores=["lab"])
        for name, why in (("lab", f"job {job} names it"), ("nobody", "there is none")):
            refusal = await self.refusal(self.semaphores.remove(name, "ann"))
            self.assertIsInstance(refusal, Refusal)
            self.assertIn(why, str(refusal))
        await self.farm.cancel_job(job, "ann", "")
        await self.semaphores.remove("lab", "ann")
        self.assertEqual(await self.count("semaphore"), 0)


class CapTests(SemaphoreCase):
    async def test_a_cap_goes_for_what_waits_what_runs_and_what_comes(self) -> None:
        runs = await self.one(name="runs", owner="bob")
        await self.books.claim(slots=1)
        waits = await self.one(name="waits", owner="bob")
        blocked = await self.one(name="blocked", owner="bob", needs=[runs])
        other = await self.one(name="other")
        self.patch(semaphores_module, "BATCH", 1)
        self.assertEqual(await self.semaphores.cap("bob", "", 1, "ann"), 3)
        comes = await self.one(name="comes", owner="bob")
        self.assertEqual(await self.begun(), [other])
        await self.finish(runs)
        first = await self.begun()
        self.assertEqual(len(first), 1)
        self.assertIn(first[0], (waits, blocked, comes))
        self.assertEqual(await self.semaphores.cap("bob", "", None, "ann"), 0)
        self.assertEqual(
            sorted(first + await self.begun()), sorted([waits, blocked, comes])
        )

    async def test_builds_heed_it_too(self) -> None:
        await self.semaphores.cap("ann", "amd64", 1, "ann")
        for commit in ("a" * 40, "b" * 40):
            request = SubmissionRequest(source=GitRequest(repository=REPOSITORY))
            source = GitSource(repository=REPOSITORY, commit=commit)
            submission = Submission(
                request,
                "ann",
                Material(REPOSITORY, commit, source, ONE.encode()),
                read_configuration(request, ONE.encode()),
                SubmissionRules(DEFAULT_SERIES),
            )
            await self.books.database.transaction(submission.store)
        self.assertEqual(len(await self.begun()), 1)
