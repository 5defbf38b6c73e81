"""Installs the project as others do, editable and as a wheel, and looks at what came.

Each install has a fresh virtual environment in a folder with a space in its name. What
the project depends on is linked there from the environment that runs the tests; only
Twisted is copied, for its plugins folder is where ours go.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from functools import cache
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("buildmaster", "protocol", "schema", "worker")
RUN_TWISTD = "from twisted.scripts.twistd import run; run()"
NOT_SOURCE = ("__pycache__", "*.egg-info", "dropin.cache", "build", ".*")


def source_files(root: Path) -> set[str]:
    """Files below the packages in ``root``, relative to it, without compiled ones."""
    return {
        str(path.relative_to(root))
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


class Installation:
    """A copy of the project, installed in a virtual environment of its own."""

    def __init__(self, editable: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="headrace packaging ")).resolve()
        self.project = self.folder / "a project"
        self.environment = self.folder / "an environment"
        self._copy_project()
        venv.create(self.environment, with_pip=False, symlinks=True)
        self.site = self._site_packages()
        self._lend_dependencies()
        self._install(editable)

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder)

    def run(self, *command: str, check: bool = True) -> str:
        """What a command of the environment prints when run from ``/``."""
        ended = subprocess.run(
            [str(self.environment / "bin" / command[0]), *command[1:]],
            cwd="/",
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        if check and ended.returncode:
            raise AssertionError(
                f"{command} ended with {ended.returncode}:\n{ended.stdout}"
            )
        return ended.stdout

    def _copy_project(self) -> None:
        ignored = shutil.ignore_patterns(*NOT_SOURCE)
        for name in (*PACKAGES, "twisted", "tests"):
            shutil.copytree(CHECKOUT / name, self.project / name, ignore=ignored)
        for name in ("setup.cfg", "pyproject.toml", "README.rst"):
            shutil.copy(CHECKOUT / name, self.project / name)

    def _site_packages(self) -> Path:
        scheme = {"base": str(self.environment), "platbase": str(self.environment)}
        return Path(sysconfig.get_path("purelib", "venv", scheme))

    def _lend_dependencies(self) -> None:
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            target = self.site / entry.name
            if entry.name == "twisted":
                shutil.copytree(entry, target, ignore=shutil.ignore_patterns("test"))
            elif "headrace" not in entry.name.lower() and not target.exists():
                target.symlink_to(entry)
        twistd = self.environment / "bin" / "twistd"
        python = self.environment / "bin" / "python"
        # As pip writes scripts: the interpreter's path has a space, so a shell finds it.
        twistd.write_text(f"#!/bin/sh\n'exec' '{python}' '-c' '{RUN_TWISTD}' \"$@\"\n")
        twistd.chmod(0o755)

    def _install(self, editable: bool) -> None:
        self.install(self.project, editable)

    def install(self, project: Path, editable: bool = False) -> None:
        """Install a project's folder, without what it depends on."""
        self._pip(
            *("install", "--no-deps", "--no-index", "--no-build-isolation"),
            *(("-e", ".") if editable else (".",)),
            folder=project,
        )

    def uninstall(self, name: str) -> None:
        """The opposite."""
        self._pip("uninstall", "--yes", name, folder=self.folder)

    def _pip(self, *arguments: str, folder: Path) -> None:
        pip = (sys.executable, "-m", "pip", "--python")
        python = str(self.environment / "bin" / "python")
        options = ("--disable-pip-version-check", "--quiet")
        subprocess.run(
            [*pip, python, *options, *arguments], cwd=folder, check=True, timeout=300
        )


@cache
def installation(editable: bool) -> Installation:
    """The project, installed once for all tests of this process."""
    made = Installation(editable)
    atexit.register(made.remove)
    return made


LIST_SERVICE_MAKERS = """
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins

print(*sorted(maker.tapname for maker in getPlugins(IServiceMaker)), sep=chr(10))
"""

PERFORM_EXAMPLE = """
from worker.native.interface import Context
from worker.native.registry import find_callables

callables = find_callables()
print(*sorted(callables))
print(callables["count-words"].run({"text": "two words"}, Context(7, 2, print)))
"""

PRINT_FOLDERS = """
import os, buildmaster, protocol, schema, twisted, worker

for package in (buildmaster, protocol, schema, twisted, worker):
    print(os.path.dirname(package.__file__))
"""


class InstallationMixin:
    """What holds whichever way it was installed."""

    editable: ClassVar[bool]

    def run_installed(self, *command: str, check: bool = True) -> str:
        """What a command prints in the environment."""
        return installation(self.editable).run(*command, check=check)


