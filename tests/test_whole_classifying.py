"""Failures are classified on a whole farm, by hand and by a rule, from the command line."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.farm import Farm, Said, farm, repository

FAILING = """\
pipeline: [test]
jobs:
  test:
    series: bookworm
    architectures: amd64
    run: |
      printf '\\033[31mcurl: (28) mirror.example\\033[0m timed out\\n'
      exit 3
"""


class ClassifyingTests(TestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        self.farm: Farm = await farm(self)

    async def said(self, *arguments: str, status: int = 0) -> Said:
        said = await self.farm.headrace(*arguments)
        self.assertEqual(said.status, status, said.all)
        return said

    async def failed(self, name: str) -> str:
        source = repository(self, f"{FAILING}# {name}\n")
        run = await self.said("submit", str(source), "main", "--json", "--wait", status=1)
        return next(str(each["id"]) for each in run.document if each["kind"] == "build")

    async def classes(self) -> dict[str, str | None]:
        told = await self.said("status", "jobs", "--json")
        return {str(job["id"]): job["classification"] for job in told.document["jobs"]}

    async def test_by_hand_and_by_a_rule(self) -> None:
        first = await self.failed("first")
        await self.said(
            "classify", first, "known-issue", "--link", "https://bugs.example/1"
        )
        self.assertEqual(await self.classes(), {first: "known_issue"})
        wrong = await self.said(
            "classify", first, "flaky", "--link", "javascript:alert(1)", status=1
        )
        self.assertIn("A link is an address", wrong.all)
        await self.said("classify", first, "none")

        tried = await self.said("rule", "try", "mirror.example timed", first)
        self.assertEqual(tried.out, "Found: curl: (28) mirror.example timed out\n")
        await self.said("rule", "try", "no such words", first, status=1)
        await self.said("rule", "add", "infrastructure", "mirror.example timed out$")
        second = await self.failed("second")
        while None in (found := await self.classes()).values():
            await deferLater(reactor, 0.2)
        self.assertEqual(found, {first: "infrastructure", second: "infrastructure"})
        self.assertIn("infrastructure  2", (await self.said("rule", "list")).out)

        forgotten = await self.said("rule", "remove", "1", "--forget")
        self.assertIn("2 failures are of no class now", forgotten.out)
        self.assertEqual(await self.classes(), {first: None, second: None})
