"""Collections: jobs of several repositories that are needed together, and waited for."""

from __future__ import annotations

from buildmaster.blaming import Blaming
from buildmaster.database import Cursor
from buildmaster.recording import record
from protocol.messages import Report, ReportBody
from protocol.results import Result
from tests.buildmaster.books import NO_DELAY, Work, ended, over
from tests.buildmaster.node_books import NodeBooks, prepared
from tests.buildmaster.test_use_cases import EXAMPLES


class RendezvousTests(NodeBooks):
    """Who waits for others, and who comes, in any order and in any trouble."""

    async def bar(self, commit: str = "b" * 40) -> int:
        """Submit the one that waits, and let it run so far; the job that publishes."""
        text = (EXAMPLES / "side-tag/bar/.headrace.yaml").read_text()
        made = await self.submit(text, commit, repository="https://git.example/bar")
        await self.run_all()
        return made.jobs[-1].id

    async def foo(self, commit: str = "f" * 40, **results: Result) -> int:
        """Submit the other, and let it run; its run."""
        text = (EXAMPLES / "side-tag/foo/.headrace.yaml").read_text()
        made = await self.submit(text, commit, repository="https://git.example/foo")
        await self.run_all(**results)
        return made.run

    async def assert_waits(self, job: int) -> None:
        state, parked_for = await self.books.database.one(
            "SELECT state::text, parked_for FROM job WHERE id = %s", (job,)
        )
        self.assertEqual(state, "parked")
        self.assertIn("foo is missing from the collection side-tag/foo-bar", parked_for)
        await self.audit()

    async def let_pass(self, days: int) -> None:
        """Let time pass for what waits, and the farm look at it."""
        database = self.books.database
        shift = f"interval '{days} days'"
        await database.run(
            f"UPDATE job SET deadline = deadline - {shift} WHERE state <> 'done'"
        )
        await database.run(f"UPDATE collection_wait SET since = since - {shift}")
        await database.run(f"UPDATE time_limit SET at = at - {shift}")
        await Blaming(database, NO_DELAY).round()

    async def test_a_member_that_fails_and_is_run_again_lets_it_go(self) -> None:
        publish = await self.bar()
        run = await self.foo(build=Result.FAILURE)
        await self.assert_waits(publish)
        await self.rerun(run, scope="failed")
        self.assertEqual(
            await self.run_all(), ["build series=noble", "publish series=noble"]
        )
        files = {one.job for one in self.orders["publish series=noble"].handed}
        self.assertIn("side-tag/foo-bar", files)

    async def test_one_that_was_cancelled_waits_again_when_it_is_retried(self) -> None:
        publish = await self.bar()
        for again in (self.retry, lambda job: self.rerun(1, scope="failed")):
            await self.cancel(publish)
            self.assertEqual((await self.books.state(publish))[1], "cancelled")
            await again(publish)
            await self.assert_waits(publish)
        await self.foo()
        self.assertEqual(await self.books.run_result(1), "success")

    async def test_one_that_failed_goes_at_once_with_the_newest_members(self) -> None:
        publish = await self.bar()
        await self.foo(publish=Result.FAILURE)
        self.assertEqual((await self.books.state(publish))[1], "failure")
        await self.retry(publish)
        self.assertEqual(await self.run_all(), ["publish series=noble"])
        self.assertEqual((await self.books.state(publish))[1], "success")
        await self.audit()

    async def test_it_waits_no_longer_than_it_was_told(self) -> None:
        publish = await self.bar()
        await self.let_pass(6)
        await self.assert_waits(publish)
        await self.let_pass(2)
        self.assertEqual((await self.books.state(publish))[1], "timeout")
        (reason,) = await self.books.database.one(
            "SELECT reason FROM job WHERE id = %s", (publish,)
        )
        self.assertRegex(
            reason, "its deadline has passed: .* UTC; foo is missing from the collection "
        )
        self.assertEqual(await self.books.run_result(1), "timeout")
        # Who comes too late changes nothing.
        await self.foo()
        self.assertEqual((await self.books.state(publish))[1], "timeout")
        await self.audit()

    async def test_one_that_waited_too_long_and_is_retried_waits_as_long_again(
        self,
    ) -> None:
        publish = await self.bar()
        for again in (self.retry, lambda job: self.rerun(1, scope="failed")):
            await self.let_pass(8)
            self.assertEqual((await self.books.state(publish))[1], "timeout")
            await again(publish)
            await self.let_pass(6)
            await self.assert_waits(publish)
        await self.foo()
        self.assertEqual((await self.books.state(publish))[1], "success")

    async def test_who_came_while_it_could_not_wait_is_there(self) -> None:
        text = (EXAMPLES / "side-tag/bar/.headrace.yaml").read_text()
        made = await self.submit(text, "b" * 40, repository="https://git.example/bar")
        await self.run_all(build=Result.FAILURE)
        self.assertEqual((await self.books.state(made.jobs[-1].id))[1], "unrun")
        await self.foo()
        await self.retry(made.jobs[0].id)
        self.assertEqual(
            await self.run_all(), ["build series=noble", "publish series=noble"]
        )
        await self.audit()

    async def test_retried_when_all_have_come_it_goes(self) -> None:
        publish = await self.bar()
        await self.let_pass(8)
        await self.foo()
        await self.retry(publish)
        self.assertEqual(await self.run_all(), ["publish series=noble"])
        self.assertEqual((await self.books.state(publish))[1], "success")

    async def test_what_has_begun_does_not_end_because_it_waited_long(self) -> None:
        publish = await self.bar()
        await self.let_pass(6)
        text = (EXAMPLES / "side-tag/foo/.headrace.yaml").read_text()
        await self.submit(text, "f" * 40, repository="https://git.example/foo")
        await self.run_one()
        begun = await self.begin()
        assert begun is not None
        self.assertEqual(begun[1].job, publish)
        await self.let_pass(2)
        await self.end(begun[1], Result.FAILURE)
        self.assertEqual((await self.books.state(publish))[1], "failure")
        # Nor when it is tried again a month later.
        await self.let_pass(30)
        await self.retry(publish)
        await self.let_pass(0)
        self.assertEqual(await self.run_all(), ["publish series=noble"])
        self.assertEqual((await self.books.state(publish))[1], "success")

    async def test_two_that_come_at_the_same_moment_do_not_miss_each_other(self) -> None:
        for place, first in enumerate(("foo", "bar")):
            name = f"made with {first} first"
            foo = f"jobs: {{build: {{run: x, provides: {{collection: {name}, as: foo}}}}}}"
            bar = (
                "jobs: {publish: {run: x, architectures: arm64, needs:"
                f" [{{collection: {name}, contains: [foo]}}]}}}}"
            )
            commit = f"{place:040}"
            await self.submit(foo, commit, repository="https://git.example/foo")
            claim = await self.books.begin()
            waits = prepared(
                bar, commit, repository="https://git.example/bar", owner=f"bob {place}"
            )
            bodies: tuple[ReportBody, ...] = (ended("build"), over())
            reports = [
                Report(job=claim.job, attempt=claim.attempt, number=number, body=body)
                for number, body in enumerate(bodies, 1)
            ]

            async def end(cursor: Cursor, reports: list[Report] = reports) -> object:
                return await record(cursor, "ant", reports, NO_DELAY)

            works: list[Work] = [end, waits.store]
            await self.books.meanwhile(*(works if first == "foo" else works[::-1]))
            await self.run_all()
            self.assertEqual(set((await self.results()).values()), {"success"}, first)
            await self.audit()
