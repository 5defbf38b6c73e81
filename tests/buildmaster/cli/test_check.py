from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli import check
from buildmaster.cli.problems import CommandMisused
from tests import vectors
from tests.buildmaster.cli.commands import Ran, run

VALID = """\
pipeline: [lint, [unit]]
jobs:
  lint: {series: jammy, architectures: amd64, run: x, output: {expires: 1:00:00}}
  unit: {series: jammy, architectures: amd64, run: y}
license: {spdx: MIT}
"""
INVALID = VALID.replace("run: x", "run: 5").replace("run: y", "pakages: [a]")


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def check(self, text: str, *options: str) -> Ran:
        self.path.write_text(text, encoding="utf-8")
        return run(check, "check", str(self.path), *options)

    def test_a_valid_file_is_shown_expanded(self) -> None:
        ran = self.check(VALID, "--json")
        self.assertEqual(ran.status, 0)
        document = ran.document
        self.assertEqual(document["valid"], True)
        self.assertEqual(document["pipeline"], [["lint"], ["unit"]])
        self.assertEqual(document["license"], {"spdx": "MIT", "path": None})
        self.assertEqual(
            document["jobs"]["lint"][0]["output"]["expires"], {"seconds": 3600}
        )
        self.assertEqual((document["errors"], document["warnings"]), ([], []))

    def test_an_invalid_file_shows_every_error_and_no_jobs(self) -> None:
        ran = self.check(INVALID, "--json")
        self.assertEqual(ran.status, 1)
        document = ran.document
        self.assertEqual(
            (document["valid"], document["pipeline"], document["jobs"]), (False, None, None)
        )
        self.assertEqual(
            [(error["where"], error["line"]) for error in document["errors"]],
            [("jobs.lint.0.run", 3), ("jobs.unit.0.pakages", 4)],
        )

    def test_people_get_a_line_for_each_problem(self) -> None:
        ran = self.check(INVALID)
        self.assertEqual(ran.status, 1)
        self.assertIn(f"{self.path}:4: error: jobs.unit.0.pakages: ", ran.output)
        self.assertIn("did you mean packages?", ran.output)
        self.assertIn("valid; stages: 2, jobs: 2", self.check(VALID).output)

    def test_the_same_slip_in_many_places_is_one_line_for_people(self) -> None:
        text = VALID.replace("run: y", "run: 5, matrix: [{}, {}, {}]")
        ran = self.check(text)
        self.assertEqual(ran.output.count("error:"), 1)
        self.assertIn("2 more places", ran.output)

    def test_compatibly_it_only_warns(self) -> None:
        text = VALID.replace("[lint, [unit]]", "[lint, [unit], ghost]")
        self.assertEqual(self.check(text).status, 1)
        ran = self.check(text, "--lpci-compatible", "--json")
        self.assertEqual(ran.status, 0)
        self.assertEqual(ran.document["warnings"][0]["where"], "pipeline.2.0")

    def test_a_file_that_cannot_be_read_is_wrong_usage(self) -> None:
        for path in ("missing", "/", "a\0b"):
            error = self.assertRaises(CommandMisused, run, check, "check", path)
            self.assertEqual(error.status, 2)
        usage = self.assertRaises(SystemExit, run, check, "check")
        self.assertEqual(usage.code, 2)

    def test_an_endless_file_is_refused(self) -> None:
        ran = run(check, "check", "/dev/zero")
        self.assertEqual(ran.status, 1)
        self.assertIn("KiB", ran.output)

    def test_names_of_strangers_stay_on_their_line(self) -> None:
        ran = self.check('pipeline: [unit]\njobs: {"a\\e[2Jb\\nc": 5, "\u202e": 5}\n')
        self.assertNotIn("\x1b", ran.output)
        *problems, summary = ran.output.splitlines()
        self.assertIn("not valid", summary)
        self.assertEqual(len(problems), 5)
        for problem in problems:
            self.assertTrue(problem.startswith(str(self.path)), problem)

    def test_the_shape_is_that_of_the_vectors(self) -> None:
        for case in vectors.cases(self, "lpci_config.json"):
            ran = self.check(case["config"], "--json", "--lpci-compatible")
            self.assertEqual(ran.status, 0 if case["valid"] else 1, case["name"])
            if case["valid"]:
                document = ran.document
                shown = {key: document[key] for key in ("pipeline", "jobs", "license")}
                self.assertEqual(shown, case["expected"], case["name"])

    def test_the_command_needs_neither_reactor_nor_database(self) -> None:
        code = (
            "import sys; import buildmaster.cli.check, buildmaster.cli.plan;"
            "print([m for m in sys.modules if m.split('.')[0] in"
            " ('twisted', 'psycopg2', 'txpostgres')])"
        )
        root = Path(__file__).resolve().parents[3]
        ran = subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(ran.stdout.strip(), "[]")
