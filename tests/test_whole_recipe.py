"""A recipe: a native job makes a source, its pipeline builds it, and it is one run."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import TestCase

from tests.farm import Said, environment, farm, folder_for

PLUGIN = """
import tempfile
from pathlib import Path

from twisted.plugin import IPlugin
from zope.interface import implementer

from worker.native.interface import INativeJob


@implementer(IPlugin, INativeJob)
class Make:
    name = "make-greeting"
    is_quick = False

    def run(self, arguments, context):
        if "returns" in arguments:
            return arguments["returns"]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "debian").mkdir()
            (Path(folder) / "debian" / "greeting").write_text(arguments["text"])
            print("the greeting is ready")
            return context.store.tree(folder)


make = Make()
"""
PIPELINE = """
pipeline: [read, [again]]
jobs:
  read:
    series: noble
    architectures: [amd64, arm64]
    run: cat debian/greeting > read.txt; test ! -e .launchpad.yaml
    output: {paths: [read.txt]}
  again:
    series: noble
    architectures: [amd64, arm64]
    run: grep hello debian/greeting
"""


class RecipeTests(TestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        self.folder = folder_for(self)
        plugins = self.folder / "plug-ins" / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "greeting.py").write_text(PLUGIN)
        env = environment(PYTHONPATH=str(self.folder / "plug-ins"))
        self.here = await farm(self, env=env)

    def recipe(self, **arguments: Any) -> str:
        (self.folder / ".launchpad.yaml").write_text(PIPELINE)
        recipe = self.folder / "greeting.yaml"
        sources = {"performs": "make-greeting", "arguments": arguments}
        recipe.write_text(json.dumps({"name": "greeting", "sources": sources}))
        return str(recipe)

    async def ask(self, *arguments: str, status: int = 0) -> Said:
        said = await self.here.headrace(*arguments)
        self.assertEqual(said.status, status, said.all)
        return said

    async def test_a_job_makes_the_source_and_the_pipeline_builds_it(self) -> None:
        said = await self.ask("recipe", self.recipe(text="hello\n"), "--wait", "--json")
        maker, build = said.document
        self.assertEqual((maker["kind"], maker["result"]), ("native", "success"))
        self.assertEqual((build["kind"], build["result"]), ("build", "success"))
        self.assertEqual([need["job"] for need in build["needs"]], [maker["id"]])
        [stored] = [each for each in build["pipeline_jobs"] if each["name"] == "read"]
        self.assertEqual([file["path"] for file in stored["artifacts"]], ["read.txt"])

        # One run, one overview.
        [run] = (await self.ask("runs", "--json")).document
        self.assertEqual((run["name"], run["result"]), ("greeting", "success"))
        shown = (await self.ask("jobs", "--run", str(run["id"]))).out
        self.assertIn("make-greeting", shown)
        self.assertIn("build", shown)
        self.assertIn(
            "the greeting is ready", (await self.ask("logs", str(maker["id"]))).out
        )

        # The build can be tried again, from what was made then.
        await self.ask("retry", str(build["id"]), "--from-start")
        again = await self.until_done(build["id"], attempt=2)
        self.assertEqual(again["result"], "success")

    async def until_done(self, job: int, attempt: int) -> Any:
        while True:
            [found] = (await self.ask("show", str(job), "--json")).document
            if found["state"] == "done" and found["attempt"] == attempt:
                return found

    async def test_the_build_is_not_run_where_there_is_no_source(self) -> None:
        said = await self.ask("recipe", self.recipe(), "--wait", "--json", status=1)
        maker, build = said.document
        self.assertEqual((maker["result"], build["result"]), ("failure", "unrun"))
        self.assertEqual(build["root_cause"], maker["id"])

    async def test_what_is_no_tree_of_the_farm_is_told(self) -> None:
        for returned, words in (
            (None, "returned no tree"),
            ({"tree": {"sha256": "../../etc", "size": 1}}, "returned no tree"),
            ({"tree": {"sha256": "0" * 64, "size": 1}}, "which the farm has not"),
        ):
            recipe = self.recipe(returns=returned)
            said = await self.ask("recipe", recipe, "--wait", "--json", status=1)
            maker, build = said.document
            self.assertEqual((maker["result"], build["result"]), ("success", "error"))
            self.assertIn(words, build["reason"])
            self.assertEqual(build["attempt"], 1, "to try again would change nothing")

    async def test_a_job_that_did_not_ask_for_it_stores_nothing(self) -> None:
        said = await self.ask(
            "enqueue", "make-greeting", '{"text": "x"}', "--wait", "--json", status=1
        )
        [job] = said.document
        self.assertEqual(job["result"], "failure")
        self.assertIn("may not store files", job["reason"])
