"""The use cases of jobs that refer to each other, each example on a whole farm.

Each also when something before it fails, is cancelled, is retried, and is run again.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.referring import TwoArchitectures

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "references"
Cells = dict[tuple[str, str], dict[str, Any]]


class UseCase(TwoArchitectures):
    """One example, as a repository."""

    def use(self, example: str) -> None:
        shutil.copytree(EXAMPLES / example, self.folder, dirs_exist_ok=True)
        self.commit()

    def guard(self, script: str, when_shut: str) -> Path:
        """Let a script of the example do something else, until a file is there."""
        gate = self.folder.parent / f"{self.folder.name}-{script}-may-go"
        path = self.folder / script
        first, *rest = path.read_text().splitlines(keepends=True)
        path.write_text(f"{first}test -e {gate} || {when_shut}\n{''.join(rest)}")
        self.commit()
        return gate

    async def cells(self, run: int) -> Cells:
        """The jobs of a run that is over, by name and cell."""
        await self.done(run)
        return {(job["name"], job["cell"]): job for job in (await self.run_of(run))["jobs"]}

    async def results(self, run: int, name: str) -> list[str]:
        cells = await self.cells(run)
        return sorted(
            job["result"] for (job_name, _), job in cells.items() if job_name == name
        )

    async def goes_through_trouble(
        self, script: str, up: str, down: str, count: int, *options: str
    ) -> None:
        """``up`` fails, is retried, is cancelled, is run again: and ``down`` with it."""
        gate = self.guard(script, "exit 1")
        run = await self.submit(*options)
        cells = await self.cells(run)
        self.assertEqual(await self.results(run, down), ["unrun"] * count)
        failed = {
            job["id"]: name
            for (name, _), job in cells.items()
            if job["result"] == "failure"
        }
        causes = {job["root_cause"] for (name, _), job in cells.items() if name == down}
        self.assertTrue(causes <= set(failed))
        self.assertTrue(
            all(name.endswith(up) for name in failed.values()) or up == "build1"
        )

        # Retried: those that never ran because of it follow. The others are run again.
        gate.touch()
        await self.ask("retry", str(min(causes)))
        await self.done(run)
        if (await self.run_of(run))["result"] != "success":
            await self.ask("rerun", str(run), "--failed")
        self.assertEqual(await self.results(run, down), ["success"] * count)
        said = await self.ask("rerun", str(run), "--failed", status=1)
        self.assertIn("Nothing of run", said.all)

        # Cancelled while it runs.
        gate.unlink()
        text = (self.folder / script).read_text()
        (self.folder / script).write_text(text.replace("exit 1", "sleep 1000"))
        self.commit()
        run = await self.submit(*options)
        while not (jobs := await self.of_state(run, "running")):
            pass
        while jobs := await self.of_state(run, "ready", "assigned", "running"):
            for job in jobs:
                await self.ask("cancel", str(job["id"]))
        self.assertIn("cancelled", (await self.done(run)).results.values())
        self.assertEqual(await self.results(run, down), ["unrun"] * count)
        gate.touch()
        await self.ask("rerun", str(run), "--failed")
        self.assertEqual(await self.results(run, down), ["success"] * count)
        self.assertEqual((await self.run_of(run))["result"], "success")

    async def of_state(self, run: int, *states: str) -> list[dict[str, Any]]:
        """The jobs of a run that are in one of the states."""
        jobs = (await self.run_of(run))["jobs"]
        return [
            job for job in jobs if job["state"] in states and not job["cancel_asked_at"]
        ]


class SourceThenBuildsTests(UseCase):
    """(a)"""

    async def test_every_build_is_of_the_one_source(self) -> None:
        self.use("source-then-builds")
        run = await self.submit()
        cells = await self.cells(run)
        self.assertEqual(await self.results(run, "copr"), ["success"] * 4)
        [job] = (await self.ask("show", str(cells["copr", "arch=arm64,series=jammy"]["id"]),
                                "--json")).document  # fmt: skip
        [file] = job["pipeline_jobs"][0]["artifacts"]
        self.assertEqual(file["path"], "hello-arm64-jammy.rpm")
        self.assertEqual(job["needs"][0]["handed"], [{"job": "srpm"}])

    async def test_in_trouble(self) -> None:
        self.use("source-then-builds")
        await self.goes_through_trouble("mk-srpm", "srpm", "copr", 4)


class TestsPerTargetTests(UseCase):
    """(b)"""

    async def test_each_target_is_tested_with_its_own_build(self) -> None:
        self.use("tests-per-target")
        run = await self.submit()
        self.assertEqual(await self.results(run, "tests"), ["success"] * 4)

    async def test_a_missing_build_is_started(self) -> None:
        self.use("tests-per-target")
        gate = self.guard("build", 'test "$CI_CELL_ARCH" = amd64 || exit 1')
        run = await self.submit()
        self.assertEqual(await self.results(run, "tests"), ["success"] * 2 + ["unrun"] * 2)
        gate.touch()
        cell = "arch=arm64,series=noble"
        said = await self.ask("rerun", str(run), "--job", "tests", "--cell", cell)
        self.assertIn("as well", said.all)
        cells = await self.cells(run)
        self.assertEqual(cells["tests", cell]["result"], "success")
        self.assertEqual(cells["copr", cell]["attempt"], 2)
        # Of what was not meant nothing was run.
        self.assertEqual(cells["tests", "arch=arm64,series=jammy"]["result"], "unrun")

    async def test_in_trouble(self) -> None:
        self.use("tests-per-target")
        await self.goes_through_trouble("build", "copr", "tests", 4)


class NamedBuildsTests(UseCase):
    """(c)"""

    async def test_each_tests_the_build_that_it_names(self) -> None:
        self.use("named-builds")
        run = await self.submit("--trigger", "pull_request")
        for name in ("tests1", "tests2"):
            self.assertEqual(await self.results(run, name), ["success"])
        said = await self.ask("submit", str(self.folder), "--trigger", "release", status=1)
        self.assertIn("no job in this run", said.all)

    async def test_in_trouble(self) -> None:
        self.use("named-builds")
        await self.goes_through_trouble(
            "build", "build1", "tests1", 1, "--trigger", "pull_request"
        )


class MonorepoTests(UseCase):
    """(d)"""

    async def test_what_has_changed_is_built_and_published(self) -> None:
        self.use("monorepo")
        first = await self.submit()
        self.assertEqual(await self.results(first, "A/publish"), ["success"])
        self.commit(c__text="another text\n")
        run = await self.submit()
        self.assertEqual(await self.results(run, "B/build"), ["reused"] * 2)
        self.assertEqual(await self.results(run, "C/build"), ["success"] * 2)
        self.assertEqual(await self.results(run, "A/test"), ["success"] * 2)
        cells = await self.cells(run)
        self.assertIn("publish A C\n", await self.log(cells["A/publish", "series=noble"]))
        self.commit(README="nothing that counts\n")
        run = await self.submit()
        self.assertEqual(await self.results(run, "A/publish"), ["skipped"])
        said = await self.ask("rerun", str(run), "--failed", status=1)
        self.assertIn("Nothing of run", said.all)

    async def test_in_trouble(self) -> None:
        self.use("monorepo")
        await self.goes_through_trouble("check", "/test", "A/publish", 1)


class SideTagTests(UseCase):
    """(e)"""

    async def test_the_last_of_two_repositories_publishes_both(self) -> None:
        self.use("side-tag/bar")
        gate = self.guard("build", "exit 1")
        run = await self.submit()
        self.assertEqual(await self.results(run, "publish"), ["unrun"])
        gate.touch()
        await self.ask("rerun", str(run), "--failed")
        [publish] = [j for j in (await self.run_of(run))["jobs"] if j["name"] == "publish"]
        waiting = await self.until(publish["id"], "parked")
        self.assertIn("foo is missing from the collection side-tag/foo-bar since",
                      waiting["parked_for"])  # fmt: skip

        own = self.folder
        self.folder = own.parent / "foo"
        self.folder.mkdir()
        self.git("init", "-q", "-b", "main")
        self.use("side-tag/foo")
        gate = self.guard("build", "exit 1")
        other = await self.submit()
        self.assertEqual(await self.results(other, "build"), ["failure"])
        self.assertEqual((await self.until(publish["id"], "parked"))["state"], "parked")
        gate.touch()
        await self.ask("rerun", str(other), "--failed")
        await self.done(run)
        ended = await self.until(publish["id"], "done")
        self.assertEqual(ended["result"], "success")
        self.assertIn("this is foo\nthis is bar\n", await self.log(ended))
        for one in (run, other):
            said = await self.ask("rerun", str(one), "--failed", status=1)
            self.assertIn(f"Nothing of run {one} is run again", said.all)

        # Both are there: the next one waits for nobody.
        self.folder = own
        self.commit(README="x")
        self.assertEqual(await self.results(await self.submit(), "publish"), ["success"])

    async def test_one_that_waits_can_be_cancelled(self) -> None:
        self.use("side-tag/bar")
        run = await self.submit()
        [publish] = [j for j in (await self.run_of(run))["jobs"] if j["name"] == "publish"]
        await self.until(publish["id"], "parked")
        await self.ask("cancel", str(publish["id"]))
        self.assertEqual(await self.results(run, "publish"), ["cancelled"])
        # Tried again, it waits again.
        await self.ask("retry", str(publish["id"]))
        waiting = await self.until(publish["id"], "parked")
        self.assertIn("foo is missing", waiting["parked_for"])


class BuildOnceTests(UseCase):
    """(f)"""

    async def test_the_one_wheel_is_tested_everywhere(self) -> None:
        self.use("build-once-test-everywhere")
        run = await self.submit()
        cells = await self.cells(run)
        self.assertEqual(await self.results(run, "test"), ["success"] * 2)
        said = await self.log(cells["test", "arch=arm64,series=noble"])
        self.assertIn("built on amd64", said)

    async def test_in_trouble(self) -> None:
        self.use("build-once-test-everywhere")
        await self.goes_through_trouble("build", "build-wheel", "test", 2)


CROSSING = """\
pipeline: [wheel, test, report]
jobs:
  wheel:
    series: noble
    architectures: amd64
    run: echo "made on amd64, try $(cat ../../try 2>/dev/null)" > wheel
    output: {paths: [wheel]}
  test:
    series: noble
    architectures: [amd64, arm64]
    input: {job-name: wheel, target-directory: in}
    run: cat in/files/wheel > tested; test -e GATE
    output: {paths: [tested]}
  report:
    series: noble
    architectures: [amd64, arm64]
    input: {job-name: test, target-directory: in}
    run: cat in/files/tested
