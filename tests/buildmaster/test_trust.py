"""Whose results are taken for whose: trust domains, ``--force``, and builds that verify.

A stranger's run must never put a result in the place of a trusted one, whatever it does.
"""

from __future__ import annotations

import json
from typing import Any

from buildmaster.nodes import VERIFIED_EACH
from buildmaster.requests import Refusal
from buildmaster.store.documents.jobs import job_document
from protocol.results import Result
from tests.buildmaster.node_books import NodeBooks

#: A job whose upstream is compared by its files, or by its key.
CHAIN = """\
packages: {A: {paths: [a], depends: [B]}, B: {paths: [b]}}
defaults: {per_package: true, isolation: chroot, run: x}
jobs:
  build: {REUSE}
"""
ONE = "jobs: {one: {run: x, isolation: chroot, reuse: inputs}}"
PUBLISH = """\
packages: {A: {paths: [a]}}
defaults: {isolation: chroot, run: x}
jobs: {build: {per_package: true}, publish: {needs: [build]}}
"""
STRANGE = {"domain": "stranger", "repository": "https://elsewhere.example/p"}


class TrustTests(NodeBooks):
    """Attacks of a stranger who knows everything about a trusted run to come."""

    async def reused(self, run: int) -> dict[str, str | None]:
        """Of each job of a run in whose domain the result was made that it has."""
        rows = await self.books.database.rows(
            "SELECT j.name, CASE WHEN j.result = 'reused' THEN e.trust_domain END"
            " FROM run_job AS r JOIN job AS j ON j.id = r.job JOIN node ON node.job = j.id"
            " LEFT JOIN job AS e ON e.id = node.reused_from WHERE r.run = %s ORDER BY j.id",
            (run,),
        )
        return dict(rows)

    async def of(
        self, text: str, commit: str, made: str = "", **more: Any
    ) -> tuple[dict[str, str | None], list[str]]:
        """Submit, and let all run; what was reused from whom, and what ran."""
        submitted = await self.submit(text, commit * 40, **more)
        files = {job: {"file": made} for job in ("build", "one", "publish")} if made else {}
        ran = await self.run_all(files)
        await self.audit()
        return await self.reused(submitted.run), ran

    async def test_a_strangers_result_of_the_same_key_is_not_taken(self) -> None:
        _, ran = await self.of(ONE, "a", "evil", tree="t", **STRANGE)
        self.assertEqual(ran, ["one"])
        found, ran = await self.of(ONE, "b", "good", tree="t")
        self.assertEqual((found, ran), ({"one": None}, ["one"]))
        # Nor after strangers have built it again and again, newer than the trusted one.
        await self.of(ONE, "c", "evil", tree="t", force=True, **STRANGE)
        found, _ = await self.of(ONE, "d", tree="t")
        self.assertEqual(found, {"one": "trusted"})

    async def test_nor_one_that_is_found_late_by_its_files(self) -> None:
        text = CHAIN.replace("REUSE", "cutoff: true")
        parts = {"a": "1", "b": "1"}
        await self.of(text, "a", "evil", parts=parts, **STRANGE)
        # Trusted, B is another, and makes just what the stranger's B made.
        found, ran = await self.of(text, "b", "evil", parts={"a": "1", "b": "2"})
        self.assertEqual(ran, ["B/build", "A/build"])
        self.assertEqual(set(found.values()), {None})
        # The same thing from a trusted B is taken.
        found, ran = await self.of(text, "c", "evil", parts={"a": "1", "b": "3"})
        self.assertEqual((found["A/build"], ran), ("trusted", ["B/build"]))

    async def test_a_stranger_who_reuses_a_trusted_one_hands_nothing_on(self) -> None:
        """A result that was taken keeps its key; a stranger's pointer is not followed."""
        text = CHAIN.replace("REUSE", "cutoff: true")
        first = {"a": "1", "b": "1"}
        await self.of(text, "a", "good", parts=first)
        found, _ = await self.of(text, "b", parts=first, **STRANGE)
        self.assertEqual(set(found.values()), {"trusted"})
        # The stranger's are tried again, and make something else under the same keys.
        for job in await self.strangers():
            await self.retry(job)
        await self.run_all({"build": {"file": "evil"}})
        found, ran = await self.of(text, "c", parts=first)
        self.assertEqual((set(found.values()), ran), ({"trusted"}, []))
        await self.submit(
            f"{text}  end: {{needs: [build], reuse: never}}\n", "d" * 40, parts=first
        )
        await self.run_all()
        handed = {file.sha256 for one in self.orders["A/end"].handed for file in one.files}
        made = await self.books.database.rows(
            "SELECT DISTINCT encode(a.sha256, 'hex') FROM artifact AS a"
            " JOIN job ON job.id = a.job WHERE job.trust_domain = 'trusted'"
        )
        self.assertEqual(handed, {sha256 for (sha256,) in made})

    async def strangers(self) -> list[int]:
        rows = await self.books.database.rows(
            "SELECT id FROM job WHERE trust_domain = 'stranger' ORDER BY id"
        )
        return [number for (number,) in rows]

    async def test_the_same_commit_is_another_job_for_a_stranger(self) -> None:
        mine = await self.submit(ONE, "a" * 40)
        theirs = await self.submit(ONE, "a" * 40, domain="stranger")
        self.assertNotEqual(mine.jobs[0].id, theirs.jobs[0].id)
        self.assertFalse(theirs.jobs[0].merged)
        await self.run_all(one=Result.FAILURE)
        with self.assertRaisesRegex(Refusal, "never runs natively"):
            await self.submit(ONE.replace("chroot", "native"), "b" * 40, domain="stranger")

    async def test_what_a_stranger_published_is_not_published(self) -> None:
        parts = {"a": "1"}
        _, ran = await self.of(PUBLISH, "a", parts=parts, domain="stranger")
        self.assertEqual(ran, ["A/build", "A/publish"])
        _, ran = await self.of(PUBLISH, "b", parts=parts)
        self.assertEqual(ran, ["A/build", "A/publish"])
        # And what was published here is not published there.
        _, ran = await self.of(PUBLISH, "c", parts=parts, **STRANGE)
        self.assertEqual(ran, ["A/publish"])
        _, ran = await self.of(PUBLISH, "d", parts=parts)
        self.assertEqual(ran, [])

    async def test_a_stranger_neither_replaces_nor_holds_up_anybody_else(self) -> None:
        text = (
            "jobs: {one: {run: x, isolation: chroot, concurrency: {group: publish p,"
            " policy: replace_all}}}"
        )
        mine = await self.submit(text, "a" * 40)
        theirs = await self.submit(text, "b" * 40, **STRANGE)
        self.assertEqual((await self.books.state(mine.jobs[0].id))[0], "ready")
        begun = [await self.begin(), await self.begin()]
        self.assertEqual(
            {one[1].job for one in begun if one},
            {mine.jobs[0].id, theirs.jobs[0].id},
        )

    async def test_no_job_was_published_by_another_that_includes_the_same(self) -> None:
        job = "{lpci: ci.yaml, scope: component, architectures: arm64}"
        text = f"packages: {{A: {{paths: [a]}}}}\njobs: {{one: {job}, two: {job}}}"
        pipeline = (
            "pipeline: [make]\njobs: {make: {series: noble, architectures: arm64, run: x}}"
        )
        included = {"ci.yaml": pipeline}
        first = await self.submit(text, "a" * 40, tree="t", included=included)
        begun = [await self.begin(), await self.begin()]
        for one in begun:
            assert one is not None
            failed = one[1].job == first.jobs[0].id
            await self.end(one[1], Result.FAILURE if failed else Result.SUCCESS)
        again = await self.submit(text, "b" * 40, tree="t", included=included)
        self.assertEqual([job.result for job in again.jobs], [None, "skipped"])

    async def test_no_repository_replaces_what_is_of_another_one(self) -> None:
        text = "jobs: {one: {run: x, concurrency: {group: device, policy: replace_all}}}"
        there = {"repository": "https://git.example/there"}
        theirs = await self.submit(text, "a" * 40, **there)
        mine = await self.submit(text, "a" * 40)
        self.assertEqual((await self.books.state(theirs.jobs[0].id))[0], "ready")
        # They share the device all the same; and each replaces its own.
        self.assertIsNotNone(await self.begin())
        self.assertIsNone(await self.begin())
        await self.submit(text, "b" * 40)
        self.assertEqual((await self.books.state(mine.jobs[0].id))[1], "cancelled")
        self.assertEqual((await self.books.state(theirs.jobs[0].id))[1], None)

    async def test_a_stranger_is_never_in_a_trusted_collection(self) -> None:
        foo = "provides: {collection: c, as: foo}"
        text = f"jobs: {{foo: {{run: x, isolation: chroot, {foo}}}}}"
        waits = (
            "jobs: {end: {run: x, isolation: chroot,"
            " needs: [{collection: c, contains: [foo]}]}}"
        )
        made = await self.submit(waits, "a" * 40)
        await self.of(text, "b", **STRANGE)
        self.assertEqual((await self.books.state(made.jobs[0].id))[0], "parked")
        _, ran = await self.of(text, "c")
        self.assertEqual(ran, ["foo", "end"])


