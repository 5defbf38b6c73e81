from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli import plan
from buildmaster.cli.problems import CommandFailed, CommandMisused
from tests import vectors
from tests.buildmaster.cli.commands import Ran, run

WIDENING = """\
pipeline: [lint, build]
jobs:
  lint: {series: jammy, architectures: amd64, run: x}
  build: {series: jammy, architectures: [amd64, arm64], run: y}
"""
#: What amd64 makes, arm64 takes and does not wait for.
LATE_INPUT = """\
pipeline: [[make, other], both, take]
jobs:
  make: {series: jammy, architectures: amd64, run: x, output: {paths: [x]}}
  other: {series: jammy, architectures: arm64, run: x}
  both: {series: jammy, architectures: [amd64, arm64], run: x}
  take:
    series: jammy
    architectures: arm64
    run: x
    input:
      target-directory: t
      job-name: make
"""
LATE_INPUT_AT = ("jobs.take.0.input.job-name", 12)


class PlanTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def plan(self, text: str, *options: str) -> Ran:
        self.path.write_text(text)
        return run(plan, "plan", str(self.path), *options)

    def test_builds_are_shown_with_what_they_wait_for(self) -> None:
        ran = self.plan(WIDENING, "--json")
        self.assertEqual(ran.status, 0)
        self.assertEqual(
            ran.document["builds"],
            [
                {
                    "architecture": "amd64",
                    "part": 0,
                    "series": "jammy",
                    "stages": [[["lint", 0]], [["build", 0]]],
                    "stage_numbers": [0, 1],
                    "waits": [],
                },
                {
                    "architecture": "arm64",
                    "part": 0,
                    "series": "jammy",
                    "stages": [[["build", 0]]],
                    "stage_numbers": [1],
                    "waits": [{"architecture": "amd64", "stage": 0}],
                },
            ],
        )
        self.assertEqual((ran.document["skipped"], ran.document["errors"]), ([], []))

    def test_a_refusal_builds_nothing_and_has_its_line(self) -> None:
        ran = self.plan(WIDENING, "--json", "--cross-architecture", "refuse")
        self.assertEqual(ran.status, 1)
        self.assertEqual(ran.document["builds"], [])
        [error] = ran.document["errors"]
        self.assertEqual((error["where"], error["line"]), ("pipeline.1", 1))

    def test_an_input_that_comes_too_late_and_an_empty_pipeline_have_their_lines(
        self,
    ) -> None:
        ran = self.plan(LATE_INPUT, "--json")
        self.assertEqual((ran.status, ran.document["builds"]), (1, []))
        [error] = ran.document["errors"]
        self.assertEqual((error["where"], error["line"]), LATE_INPUT_AT)
        ran = self.plan("# nothing\npipeline: []\njobs: {}\n", "--json")
        [error] = ran.document["errors"]
        self.assertEqual((error["where"], error["line"]), ("pipeline", 2))

    def test_barrier_cuts_and_waits(self) -> None:
        text = WIDENING.replace("[lint, build]", "[build, lint]")
        ran = self.plan(text, "--json", "--cross-architecture", "barrier")
        self.assertEqual(
            [(one["architecture"], one["part"]) for one in ran.document["builds"]],
            [("amd64", 0), ("amd64", 1), ("arm64", 0)],
        )
        warned = self.plan(text, "--json").document["warnings"]
        self.assertEqual(warned[0]["where"], "pipeline.1")

    def test_a_list_of_series_replaces_the_usual_one(self) -> None:
        ran = self.plan(WIDENING, "--json", "--series", "jammy=22.04:amd64,s390x")
        [skipped] = ran.document["skipped"]
        self.assertEqual(skipped["architecture"], "arm64")
        self.assertEqual(skipped["jobs"], ["build:0"])
        self.assertIn("no usable series for arm64", skipped["reason"])
        ran = self.plan(WIDENING, "--json", "--series", "focal=20.04")
        self.assertEqual((ran.status, ran.document["builds"]), (0, []))
        ran = self.plan(WIDENING, "--json", "--series", "jammy=1", "--series", "focal=2")
        self.assertEqual(len(ran.document["builds"]), 2)

    def test_wrong_usage_is_told_apart(self) -> None:
        for options in (
            ("--series", "jammy"),
            ("--series", "=22.04"),
            ("--series", "jammy=:amd64"),
            ("--cross-architecture", "never"),
        ):
            usage = self.assertRaises(SystemExit, self.plan, WIDENING, *options)
            self.assertEqual(usage.code, 2)
        twice = ("--series", "jammy=1", "--series", "jammy=2")
        self.assertRaises(CommandMisused, self.plan, WIDENING, *twice)
        self.assertRaises(CommandMisused, run, plan, "plan", "missing")

    def test_an_invalid_file_has_the_errors_of_check_and_no_builds(self) -> None:
        ran = self.plan(WIDENING.replace("run: x", "run: 5"), "--json")
        self.assertEqual((ran.status, ran.document["builds"]), (1, []))
        self.assertEqual(ran.document["errors"][0]["where"], "jobs.lint.0.run")

    def test_a_file_with_unknown_keys_is_planned_and_its_errors_told(self) -> None:
        ran = self.plan(WIDENING.replace("run: x", "bogus: 1"), "--json")
        self.assertEqual(ran.status, 1)
        self.assertEqual(len(ran.document["builds"]), 2)
        self.assertEqual(ran.document["errors"][0]["where"], "jobs.lint.0.bogus")

    def test_people_see_stages_waits_and_what_is_skipped(self) -> None:
        output = self.plan(WIDENING, "--series", "jammy=22.04:arm64").output
        self.assertIn("amd64, skipped: no usable series for amd64", output)
        self.assertIn("arm64, skipped: waits for stage 0 on amd64", output)
        output = self.plan(WIDENING).output
        self.assertIn("arm64, in jammy\n  waits for stage 0 on amd64\n", output)
        self.assertIn("  stage 1: build:0\n", output)
        self.assertIn("nothing would be built", self.plan(
            WIDENING.replace("amd64", "[]").replace("[[], arm64]", "[]")
        ).output)  # fmt: skip

    def test_stage_lists_are_as_agreed(self) -> None:
        for case in vectors.cases(self, "stage_lists.json"):
            options = ["--json", "--cross-architecture", "refuse"]
            for one in case["supported_series"]:
                names = ",".join(one["buildable_architectures"])
                options += ["--series", f"{one['name']}={one['version']}:{names}"]
            ran = self.plan(case["config"], *options)
            got = [
                {"series": b["series"], "arch": b["architecture"], "stages": b["stages"]}
                for b in ran.document["builds"]
            ]
            self.assertEqual(got, case["expected"].get("builds", []), case["name"])


