from __future__ import annotations

import argparse
import io
import json
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli import check, plan
from buildmaster.cli.problems import CommandMisused
from buildmaster.references.json_schema import schema
from tests.buildmaster.cli.commands import Ran, run
from tests.buildmaster.references.files import MONOREPO, NOTE

PIPELINE = """\
pipeline: [lint, [test]]
jobs:
  lint: {series: noble, architectures: amd64, run: a}
  test: {series: noble, architectures: [amd64, arm64], run: b}
"""


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / ".headrace.yaml"

    def check(self, text: str, *options: str) -> Ran:
        self.path.write_text(text)
        return run(check, "check", str(self.path), *options)

    def plan(self, text: str, *options: str) -> Ran:
        self.path.write_text(text)
        return run(plan, "plan", str(self.path), *options)


class CheckTests(Files):
    def test_a_valid_file_is_counted(self) -> None:
        ran = self.check(MONOREPO)
        self.assertEqual(ran.status, 0)
        self.assertIn("valid; packages: 3, jobs: 3, nodes: 13, edges: ", ran.output)
        document = self.check(MONOREPO, "--json").document
        self.assertEqual((document["valid"], len(document["jobs"])), (True, 3))

    def test_an_invalid_one_is_told_with_lines(self) -> None:
        ran = self.check(NOTE.decode())
        self.assertEqual(ran.status, 1)
        self.assertIn(f"{self.path}:14: error: jobs.tests2: ", ran.output)
        self.assertIn("not valid", ran.output)

    def test_also_what_only_the_expansion_finds(self) -> None:
        ran = self.check(
            "jobs:\n  aa: {run: x, needs: [bb]}\n  bb: {run: x, needs: [aa]}\n"
        )
        self.assertEqual(ran.status, 1)
        self.assertIn("aa -> bb -> aa", ran.output)

    def test_an_included_pipeline_is_looked_at(self) -> None:
        text = "jobs:\n  old: {lpci: .launchpad.yaml}\n"
        self.assertIn("cannot be read", self.check(text).output)
        (self.folder / ".launchpad.yaml").write_text(PIPELINE + "  x: 5\n")
        self.assertIn(".launchpad.yaml, line 5", self.check(text).output)
        (self.folder / ".launchpad.yaml").write_text(PIPELINE)
        self.assertIn("nodes: 2, edges: 1", self.check(text).output)

    def test_the_schema_for_editors_is_printed(self) -> None:
        said = io.StringIO()
        parser = argparse.ArgumentParser()
        check.add(parser.add_subparsers())
        with redirect_stdout(said), self.assertRaises(SystemExit) as caught:
            parser.parse_args(["check", "--json-schema"])
        self.assertEqual(caught.exception.code, 0)
        self.assertEqual(json.loads(said.getvalue()), schema())


class PlanTests(Files):
    def test_the_graph_as_text(self) -> None:
        said = self.plan(MONOREPO).output
        self.assertIn("A/build (arch=amd64,series=noble): runs, unless the farm", said)
        self.assertIn(
            "  after C/build (arch=amd64,series=noble); files in $CI_INPUT_BUILD/C", said
        )
        self.assertIn(
            "  after A/build (arch=arm64,series=noble); files in $CI_INPUT_BUILD\n", said
        )

    def test_the_graph_for_graphviz(self) -> None:
        said = self.plan(MONOREPO, "--graph", "dot").output
        self.assertTrue(said.startswith("digraph run {\n"))
        self.assertIn(
            '[label="A/publish\\nseries=noble", tooltip="', said.replace("\\\\n", "\\n")
        )
        self.assertEqual(
            said.count(" -> "), len(self.plan(MONOREPO, "--json").document["edges"])
        )

    def test_the_graph_for_programs(self) -> None:
        for options in (("--json",), ("--graph", "json")):
            document = self.plan(MONOREPO, *options).document
            self.assertEqual(len(document["nodes"]), 13)
            [edge] = [
                edge
                for edge in document["edges"]
                if document["nodes"][edge["from"]]["name"] == "C/build"
                and document["nodes"][edge["to"]]["name"] == "A/build"
                and document["nodes"][edge["to"]]["cell"]["arch"] == "arm64"
            ]
            self.assertEqual(edge["handed"], {"job": "build", "folder": "C"})

    def test_a_trigger_chooses_jobs(self) -> None:
        text = "jobs:\n  aa: {run: x, trigger: commit}\n  bb: {run: x}\n"
        nodes = self.plan(text, "--json", "--trigger", "release").document["nodes"]
        self.assertEqual([node["name"] for node in nodes], ["bb"])

    def test_the_options_are_for_this_kind_of_file(self) -> None:
        path = self.folder / ".launchpad.yaml"
        path.write_text(PIPELINE)
        with self.assertRaises(CommandMisused):
            run(plan, "plan", str(path), "--graph", "dot")

    def test_what_errors_there_are_is_told(self) -> None:
        ran = self.plan(NOTE.decode(), "--json")
        self.assertEqual((ran.status, ran.document["nodes"]), (1, []))
        self.assertEqual(ran.document["errors"][0]["line"], 14)


class SinceTests(Files):
    """What would be reused, as far as git knows."""

    def setUp(self) -> None:
        super().setUp()
        for name in "abc":
            (self.folder / name).mkdir()
            (self.folder / name / "file").write_text("one")
        self.path.write_text(MONOREPO)
        self.git("init", "-q", "-b", "main")
        self.commit()

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(self.folder), *arguments], check=True)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "x")

    def outlook(self, text: str = MONOREPO, since: str = "main") -> dict[str, str]:
        nodes = self.plan(text, "--json", "--since", since).document["nodes"]
        return {node["name"]: node["outlook"].split(":")[0].split(",")[0] for node in nodes}

    def test_nothing_changed(self) -> None:
        found = self.outlook()
        self.assertEqual(found.pop("A/publish"), "skipped")
        self.assertEqual(set(found.values()), {"reused"})

    def test_a_change_goes_up_the_chain_and_nowhere_else(self) -> None:
        (self.folder / "c" / "new").write_text("two")
        found = self.outlook()
        self.assertEqual(
            {name for name, said in found.items() if said == "runs"},
            {"C/build", "C/test", "A/build", "A/test", "A/publish"},
        )

    def test_what_is_outside_of_the_paths_changes_nothing(self) -> None:
        (self.folder / "README").write_text("two")
        self.assertNotIn("runs", self.outlook().values())

    def test_order_alone_changes_nothing_and_another_script_all(self) -> None:
        text = MONOREPO.replace("rebuild: true", "rebuild: false")
        self.path.write_text(text)
        self.commit()
        (self.folder / "c" / "new").write_text("two")
        found = self.outlook(text)
        self.assertEqual(found["A/build"], "reused")
        found = self.outlook(text.replace("run: make", "run: make all"))
        self.assertEqual(set(found.values()), {"runs"})

    def test_a_revision_that_there_is_not(self) -> None:
        for since in ("nowhere", "--output=x"):
            with self.assertRaises(CommandMisused):
                self.plan(MONOREPO, f"--since={since}")