class ForceTests(NodeBooks):
    """``--force``: nothing is reused, and what is over is tried again."""

    async def test_of_another_commit_nothing_is_reused(self) -> None:
        text = CHAIN.replace("REUSE", "reuse: inputs")
        await self.submit(text, "a" * 40, tree="t")
        await self.run_all()
        made = await self.submit(text, "b" * 40, tree="t", force=True)
        self.assertEqual(await self.run_all(), ["B/build", "A/build"])
        # What it made anew is reused by those who come after it.
        await self.submit(text, "c" * 40, tree="t")
        rows = await self.books.database.rows(
            "SELECT reused_from FROM node WHERE reused_from IS NOT NULL ORDER BY 1"
        )
        self.assertEqual([one for (one,) in rows], [job.id for job in made.jobs])

    async def test_of_the_same_commit_they_are_tried_again(self) -> None:
        text = CHAIN.replace("REUSE", "reuse: inputs")
        first = await self.submit(text, "a" * 40)
        await self.run_all()
        again = await self.submit(text, "a" * 40, force=True)
        self.assertEqual([j.id for j in again.jobs], [j.id for j in first.jobs])
        self.assertEqual([job.attempt for job in again.jobs], [2, 2])
        self.assertEqual(await self.run_all(), ["B/build", "A/build"])
        self.assertEqual(await self.books.run_result(again.run), "success")
        await self.audit()

    async def test_also_what_was_reused(self) -> None:
        text = CHAIN.replace("REUSE", "reuse: inputs")
        await self.submit(text, "a" * 40, tree="t")
        await self.run_all()
        made = await self.submit(text, "b" * 40, tree="t")
        self.assertEqual(await self.run_all(), [])
        await self.submit(text, "b" * 40, tree="t", force=True)
        self.assertEqual(await self.run_all(), ["B/build", "A/build"])
        self.assertEqual(set((await self.cells(made.run)).values()), {"success"})
        # As it ran after all, it is what later ones take.
        await self.submit(text, "c" * 40, tree="t")
        rows = await self.books.database.rows(
            "SELECT reused_from FROM node WHERE reused_from IS NOT NULL AND NOT runs"
            " ORDER BY 1"
        )
        self.assertEqual([one for (one,) in rows], [job.id for job in made.jobs])
        await self.audit()


