"""The API tests of this release, and of the last one, against a master of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import utils
from twisted.trial.unittest import SkipTest, TestCase

from tests.masters import MasterHome
from tests.postgres import fresh_dsn

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "tests" / "api"
#: Releases have tags such as v1.2.
TAGS = "v[0-9]*"


def _git(root: Path, *arguments: str) -> bytes:
    """What git says of a checkout; `SkipTest` where it says nothing."""
    try:
        found = subprocess.run(
            ("git", "-C", str(root), *arguments), capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SkipTest(f"git tells of no release: {error}") from error
    return found.stdout


def tests_of_last_release(root: Path, folder: Path) -> Path:
    """The API tests of the newest release that ``root`` comes after, put into ``folder``.

    `SkipTest` where there is none.
    """
    tags = _git(root, "tag", "--list", TAGS, "--merged", "HEAD", "--sort=-version:refname")
    for tag in tags.decode().split():
        if _git(root, "ls-tree", "--name-only", tag, "tests/api/"):
            packed = _git(root, "archive", tag, "tests/api")
            subprocess.run(("tar", "-x", "-C", str(folder)), input=packed, check=True)
            return folder.resolve() / "tests" / "api"
    raise SkipTest(f"there is no release yet: no tag {TAGS} with tests/api in it")


class ApiTests(TestCase):
    timeout = 300

    async def setUp(self) -> None:  # type: ignore[override]
        self.home = MasterHome(self, fresh_dsn(self))
        await self.home.start()

    async def run_suite(self, folder: Path) -> None:
        found: Any = await utils.getProcessOutputAndValue(
            sys.executable,
            (
                "-I",
                "-m",
                "unittest",
                "discover",
                "-v",
                "-s",
                str(folder),
                "-t",
                str(folder.parent),
            ),
            env={
                **os.environ,
                "HEADRACE_API_URL": self.home.url,
                "HEADRACE_API_TOKEN": (self.home.folder / "token").read_text().strip(),
            },
            path=str(self.home.folder),
        )
        out, err, status = found
        told = (out + err).decode("utf-8", "replace")
        self.assertEqual(status, 0, told[-6000:])
        self.assertNotIn("skipped", told)

    async def test_the_promises_of_this_release_are_kept(self) -> None:
        await self.run_suite(HERE)

    async def test_the_promises_of_the_last_release_are_kept(self) -> None:
        """Its own tests, as they were released, know nothing of what came later."""
        await self.run_suite(tests_of_last_release(ROOT, self.folder("released")))

    async def test_those_of_a_release_are_found_when_there_is_one(self) -> None:
        root = self.folder("checkout")
        _git(root, "init", "-q")
        with self.assertRaises(SkipTest):
            tests_of_last_release(root, self.folder("none"))
        shutil.copytree(HERE, root / "tests" / "api")
        person = ("-c", "user.name=ada", "-c", "user.email=ada@example.com")
        for release in ("v0.9", "v0.10"):
            (root / "tests" / "api" / "release").write_text(release)
            _git(root, "add", "-A")
            _git(root, *person, "commit", "-qm", release)
            _git(root, "tag", release)
        (root / "tests" / "api" / "release").write_text("not released")
        found = tests_of_last_release(root, self.folder("found"))
        self.assertEqual((found / "release").read_text(), "v0.10")
        await self.run_suite(found)

    def folder(self, name: str) -> Path:
        folder = Path(self.mktemp()).resolve() / name
        folder.mkdir(parents=True)
        return folder