class WheelTests(InstallationMixin, SynchronousTestCase):
    """An ordinary install."""

    editable = False

    def test_twistd_lists_both_daemons(self) -> None:
        """From any folder."""
        listed = self.run_installed("twistd", "--help")
        self.assertIn("buildmaster ", listed)
        self.assertIn("buildworker ", listed)

    def test_both_daemons_are_plugins(self) -> None:
        """Twisted's plugin system finds them."""
        tapnames = self.run_installed("python", "-c", LIST_SERVICE_MAKERS).splitlines()
        self.assertIn("buildmaster", tapnames)
        self.assertIn("buildworker", tapnames)

    def test_plugins_do_not_import_the_application(self) -> None:
        """Listing plugins costs nothing and cannot fail for a fault of ours."""
        script = (
            LIST_SERVICE_MAKERS + "import sys; print('LOADED', 'worker' in sys.modules)"
        )
        self.assertIn("LOADED False", self.run_installed("python", "-c", script))

    def test_a_native_job_of_another_package_is_found(self) -> None:
        """The example, installed as its authors would tell people to."""
        ours = installation(self.editable)
        copy = ours.folder / "an example"
        ignored = shutil.ignore_patterns(*NOT_SOURCE)
        shutil.copytree(CHECKOUT / "examples" / "native-job", copy, ignore=ignored)
        ours.install(copy)
        self.addCleanup(ours.uninstall, "headrace-native-job-example")
        told = self.run_installed("python", "-c", PERFORM_EXAMPLE).splitlines()
        self.assertEqual(told[0], "count-words noop sleep")
        self.assertEqual(told[1], "counted for attempt 2 of job 7")
        self.assertEqual(told[2], "{'words': 2}")

    def test_every_file_of_the_packages_is_installed(self) -> None:
        """SQL, pages and all; nothing that is no longer there, either."""
        ours = installation(self.editable)
        self.assertEqual(source_files(ours.site), source_files(ours.project))
        self.assertIn("schema/0001_jobs.sql", source_files(ours.site))

    def test_tests_are_not_installed(self) -> None:
        """The name ``tests`` belongs to whoever works in the environment."""
        told = self.run_installed("python", "-c", "import tests", check=False)
        self.assertIn("ModuleNotFoundError", told)

    def test_the_code_that_runs_is_the_installed_one(self) -> None:
        """Neither the checkout nor the environment of the tests shines through."""
        ours = installation(self.editable)
        folders = self.run_installed("python", "-c", PRINT_FOLDERS).splitlines()
        self.assertEqual({Path(folder).parent for folder in folders}, {ours.site})

    def test_the_command_is_there(self) -> None:
        """``headrace`` answers, from a folder with a space in its path."""
        self.assertIn("headrace", self.run_installed("headrace", "--help"))


class EditableTests(InstallationMixin, SynchronousTestCase):
    """An install that runs the checkout itself."""

    editable = True

    def test_twistd_lists_both_daemons(self) -> None:
        """From any folder, which a plain ``twistd`` in a checkout does not."""
        listed = self.run_installed("twistd", "--help")
        self.assertIn("buildmaster ", listed)
        self.assertIn("buildworker ", listed)

    def test_both_daemons_are_plugins(self) -> None:
        """Twisted's plugin system finds them."""
        tapnames = self.run_installed("python", "-c", LIST_SERVICE_MAKERS).splitlines()
        self.assertIn("buildmaster", tapnames)
        self.assertIn("buildworker", tapnames)

    def test_the_code_that_runs_is_the_checkout(self) -> None:
        """A change is there at once."""
        ours = installation(self.editable)
        folders = [
            Path(folder).parent
            for folder in self.run_installed("python", "-c", PRINT_FOLDERS).splitlines()
        ]
        self.assertEqual(set(folders), {ours.project, ours.site})
        self.assertEqual(folders.count(ours.site), 1, "only Twisted comes from there")


class LayoutTests(SynchronousTestCase):
    """What the packaging relies on."""

    def test_the_plugin_folder_is_no_package(self) -> None:
        """With an ``__init__.py`` it would hide Twisted itself."""
        self.assertEqual(list((CHECKOUT / "twisted").rglob("__init__.py")), [])

    def test_every_folder_of_modules_is_a_package(self) -> None:
        """Else mypy and import-linter would pass it over."""
        without = {
            str(module.parent.relative_to(CHECKOUT))
            for package in (*PACKAGES, "tests")
            for module in (CHECKOUT / package).rglob("*.py")
            if not (module.parent / "__init__.py").exists()
        }
        self.assertEqual(without, set())
