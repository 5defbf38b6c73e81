from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import select
import signal
import sys
import traceback
from pathlib import Path
from shutil import which
from unittest import TestResult

from twisted.trial.unittest import SynchronousTestCase

from tests.requirements import require
from tests.worker.environments.conformance import EnvironmentConformance
from worker.environments import syscalls
from worker.environments.interface import EnvironmentFault, Unfit
from worker.environments.native import PLAIN, THROUGH_USER, Native
from worker.environments.space import Layout, Refused, Space

_NOBODY = 65534


def _allows(way: int) -> bool:
    try:
        Space(Layout(namespaces=way)).stop()
    except Refused:
        return False
    return True


class NativeCases(EnvironmentConformance):
    """Cases for every way of holding processes together."""

    ways: tuple[int | None, ...] | None = None

    def make(self, folder: Path) -> Native:
        return Native(folder, say=self.said.append, ways=self.ways)

    def test_packages_that_are_missing_are_named(self) -> None:
        with self.assertRaisesRegex(Unfit, "^packages: .*no-such-package"):
            self.environment.install(["no-such-package"])

    def test_packages_that_are_there_need_no_command(self) -> None:
        require(self, which("dpkg-query") is not None, "this machine has no dpkg")
        self.assertEqual(self.environment.install(["coreutils"]), [])
        with self.assertRaisesRegex(Unfit, "coreutils=0"):
            self.environment.install(["coreutils=0"])

    def test_an_option_is_no_package(self) -> None:
        with self.assertRaisesRegex(Unfit, "--help"):
            self.environment.install(["--help"])

    def test_a_user_that_is_not_there_is_named(self) -> None:
        require(self, os.geteuid() == 0, "only root can be somebody else")
        self.environment.begin()
        with self.assertRaisesRegex(Unfit, "root: false.*no_such_user"):
            self.command("true", user="no_such_user")

    def test_another_user_has_no_rights_of_root(self) -> None:
        require(self, os.geteuid() == 0, "only root can be somebody else")
        entry = pwd.getpwuid(_NOBODY)
        self.base.chmod(0o755)
        self.environment.begin()
        text = self.output(
            'id -u; id -ru; echo "$HOME"; grep CapEff /proc/self/status',
            user=entry.pw_name,
        )
        self.assertIn(f"{_NOBODY}\n{_NOBODY}\n", text)
        self.assertIn("CapEff:\t0000000000000000", text)
        self.assertIn(f"\n{entry.pw_dir}\n", text)


class NativeInNamespacesTests(NativeCases, SynchronousTestCase):
    ways = (PLAIN,)

    def make(self, folder: Path) -> Native:
        require(self, _allows(PLAIN), "this machine lets this user make no namespaces")
        return super().make(folder)

    def test_a_command_sees_only_processes_of_its_own_space(self) -> None:
        self.environment.begin()
        seen = self.output("ls -d /proc/[0-9]* | wc -l").strip()
        self.assertLessEqual(int(seen), 4)

    def test_init_reaps_orphans(self) -> None:
        self.environment.begin()
        self.output("for i in {1..20}; do (setsid true &); done")
        text = self.output("cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' Z '")
        self.assertEqual(text, "0\n")

    def test_init_knows_nothing_that_the_worker_knows(self) -> None:
        self.environment.begin()
        self.assertEqual(self.output("tr '\\0' ' ' < /proc/1/cmdline"), "init ")
        self.assertEqual(self.output("cat /proc/1/environ"), "")

    def test_the_worker_is_out_of_reach_of_signals(self) -> None:
        self.environment.begin()
        text = self.output(f"kill -0 {os.getpid()} 2>&1; kill -9 1; kill -STOP 1; echo ok")
        self.assertIn("No such process", text)
        self.assertTrue(text.endswith("ok\n"))
        self.assertEqual(self.output("echo still"), "still\n")

    def test_an_orphan_that_nobody_waits_for_does_not_hold_up_the_end(self) -> None:
        """An ancestor may adopt orphans and never wait for them; here, this process."""
        syscalls.adopt_orphans(True)
        self.addCleanup(syscalls.adopt_orphans, False)
        told_end, told = os.pipe()
        owner = os.fork()
        if owner == 0:
            try:
                self.environment.begin()
                self.command("echo up; exec sleep 600")
                killed = self.command("exec sleep 600")
                killed.kill()
                killed.wait()
                os.write(told, b".")
                signal.pause()
            finally:
                os._exit(1)
        self.assertEqual(os.read(told_end, 1), b".")
        init = (self.folder / "processes").read_text().splitlines()[1].split()[0]
        descriptor = os.pidfd_open(int(init))
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        readable, _, _ = select.select([descriptor], [], [], 20)
        self.assertEqual(readable, [descriptor])
        # Those that are dead now; this process has living children of other tests, too.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        for each in (descriptor, told, told_end):
            os.close(each)


