"""Who may join and who may ask, on a whole farm with a worker over WebSocket."""

from __future__ import annotations

from pathlib import Path

import yaml
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.farm import Farm, Said, environment, farm, headrace, repository, work_tree
from tests.worker.daemons import WorkerHome

GATED = """\
pipeline: [wait]
jobs:
  wait:
    series: bookworm
    architectures: [amd64, arm64]
    run: |
      echo it runs
      until test -e {gate}; do sleep 0.05; done
      echo it goes on
"""
PASSES = """\
pipeline: [unit]
jobs:
  unit: {series: bookworm, architectures: [amd64, arm64], run: 'echo done'}
"""


class TokenTests(TestCase):
    timeout = 180

    async def setUp(self) -> None:  # type: ignore[override]
        self.farm: Farm = await farm(self)
        self.port = int(self.farm.url.rpartition(":")[2])

    async def ok(self, *arguments: str, env: dict[str, str] | None = None) -> Said:
        said = await headrace(*arguments, env=env or self.farm.environment)
        self.assertEqual(said.status, 0, said.all)
        return said

    async def state(self, worker: str) -> str:
        listed = (await self.ok("worker", "list", "--json")).document
        return next(str(w["state"]) for w in listed if w["name"] == worker)

    async def until_state(self, worker: str, state: str) -> None:
        while await self.state(worker) != state:
            await deferLater(reactor, 0.05)

    def home(self, name: str, token: str) -> WorkerHome:
        """A worker of that name whose master is reached over WebSocket."""
        home = WorkerHome(self, self.port, name=name)
        settings = yaml.safe_load(home.settings.read_text())
        # The first one is not there: the next is tried.
        settings["masters"] = ["pb://127.0.0.1:1", f"ws://127.0.0.1:{self.port}"]
        home.settings.write_text(yaml.safe_dump(settings))
        home.token.write_text(token)
        return home

    async def test_a_worker_is_added_exchanged_and_revoked_while_it_builds(self) -> None:
        token = (await self.ok("worker", "add", "mill")).out
        home = self.home("mill", token)
        daemon = home.start()
        await self.until_state("mill", "connected")
        # Only the new worker is left to take work.
        await self.ok("worker", "revoke", "worker-1")
        await self.until_state("worker-1", "offline")

        gate = Path(home.folder) / "gate"
        source = repository(self, GATED.replace("{gate}", str(gate)))
        run = await self.ok("submit", str(source), "main", "--json")
        [job] = [str(each["id"]) for each in run.document if each["kind"] == "build"]
        while "it runs" not in (await self.farm.headrace("logs", job)).out:
            await deferLater(reactor, 0.05)

        new = (await self.ok("worker", "rotate", "mill")).out
        self.assertEqual(await self.state("mill"), "connected")
        home.token.write_text(new)
        daemon.signal(9)  # The build's supervisor lives on; the next daemon has the token.
        await daemon.gone()
        await self.until_state("mill", "unreachable")
        home.start()
        await self.until_state("mill", "connected")
        gate.touch()
        said = await self.farm.headrace("logs", "-f", job)
        self.assertIn("it goes on", said.out)
        shown = (await self.ok("show", job, "--json")).document
        shown = shown[0] if isinstance(shown, list) else shown
        self.assertEqual((shown["result"], shown["attempt"]), ("success", 1))

        await self.ok("worker", "revoke", "mill")
        while await self.state("mill") == "connected":
            await deferLater(reactor, 0.05)
        log = (self.farm.folder / "buildmaster.log").read_text()
        for secret in (token.strip(), new.strip()):
            self.assertNotIn(secret, log)

    async def test_clients_do_what_their_tokens_say(self) -> None:
        source = repository(self, PASSES)
        project = str(source.parent)
        made = await self.ok(
            "token", "add", "ci", "--scope", "submit", "--project", project, "--json"
        )
        [document] = made.document
        ci = environment(HEADRACE_URL=self.farm.url, HEADRACE_TOKEN=document["token"])
        await self.ok("submit", str(source), "main", env=ci)
        for arguments in (
            ("submit", str(repository(self, PASSES)), "main"),
            ("cancel", "1"),
            ("worker", "add", "spy"),
            ("token", "add", "mine", "--scope", "admin"),
            ("run", str(work_tree(self, PASSES))),
        ):
            said = await headrace(*arguments, env=ci)
            self.assertEqual(said.status, 1, said.all)
            self.assertIn("token ci", said.all)
        listed = await self.ok("token", "list", "--json")
        self.assertNotIn(document["token"], listed.all)
        self.assertEqual([t["name"] for t in listed.document], ["ci"])
        await self.ok("token", "revoke", "ci")
        said = await headrace("submit", str(source), "main", env=ci)
        self.assertEqual(said.status, 1)
        self.assertIn("does not know the token", said.err)
