"""A request becomes rows: whole or nothing, and the same thing asked twice is one job."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from buildmaster.requests import GitRequest, Refusal, SubmissionRequest, Submitted
from buildmaster.series import DEFAULT_SERIES
from buildmaster.submission import (
    Material,
    Submission,
    SubmissionRules,
    check_repository,
    read_configuration,
)
from protocol.messages import Offer
from protocol.order import GitSource
from protocol.results import Result
from tests.buildmaster.books import FAILED, PASSED, Books, ended, fresh_books, over

REPOSITORY = "https://git.example/p.git"

TWO_ARCHITECTURES = """\
pipeline: [lint, build]
jobs:
  lint: {series: jammy, architectures: amd64, run: make lint}
  build: {series: jammy, architectures: [amd64, arm64], run: make}
"""
ONE = """\
pipeline: [[unit, lint], ship]
jobs:
  unit: {series: jammy, architectures: amd64, run: make}
  lint: {series: jammy, architectures: amd64, run: make}
  ship: {series: jammy, architectures: amd64, run: make}
"""
TWO_SERIES = """\
pipeline: [unit, [lint, docs]]
jobs:
  unit: {series: jammy, architectures: amd64, run: make}
  lint: {series: noble, architectures: amd64, run: make}
  docs: {series: noble, architectures: amd64, run: make}