class NativeThroughUserNamespaceTests(NativeInNamespacesTests):
    ways = (THROUGH_USER,)

    def make(self, folder: Path) -> Native:
        require(self, _allows(THROUGH_USER), "this machine allows no user namespaces")
        return NativeCases.make(self, folder)

    def test_another_user_has_no_rights_of_root(self) -> None:
        """The namespace has one user, and root can be no other."""
        require(self, os.geteuid() == 0, "only root can be somebody else")
        self.environment.begin()
        with self.assertRaisesRegex(EnvironmentFault, "not permitted"):
            self.command("true", user=pwd.getpwuid(_NOBODY).pw_name)


class NativeWithoutNamespacesTests(NativeCases, SynchronousTestCase):
    ways = (None,)

    def test_children_that_were_there_before_stay(self) -> None:
        older = os.fork()
        if older == 0:
            try:
                signal.pause()
            finally:
                os._exit(0)
        self.environment.begin()
        self.command("(setsid sleep 600 &)").wait()
        self.environment.end()
        self.assertEqual(os.waitpid(older, os.WNOHANG), (0, 0))
        os.kill(older, 9)
        os.waitpid(older, 0)


class WaysTests(SynchronousTestCase):
    def test_what_the_kernel_refuses_is_told_when_no_way_is_left(self) -> None:
        folder = Path(self.mktemp())
        impossible = 1 << 31 | PLAIN
        environment = Native(folder, say=lambda line: None, ways=(impossible,))
        self.addCleanup(environment.destroy)
        environment.prepare()
        self.assertRaises(EnvironmentFault, environment.begin)

    def test_the_next_way_is_taken_when_one_is_refused(self) -> None:
        folder = Path(self.mktemp())
        said: list[str] = []
        impossible = 1 << 31 | PLAIN
        environment = Native(folder, say=said.append, ways=(impossible, None))
        self.addCleanup(environment.destroy)
        environment.prepare()
        environment.begin()
        process = environment.command(["true"], environment={}, directory="/")
        self.assertEqual(process.wait(), 0)
        assert process.stdout is not None
        process.stdout.close()
        self.assertIn("no namespaces", said[0])


class OrdinaryUserTests(SynchronousTestCase):
    """The suite of this module once more, without root's rights."""

    def test_everything_holds_for_an_ordinary_user(self) -> None:
        require(self, os.geteuid() == 0, "the other tests already run as an ordinary user")
        report_end, report = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(*[_NOBODY] * 3)
                os.setresuid(*[_NOBODY] * 3)
                # What is skipped here has been run by root already.
                os.environ.pop("HEADRACE_TEST_REQUIRE", None)
                # Who changed its user can't be looked into, not even by itself.
                ctypes.CDLL(None).prctl(4, ctypes.c_ulong(1))
                os.write(report, _run_as_this_user().encode(errors="replace"))
            except BaseException:
                os.write(report, traceback.format_exc().encode())
            finally:
                os._exit(0)
        os.close(report)
        with os.fdopen(report_end) as stream:
            wrong = stream.read()
        os.waitpid(child, 0)
        self.assertEqual(wrong, "")


def _run_as_this_user() -> str:
    """What went wrong with the cases for namespaces and for none."""
    wrong = []
    for case in (NativeThroughUserNamespaceTests, NativeWithoutNamespacesTests):
        for name in dir(case):
            if not name.startswith("test_"):
                continue
            result = TestResult()
            case(name).run(result)
            wrong += [f"{name}: {error}" for _, error in result.errors + result.failures]
    sys.stdout.flush()
    return "\n".join(wrong)
