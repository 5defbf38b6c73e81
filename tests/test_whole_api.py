"""The API tests of this release, and of the last one, against a master of this checkout."""

from __future__ import annotations

import os
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


def _git(*arguments: str) -> bytes:
    """What git says of this checkout; `SkipTest` where it says nothing."""
    try:
        found = subprocess.run(
            ("git", "-C", str(ROOT), *arguments), capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SkipTest(f"git tells of no release: {error}") from error
    return found.stdout


def last_release() -> str:
    """The tag of the newest release that this checkout comes after; or `SkipTest`."""
    tags = _git("tag", "--list", TAGS, "--merged", "HEAD", "--sort=-version:refname")
    for tag in tags.decode().split():
        if _git("ls-tree", "--name-only", tag, "tests/api/"):
            return tag
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
        tag = last_release()
        folder = Path(self.mktemp())
        folder.mkdir()
        packed = _git("archive", tag, "tests/api")
        subprocess.run(("tar", "-x", "-C", str(folder)), input=packed, check=True)
        await self.run_suite(folder.resolve() / "tests" / "api")
