"""Chroots of ordinary users: the same suite, run by one who is root of a namespace only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.requirements import require
from tests.worker.environments.shared_image import own_series, users_images
from tests.worker.supervisor.attempts import job, order, passed, repository, run
from worker.environments import own_root, traces

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Case
else:
    Case = object

_CHECKOUT = Path(__file__).parents[3]
_NOBODY = 65534
_AS_NOBODY = (f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
#: The images of nobody, made once.
_IMAGES = Path("/var/cache/headrace-test-images-of-nobody")


class UserCases(Case):
    """What holds for an ordinary user."""

    def setUp(self) -> None:
        self.images = users_images(self)

    def test_the_whole_suite_of_chroots_passes(self) -> None:
        """In a process of its own, which can never leave its namespace."""
        suite = "tests.worker.environments.test_chroot"
        place = f"--temp-directory={Path(self.mktemp()).absolute()}"
        trial = [sys.executable, "-m", "twisted.trial", place, suite]
        done = subprocess.run(
            own_root.run_inside(trial),
            capture_output=True,
            text=True,
            cwd=_CHECKOUT,
            env={**own_root.variables(), "HEADRACE_TEST_IMAGES": str(self.images)},
        )
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])
        counts = re.search(r"successes=(\d+)", done.stdout)
        assert counts is not None
        self.assertGreater(int(counts[1]), 60, done.stdout[-3000:])

    def test_a_build_runs_as_root_of_its_own_and_another_user_and_leaves_nothing(
        self,
    ) -> None:
        told = run(
            self,
            order(
                repository(self, {"file": "content"}),
                [
                    [("one", job("id -u; hello; chown _apt file", packages=("hello",)))],
                    [("two", job("id -un; cat file", root=False))],
                ],
                isolation="chroot",
            ),
            images=str(self.images),
            series_images={"jammy": own_series()},
        )
        passed(self, told)
        self.assertIn("\n0\nHello, world!\n", told.log("one"))
        self.assertIn("\n_lpci\ncontent", told.log("two"))

    def test_files_of_its_further_users_are_removed_from_without(self) -> None:
        folder = Path(self.mktemp())
        (folder / "d").mkdir(parents=True)
        write = "chown 33 d; setpriv --reuid 33 --clear-groups mkdir d/e; chmod 700 d"
        argv = own_root.run_inside(["sh", "-c", f"cd {folder.absolute()}; {write}"])
        subprocess.run(argv, check=True, env=own_root.variables())
        self.assertNotEqual((folder / "d").stat().st_uid, os.getuid())
        traces.remove(folder)
        self.assertFalse(folder.exists())


if os.geteuid() != 0:

    class OrdinaryUserTests(UserCases, SynchronousTestCase):
        """The cases, run by who started the tests."""

else:

    class NobodyTests(SynchronousTestCase):
        """The cases, run by nobody: an account that must have a range of ids."""

        def test_all_of_it_passes_for_nobody(self) -> None:
            ranges = [Path("/etc/subuid"), Path("/etc/subgid")]
            has = all(f.exists() and "nobody:" in f.read_text() for f in ranges)
            require(self, has, "/etc/subuid and /etc/subgid have no range for nobody")
            python = _open_python()
            _IMAGES.mkdir(exist_ok=True)
            os.chown(_IMAGES, _NOBODY, _NOBODY)
            place = Path(mkdtemp(dir="/tmp"))
            os.chown(place, _NOBODY, _NOBODY)
            self.addCleanup(traces.remove, place)
            suite = "tests.worker.environments.test_own_root.OrdinaryUserTests"
            done = subprocess.run(
                [
                    *("setpriv", *_AS_NOBODY, python, "-m", "twisted.trial"),
                    *(f"--temp-directory={place}/trial", suite),
                ],
                capture_output=True,
                text=True,
                cwd=_CHECKOUT,
                env={
                    **os.environ,
                    "HOME": str(place),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "PYTHONPATH": os.pathsep.join([str(_CHECKOUT), *_site_packages()]),
                    "HEADRACE_TEST_IMAGES": str(_IMAGES),
                    # What is not for an ordinary user has been run by root.
                    "HEADRACE_TEST_REQUIRE": "0",
                },
            )
            self.assertEqual(done.returncode, 0, done.stdout[-8000:] + done.stderr[-2000:])
            self.assertIn("PASSED (successes=3)", done.stdout)


def _open_python() -> str:
    """A Python of this version that everybody may run."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        # By a shell in between: setpriv itself still may more than nobody.
        run = 'exec "$0" -c "import ssl"'
        tried = ["setpriv", *_AS_NOBODY, "sh", "-c", run, python]
        try:
            subprocess.run(tried, check=True, capture_output=True, cwd="/")
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    raise SkipTest("this Python lies where nobody but root can run it")


def _site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


class WhyNotTests(SynchronousTestCase):
    def test_what_is_to_be_switched_on_is_said(self) -> None:
        self.patch(shutil, "which", lambda name: None)
        self.assertIn("apt-get install uidmap", own_root.why_not())
        self.patch(shutil, "which", lambda name: f"/usr/bin/{name}")
        self.patch(own_root, "_RANGES", ("/no/such/file",))
        self.assertIn("usermod --add-subuids", own_root.why_not())

    def test_a_range_that_is_too_small_is_none(self) -> None:
        file = Path(self.mktemp())
        file.write_text("eve:100000:1000\nann:200000:65536\nnonsense\n")
        self.assertIsNone(own_root._range(str(file), "eve", 1))
        self.assertEqual(own_root._range(str(file), "ann", 1), 200000)
