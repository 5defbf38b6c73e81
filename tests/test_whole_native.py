"""Native jobs all the way: from the command line to a worker, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.farm import Farm, Said, farm, folder_for, headrace


class NativeJobTests(TestCase):
    timeout = 300

    async def _ask(self, here: Farm, *arguments: str, status: int = 0) -> Said:
        said = await here.headrace(*arguments)
        self.assertEqual(said.status, status, said.all)
        return said

    def _graph(self, text: str) -> str:
        path = Path(folder_for(self)) / "graph.yaml"
        path.write_text(text)
        return str(path)

    async def test_jobs_run_are_shown_and_can_be_tried_again(self) -> None:
        here = await farm(self)
        said = await self._ask(here, "enqueue", "noop", '{"a": 1}', "--wait", "--json")
        [job] = said.document
        self.assertEqual((job["state"], job["result"]), ("done", "success"))
        self.assertEqual(job["attempts"][0]["exit_status"], None)
        first = str(job["id"])
        said = await self._ask(here, "show", first)
        self.assertIn("native 1: noop, passed", said.out)
        self.assertIn('{"a":1}', said.out)
        await self._ask(here, "logs", first)
        said = await self._ask(here, "retry", first)
        self.assertIn("attempt 2", said.out)

        said = await self._ask(
            here,
            "enqueue",
            "sleep",
            '{"seconds": "x"}',
            "--needs",
            first,
            "--wait",
            status=1,
        )
        self.assertIn("1 failed", said.out)
        said = await self._ask(here, "jobs")
        self.assertIn("could not convert string to float", said.out)
        # Nobody performs it, so it waits, and what waits can be cancelled.
        said = await self._ask(here, "enqueue", "nothing", "--json")
        waiting = str(said.document[0]["id"])
        await self._ask(here, "cancel", waiting)
        [shown] = (await self._ask(here, "show", waiting, "--json")).document
        self.assertEqual(shown["result"], "cancelled")
        said = await self._ask(here, "runs")
        self.assertIn("success", said.out)

        graph = self._graph(
            """\
            name: nightly
            jobs:
              - {name: first, performs: sleep, arguments: {seconds: 0.01}}
              - {name: second, performs: noop, needs: [first]}
              - {name: on-failure, performs: noop, needs: [{job: second, require: bad}]}
            """
        )
        said = await self._ask(here, "enqueue", "--graph", graph, "--wait")
        self.assertIn("2 passed", said.out)
        self.assertIn("1 skipped", said.out)
        [newest, *_] = (await self._ask(here, "runs", "--json")).document
        self.assertEqual((newest["name"], newest["result"]), ("nightly", "success"))

    async def test_operators_limit_how_many_run(self) -> None:
        here = await farm(self)
        await self._ask(here, "semaphore", "set", "lab/one", "1")
        await self._ask(here, "cap", "ann", "any", "2")
        graph = self._graph("jobs: [{performs: noop, semaphores: [lab/one], owner: ann}]")
        said = await self._ask(here, "enqueue", "--graph", graph, "--wait")
        self.assertIn("1 passed", said.out)
        listed = (await self._ask(here, "semaphore", "list", "--json")).document
        self.assertEqual(
            [(each["name"], each["capacity"], each["held_by"]) for each in listed],
            [("cap:ann/", 2, []), ("lab/one", 1, [])],
        )
        await self._ask(here, "semaphore", "remove", "lab/one")
        said = await self._ask(here, "semaphore", "remove", "lab/one", status=1)
        self.assertIn("there is none of that name", said.err)
        await self._ask(here, "cap", "ann", "any", "none")

    async def test_what_makes_no_sense_is_told(self) -> None:
        here = await farm(self)
        for arguments, status, sentence in (
            (("enqueue",), 2, "Name what the job performs"),
            (("enqueue", "noop", "{"), 2, "not JSON"),
            (("enqueue", "noop", "[]"), 2, "Expected `object`"),
            (("enqueue", "noop", "--needs", "99"), 1, "there is no job of that number"),
            (("enqueue", "--graph", "/nowhere"), 1, "cannot be read"),
            (("enqueue", "noop", "--graph", "x"), 2, "the file says"),
            (("enqueue", "--graph", self._graph("jobs: [{a: 1}]")), 1, "unknown field"),
            (
                ("enqueue", "--graph", self._graph("jobs: [{performs: a, needs: [a]}]")),
                1,
                "a needs itself",
            ),
        ):
            said = await self._ask(here, *arguments, status=status)
            self.assertIn(sentence, said.err)
        nobody: Any = {k: v for k, v in here.environment.items() if "TOKEN" not in k}
        said = await headrace("enqueue", "noop", env=nobody)
        self.assertIn("token", said.err)
        self.assertEqual(json.loads((await here.headrace("jobs", "--json")).out), [])
