"""A kind of job from outside: installed beside the farm, and nothing of ours is changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.farm import Farm, Said, farm, folder_for, repository

CHECKOUT = Path(__file__).resolve().parent.parent
EXAMPLE = CHECKOUT / "examples" / "kind-code-import"


def environment_with(example: Path, folder: Path) -> str:
    """The Python of a fresh environment that has this one's packages, and ``example``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    [site] = folder.glob("lib/python*/site-packages")
    below = sysconfig.get_path("purelib")
    (site / "below.pth").write_text(f"import site; site.addsitedir({below!r})\n")
    copy = folder / "source"
    shutil.copytree(example, copy, ignore=shutil.ignore_patterns("__pycache__", "build"))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
            *("--python", python, "install", "--quiet"),
            *("--no-index", "--no-deps", "--no-build-isolation", copy),
        ],
        check=True,
    )
    return str(python)


class CodeImportTests(TestCase):
    timeout = 300

    async def _ask(self, here: Farm, *arguments: str, status: int = 0) -> Said:
        said = await here.headrace(*arguments)
        self.assertEqual(said.status, status, said.all)
        return said

    async def _jobs(self, here: Farm, count: int, **wanted: Any) -> list[dict[str, Any]]:
        """The jobs that are as wanted, newest first, once there are so many."""
        while True:
            documents = (await self._ask(here, "jobs", "--json")).document
            found = [
                each
                for each in documents
                if all(each[key] == value for key, value in wanted.items())
            ]
            if len(found) >= count:
                return found
            await deferLater(reactor, 0.2)

    async def test_it_is_listed_shown_retried_and_comes_again(self) -> None:
        folder = folder_for(self)
        python = await deferToThread(environment_with, EXAMPLE, folder / "venv")
        url = repository(self, "pipeline: []\n")
        here = await farm(self, python=python)
        request = f'{{"url": "{url}", "every": 1}}'
        said = await self._ask(
            here, "enqueue", "--kind", "code-import", request, "--wait", "--json"
        )
        [first] = said.document
        self.assertEqual((first["kind"], first["result"]), ("code-import", "success"))
        commit = first["attempts"][0]["output"]["heads"]["main"]
        self.assertEqual(first["attempts"][0]["output"]["changed"], ["main"])

        # It comes again by itself, knows what it found before, and is never two.
        done = await self._jobs(here, 3, state="done", kind="code-import")
        [newest] = (await self._ask(here, "show", str(done[0]["id"]), "--json")).document
        self.assertEqual(newest["arguments"]["known"], {"main": commit})
        self.assertEqual(newest["attempts"][0]["output"]["changed"], [])
        self.assertEqual(newest["details"]["heads"], {"main": commit})
        self.assertGreaterEqual(newest["details"]["imports"], 2)
        said = await self._ask(here, "retry", str(first["id"]))
        self.assertIn("attempt 2", said.out)
        await self._jobs(here, 1, state="done", id=first["id"], attempt=2)
        open_ones = [
            each
            for each in (await self._ask(here, "jobs", "--json")).document
            if each["state"] != "done"
        ]
        self.assertLessEqual(len(open_ones), 1)
        said = await self._ask(here, "jobs")
        self.assertIn("code-import", said.out)
        said = await self._ask(here, "show", str(first["id"]))
        self.assertIn("import-code", said.out)
        said = await self._ask(here, "logs", str(first["id"]))
        self.assertIn("main is at", said.out)

        # Somebody who cancels it ends the series.
        while True:
            open_now = await self._jobs(here, 0, result=None)
            for each in open_now:
                await here.headrace("cancel", str(each["id"]))
            ended = (await self._ask(here, "jobs", "--json")).document[0]
            if ended["result"] == "cancelled":
                break
