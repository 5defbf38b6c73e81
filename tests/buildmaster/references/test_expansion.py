from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.references.expansion import expand
from buildmaster.series import DEFAULT_SERIES
from protocol.pipeline.configuration import parse
from tests.buildmaster.references.files import (
    MONOREPO,
    edge,
    edges,
    expanded,
    graph,
    read,
)


class CellsTests(SynchronousTestCase):
    """Which cell waits for which: ``map``."""

    def of(self, up: str, down: str) -> set[tuple[str, str]]:
        return edges(graph(f"jobs:\n  up: {{run: a, {up}}}\n  down: {{run: b, {down}}}\n"))

    def test_same_is_the_same_on_all_axes_that_both_have(self) -> None:
        self.assertEqual(
            self.of("architectures: [amd64, arm64]",
                    "architectures: [amd64, arm64], needs: [up]"),
            {
                ("up (arch=amd64)", "down (arch=amd64)"),
                ("up (arch=arm64)", "down (arch=arm64)"),
            },
        )  # fmt: skip

    def test_axes_of_one_side_fan_in_and_out(self) -> None:
        self.assertEqual(
            self.of("matrix: {aa: [x, y]}", "needs: [up]"),
            {("up (aa=x)", "down"), ("up (aa=y)", "down")},
        )
        self.assertEqual(
            self.of("type: source", "matrix: {aa: [x, y]}, needs: [up]"),
            {("up", "down (aa=x)"), ("up", "down (aa=y)")},
        )

    def test_the_only_value_stands_for_all(self) -> None:
        self.assertEqual(
            self.of("architectures: amd64", "architectures: [amd64, arm64], needs: [up]"),
            {
                ("up (arch=amd64)", "down (arch=amd64)"),
                ("up (arch=amd64)", "down (arch=arm64)"),
            },
        )

    def test_a_cell_that_there_is_not_is_told_with_those_that_there_are(self) -> None:
        found = expanded(
            "jobs:\n  up: {run: a, architectures: [amd64, arm64]}\n"
            "  down:\n    run: b\n    architectures: riscv64\n    needs:\n      - up\n"
        )
        [error] = found.errors
        self.assertEqual((error.where, error.line), ("jobs.down.needs", 7))
        self.assertIn("arch=riscv64", error.message)
        self.assertIn("arch=amd64; arch=arm64", error.message)

    def test_a_fixed_cell_and_all_and_any(self) -> None:
        up = "architectures: [amd64, arm64]"
        self.assertEqual(
            self.of(
                up, "architectures: [amd64, s390x], needs: [{job: up, cell: {arch: arm64}}]"
            ),
            {
                ("up (arch=arm64)", "down (arch=amd64)"),
                ("up (arch=arm64)", "down (arch=s390x)"),
            },
        )
        everyone = {("up (arch=amd64)", "down"), ("up (arch=arm64)", "down")}
        self.assertEqual(self.of(up, "needs: [{job: up, map: all}]"), everyone)
        text = f"jobs:\n  up: {{run: a, {up}}}\n"
        text += "  down: {run: b, needs: [{job: up, map: any}]}"
        found = graph(text)
        self.assertEqual(edges(found), everyone)
        self.assertEqual([one.choice for one in found.edges], [1, 1])
        # One package does not stand for another: one cell of each suffices.
        text = text.replace("jobs:", "packages: {A: {}, B: {depends: A}}\njobs:")
        text = text.replace("{run: a,", "{run: a, per_package: true,")
        found = graph(text.replace("{run: b,", "{run: b, scope: component,"))
        [down] = [ups for ups in found.ups() if any(one.choice for one in ups)]
        chosen = {found.nodes[one.up].package: one.choice for one in down}
        self.assertEqual(len(down), 4)
        self.assertEqual(len({*chosen.values()}), 2)
        [error] = expanded(text.replace("map: any", "cell: {arhc: x}")).errors
        self.assertIn("did you mean arch?", error.message)


