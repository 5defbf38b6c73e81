"""Graphs, ensured jobs and collections in the test kit: scripted, and crashed anywhere."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.workflow import BadWorkflow, Context, workflow
from buildmaster.workflow.ends import GraphEnd, JobEnd
from buildmaster.workflow.failures import Unexpected
from buildmaster.workflow.testing import Rehearsal, crash_everywhere
from tests.buildmaster.workflow import samples

SOURCE = {"kind": "git", "repository": "https://git.example/p.git"}
GOOD = {
    "run": 3,
    "result": "success",
    "nodes": [
        {
            "job": 4,
            "name": "foo/build",
            "cell": "arch=amd64,series=noble",
            "result": "success",
            "files": [{"path": "foo.deb", "sha256": "0" * 64}],
        }
    ],
}


@workflow
class Asks:
    """Asks for what it is told to."""

    async def run(self, ctx: Context, method: str, given: list[Any], named: Any) -> None:
        await getattr(ctx, method)(*given, **named)


class KitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.play = Rehearsal(samples.Update, SOURCE)

    def test_a_graph_is_answered_node_by_node(self) -> None:
        self.assertEqual(self.play.asked, ["https://git.example/p.git"])
        [command] = self.play.commands
        self.assertEqual(command.arguments["configuration"], "ci.headrace.yaml")
        bad = GOOD | {"result": "failure"}
        self.play.complete("https://git.example/p.git", bad)
        assert self.play.ending is not None
        self.assertEqual(self.play.ending.reason, "1 builds of foo")
        crash_everywhere(self.play)

    def to_the_collection(self) -> None:
        self.play.complete("https://git.example/p.git", GOOD)
        self.assertEqual(self.play.waits, ["build", "build"])
        for job in (7, 8):
            self.play.complete("build", {"job": job, "result": "reused"})
        self.assertEqual(self.play.waits, ["side-tag/x: bar, foo"])

    def test_all_of_it_and_a_crash_anywhere(self) -> None:
        self.to_the_collection()
        cells = [each.arguments["cell"] for each in self.play.commands[1:3]]
        self.assertEqual(cells, [{"arch": "amd64"}, {"arch": "arm64"}])
        self.play.provide("side-tag/x", "foo", job=9, series="noble", arch="amd64")
        self.play.provide("side-tag/x", "bar", job=10, series="jammy")
        self.play.provide("side-tag/other", "bar", job=11, series="noble")
        self.assertEqual(self.play.waits, ["side-tag/x: bar, foo"])
        self.play.provide("side-tag/x", "bar", job=12, series="noble")
        self.play.answer("publish", returns={"job": 13, "result": "success"})
        assert self.play.ending is not None
        self.assertEqual(self.play.ending.value, [7, 8, 9, 12])
        self.assertGreater(crash_everywhere(self.play), 6)

    def test_members_may_be_there_before(self) -> None:
        for member in ("foo", "bar"):
            self.play.provide("side-tag/x", member, series="noble")
        self.play.complete("https://git.example/p.git", GOOD)
        self.play.answer("build", returns={"job": 7, "result": "success"})
        self.assertEqual(self.play.waits, ["publish"])

    def test_a_collection_that_is_late_is_dropped(self) -> None:
        self.to_the_collection()
        [wait] = [each for each in self.play.commands if each.kind == "collection"]
        self.play.let_pass(hours=1, seconds=1)
        assert self.play.ending is not None
        told = "the collection side-tag/x: bar, foo: not within 3600 s"
        self.assertEqual(self.play.ending.value, [told])
        self.assertIn(wait.seq, self.play.dropped)
        crash_everywhere(self.play)

    def test_a_cancel_drops_what_is_awaited(self) -> None:
        self.to_the_collection()
        seqs = [e.seq for e in self.play.commands if e.kind in ("collection", "timer")]
        self.play.cancel()
        assert self.play.ending is not None
        self.assertEqual(self.play.ending.result, "cancelled")
        self.assertEqual(sorted(self.play.dropped), seqs)

    def test_a_refused_one_raises_what_a_workflow_may_catch(self) -> None:
        self.play.complete("https://git.example/p.git", GOOD)
        self.play.fail("build", "there is no such job", "Refusal")
        assert self.play.ending is not None
        self.assertEqual(
            (self.play.ending.result, self.play.ending.reason),
            ("failure", "there is no such job"),
        )

    def test_what_makes_no_sense_is_told_at_once(self) -> None:
        for method, given, named, told in (
            ("ensure_job", ["x"], {}, "give it one"),
            ("ensure_job", ["x"], {"run": 1, "source": SOURCE}, "give it one"),
            ("ensure_job", ["x"], {"run": 1, "nonsense": 1}, "no such request"),
            ("ensure_job", ["x"], {"source": "x"}, "no such request"),
            ("wait_collection", ["c", []], {}, "1 to 100"),
            ("wait_collection", ["c", [str(n) for n in range(101)]], {}, "1 to 100"),
            ("run_graph", [{"kind": "git"}], {}, "no such request"),
        ):
            error = self.assertRaises(Unexpected, Rehearsal, Asks, method, given, named)
            self.assertIsInstance(error.error, BadWorkflow)
            self.assertIn(told, str(error))

    def test_nodes_are_found_by_name_and_cell(self) -> None:
        nodes = tuple(
            JobEnd(job=number, result="success", name="x", cell=f"arch={arch},series=noble")
            for number, arch in enumerate(("amd64", "arm64"))
        )
        graph = GraphEnd(run=1, result="success", nodes=nodes)
        self.assertEqual([each.job for each in graph.of("x", arch="arm64")], [1])
        self.assertEqual(len(graph.of("x", series="noble")), 2)
        self.assertEqual(graph.of("y"), ())