"""


class SubmissionTests(TestCase):
    books: Books

    async def setUp(self) -> None:  # type: ignore[override]
        self.books = await fresh_books(self)

    async def _offer(self, *offers: Offer) -> None:
        await self.books.database.run(
            "UPDATE worker SET offers = %s::jsonb", (msgspec.json.encode(offers).decode(),)
        )

    async def _submit(
        self,
        text: str = ONE,
        commit: str = "a" * 40,
        domain: str = "trusted",
        **fields: Any,
    ) -> Submitted:
        request = SubmissionRequest(source=GitRequest(repository=REPOSITORY), **fields)
        submission = Submission(
            request,
            "ann",
            Material(
                REPOSITORY,
                commit,
                GitSource(repository=REPOSITORY, commit=commit),
                text.encode(),
            ),
            read_configuration(request, text.encode()),
            SubmissionRules(DEFAULT_SERIES, trust_domain=domain),
        )
        return await self.books.database.transaction(submission.store)

    async def _count(self, table: str) -> int:
        (count,) = await self.books.database.one(f"SELECT count(*) FROM {table}")
        return int(count)

    async def test_a_plain_pipeline_becomes_one_ready_build(self) -> None:
        submitted = await self._submit()
        [job] = submitted.jobs
        self.assertEqual((job.state, job.merged, job.series), ("ready", False, "jammy"))
        (stages,) = await self.books.database.one("SELECT stages FROM build")
        self.assertEqual(stages, [[["unit", 0], ["lint", 0]], [["ship", 0]]])
        self.assertEqual(len(await self.books.claim()), 1)

    async def test_asking_again_merges_refs_and_says_so(self) -> None:
        first = await self._submit(refs=("refs/heads/main",))
        again = await self._submit(refs=("refs/tags/v1", "refs/heads/main"))
        self.assertEqual(first.jobs[0].id, again.jobs[0].id)
        self.assertTrue(again.jobs[0].merged)
        self.assertIn("was asked for before", again.notes[0])
        (refs,) = await self.books.database.one("SELECT refs FROM job")
        self.assertEqual(refs, ["refs/heads/main", "refs/tags/v1"])
        self.assertEqual((await self._count("job"), await self._count("run")), (1, 2))

    async def test_code_that_is_not_trusted_never_runs_natively(self) -> None:
        with self.assertRaisesRegex(Refusal, "never runs natively"):
            await self._submit(domain="stranger")
        self.assertEqual(await self._count("job"), 0)

    async def test_twenty_at_once_make_one_job(self) -> None:
        answers = await gatherResults(
            [Deferred.fromCoroutine(self._submit(refs=(f"r{n}",))) for n in range(20)]
        )
        self.assertEqual(len({answer.jobs[0].id for answer in answers}), 1)
        self.assertEqual(sum(not answer.jobs[0].merged for answer in answers), 1)
        (refs,) = await self.books.database.one("SELECT cardinality(refs) FROM job")
        self.assertEqual(refs, 20)

    async def test_trust_domains_never_merge(self) -> None:
        trusted = await self._submit()
        stranger = await self._submit(
            domain="stranger", isolation="chroot", wait_for_worker=True
        )
        self.assertNotEqual(trusted.jobs[0].id, stranger.jobs[0].id)
        self.assertFalse(stranger.jobs[0].merged)

    async def test_a_done_job_answers_until_it_is_forced(self) -> None:
        first = await self._submit()
        await self.books.report(await self.books.begin(), *FAILED)
        again = await self._submit()
        self.assertEqual((again.jobs[0].state, again.jobs[0].result), ("done", "failure"))
        self.assertIn("--force", again.notes[0])
        self.assertEqual(await self.books.run_result(again.run), "failure")
        forced = await self._submit(force=True)
        self.assertEqual((forced.jobs[0].state, forced.jobs[0].attempt), ("ready", 2))
        self.assertIsNone(await self.books.run_result(forced.run))
        await self.books.report(await self.books.begin(), *PASSED)
        for run in (first.run, again.run, forced.run):
            self.assertEqual(await self.books.run_result(run), "success")

    async def test_another_file_of_the_same_source_is_another_job(self) -> None:
        first = await self._submit()
        other = await self._submit(configuration="ci/other.yaml")
        self.assertFalse(other.jobs[0].merged)
        self.assertEqual(other.jobs[0].name, "pipeline (ci/other.yaml)")
        again = await self._submit(configuration="ci/other.yaml")
        self.assertEqual(
            [(job.id, job.merged) for job in again.jobs], [(other.jobs[0].id, True)]
        )
        self.assertEqual((await self._submit()).jobs[0].id, first.jobs[0].id)

    async def test_the_same_in_another_isolation_is_told_and_forced_runs_there(
        self,
    ) -> None:
        await self._offer(
            Offer(isolation="native", architecture="amd64", series=("*",)),
            Offer(isolation="chroot", architecture="amd64", series=("jammy",)),
        )
        await self._submit()
        await self.books.report(await self.books.begin(), *FAILED)
        again = await self._submit(isolation="chroot")
        self.assertEqual(
            again.notes,
            (
                "job 1 for amd64 was asked for before, in native, and is failure; "
                "--force runs it again in chroot",
            ),
        )
        await self._submit(isolation="chroot", force=True)
        isolation = await self.books.database.one(
            "SELECT isolation::text FROM ready JOIN job_class ON job_class.id = class"
        )
        self.assertEqual(isolation, ("chroot",))

    async def test_a_build_waits_for_a_stage_on_another_architecture(self) -> None:
        await self._offer(
            Offer(isolation="native", architecture="amd64", series=("*",)),
            Offer(isolation="native", architecture="arm64", series=("*",)),
        )
        submitted = await self._submit(TWO_ARCHITECTURES)
        amd64, arm64 = submitted.jobs
        self.assertEqual((amd64.state, arm64.state), ("ready", "waiting"))
        claim = await self.books.begin()
        await self.books.report(claim, ended("lint"))
        self.assertEqual(await self.books.state(arm64.id), ("ready", None, 1))

    async def test_a_new_build_sees_what_a_merged_one_has_already_passed(self) -> None:
        await self._submit(TWO_ARCHITECTURES)
        await self.books.report(
            await self.books.begin(),
            ended("lint"),
            ended("build", Result.FAILURE, "no"),
            over(Result.FAILURE, "no"),
        )
        await self._offer(
            Offer(isolation="native", architecture="amd64", series=("*",)),
            Offer(isolation="native", architecture="arm64", series=("*",)),
        )
        again = await self._submit(TWO_ARCHITECTURES)
        self.assertEqual([job.state for job in again.jobs], ["done", "ready"])

    async def test_a_new_build_is_unrun_when_what_it_waits_for_has_failed(self) -> None:
        await self._submit(TWO_ARCHITECTURES)
        await self.books.report(
            await self.books.begin(),
            ended("lint", Result.FAILURE, "no"),
            ended("build", Result.UNRUN, "lint failed"),
            over(Result.FAILURE, "lint:0 failed"),
        )
        await self._offer(
            Offer(isolation="native", architecture="amd64", series=("*",)),
            Offer(isolation="native", architecture="arm64", series=("*",)),
        )
        again = await self._submit(TWO_ARCHITECTURES)
        self.assertEqual([job.result for job in again.jobs], ["failure", "unrun"])
        self.assertEqual(await self.books.run_result(again.run), "failure")

    async def test_what_no_worker_can_run_is_told_and_the_rest_runs(self) -> None:
        submitted = await self._submit(TWO_ARCHITECTURES)
        self.assertEqual([job.architecture for job in submitted.jobs], ["amd64"])
        [skipped] = submitted.skipped
        self.assertEqual((skipped.architecture, skipped.jobs), ("arm64", ("build:0",)))
        (notes,) = await self.books.database.one("SELECT notes FROM run")
        self.assertEqual(notes[0]["architecture"], "arm64")

    async def test_nothing_to_run_is_refused_and_leaves_no_row(self) -> None:
        await self._offer(
            Offer(isolation="chroot", architecture="amd64", series=("bookworm",))
        )
        with self.assertRaises(Refusal) as caught:
            await self._submit(isolation="chroot")
        self.assertIn("jammy", str(caught.exception))
        self.assertIn("bookworm", str(caught.exception))
        self.assertIn("series_images", str(caught.exception))
        for table in ("run", "job", "configuration"):
            self.assertEqual(await self._count(table), 0)

    async def test_a_pipeline_that_no_worker_can_finish_is_refused_at_once(self) -> None:
        """One worker has the first series and another the second; a build needs both."""
        for other in ("noble", "resolute"):
            await self._offer(
                Offer(isolation="chroot", architecture="amd64", series=("jammy",)),
                Offer(isolation="chroot", architecture="amd64", series=(other,)),
                Offer(isolation="chroot", architecture="arm64", series=("jammy", other)),
            )
            text = TWO_SERIES.replace("noble", other)
            with self.assertRaises(Refusal) as caught:
                await self._submit(text, isolation="chroot")
            said = str(caught.exception)
            self.assertIn(f"amd64: lint:0, docs:0 would need {other}.", said)
            self.assertIn("series_images", said)
            self.assertIn("--wait-for-worker", said)
            for table in ("run", "job", "configuration"):
                self.assertEqual(await self._count(table), 0)

    async def test_a_job_of_a_series_that_nobody_has_stays_and_is_told(self) -> None:
        """It ends with an error on a worker; nobody waits for one that has the series."""
        await self._offer(
            Offer(isolation="chroot", architecture="amd64", series=("jammy",))
        )
        for commit, other in (("a" * 40, "noble"), ("b" * 40, "no-such-series")):
            text = TWO_SERIES.replace("noble", other)
            submitted = await self._submit(text, isolation="chroot", commit=commit)
            [job] = submitted.jobs
            self.assertEqual((job.state, job.series), ("ready", "jammy"))
            [note] = submitted.notes
            self.assertIn("lint:0, docs:0 on amd64 will end with an error", note)
            self.assertIn(f"no worker has an image of {other}.", note)
            self.assertIn("--series-image", note)
            claim = await self.books.begin()
            self.assertEqual(claim.job, job.id)
        classes = await self.books.database.rows("SELECT series FROM job_class")
        self.assertEqual(classes, [(["jammy"],)])

    async def test_series_of_strangers_make_no_classes(self) -> None:
        for commit, name in (("a" * 40, "no-such-series"), ("b" * 40, "another-one")):
            text = TWO_SERIES.replace("noble", name)
            await self._submit(text, commit=commit)
        self.assertEqual(await self._count("job_class"), 1)

    async def test_a_worker_with_all_series_of_a_pipeline_gets_it(self) -> None:
        await self._offer(
            Offer(isolation="chroot", architecture="amd64", series=("jammy",)),
            Offer(isolation="chroot", architecture="amd64", series=("jammy", "noble")),
        )
        submitted = await self._submit(TWO_SERIES, isolation="chroot")
        self.assertEqual([job.state for job in submitted.jobs], ["ready"])

    async def test_a_worker_with_all_series_may_come_later_on_request(self) -> None:
        await self._offer(
            Offer(isolation="chroot", architecture="amd64", series=("jammy",))
        )
        submitted = await self._submit(TWO_SERIES, isolation="chroot", wait_for_worker=True)
        self.assertEqual([job.state for job in submitted.jobs], ["ready"])

    async def test_an_isolation_that_nobody_offers_is_refused_by_name(self) -> None:
        with self.assertRaises(Refusal) as caught:
            await self._submit(isolation="vm")
        self.assertIn("No worker offers the isolation vm", str(caught.exception))

    async def test_on_request_a_job_waits_for_a_worker_that_may_come(self) -> None:
        submitted = await self._submit(isolation="vm", wait_for_worker=True)
        self.assertEqual(submitted.jobs[0].state, "ready")

    async def test_a_job_that_is_in_the_pipeline_twice_is_refused(self) -> None:
        with self.assertRaises(Refusal) as caught:
            await self._submit(ONE.replace("[[unit, lint], ship]", "[unit, lint, unit]"))
        self.assertIn("unit:0 more than once", str(caught.exception))
        self.assertEqual(await self._count("job"), 0)

    async def test_a_refused_mode_names_the_reason(self) -> None:
        await self._offer(
            Offer(isolation="native", architecture="amd64", series=("*",)),
            Offer(isolation="native", architecture="arm64", series=("*",)),
        )
        with self.assertRaises(Refusal) as caught:
            await self._submit(TWO_ARCHITECTURES, cross_architecture="refuse")
        self.assertIn("arm64", str(caught.exception))
        [problem] = caught.exception.problems
        self.assertEqual((problem.where, problem.line), ("pipeline.1", 1))
        self.assertEqual(await self._count("job"), 0)


class CheckTests(TestCase):
    def test_a_bad_file_is_refused_with_every_error(self) -> None:
        request = SubmissionRequest(source=GitRequest(repository=REPOSITORY))
        with self.assertRaises(Refusal) as caught:
            read_configuration(request, b"pipeline: [unit]\njobs: {unit: {sries: jammy}}\n")
        self.assertIn(".launchpad.yaml has", str(caught.exception))
        wheres = [problem.where for problem in caught.exception.problems]
        self.assertIn("jobs.unit.0.sries", wheres)

    def test_an_address_with_a_password_is_refused_and_not_repeated(self) -> None:
        with self.assertRaises(Refusal) as caught:
            check_repository("https://ann:hunter2@git.example/p.git")
        self.assertNotIn("hunter2", str(caught.exception))
        check_repository("https://ann@git.example/p.git")