class FarmSeriesTests(SynchronousTestCase):
    """With a farm, its series are what is planned for."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def plan(self, text: str, *options: str) -> Ran:
        self.path.write_text(text)
        return run(plan, "plan", str(self.path), *options)

    def _serve(self, body: bytes) -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Answer)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = f"http://127.0.0.1:{server.server_address[1]}"
        self.patch(os, "environ", {**os.environ, "HEADRACE_URL": url})

    def _offer(self, isolation: str, architecture: str, *series: str) -> dict[str, object]:
        return {"isolation": isolation, "architecture": architecture, "series": series}

    def test_only_what_the_farm_has_is_planned(self) -> None:
        offers = [
            self._offer("chroot", "amd64", "jammy"),
            self._offer("native", "arm64", "*"),
        ]
        worker = {"name": "ant", "state": "connected", "offers": offers, "tags": []}
        self._serve(json.dumps({"workers": [worker], "cursor": "1-1"}).encode())
        both = self.plan(WIDENING, "--json").document["builds"]
        self.assertEqual([build["architecture"] for build in both], ["amd64", "arm64"])
        found = self.plan(WIDENING, "--json", "--isolation", "chroot").document
        self.assertEqual([build["architecture"] for build in found["builds"]], ["amd64"])
        self.assertEqual([each["architecture"] for each in found["skipped"]], ["arm64"])
        told = self.plan(WIDENING, "--json", "--series", "jammy=22.04:arm64,amd64")
        self.assertEqual(len(told.document["builds"]), 2)

    def test_a_farm_that_makes_no_sense_is_named(self) -> None:
        for body in (b"", b"[]", b"<html>", b'{"workers": [{}]}'):
            self._serve(body)
            with self.assertRaisesRegex(CommandFailed, "does not say which series"):
                self.plan(WIDENING)

    def test_a_farm_that_is_away_is_named(self) -> None:
        self.patch(os, "environ", {**os.environ, "HEADRACE_URL": "http://127.0.0.1:9"})
        with self.assertRaisesRegex(CommandFailed, "127.0.0.1:9"):
            self.plan(WIDENING)