class PackagesTests(SynchronousTestCase):
    def test_the_monorepo_of_the_note(self) -> None:
        found = graph(MONOREPO)
        names = {node.name for node in found.nodes}
        self.assertIn("A/publish", names)
        self.assertEqual(len(found.nodes), 3 * 4 + 1)
        for arch in ("amd64", "arm64"):
            cell = f"(arch={arch},series=noble)"
            for package in "BC":
                handed = edge(found, f"{package}/build {cell}", f"A/build {cell}").handed
                assert handed is not None
                self.assertEqual((handed.job, handed.folder), ("build", package))
                # Its own build, and those of all it depends on.
                self.assertIn((f"{package}/build {cell}", f"A/test {cell}"), edges(found))
        [publish] = [node for node in found.nodes if node.job.name == "publish"]
        ups = [found.nodes[one.up] for one in found.ups()[publish.number]]
        self.assertEqual(len(ups), 6)
        self.assertEqual({up.job.name for up in ups}, {"test"})

    def test_order_alone_hands_nothing_over(self) -> None:
        found = graph(
            "packages: {A: {depends: [{name: B, rebuild: false}]}, B: {}}\n"
            "jobs: {build: {run: a, per_package: true}}\n"
        )
        one = edge(found, "B/build", "A/build")
        self.assertEqual((one.rebuild, one.handed), (False, None))

    def test_two_tops_that_share_a_package_are_published_once(self) -> None:
        found = graph(
            "packages: {A: {depends: [B]}, D: {depends: [B]}, B: {}, E: {}}\n"
            "jobs:\n  build: {run: a, per_package: true}\n"
            "  publish: {run: b, needs: build}\n  tell: {run: c, scope: top}\n"
        )
        publish = [node for node in found.nodes if node.job.name == "publish"]
        self.assertEqual({node.name for node in publish}, {"A,D/publish", "E/publish"})
        skipped = {node.name for node in found.nodes if node.skipped}
        self.assertEqual(skipped, {"B/tell"})
        [whole] = [node for node in publish if node.package == "A,D"]
        self.assertEqual(whole.covers, ("A", "D", "B"))

    def test_everything_comes_after_what_it_waits_for(self) -> None:
        found = graph(MONOREPO)
        for one in found.edges:
            self.assertLess(one.up, one.down)


class RunsTests(SynchronousTestCase):
    TEXT = (
        "jobs:\n  one: {run: a, trigger: pull_request}\n"
        "  two: {run: b, needs: [one]}\n"
        "  three: {run: c, needs: [{job: one, weak: true}]}\n"
    )

    def test_a_job_that_is_not_in_the_run_is_missed_unless_the_need_is_weak(self) -> None:
        [error] = expanded(self.TEXT, "commit").errors
        self.assertEqual((error.where, error.line), ("jobs.two.needs", 3))
        self.assertIn("make the need weak", error.message)
        found = graph(self.TEXT.replace("  two: {run: b, needs: [one]}\n", ""), "commit")
        self.assertEqual([node.name for node in found.nodes], ["three"])
        self.assertEqual(len(graph(self.TEXT, "pull_request").edges), 2)

    def test_jobs_that_wait_for_each_other_are_told_by_name(self) -> None:
        [error] = expanded(
            "jobs:\n  aa: {run: x, needs: [bb]}\n  bb: {run: x, needs: [cc]}\n"
            "  cc: {run: x, needs: [aa]}\n"
        ).errors
        self.assertIn("aa -> bb -> cc -> aa", error.message)
        self.assertEqual(error.line, 2)
        [error] = expanded("jobs:\n  aa: {run: x, needs: [aa]}\n").errors
        self.assertIn("aa -> aa", error.message)

    def test_two_ways_to_need_one_job_contradict_each_other(self) -> None:
        found = expanded(
            "jobs:\n  up: {run: x, architectures: amd64}\n"
            "  down: {run: x, needs: [{job: up}, {job: up, cell: {arch: amd64},"
            " require: bad}]}\n"
        )
        self.assertIn("in two ways", found.errors[0].message)

    def test_a_whole_pipeline_is_a_node_for_each_of_its_builds(self) -> None:
        pipeline = parse(
            b"pipeline: [lint, [test]]\njobs:\n"
            b"  lint: {series: noble, architectures: amd64, run: a}\n"
            b"  test: {series: noble, architectures: [amd64, arm64], run: b}\n"
        ).pipeline
        assert pipeline is not None
        file = read("jobs:\n  old: {lpci: .launchpad.yaml}\n"
                    "  new: {run: x, needs: [old], architectures: arm64}\n")  # fmt: skip
        self.assertEqual(file.includes, (".launchpad.yaml",))
        found = expand(file, None, {".launchpad.yaml": pipeline}, DEFAULT_SERIES).graph
        assert found is not None
        self.assertEqual(
            edges(found),
            {
                ("old (arch=amd64)", "old (arch=arm64)"),
                ("old (arch=arm64)", "new (arch=arm64)"),
            },
        )
        self.assertEqual(edge(found, "old (arch=amd64)", "old (arch=arm64)").stage, 0)
        [error] = expand(file).errors
        self.assertIn("there is no pipeline in .launchpad.yaml", error.message)

    def test_too_much_is_refused(self) -> None:
        packages = ", ".join(f"P{n}: {{}}" for n in range(300))
        axis = ", ".join(f"v{n}" for n in range(100))
        found = expanded(
            f"packages: {{{packages}}}\n"
            f"jobs: {{build: {{run: a, per_package: true, matrix: {{aa: [{axis}]}}}}}}\n"
        )
        self.assertIn("20000 nodes", found.errors[0].message)
        few = ", ".join(f"v{n}" for n in range(30))
        found = expanded(
            f"packages: {{{packages}}}\njobs:\n"
            f"  up: {{run: a, per_package: true, matrix: {{aa: [{few}]}}}}\n"
            f"  down: {{run: a, per_package: true, matrix: {{bb: [{few}]}}, needs: up}}\n"
        )
        self.assertIn("200000 edges", found.errors[0].message)
