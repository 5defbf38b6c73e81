"""Workflows that run graphs, want one job of them, and wait for collections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from buildmaster.database import Cursor
from buildmaster.ensuring import WantedJob
from buildmaster.requests import SubmissionRequest
from buildmaster.status.documents import Workflow
from buildmaster.store import workflows as store
from buildmaster.store.documents.workflows import workflow_document
from buildmaster.workflow import Context, WorkflowFailed, workflow
from protocol.messages import Offer
from protocol.results import Result
from tests.buildmaster.books import ended, over
from tests.buildmaster.orchestration.stage import Killed, Master, WorkflowCase
from tests.buildmaster.source.repository import Repository

FILE = """\
packages: {A: {depends: [B], paths: [a.x]}, B: {paths: [b.x]}}
defaults: {series: noble, isolation: native, run: make}
jobs:
  build: {per_package: true, matrix: {arch: [amd64, arm64]}}
  test: {per_package: true, matrix: {arch: [amd64, arm64]}, needs: [build]}
"""
PROVIDER = """\
defaults: {series: noble, architectures: amd64, isolation: native, run: make}
jobs:
  foo: {provides: {collection: side-tag/x, as: foo}}
"""


WAITER = """\
defaults: {series: noble, architectures: amd64, isolation: native, run: make}
jobs:
  publish: {needs: [{collection: side-tag/x, contains: [foo]}]}
