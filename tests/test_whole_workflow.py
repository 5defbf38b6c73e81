"""The handler of the example, on a master that is killed again and again.

``HEADRACE_LONG=1`` plays 1,000 runs, ``HEADRACE_RUNS=N`` another number of them, and
``HEADRACE_SEED=N`` others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import urlopen

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from buildmaster.client.workflows import Workflows
from buildmaster.workflow.testing import crash_everywhere, replay
from tests.buildmaster.source.repository import Repository
from tests.fake_copr import fails
from tests.farm import Farm, Said, environment, farm, folder_for, headrace
from tests.laws import IS_LONG
from tests.masters import MasterHome, free_port
from tests.postgres import fresh_database

CHECKOUT = Path(__file__).resolve().parent.parent
EXAMPLE = CHECKOUT / "examples" / "workflow-build-handler"
SECRET = "the secret of the webhook copr"
RUNS = int(os.environ.get("HEADRACE_RUNS", "1000" if IS_LONG else "20"))
SEED = int(os.environ.get("HEADRACE_SEED", "1"))
#: Workflows that are under way at a time, and kills while they are.
BATCH, KILLS = 20, 4
CHROOTS = ["fedora-42-x86_64", "fedora-42-aarch64"]
#: A repository of an update: what is published is noted in a file.
UPDATE = """\
jobs:
  build:
    run: echo {name} > {name}.deb
    output: {{paths: ["*.deb"]}}
    provides: {{collection: side-tag/x, as: {name}}}
  test: {{needs: [build], run: grep {name} $CI_INPUT_BUILD/{name}.deb}}
  publish: {{needs: [test], trigger: update, run: echo {name} >> {published}}}
