"""What ``headrace plan`` prints is what a farm does, in every mode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.farm import Farm, Said, farm, folder_for, headrace, work_tree

CONFIGURATION = """\
pipeline: [build, [test, lint], report]
jobs:
  build:
    series: bookworm
    architectures: amd64
    run: echo "made on amd64" > wheel.txt
    output: {paths: [wheel.txt]}
  test:
    input: {job-name: build, target-directory: from-build}
    run: echo "test has what was $(cat from-build/files/wheel.txt)"
    architectures: [amd64, arm64]
    matrix: [{series: bookworm}, {series: trixie}]
  lint: {series: trixie, architectures: amd64, run: 'true'}
  report:
    series: bookworm
    architectures: [amd64, arm64]
    input: {job-name: build, target-directory: from-build}
    run: echo "report has what was $(cat from-build/files/wheel.txt)"
"""
SERIES = ("--series", "bookworm=12:amd64,arm64", "--series", "trixie=13:amd64,arm64")


def planned(plan: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The builds of a plan, and for what each waits."""
    return sorted(
        (
            build["architecture"],
            build["part"],
            build["series"],
            build["stages"],
            build["stage_numbers"],
            sorted((wait["architecture"], wait["stage"]) for wait in build["waits"]),
        )
        for build in plan["builds"]
    )


class PlanModeTests(TestCase):
    """A farm whose only worker runs two architectures natively."""

    timeout = 180

    async def setUp(self) -> None:  # type: ignore[override]
        folder = folder_for(self) / "farm"
        started = await farm(self, folder=folder)
        await started.stop()
        with (folder / "workers" / "worker-1" / "worker.yaml").open("a") as settings:
            settings.write("architectures: [amd64, arm64]\n")
        self.farm: Farm = await farm(self, folder=folder)

    async def run_mode(self, mode: str) -> tuple[dict[str, Any], Said]:
        """The plan of a tree in this mode, and what its run said."""
        # The same tree would be the same jobs, whatever the mode.
        tree = work_tree(self, CONFIGURATION, mode=mode)
        file = str(Path(tree) / ".launchpad.yaml")
        options = ("--cross-architecture", mode)
        plan = await headrace("plan", file, "--json", *options, *SERIES)
        said = await self.farm.headrace("run", str(tree), *options)
        return json.loads(plan.out), said

    async def _done(self) -> list[tuple[Any, ...]]:
        """The jobs that ran, in the shape of `planned`."""
        jobs = (await self.farm.headrace("jobs", "--json")).document
        whole = [
            (await self.farm.headrace("show", str(job["id"]), "--json")).document[0]
            for job in jobs
        ]
        architectures = {job["id"]: job["architecture"] for job in whole}
        self.assertEqual({job["result"] for job in whole}, {"success"})
        return sorted(
            (
                job["architecture"],
                job["part"],
                job["series"],
                job["stages"],
                job["stage_numbers"],
                sorted((architectures[n["job"]], n["stage"]) for n in job["needs"]),
            )
            for job in whole
        )

    async def _check(self, mode: str) -> None:
        plan, said = await self.run_mode(mode)
        self.assertEqual(said.status, 0, said.all)
        self.assertTrue(any(build["waits"] for build in plan["builds"]), plan)
        self.assertEqual(await self._done(), planned(plan))
        # Files cross from one architecture to another.
        self.assertEqual(said.all.count("test has what was made on amd64"), 4)
        self.assertEqual(said.all.count("report has what was made on amd64"), 2)

    async def test_orchestrate(self) -> None:
        await self._check("orchestrate")

    async def test_barrier(self) -> None:
        await self._check("barrier")

    async def test_refuse(self) -> None:
        plan, said = await self.run_mode("refuse")
        self.assertEqual(plan["builds"], [])
        self.assertEqual(said.status, 1, said.all)
        self.assertTrue(plan["errors"])
        for error in plan["errors"]:
            self.assertIn("arm64", error["message"])
            self.assertIn(error["message"], said.all)
        self.assertEqual((await self.farm.headrace("jobs", "--json")).document, [])
