from __future__ import annotations

import hashlib
import json
import os
import signal

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from buildmaster.cli.problems import CommandMisused
from buildmaster.cli.run import read_series_images
from tests.buildmaster.client.scripted_farm import ScriptedFarm, document, problem, streamed
from tests.farm import (
    Command,
    Said,
    environment,
    folder_for,
    headrace,
    processes_of,
    work_tree,
)

SLEEPS = """\
pipeline: [nap]
jobs:
  nap:
    series: bookworm
    architectures: [amd64, arm64]
    run: 'printf "\\033[2J\\033[32mgoing to sleep\\n"; sleep 600'
"""


class OwnFarmTests(TestCase):
    """With a farm that lives as long as the command."""

    timeout = 120

    def setUp(self) -> None:
        """A folder for everything temporary, and a tree whose job does not end."""
        self.temporary = folder_for(self)
        self.tree = work_tree(self, SLEEPS)
        self.environment = environment(TMPDIR=str(self.temporary))

    async def test_a_second_interrupt_leaves_at_once_and_leaves_nothing(self) -> None:
        command = Command("run", str(self.tree), env=self.environment)
        await command.until("going to sleep\n")
        command.signal(signal.SIGINT)
        await command.until("again to leave")
        command.signal(signal.SIGINT)
        # Cancelling may have been faster than the second interrupt.
        self.assertIn(await command.ended, (130, 1), command.said)
        self.assertEqual(processes_of(self.temporary), [])
        self.assertEqual(list(self.temporary.iterdir()), [])

    async def test_an_interrupt_while_it_starts_leaves_nothing(self) -> None:
        command = Command("run", str(self.tree), env=self.environment)
        await command.until("Starting a farm")
        command.signal(signal.SIGTERM)
        self.assertEqual(await command.ended, 130, command.said)
        self.assertEqual(processes_of(self.temporary), [])
        self.assertEqual(list(self.temporary.iterdir()), [])

    async def test_killed_it_leaves_no_process(self) -> None:
        command = Command("run", str(self.tree), env=self.environment)
        await command.until("going to sleep\n")
        command.signal(signal.SIGKILL)
        await command.ended
        while processes_of(self.temporary):
            await deferLater(reactor, 0.02)

    async def test_a_daemon_that_dies_is_named(self) -> None:
        command = Command("run", str(self.tree), env=self.environment)
        await command.until("going to sleep\n")
        [path] = self.temporary.glob("headrace-*/buildmaster.pid")
        os.kill(int(path.read_text()), signal.SIGKILL)
        self.assertEqual(await command.ended, 1, command.said)
        self.assertIn("The buildmaster was ended by SIGKILL", command.said)
        self.assertEqual(processes_of(self.temporary), [])


class OtherFarmTests(TestCase):
    """With the farm that HEADRACE_URL names; here one that says what the test tells it."""

    timeout = 60

    def setUp(self) -> None:
        """A farm that runs everything at once, and a tree."""
        self.farm = ScriptedFarm(self)
        self.tree = work_tree(self, SLEEPS)
        self.environment = environment(HEADRACE_URL=self.farm.url, HEADRACE_TOKEN="t")
        self.farm.answers["GET /api/v1/events"] = streamed(b": hello\n\n")
        self.farm.answers["POST /api/v1/runs"] = document(
            {
                "run": 3,
                "source_digest": "sha256:ab",
                "jobs": [],
                "skipped": [],
                "notes": [],
            },
            201,
        )
        self.run_ends("success")

    def run_ends(self, result: str) -> None:
        """How the run ends."""
        self.farm.answers["GET /api/v1/runs/3"] = document(
            {"id": 3, "state": "done", "result": result, "jobs": []}
        )

    async def headrace_run(self, *options: str) -> Said:
        """Run it to its end."""
        return await headrace("run", str(self.tree), *options, env=self.environment)

    async def test_the_tree_is_sent_unless_the_farm_has_it(self) -> None:
        said = await self.headrace_run()
        self.assertEqual(said.status, 1, said.all)
        asked = [target for target, _ in self.farm.heard]
        sha256 = asked[0].rpartition("/")[2]
        artifact = f"/api/v1/artifacts/{sha256}"
        self.assertEqual(asked, [f"HEAD {artifact}", f"PUT {artifact}"])
        archive = self.farm.heard[1][1]
        self.assertEqual(hashlib.sha256(archive).hexdigest(), sha256)
        self.farm.heard.clear()
        self.farm.answers[f"HEAD {artifact}"] = lambda request: b""
        said = await self.headrace_run()
        self.assertEqual(said.status, 0, said.all)
        [submission] = [body for target, body in self.farm.heard if "POST" in target]
        source = json.loads(submission)["source"]
        self.assertEqual((source["kind"], source["sha256"]), ("tree", sha256))
        self.assertTrue(source["name"].startswith("worktree/"), source)
        self.assertNotIn(f"PUT {artifact}", [target for target, _ in self.farm.heard])

    async def test_only_a_run_that_passed_ends_with_zero(self) -> None:
        await self.headrace_run()
        head = self.farm.heard[0][0]
        self.farm.answers[head] = lambda request: b""
        for result, status in (("success", 0), ("reused", 0), ("failure", 1), ("unrun", 1)):
            self.run_ends(result)
            said = await self.headrace_run()
            self.assertEqual(said.status, status, said.all)

    async def test_settings_of_an_own_farm_make_no_sense_for_another_one(self) -> None:
        for options in (["--keep"], ["--data", "x"], ["--series-image", "a=b"]):
            said = await self.headrace_run(*options)
            self.assertEqual((said.status, self.farm.heard), (2, []), said.all)

    async def test_a_missing_configuration_is_told_before_anything_is_sent(self) -> None:
        said = await self.headrace_run("--config", "other.yaml")
        self.assertEqual(said.status, 1)
        self.assertIn("There is no other.yaml in", said.err)
        self.assertEqual(self.farm.heard, [])

    async def test_a_refusal_of_the_farm_is_the_end(self) -> None:
        await self.headrace_run()
        self.farm.answers[self.farm.heard[0][0]] = lambda request: b""
        self.farm.answers["POST /api/v1/runs"] = problem(422, "The file has an error.")
        said = await self.headrace_run()
        self.assertEqual((said.status, said.err), (1, "headrace: The file has an error.\n"))


class SeriesImageTests(SynchronousTestCase):
    def test_pairs_are_a_mapping(self) -> None:
        self.assertEqual(read_series_images(["a=b", "c=d"]), {"a": "b", "c": "d"})

    def test_anything_else_is_wrong_usage(self) -> None:
        for pair in ("a", "a=", "=b", ""):
            self.assertRaises(CommandMisused, read_series_images, [pair])