"""

AMD64 = {"arch": "amd64"}


class Moment:
    """A point in a transaction at which it waits for the test."""

    def __init__(self) -> None:
        self.has_come: Deferred[None] = Deferred()
        self.may_pass: Deferred[None] = Deferred()

    async def pass_(self) -> None:
        self.has_come.callback(None)
        await self.may_pass


@workflow
class Graph:
    async def run(self, ctx: Context, repository: str) -> list[Any]:
        end = await ctx.run_graph({"kind": "git", "repository": repository})
        nodes = [[node.name, node.result, len(node.files)] for node in end.nodes]
        return [end.good, end.counts, nodes, len(end.of("A/test", arch="arm64"))]


@workflow
class Wants:
    """One job of a source, or of a run."""

    async def run(self, ctx: Context, job: str, options: dict[str, Any]) -> list[Any]:
        try:
            end = await ctx.ensure_job(job, **options)
        except WorkflowFailed as error:
            return [str(error)]
        return [end.good, end.result, end.name, end.cell]


@workflow
class BuildThenTest:
    """The tests of a build, which is started if it is missing."""

    async def run(self, ctx: Context, source: dict[str, str]) -> list[str]:
        build = await ctx.ensure_job("build", source=source, package="B", cell=AMD64)
        tests = await ctx.execute_job("test", needs=[{"job": build.job}])
        return [build.result, tests.result]


@workflow
class Gathers:
    async def run(self, ctx: Context, wanted: list[str], cell: dict[str, str]) -> Any:
        found = await ctx.wait_collection("side-tag/x", set(wanted), cell=cell, timeout=60)
        return [each.member for each in found.members]


class GraphCase(WorkflowCase):
    master_: Master

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        offers = [
            Offer(isolation="native", architecture=each, series=("*",))
            for each in ("amd64", "arm64")
        ]
        await self.database.run(
            "UPDATE worker SET offers = %s::jsonb", (msgspec.json.encode(offers).decode(),)
        )
        self.repository = Repository(Path(self.mktemp()))
        self.path = str(self.repository.folder)
        self.source = {"kind": "git", "repository": self.path}
        self.master_ = self.master(Graph, Wants, BuildThenTest, Gathers)

    def commit(self, text: str = FILE) -> str:
        return self.repository.commit(__headrace__yaml=text, a__x="1", b__x="1")

    async def run_one(self, result: Result = Result.SUCCESS) -> str:
        """Let the first of the line run, and end; its name and cell."""
        claim = await self.books.begin()
        (name, title) = await self.database.one(
            "SELECT p.name, job.name || ' ' || job.cell FROM pipeline_job AS p"
            " JOIN job ON job.id = p.job WHERE p.job = %s AND p.attempt = %s",
            (claim.job, claim.attempt),
        )
        reason = "" if result is Result.SUCCESS else "it failed"
        await self.books.report(
            claim, ended(name, result=result, reason=reason), over(result, reason)
        )
        return str(title)

    async def wants(self, name: str, job: str, **options: Any) -> None:
        if "run" not in options:
            options["source"] = self.source
        await self.master_.control.start("Wants", [job, options], "ann", name=name)
        await self.master_.go_on()

    async def submit(self, **fields: Any) -> int:
        request = SubmissionRequest(**{"source": self.source, **fields})
        request = msgspec.convert(msgspec.to_builtins(request), SubmissionRequest)
        return (await self.farm.submit(request, "ann")).run

    async def value(self, name: str) -> Any:
        state, _, reason, value = await self.state(name)
        self.assertEqual((state, reason), ("done", ""))
        return value

    async def names(self) -> list[str]:
        rows = await self.database.rows("SELECT name || ' ' || cell FROM job ORDER BY id")
        return [name for (name,) in rows]


class RunGraphTests(GraphCase):
    async def test_a_graph_is_one_run_and_told_node_by_node(self) -> None:
        self.commit()
        await self.master_.control.start("Graph", [self.path], "ann", name="g")
        await self.master_.go_on()
        self.assertEqual(await self.count("run"), 1)
        await self.database.run(
            "INSERT INTO blob (sha256, size) VALUES (sha256('x'::bytea), 17)"
        )
        first = await self.run_one()
        await self.database.run(
            """
            INSERT INTO artifact SELECT job, attempt, name, index, 'x.deb', sha256('x')
            FROM pipeline_job WHERE result = 'success'
            """
        )
        await self.run_one(Result.FAILURE)
        while await self.count("job WHERE state = 'ready'"):
            await self.run_one()
        await self.master_.go_on()
        good, counts, nodes, found = await self.value("g")
        self.assertEqual((good, sum(counts.values()), len(nodes), found), (False, 8, 8, 1))
        self.assertEqual(counts["failure"], 1)
        self.assertEqual(counts["unrun"], 3)
        files = {name: files for name, _, files in nodes if files}
        self.assertEqual(files, {first.partition(" ")[0]: 1})
        await self.crash_everywhere("g", Graph)

    async def test_a_pipeline_is_a_graph_as_well(self) -> None:
        pipeline = "{unit: {series: noble, architectures: amd64, run: make}}"
        self.repository.commit(__launchpad__yaml=f"pipeline: [unit]\njobs: {pipeline}\n")
        await self.master_.control.start("Graph", [self.path], "ann", name="g")
        await self.master_.go_on()
        await self.finish()
        await self.master_.go_on()
        self.assertEqual(
            await self.value("g"), [True, {"success": 1}, [["pipeline", "success", 0]], 0]
        )

    async def test_a_history_has_room_for_the_largest_graph(self) -> None:
        """Of a thousand nodes with files of long names: those that failed, at least."""
        self.commit()
        run = await self.submit()
        await self.database.run(
            """
            WITH made AS (
                INSERT INTO job (kind, repository, source_digest, name, cell, requester,
                                 owner, class, state, result, reason, finished_at)
                SELECT 'build', repository, source_digest, 'n' || number, '', 'x', 'x',
                       class, 'done',
                       CASE WHEN number > 990 THEN 'failure' ELSE 'success' END::job_result,
                       CASE WHEN number > 990 THEN repeat('w', 3000) ELSE '' END, farm_now()
                FROM (SELECT * FROM job LIMIT 1) AS one, generate_series(1, 1000) AS number
                RETURNING id)
            INSERT INTO run_job (run, job) SELECT %s, id FROM made
            """,
            (run,),
        )
        (text,) = await self.database.one(
            "SELECT graph_end(r)::text FROM run AS r WHERE id = %s", (run,)
        )
        told = msgspec.json.decode(text)
        self.assertEqual(told["counts"], {"failure": 10, "success": 990})
        results = [node["result"] for node in told["nodes"]]
        self.assertEqual(results.count("failure"), 10)
        self.assertLess(len(text), 256 * 1024)


class EnsureTests(GraphCase):
    async def test_one_that_is_missing_is_started_with_what_it_needs_only(self) -> None:
        self.commit()
        await self.wants("w", "test", package="A", cell={"arch": "arm64"})
        names = [name.removesuffix(",series=noble") for name in await self.names()]
        self.assertEqual(
            sorted(names),
            [f"{name} arch=arm64" for name in ("A/build", "A/test", "B/build", "B/test")],
        )
        while await self.count("job WHERE state = 'ready'"):
            await self.run_one()
        await self.master_.go_on()
        self.assertEqual(
            await self.value("w"), [True, "success", "A/test", "arch=arm64,series=noble"]
        )
        self.assertGreater(await self.crash_everywhere("w", Wants), 2)

    async def test_one_that_is_under_way_or_has_passed_is_joined(self) -> None:
        self.commit()
        await self.submit()
        await self.wants("w", "build", package="B", cell={"arch": "amd64"})
        self.assertEqual(await self.count("job"), 8)
        while await self.count("job WHERE state = 'ready'"):
            await self.run_one()
        await self.master_.go_on()
        self.assertEqual((await self.value("w"))[0], True)
        await self.wants("v", "build", package="B", cell={"arch": "amd64"})
        self.assertEqual((await self.value("v"))[1], "success")
        self.assertEqual(await self.count("job"), 8)
        self.assertEqual(await self.count("attempt"), 8)

    async def test_one_whose_key_has_passed_is_not_run_again(self) -> None:
        self.commit()
        await self.wants("w", "build", package="B", cell={"arch": "amd64"})
        await self.run_one()
        # Another commit, which changes nothing of B.
        self.repository.commit(a__x="2")
        await self.wants("v", "build", package="B", cell={"arch": "amd64"})
        await self.master_.go_on()
        self.assertEqual((await self.value("v"))[1], "reused")
        self.assertEqual(await self.count("job WHERE state = 'ready'"), 0)

    async def test_a_run_says_which_source(self) -> None:
        commit = self.commit()
        run = await self.submit()
        self.repository.commit(b__x="2")
        await self.wants("w", "build", run=run, package="B", cell={"arch": "amd64"})
        self.assertEqual(await self.count("job"), 8)
        (digest,) = await self.database.one("SELECT max(source_digest) FROM job")
        self.assertEqual(digest, commit)
        await self.wants("v", "build", run=run + 100)
        self.assertIn("There is no run", (await self.value("v"))[0])

    async def test_code_of_strangers_is_not_run_as_trusted(self) -> None:
        self.commit()
        run = await self.submit()
        await self.database.run("UPDATE run SET trust_domain = 'strangers'")
        before = await self.count("job")
        await self.wants("w", "build", run=run, package="B", cell={"arch": "amd64"})
        self.assertIn("trust domain strangers", (await self.value("w"))[0])
        self.assertEqual(await self.count("job"), before)

    async def test_one_that_failed_is_that_one_and_tried_again_if_asked_for(self) -> None:
        self.commit()
        wanted = {"package": "A", "cell": {"arch": "amd64"}}
        await self.wants("w", "test", **wanted)
        await self.run_one(Result.FAILURE)
        await self.master_.go_on()
        self.assertEqual((await self.value("w"))[1], "unrun")
        await self.wants("v", "test", **wanted)
        self.assertEqual((await self.value("v"))[1], "unrun")
        await self.wants("u", "test", again=True, **wanted)
        while await self.count("job WHERE state = 'ready'"):
            await self.run_one()
        await self.master_.go_on()
        self.assertEqual((await self.value("u"))[1], "success")

    async def test_what_there_is_not_or_is_several_is_refused(self) -> None:
        self.commit()
        for name, job, options, told in (
            (
                "a",
                "nothing",
                {},
                "There is no job nothing in the source; there are: A/build",
            ),
            ("b", "build", {"package": "Z"}, "There is no job Z/build"),
            (
                "c",
                "build",
                {"package": "A"},
                "A/build is more than one job: A/build (arch=",
            ),
            (
                "d",
                "build",
                {"cell": {"arch": "s390x"}},
                "There is no job build (arch=s390x)",
            ),
            ("e", "x'; DROP TABLE job; --", {}, "There is no job x'; DROP"),
        ):
            await self.wants(name, job, **options)
            self.assertIn(told, (await self.value(name))[0])
        pipeline = "{unit: {series: noble, architectures: amd64, run: make}}"
        self.repository.commit(__launchpad__yaml=f"pipeline: [unit]\njobs: {pipeline}\n")
        await self.wants("f", "unit", configuration=".launchpad.yaml")
        self.assertIn("Only jobs of a .headrace.yaml", (await self.value("f"))[0])
        self.assertEqual(await self.count("job"), 0)

    async def test_ten_who_want_it_at_once_get_one(self) -> None:
        self.commit()
        masters = [self.master(Wants, name=f"m{number}") for number in range(3)]
        options = {"source": self.source, "package": "B", "cell": {"arch": "amd64"}}
        for number in range(10):
            await masters[0].control.start(
                "Wants", ["build", options], "ann", name=f"w{number}"
            )
        await gatherResults([Deferred.fromCoroutine(each.go_on()) for each in masters])
        self.assertEqual(await self.count("job"), 1)
        await self.run_one()
        await masters[0].go_on()
        for number in range(10):
            self.assertEqual((await self.value(f"w{number}"))[1], "success")
        self.assertEqual(await self.count("attempt"), 1)

    async def test_a_master_that_dies_before_the_commit_has_started_none(self) -> None:
        self.commit()
        options = {"source": self.source, "package": "B", "cell": AMD64}
        await self.master_.control.start("Wants", ["build", options], "ann", name="w")
        await self.master_.stepper.round()
        await_job = store.await_job

        async def dies(cursor: Cursor, *given: Any) -> None:
            await await_job(cursor, *given)
            raise Killed

        patched = self.patch(store, "await_job", dies)
        await self.killed(self.master_.submitting.round())
        patched.restore()
        self.assertEqual(await self.count("job"), 0)
        other = self.master(Wants, name="other")
        await other.go_on()
        self.assertEqual(await self.count("job"), 0)  # it is still the first one's
        await self.let_pass(301)
        await other.go_on()
        self.assertEqual(await self.count("job"), 1)
        await self.run_one()
        await other.go_on()
        self.assertEqual((await self.value("w"))[1], "success")

    async def test_what_it_gives_is_a_need_of_the_next(self) -> None:
        self.commit()
        await self.master_.control.start("BuildThenTest", [self.source], "ann", name="b")
        await self.master_.go_on()
        await self.run_one()
        await self.master_.go_on()
        (needed,) = await self.database.one(
            "SELECT up.name FROM edge JOIN job AS up ON up.id = edge.up"
        )
        self.assertEqual(needed, "B/build")
        await self.finish()
        await self.master_.go_on()
        self.assertEqual(await self.value("b"), ["success", "success"])

    async def test_what_nobody_wants_any_more_is_cancelled(self) -> None:
        self.commit()
        await self.wants("w", "build", package="B", cell={"arch": "amd64"}, timeout=60)
        await self.let_pass(61)
        await self.master_.go_on()
        [told] = await self.value("w")
        self.assertEqual(told, "the job build: not within 60 s")
        self.assertEqual([end for _, _, end in await self.jobs()], ["cancelled"])

    def test_what_is_asked_for_is_kept_as_json(self) -> None:
        wanted = msgspec.convert({"job": "x", "cell": {"a": "b"}}, WantedJob)
        self.assertEqual(wanted.title, "x (a=b)")


class CollectionTests(GraphCase):
    async def member(self, text: str = PROVIDER, result: Result = Result.SUCCESS) -> None:
        """A job that provides for the collection ends."""
        self.commit(text)
        await self.submit()
        await self.run_one(result)

    async def gathers(self, name: str, *wanted: str, **cell: str) -> None:
        arguments = [list(wanted), cell]
        await self.master_.control.start("Gathers", arguments, "ann", name=name)
        await self.master_.go_on()

    async def test_whoever_comes_first_it_ends_with_the_last(self) -> None:
        await self.gathers("early", "foo", "bar")
        await self.member()
        await self.master_.go_on()
        text = await workflow_document(self.database, "early")
        [wait] = msgspec.json.decode(text or "", type=Workflow).waits
        self.assertEqual(
            (wait.what, wait.name, wait.missing),
            ("collection", "side-tag/x: bar, foo", ("bar",)),
        )
        self.assertLess(wait.since, wait.until or wait.since)
        await self.member(PROVIDER.replace("foo", "bar"))
        await self.master_.go_on()
        self.assertEqual(await self.value("early"), ["bar", "foo"])
        await self.gathers("late", "foo", "bar")
        self.assertEqual(await self.value("late"), ["bar", "foo"])
        self.assertEqual(await self.count("workflow_collection_wait"), 0)
        await self.crash_everywhere("early", Gathers)

    async def test_what_failed_or_does_not_fit_does_not_count(self) -> None:
        await self.gathers("w", "foo", series="jammy")
        await self.member(result=Result.FAILURE)
        await self.member(PROVIDER + "# another commit\n")
        await self.master_.go_on()
        self.assertEqual((await self.state("w"))[0], "open")
        await self.member(PROVIDER.replace("noble", "jammy"))
        await self.master_.go_on()
        self.assertEqual(await self.value("w"), ["foo"])

    async def test_after_its_time_and_when_it_ends_nothing_is_left(self) -> None:
        await self.gathers("w", "foo")
        await self.let_pass(61)
        await self.master_.go_on()
        state, result, reason, _ = await self.state("w")
        self.assertEqual((state, result), ("done", "failure"))
        self.assertIn("side-tag/x: foo: not within 60 s", reason)
        await self.gathers("v", "foo")
        await self.master_.control.cancel("v", "ann", "")
        await self.master_.go_on()
        self.assertEqual(await self.count("workflow_collection_wait"), 0)
        await self.member()

    async def test_others_have_collections_of_their_own(self) -> None:
        strangers = self.master(Gathers)
        strangers.stepper._trust_domain = "strangers"
        await strangers.control.start("Gathers", [["foo"], {}], "eve", name="e")
        await strangers.go_on()
        await self.member()
        await strangers.go_on()
        self.assertEqual((await self.state("e"))[0], "open")

    async def test_who_waits_and_who_comes_in_one_moment_miss_each_other_not(self) -> None:
        """Neither sees what the other has not committed yet: so they take turns."""
        claim = await self._begin_to_provide()
        await self.master_.control.start("Gathers", [["foo"], {}], "ann", name="w")
        moment = Moment()
        wait_for = store.await_collection

        async def slow(cursor: Cursor, *given: Any) -> None:
            await wait_for(cursor, *given)
            await moment.pass_()

        self.patch(store, "await_collection", slow)
        stepping = Deferred.fromCoroutine(self.master_.stepper.round())
        await self._end_meanwhile(claim, moment, stepping)
        await self.master_.go_on()
        self.assertEqual(await self.value("w"), ["foo"])

    async def test_a_job_that_waits_and_who_comes_miss_each_other_not(self) -> None:
        claim = await self._begin_to_provide()
        self.commit(WAITER)
        request = msgspec.convert({"source": self.source}, SubmissionRequest)
        submission = await self.farm.prepare(request, "ann")
        moment = Moment()

        async def slow(cursor: Cursor) -> None:
            await submission.store(cursor)
            await moment.pass_()

        submitting = Deferred.fromCoroutine(self.database.transaction(slow))
        await self._end_meanwhile(claim, moment, submitting)
        self.assertEqual([state for _, state, _ in await self.jobs()], ["done", "ready"])

    async def _begin_to_provide(self) -> Any:
        self.commit(PROVIDER)
        await self.submit()
        return await self.books.begin()

    async def _end_meanwhile(self, claim: Any, moment: Moment, other: Any) -> None:
        """The job ends after the other transaction has looked, and before its commit."""
        await moment.has_come
        ending = Deferred.fromCoroutine(
            self.books.report(claim, ended("foo"), over(Result.SUCCESS, ""))
        )
        while not ending.called and not await self._waits_for_a_lock():
            pass
        moment.may_pass.callback(None)
        await gatherResults([other, ending])

    async def _waits_for_a_lock(self) -> bool:
        (count,) = await self.database.one(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname ="
            " current_database())"
        )
        return bool(count)
