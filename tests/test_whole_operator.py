"""An operator's day on a whole farm, with the command line as people have it."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.farm import Command, Farm, Said, farm, folder_for, repository

GATED = """\
pipeline: [wait]
jobs:
  wait:
    series: bookworm
    architectures: [amd64, arm64]
    run: |
      until test -e {gate}; do sleep 0.05; done
"""


class OperatorTests(TestCase):
    timeout = 240

    async def setUp(self) -> None:  # type: ignore[override]
        self.farm: Farm = await farm(self)
        self.gate = Path(folder_for(self)) / "gate"

    async def ok(self, *arguments: str) -> Said:
        said = await self.farm.headrace(*arguments)
        self.assertEqual(said.status, 0, said.all)
        return said

    async def submit(self, name: str) -> str:
        text = GATED.replace("{gate}", str(self.gate)) + f"# {name}\n"
        source = repository(self, text)
        run = await self.ok("submit", str(source), "main", "--json")
        return next(str(each["id"]) for each in run.document if each["kind"] == "build")

    async def explained(self, job: str) -> str:
        return (await self.ok("explain", job)).out

    async def until_said(self, job: str, words: str) -> None:
        while words not in (said := await self.explained(job)):
            self.assertNotIn("success", said)
            await deferLater(reactor, 0.1)

    async def test_a_day(self) -> None:
        """Drain and wait, hold, move, rescore, cancel many; each is explained."""
        [worker] = [w["name"] for w in (await self.ok("worker", "list", "--json")).document]
        first = await self.submit("first")
        await self.until_said(first, f"It runs on worker {worker} since")

        draining = Command(
            *(
                "worker",
                "drain",
                worker,
                "--reason",
                "a new disk",
                "--until",
                "2h",
                "--wait",
            ),
            env=self.farm.environment,
        )
        await draining.until(f"Still running there: job {first} on {worker}")
        self.assertIn("draining (a new disk) until", (await self.ok("workers")).out)
        second = await self.submit("second")
        await self.until_said(second, "is draining (a new disk, until")
        self.gate.touch()
        self.assertEqual(await draining.ended, 0)
        self.assertIn("Nothing runs there any more", draining.said)
        self.gate.unlink()

        self.assertIn("It passed", await self.explained(first))
        await self.ok("queue", "hold", "arch:amd64", "--reason", "slow mirror")
        await self.ok("worker", "resume", "all")
        await self.until_said(second, "held by farm token: slow mirror")
        self.assertIn("slow mirror", (await self.ok("queue", "list")).out)
        wrong = await self.farm.headrace("move", second, "--worker", "mill")
        self.assertEqual(wrong.status, 1)
        self.assertIn("there is none of this name", wrong.all)
        await self.ok("move", second, "--worker", worker)
        await self.ok("rescore", second, "900000", "--reason", "urgent")
        dry = await self.ok("cancel", "--where", "state=ready", "--dry-run", "--json")
        self.assertEqual((dry.document[0]["matched"], dry.document[0]["changed"]), (1, 0))
        await self.ok("queue", "release", "arch:amd64")
        await self.until_said(second, f"It runs on worker {worker} since")
        said = await self.ok("cancel", "--where", "state=running", "--reason", "enough")
        self.assertIn("1 of 1 jobs were changed", said.out)
        await self.until_said(second, "It was cancelled: cancelled by farm token: enough")
        self.assertIn("cancelled", (await self.ok("show", second)).out)
        await self.ok("forecast", "--json")
