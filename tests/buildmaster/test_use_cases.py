"""The examples of jobs that refer to each other, in every trouble, on a real database.

`tests.test_whole_use_cases` runs them on a whole farm; here all of the matrix is gone
through: each use case with an upstream that fails, is cancelled, is retried, and when what
failed is run again, also when nothing did.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildmaster.requests import Refusal
from protocol.results import Result
from tests.buildmaster.node_books import NodeBooks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "references"


@dataclass(frozen=True)
class Case:
    """An example, and whom trouble with one of its jobs concerns."""

    folder: str
    up: str  #: the identifier of the job that is in trouble
    down: str  #: that of one that waits for it
    downs: int  #: its cells
    others: int  #: jobs of the run that pass whatever becomes of ``up``
    trigger: str | None = None

    @property
    def text(self) -> str:
        return (EXAMPLES / self.folder / ".headrace.yaml").read_text()

    def ending(self, result: Result) -> dict[str, Result]:
        """What `NodeBooks.run_all` is told so that ``up`` ends so."""
        return {self.up.replace("-", "_"): result}


CASES = (
    Case("source-then-builds", "srpm", "copr", downs=4, others=0),
    Case("tests-per-target", "copr", "tests", downs=4, others=0),
    Case("named-builds", "build1", "tests1", downs=1, others=2, trigger="pull_request"),
    Case("monorepo", "test", "publish", downs=1, others=6),
    Case("monorepo", "build", "test", downs=6, others=0),
    Case("side-tag/bar", "build", "publish", downs=1, others=0),
    Case("build-once-test-everywhere", "build-wheel", "test", downs=2, others=0),
)
GOOD = "result IN ('success', 'reused', 'skipped')"


class UseCases(NodeBooks):
    """Each example in a repository of its own."""

    case: Case
    run_id: int

    async def each_case(self) -> AsyncIterator[Case]:
        """The examples one by one, each just submitted."""
        for place, case in enumerate(CASES):
            self.case = case
            repository = f"https://git.example/{place}/{case.folder.replace('/', '-')}"
            if case.folder == "side-tag/bar":
                await self.submit(
                    (EXAMPLES / "side-tag/foo/.headrace.yaml").read_text(),
                    repository="https://git.example/foo",
                )
                await self.run_all()
            made = await self.submit(
                case.text,
                f"{place:040}",
                tree=f"the tree of {place}",
                repository=repository,
                trigger=case.trigger,
            )
            self.run_id = made.run
            yield case

    async def of_run(self, what: str, where: str = "true", job: str = "") -> list[Any]:
        """A column of the jobs of the run, or of those of one identifier."""
        rows = await self.books.database.rows(
            f"SELECT {what} FROM job JOIN node ON node.job = job.id"
            " JOIN run_job AS r ON r.job = job.id"
            f" WHERE r.run = %s AND %s IN ('', node.job_name) AND {where} ORDER BY id",
            (self.run_id, job),
        )
        return [row[0] for row in rows]

    async def assert_never_ran(self, because: str) -> None:
        """What waits for ``up`` is unrun because of it, the others passed."""
        case = self.case
        downs = await self.of_run("result::text", job=case.down)
        self.assertEqual(downs, ["unrun"] * case.downs, case)
        causes = set(await self.of_run("root_cause", job=case.down))
        ups = await self.of_run("id", f"result = '{because}'", case.up)
        self.assertTrue(causes <= set(ups), case)
        self.assertEqual(len(await self.of_run("id", GOOD)), case.others, case)
        self.assertEqual(await self.of_run("id", "state <> 'done'"), [], case)
        self.assertEqual(await self.books.run_result(self.run_id), because, case)
        await self.audit()

    async def assert_all_passed(self) -> None:
        self.assertEqual(await self.of_run("id", f"NOT coalesce({GOOD}, false)"), [])
        self.assertEqual(await self.books.run_result(self.run_id), "success", self.case)
        await self.audit()

    async def rerun_failed(self) -> list[int]:
        return list((await self.rerun(self.run_id, scope="failed")).jobs)

    # An upstream fails, or is cancelled

    async def test_what_waits_for_a_failure_never_runs(self) -> None:
        async for case in self.each_case():
            await self.run_all(**case.ending(Result.FAILURE))
            await self.assert_never_ran("failure")

    async def test_nor_what_waits_for_one_that_was_cancelled(self) -> None:
        async for case in self.each_case():
            for job in await self.of_run("id", job=case.up):
                await self.cancel(job)
            await self.run_all()
            await self.assert_never_ran("cancelled")

    async def test_nor_if_it_was_running_when_it_was_cancelled(self) -> None:
        async for case in self.each_case():
            while begun := await self.begin():
                title, claim = begun
                is_up = title.partition(" ")[0].rpartition("/")[2] == case.up
                if is_up:
                    await self.cancel(claim.job)
                await self.end(claim, Result.CANCELLED if is_up else Result.SUCCESS)
            await self.assert_never_ran("cancelled")

    # It is retried

    async def test_it_follows_when_what_failed_is_retried(self) -> None:
        async for case in self.each_case():
            await self.run_all(**case.ending(Result.FAILURE))
            await self.retry_one_by_one("failure")

    async def test_it_follows_when_what_was_cancelled_is_retried(self) -> None:
        async for case in self.each_case():
            for job in await self.of_run("id", job=case.up):
                await self.cancel(job)
            await self.run_all()
            await self.retry_one_by_one("cancelled")

    async def retry_one_by_one(self, result: str) -> None:
        """Retry what is in trouble, until nothing is: with it comes what never ran."""
        while jobs := await self.of_run("id", f"result = '{result}'"):
            await self.retry(jobs[0])
            await self.audit()
            await self.run_all()
        # Of several causes a job names the first; those that another one held back are
        # run again with the rest.
        if await self.of_run("id", "result = 'unrun'"):
            await self.rerun_failed()
            await self.run_all()
        await self.assert_all_passed()

    async def test_one_that_passed_and_is_retried_disturbs_nobody(self) -> None:
        async for case in self.each_case():
            await self.run_all()
            [first, *_] = await self.of_run("id", job=case.up)
            await self.retry(first)
            await self.run_all()
            await self.assert_all_passed()
            self.assertEqual(await self.of_run("id", "job.attempt > 1"), [first], case)
            # Unless all that is behind it is meant.
            await self.rerun(self.run_id, scope="from-here", job=case.up)
            await self.run_all()
            await self.assert_all_passed()
            attempts = set(await self.of_run("job.attempt", job=case.down))
            self.assertEqual(attempts, {2}, case)

    # What failed is run again

    async def test_what_failed_is_run_again_and_nothing_else(self) -> None:
        async for case in self.each_case():
            await self.run_all(**case.ending(Result.FAILURE))
            passed = await self.of_run("id", GOOD)
            runs = await self.count("run")
            again = await self.rerun_failed()
            self.assertEqual(await self.count("run"), runs, case)
            self.assertEqual(
                sorted([*again, *passed]), sorted(await self.of_run("id")), case
            )
            await self.audit()
            await self.run_all()
            await self.assert_all_passed()
            self.assertEqual(await self.of_run("id", "job.attempt = 1"), passed, case)

    async def test_and_it_may_fail_again(self) -> None:
        async for case in self.each_case():
            for _ in range(3):
                await self.run_all(**case.ending(Result.FAILURE))
                await self.assert_never_ran("failure")
                await self.rerun_failed()
            await self.run_all()
            await self.assert_all_passed()

    async def test_all_of_a_cancelled_run_is_run_again(self) -> None:
        async for _ in self.each_case():
            for job in await self.of_run("id", "state <> 'done'"):
                await self.cancel(job)
            await self.rerun_failed()
            await self.audit()
            await self.run_all()
            await self.assert_all_passed()

    async def test_where_nothing_failed_that_is_an_error_and_changes_nothing(self) -> None:
        async for case in self.each_case():
            await self.assert_refused("none of the jobs that are meant has ended")
            await self.run_all()
            await self.assert_refused("none of the jobs that are meant has ended badly")
            await self.assert_refused("no job of the run is so called", job="nobody")
            await self.assert_refused("no job of the run is so called", cell="arch=x")
            await self.assert_refused(
                "none of the jobs that are meant has ended badly", job=case.down
            )
            await self.assert_all_passed()
            self.assertEqual(await self.of_run("id", "job.attempt > 1"), [], case)

    async def assert_refused(self, why: str, **asked: str) -> None:
        tables = ("run", "attempt", "event")
        before = [await self.count(table) for table in tables]
        with self.assertRaises(Refusal) as caught:
            await self.rerun(self.run_id, scope="failed", **asked)
        self.assertEqual(
            str(caught.exception), f"Nothing of run {self.run_id} is run again: {why}."
        )
        self.assertEqual(caught.exception.code, "nothing_to_rerun")
        self.assertEqual(before, [await self.count(table) for table in tables])