class VerificationTests(NodeBooks):
    """One of a hundred is made anew, and compared."""

    async def test_it_is_told_whether_it_made_the_same(self) -> None:
        for place, (second, is_same) in enumerate((("good", True), ("evil", False))):
            tree = f"t{place}"
            first = await self.submit(ONE, f"{place}a".rjust(40, "0"), tree=tree)
            await self.run_all({"one": {"file": "good"}})
            await self.books.database.run(
                "SELECT setval(pg_get_serial_sequence('job', 'id'), %s)",
                ((place + 1) * VERIFIED_EACH - 1,),
            )
            made = await self.submit(ONE, f"{place}b".rjust(40, "0"), tree=tree)
            job = made.jobs[0].id
            self.assertEqual((await self.node(job))["is_same"], None)
            self.assertEqual(await self.run_all({"one": {"file": second}}), ["one"])
            node = await self.node(job)
            self.assertEqual(node["is_same"], is_same)
            self.assertEqual(node["verifies"], first.jobs[0].id)

    async def node(self, job: int) -> dict[str, Any]:
        """What ``headrace show --json`` says in ``node``."""
        text = await job_document(self.books.database, job)
        assert text is not None
        return dict(json.loads(text)["node"])

    async def test_of_so_many_one_runs(self) -> None:
        await self.submit(ONE, "0" * 40, tree="t")
        await self.run_all()
        count = 2 * VERIFIED_EACH
        for number in range(1, count + 1):
            await self.submit(ONE, f"{number:040}", tree="t")
        ran = await self.run_all()
        self.assertEqual(len(ran), count // VERIFIED_EACH)
        rows = await self.books.database.rows(
            "SELECT result::text, count(*)::integer FROM job GROUP BY 1 ORDER BY 1"
        )
        self.assertEqual(dict(rows), {"reused": count - 2, "success": 1 + len(ran)})
        # What verifies is a result like others, and the next one takes it.
        (newest,) = await self.books.database.one(
            "SELECT max(job) FROM node WHERE verifies IS NOT NULL"
        )
        await self.submit(ONE, "f" * 40, tree="t")
        (taken,) = await self.books.database.one(
            "SELECT reused_from FROM node ORDER BY job DESC LIMIT 1"
        )
        self.assertEqual(taken, newest)