"""


class CrossingTests(UseCase):
    """A pipeline of stages, some of which are waited for on another architecture."""

    async def test_outputs_of_a_stage_reach_the_other_architecture(self) -> None:
        gate = self.folder.parent / "gate"
        (self.folder / ".launchpad.yaml").write_text(CROSSING.replace("GATE", str(gate)))
        self.commit()
        run = await self.submit()
        jobs = {job["architecture"]: job for job in (await self.run_of(run))["jobs"]}
        await self.done(run)
        for arch in ("amd64", "arm64"):
            self.assertEqual(
                (await self.until(jobs[arch]["id"], "done"))["result"], "failure"
            )
        # The stage passed, and stays so: only what comes after it runs again.
        gate.touch()
        for job in jobs.values():
            await self.ask("retry", str(job["id"]))
        for arch, count in (("amd64", 3), ("arm64", 2)):
            ended = await self.until_attempt(jobs[arch]["id"], 2)
            self.assertEqual(ended["result"], "success", ended["reason"])
            self.assertEqual(len(ended["pipeline_jobs"]), count)
            self.assertIn("made on amd64", await self.log(ended))
        kept = [p["kept_from"] for p in ended["pipeline_jobs"] if p["name"] == "wheel"]
        self.assertEqual(kept, [])
        [found] = (await self.ask("show", str(jobs["amd64"]["id"]), "--json")).document
        self.assertEqual(
            [(p["name"], p["kept_from"]) for p in found["pipeline_jobs"]],
            [("wheel", 1), ("test", None), ("report", None)],
        )

    async def until_attempt(self, job: int, number: int) -> dict[str, Any]:
        while (found := await self.until(job, "done"))["attempt"] != number:
            pass
        return found


DURABLE = """\
pipeline: [wheel, test, report, again]
jobs:
  wheel:
    series: noble
    architectures: ARCHITECTURES
    run: echo "made on $(date +%N)" | tee wheel | tee -a MARKS
    output: {paths: [wheel], properties: {kind: of-wheels}}
  test:
    series: noble
    architectures: [amd64, arm64]
    input: {job-name: wheel, target-directory: in}
    run: |
      cat in/files/wheel in/properties; echo it waits
      until test -e GATE; do sleep 0.05; done
      echo "tested on $(date +%N)" | tee tested
    output: {paths: [tested]}
  report:
    series: noble
    architectures: [amd64, arm64]
    input: {job-name: test, target-directory: in}
    run: cat in/files/tested
  again:
    series: noble
    architectures: [amd64, arm64]
    input: {job-name: wheel, target-directory: in}
    run: cat in/files/wheel