"""


class WorkflowTests(TestCase):
    timeout = 3600 if IS_LONG else 300
    here: Farm
    python_path: str

    async def setUp(self) -> None:  # type: ignore[override]
        self.example = folder_for(self) / "example"
        ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
        shutil.copytree(EXAMPLE, self.example, ignore=ignored)
        self.dsn = await fresh_database(self)

    def copr(self, hook: str) -> str:
        """The address of a Copr server that sends its messages to ``hook``."""
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "tests.fake_copr",
            str(port),
            hook,
            SECRET,
            str(SEED),
        ]
        server = subprocess.Popen(command, cwd=CHECKOUT)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        return f"http://127.0.0.1:{port}"

    async def log(self, url: str) -> Any:
        """What the Copr server knows."""

        def ask() -> Any:
            with urlopen(f"{url}/log", timeout=10) as answer:
                return json.load(answer)

        return await deferToThread(ask)

    async def test_killed_at_any_time_each_build_is_submitted_once(self) -> None:
        random = Random(SEED)
        home = MasterHome(
            self,
            self.dsn,
            workers=(),
            webhooks={"copr": "copr-secret"},
        )
        (home.folder / "copr-secret").write_text(SECRET)
        copr = self.copr(f"{home.url}/api/v1/hooks/copr")
        home.environment = {"PYTHONPATH": str(self.example), "COPR_URL": copr}
        await home.start()
        for first in range(0, RUNS, BATCH):
            numbers = range(first, min(RUNS, first + BATCH))
            for number in numbers:
                await self._start(home, number)
            for _ in range(KILLS):
                await deferLater(reactor, random.random() * 0.7)
                await home.daemons[-1].kill()
                await home.start()
            for number in numbers:
                await self._check_end(home, number)
        log = await self.log(copr)
        self._check_submissions(log)
        self.assertGreater(log["lost"], 0)
        self.assertGreater(log["repeated"], 0)

    async def _start(self, home: MasterHome, number: int) -> None:
        # As often as need be: the name makes it one.
        arguments = [f"p-{number}", "abc", CHROOTS, 1.0]
        started = await Workflows(home.client).start(
            "BuildHandler", arguments, name=f"build-p-{number}", execution_timeout=600
        )
        self.assertIn("id", started)

    async def _check_end(self, home: MasterHome, number: int) -> None:
        workflows, name = Workflows(home.client), f"build-p-{number}"
        while True:
            document = await workflows.document(name)
            self.assertNotEqual(document["state"], "parked", document["cause"])
            if document["state"] == "done":
                break
            await deferLater(reactor, 0.1)
        source, binary = self._fails(number)
        expected: tuple[str, str | None]
        if source:
            expected = ("failure", None)
        else:
            told = "some binary packages did not build" if binary else "built"
            expected = ("success", told)
        self.assertEqual((document["result"], document["value"]), expected, document)

    def _fails(self, number: int) -> tuple[bool, bool]:
        project = f"p-{number}"
        return fails(project, "srpm-builds"), fails(project, CHROOTS[0])

    def _check_submissions(self, log: Any) -> None:
        builds = Counter(
            (each["project"], "source" if "source" not in each else "binaries")
            for each in log["builds"]
        )
        statuses = {(each["project"], each["what"]): each["ok"] for each in log["statuses"]}
        self.assertEqual(len(statuses), len(log["statuses"]))
        for number in range(RUNS):
            project = f"p-{number}"
            source, binary = self._fails(number)
            self.assertEqual(builds.pop((project, "source")), 1)
            self.assertIs(statuses.pop((project, "source")), not source)
            if not source:
                self.assertEqual(builds.pop((project, "binaries")), 1)
                self.assertIs(statuses.pop((project, "binaries")), not binary)
        self.assertEqual((dict(builds), statuses), ({}, {}))

    async def test_a_history_that_was_removed_says_so_in_words(self) -> None:
        home = MasterHome(self, self.dsn, workers=(), workflow_history_age=0.001)
        home.environment = {"PYTHONPATH": str(self.example)}
        await home.start()
        workflows = Workflows(home.client)
        await workflows.start("BuildHandler", ["p-1", "abc", CHROOTS, 1.0], name="old")
        await workflows.cancel("old", "no need")
        while (await workflows.document("old"))["state"] != "done":
            await deferLater(reactor, 0.1)
        # It tidies when it starts, and then now and then.
        await home.daemons[-1].kill()
        await home.start()
        token = (home.folder / "token").read_text().strip()
        env = {"HEADRACE_URL": home.url, "HEADRACE_TOKEN": token}
        said = await headrace("workflow", "history", "old", env=env)
        while "was removed at 2" not in said.out:
            self.assertEqual(said.status, 0, said.all)
            said = await headrace("workflow", "history", "old", env=env)
        for arguments in (("history", "old", "--json"), ("replay", "old")):
            said = await headrace("workflow", *arguments, env=env)
            self.assertNotEqual(said.status, 0)
            self.assertIn("The history of workflow old was removed on 2", said.all)
        said = await headrace("status", "workflow", "old", env=env)
        self.assertIn("no need", said.all)

    async def test_an_update_of_two_repositories_goes_out_once(self) -> None:
        """Graphs, their files, a collection, and a job that is started once: for real."""
        self.python_path = str(self.example)
        self.here = await farm(self, env=environment(PYTHONPATH=self.python_path))
        published = folder_for(self) / "published"
        folders = []
        for name in ("foo", "bar"):
            repository = Repository(folder_for(self) / name)
            text = UPDATE.format(name=name, published=published)
            repository.commit(__headrace__yaml=text)
            folders.append(str(repository.folder))
        arguments = json.dumps([folders, "side-tag/x", ["foo", "bar"]])
        for _ in range(2):  # whoever else asks joins it
            said = await self._ask("workflow", "start", "Update", arguments, "--name", "u")
            self.assertEqual(said.status, 0, said.all)
        while True:
            said = await self._ask("status", "workflow", "u", "--json")
            self.assertEqual(said.document["cause"], "")
            if said.document["state"] == "done":
                break
            await deferLater(reactor, 0.2)
        value = {"members": ["bar", "foo"], "published": "success"}
        self.assertEqual(said.document["value"], value, said.document["reason"])
        self.assertEqual(published.read_text(), "foo\n")
        said = await self._ask("workflow", "query", "u", "made", "--json")
        hashed = {
            f"{name}.deb": hashlib.sha256(f"{name}\n".encode()).hexdigest()
            for name in ("foo", "bar")
        }
        self.assertEqual(said.document, hashed)
        said = await self._ask("workflow", "replay", "u")
        self.assertEqual(said.status, 0, said.all)

    async def _ask(self, *arguments: str) -> Said:
        more = {"PYTHONPATH": self.python_path}
        return await headrace(*arguments, env={**self.here.environment, **more})

    async def test_the_command_line_shows_and_replays_it(self) -> None:
        path = str(self.example)
        self.here = await farm(self, env=environment(PYTHONPATH=path))
        self.python_path = path
        said = await self._ask(
            "workflow", "start", "BuildHandler", '["p-1", "abc", ["f42"]]', "--name", "b-1"
        )
        self.assertEqual(said.status, 0, said.all)
        self.assertIn("has begun", said.out)
        said = await self._ask("workflow", "list", "--json")
        [listed] = said.document
        self.assertEqual((listed["name"], listed["state"]), ("b-1", "open"))
        said = await self._ask(
            "workflow",
            "signal",
            "b-1",
            "build_ended",
            '{"build": 1, "chroot": "x", "ok": true}',
        )
        self.assertIn("gets the signal", said.out)
        said = await self._ask("workflow", "query", "b-1", "so_far", "--json")
        while said.document != {"1 x": True}:
            await deferLater(reactor, 0.2)
            said = await self._ask("workflow", "query", "b-1", "so_far", "--json")
        said = await self._ask("workflow", "history", "b-1")
        self.assertIn("build_ended", said.out)
        self.assertIn("asked local", said.out)
        said = await self._ask("workflow", "history", "b-1", "--json")
        sys.path.insert(0, str(self.example))
        self.addCleanup(sys.path.remove, str(self.example))
        from build_handler.handler import BuildHandler  # type: ignore[import-not-found]

        exported = json.dumps(said.document)
        replay(exported, BuildHandler)
        crash_everywhere(exported, BuildHandler)
        said = await self._ask("workflow", "replay", "b-1")
        self.assertEqual((said.status, "give the same" in said.out), (0, True), said.all)
        file = self.example / "history.json"
        file.write_text(exported.replace("submit_source", "something_else"))
        said = await self._ask("workflow", "replay", str(file), "--json")
        self.assertEqual((said.status, said.document["replays"]), (1, False))
        said = await self._ask("workflow", "cancel", "b-1", "--why", "no need")
        self.assertIn("is asked to end", said.out)
        while True:
            said = await self._ask("status", "workflow", "b-1", "--json")
            if said.document["state"] == "done":
                break
            await deferLater(reactor, 0.2)
        self.assertIn("no need", said.document["reason"])
