"""A request for jobs that refer to each other becomes rows: whole or nothing."""

from __future__ import annotations

from functools import partial

from buildmaster import intervention
from buildmaster.requests import Refusal, RerunRequest
from buildmaster.rerunning import rerun
from protocol.results import Result
from tests.buildmaster.node_books import NodeBooks

PAIR = """\
packages: {A: {depends: [B]}, B: {}}
defaults: {series: noble, isolation: chroot, architectures: amd64, run: make}
jobs:
  build: {per_package: true}
  tell: {scope: top, needs: [build]}
"""
CHOICE = """\
defaults: {series: noble, architectures: amd64, run: make}
jobs:
  some: {matrix: {word: [x, y, z]}}
  after: {needs: [{job: some, map: any}]}
"""
BEHIND = "  behind: {needs: [after]}\n"
PLAIN = """\
defaults: {series: noble, architectures: amd64, run: make}
jobs:
  some: {matrix: {word: [x, y, z]}}
  plain: {}
  after: {needs: [{job: some, map: any}, plain]}
"""


class NodeTests(NodeBooks):
    async def test_nodes_wait_and_those_below_the_top_are_skipped(self) -> None:
        await self.submit(PAIR)
        self.assertEqual(
            await self.results(),
            {"B/build": "ready", "A/build": "waiting", "B/tell": "skipped",
             "A/tell": "waiting"},
        )  # fmt: skip
        await self.audit()
        for _ in range(3):
            await self.run_one()
        self.assertEqual((await self.results())["A/tell"], "success")
        self.assertEqual(await self.books.run_result(1), "success")
        await self.audit()

    async def test_nobody_runs_what_is_there_only_to_be_seen(self) -> None:
        submitted = await self.submit(PAIR)
        for _ in range(3):
            await self.run_one()
        [below] = [job.id for job in submitted.jobs if job.name == "B/tell"]
        with self.assertRaisesRegex(Refusal, r"never runs \(not_top: another package"):
            await self.books.database.transaction(
                lambda cursor: intervention.retry_job(cursor, below, "ann")
            )
        asked = RerunRequest(scope="node", job="tell")
        again = await self.books.database.transaction(
            lambda cursor: rerun(cursor, submitted.run, asked, "ann")
        )
        self.assertEqual(len(again.jobs), 1)
        self.assertEqual((await self.results())["B/tell"], "skipped")
        asked = RerunRequest(scope="node", job="tell", package="B")
        with self.assertRaisesRegex(Refusal, "no job of the run is so called"):
            await self.books.database.transaction(
                lambda cursor: rerun(cursor, submitted.run, asked, "ann")
            )
        await self.audit()

    async def test_asking_again_merges_and_other_files_are_other_jobs(self) -> None:
        first = await self.submit(PAIR, refs=("refs/heads/main",))
        again = await self.submit(PAIR, refs=("refs/tags/v1",))
        self.assertEqual([j.id for j in first.jobs], [j.id for j in again.jobs])
        self.assertTrue(all(job.merged for job in again.jobs))
        (refs,) = await self.books.database.one("SELECT refs FROM job LIMIT 1")
        self.assertEqual(refs, ["refs/heads/main", "refs/tags/v1"])
        self.assertEqual(await self.count("edge"), 3)
        await self.audit()

    async def test_whole_or_nothing(self) -> None:
        text = PAIR + "  far: {needs: [build], architectures: s390x}\n"
        with self.assertRaisesRegex(Refusal, "No worker of this farm can run far on s390x"):
            await self.submit(text.replace("architectures: amd64, run", "run"))
        with self.assertRaisesRegex(Refusal, "never runs natively"):
            await self.submit(PAIR.replace("chroot", "native"), domain="stranger")
        for table in ("job", "run", "edge", "node"):
            self.assertEqual(await self.count(table), 0, table)

    async def test_one_of_a_choice_suffices(self) -> None:
        await self.submit(CHOICE)
        first = await self.run_one(Result.FAILURE)
        self.assertEqual((await self.results())["after"], "waiting")
        await self.run_one()
        self.assertEqual((await self.results())["after"], "ready")
        await self.audit()
        rows = await self.books.database.rows(
            "SELECT up_attempt FROM edge ORDER BY up_attempt"
        )
        self.assertEqual([row[0] for row in rows], [0, 1, 1])
        # What is decided stays so, whatever becomes of the others.
        await self.books.database.transaction(
            lambda cursor: intervention.retry_job(cursor, first, "ann")
        )
        self.assertEqual((await self.results())["after"], "ready")
        await self.audit()

    async def test_a_choice_of_none_is_none(self) -> None:
        submitted = await self.submit(CHOICE)
        for _ in range(2):
            await self.run_one(Result.FAILURE)
            self.assertEqual((await self.results())["after"], "waiting")
        last = await self.run_one(Result.FAILURE)
        self.assertEqual((await self.results())["after"], "unrun")
        await self.audit()
        # One of them is tried again, and passes after all.
        await self.books.database.transaction(
            lambda cursor: intervention.retry_job(cursor, last, "ann")
        )
        after = submitted.jobs[-1].id
        (root,) = await self.books.database.one(
            "SELECT root_cause FROM job WHERE id = %s", (after,)
        )
        self.assertIn(root, (None, submitted.jobs[0].id, submitted.jobs[1].id))
        await self.audit()

    async def test_each_of_a_failed_choice_may_be_tried_again_for_the_others(self) -> None:
        """Whichever of them is tried again, who waits for the choice waits again."""
        for commit, place in (("1" * 40, 0), ("2" * 40, 1), ("3" * 40, 2)):
            submitted = await self.submit(CHOICE + BEHIND, commit)
            *some, after, behind = [job.id for job in submitted.jobs]
            for _ in some:
                await self.run_one(Result.FAILURE)
            for passes in (False, True):
                self.assertEqual(await self.of(after, behind), ["unrun", "unrun"])
                await self.retry(some[place])
                self.assertEqual(await self.of(after, behind), ["waiting", "waiting"])
                await self.audit()
                result = Result.SUCCESS if passes else Result.FAILURE
                self.assertEqual(await self.run_one(result), some[place])
            self.assertEqual(await self.of(after, behind), ["ready", "waiting"])
            rows = await self.books.database.rows(
                "SELECT up FROM edge WHERE down = %s AND up_attempt > 0"
                " AND (SELECT result FROM job WHERE id = up) = 'success'",
                (after,),
            )
            self.assertEqual(rows, [(some[place],)])
            await self.run_one()
            await self.run_one()
            await self.audit()

    async def retry(self, job: int) -> None:
        await self.books.database.transaction(
            lambda cursor: intervention.retry_job(cursor, job, "ann")
        )

    async def of(self, *jobs: int) -> list[str]:
        """The results of jobs, or their states."""
        rows = await self.books.database.rows(
            "SELECT coalesce(result::text, state::text) FROM job WHERE id = ANY (%s)"
            " ORDER BY id",
            (list(jobs),),
        )
        return [result for (result,) in rows]

    async def test_several_of_a_failed_choice_may_be_tried_again_at_once(self) -> None:
        """Who waits for a choice waits for all of it that is tried again."""
        for first, second in ((0, 1), (1, 0), (2, 0), (0, 2)):
            submitted = await self.submit(CHOICE + BEHIND, f"{first}{second}" * 20)
            *some, after, behind = [job.id for job in submitted.jobs]
            for _ in some:
                await self.run_one(Result.FAILURE)
            await self.retry(some[first])
            again = RerunRequest(scope="node", job="some", cell=f"word={'xyz'[second]}")
            if first:
                await self.retry(some[second])
            else:
                await self.books.database.transaction(
                    partial(rerun, run=submitted.run, asked=again, by="ann")
                )
            await self.audit()
            await self.run_one(Result.FAILURE)
            self.assertEqual(await self.of(after, behind), ["waiting", "waiting"])
            await self.run_one()
            self.assertEqual(await self.of(after, behind), ["ready", "waiting"])
            await self.run_one()
            await self.run_one()
            await self.audit()

    async def test_a_plain_need_that_failed_keeps_a_choice_unrun(self) -> None:
        submitted = await self.submit(PLAIN)
        x, y, z, plain, after = [job.id for job in submitted.jobs]
        for _ in range(4):
            await self.run_one(Result.FAILURE)
        for job, told in ((x, "unrun"), (plain, "ready")):
            await self.retry(job)
            self.assertEqual(await self.run_one(), job)
            self.assertEqual(await self.of(after), [told])
            await self.audit()
        self.assertEqual(await self.of(y, z), ["failure", "failure"])

    async def test_a_gate_is_shut_until_somebody_opens_it(self) -> None:
        [job] = (await self.submit("jobs: {aa: {run: x, manual: true}}")).jobs
        self.assertEqual(job.state, "parked")
        self.assertEqual(await self.books.claim(), [])
        await self.audit()
        await self.books.database.transaction(
            lambda cursor: intervention.release_job(cursor, job.id, "ann")
        )
        self.assertEqual(await self.run_one(), job.id)
        with self.assertRaisesRegex(Refusal, "waits for nobody"):
            await self.books.database.transaction(
                lambda cursor: intervention.release_job(cursor, job.id, "ann")
            )

    async def test_a_failure_that_is_allowed_lets_others_go(self) -> None:
        await self.submit(
            "jobs: {aa: {run: x, allow_failure: true}, bb: {run: x, needs: [aa]},"
            " cc: {run: x, needs: [{job: aa, require: bad}]}}"
        )
        await self.run_one(Result.FAILURE)
        self.assertEqual(
            await self.results(), {"aa": "failure", "bb": "ready", "cc": "skipped"}
        )
        await self.run_one()
        self.assertEqual(await self.books.run_result(1), "success")
        await self.audit()

    async def test_strangers_may_take_trusted_results_and_put_none_there(self) -> None:
        text = PAIR.replace("  tell: {scope: top, needs: [build]}\n", "")
        # A stranger's build of a content comes first: nobody trusted takes it.
        await self.submit(
            text, "a" * 40, domain="stranger", tree="t", repository="https://x/y"
        )
        for _ in range(2):
            await self.run_one()
        trusted = await self.submit(text, "b" * 40, tree="t")
        self.assertEqual([job.result for job in trusted.jobs], [None, None])
        for _ in range(2):
            await self.run_one()
        # The other way round it is taken, and so it is by the same domain.
        for domain, commit in (("another", "c" * 40), ("trusted", "d" * 40)):
            taken = await self.submit(text, commit, domain=domain, tree="t")
            self.assertEqual([job.result for job in taken.jobs], ["reused"] * 2)
        rows = await self.books.database.rows(
            "SELECT DISTINCT j.trust_domain FROM node n JOIN job j ON j.id = n.reused_from"
        )
        self.assertEqual(rows, [("trusted",)])
        await self.audit()

    async def test_another_image_makes_a_result_worthless(self) -> None:
        text = PAIR.replace("  tell: {scope: top, needs: [build]}\n", "")
        await self.submit(text, "a" * 40, tree="t")
        for image in ("1" * 64, "2" * 64):
            job = await self.run_one()
            await self.books.database.run(
                "UPDATE pipeline_job SET image = %s WHERE job = %s", (image, job)
            )
        again = await self.submit(text, "b" * 40, tree="t")
        # The first ran in an image that has been replaced since.
        self.assertEqual([job.result for job in again.jobs], [None, "reused"])

    async def test_of_a_hundred_one_is_made_anew(self) -> None:
        text = "jobs: {aa: {run: x, reuse: inputs}}"
        await self.submit(text, "a" * 40, tree="t")
        await self.run_one()
        await self.books.database.run(
            "SELECT setval(pg_get_serial_sequence('job', 'id'), 99)"
        )
        [job] = (await self.submit(text, "b" * 40, tree="t")).jobs
        self.assertEqual((job.id, job.state), (100, "ready"))
        (verifies,) = await self.books.database.one(
            "SELECT verifies FROM node WHERE job = 100"
        )
        self.assertEqual(verifies, 1)

    async def test_two_tops_that_share_a_package_are_published_once(self) -> None:
        await self.submit(
            "packages: {A: {depends: [B]}, D: {depends: [B]}, B: {}}\n"
            "defaults: {run: x}\n"
            "jobs: {build: {per_package: true}, publish: {needs: build}}\n"
        )
        for _ in range(4):
            await self.run_one()
        self.assertEqual((await self.results())["A,D/publish"], "success")
        self.assertEqual(await self.books.claim(), [])
        self.assertEqual(await self.books.run_result(1), "success")