"""


class DurableStagesTests(UseCase):
    """A worker's machine is lost, and its disk, after a stage passed that two wait for."""

    async def goes_on(self, architectures: str, *options: str) -> None:
        """Lose the machine while the second stage waits at a gate."""
        gate, marks = (self.folder.parent / f"{self.id()}-{n}" for n in ("gate", "marks"))
        text = DURABLE.replace("ARCHITECTURES", architectures)
        text = text.replace("GATE", str(gate)).replace("MARKS", str(marks))
        (self.folder / ".launchpad.yaml").write_text(text)
        self.commit()
        run = await self.submit(*options)
        before = await self.at_the_gate(run, 1)
        await self.worker.lose()
        self.new_worker()
        self.assertEqual(await self.at_the_gate(run, 2), before)
        gate.touch()
        await self.done(run)
        # None of the first stage ran again.
        made = marks.read_text().splitlines()
        self.assertEqual(len(made), architectures.count("64"))
        said = {"amd64": "", "arm64": ""}
        for job in (await self.run_of(run))["jobs"]:
            [ended] = (await self.ask("show", str(job["id"]), "--json")).document
            self.assertEqual(ended["result"], "success", ended["reason"])
            self.assertEqual(ended["attempt"], 2 if job["id"] in before else 1)
            for part in ended["pipeline_jobs"]:
                is_kept = part["name"] == "wheel" and ended["attempt"] == 2
                self.assertEqual(part["kept_from"], 1 if is_kept else None, part)
            said[job["architecture"]] += await self.log(ended)
        for text in said.values():
            # Its own test's result, and the wheel in each stage that takes it.
            [tested] = set(re.findall(r"^tested on .*$", text, re.MULTILINE))
            self.assertEqual(text.count(f"\n{tested}\n"), 2, text)
            [wheel] = set(re.findall(r"^made on .*$", text, re.MULTILINE))
            self.assertIn(wheel, made)

    async def at_the_gate(self, run: int, attempt: int) -> list[int]:
        """The builds that wait in the second stage, once both do."""
        while True:
            found = []
            for job in (await self.run_of(run))["jobs"]:
                if job["state"] == "running" and job["attempt"] == attempt:
                    said = await self.log(job)
                    if "it waits" in said:
                        self.assertIn("of-wheels", said)
                        found.append(job["id"])
            if len(found) == 2:
                return sorted(found)
            await deferLater(reactor, 0.2)

    async def test_what_waits_on_another_architecture_has_it_still(self) -> None:
        await self.goes_on("amd64")

    async def test_so_it_is_where_every_stage_waits_for_all(self) -> None:
        """Each build is cut into parts, one for each stage, of which it sees all before."""
        await self.goes_on("[amd64, arm64]", "--cross-architecture", "barrier")
