"""Environments that linger: entered, held to their time, and without secrets."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import Ended
from tests.worker.environments.conformance import processes_with
from tests.worker.environments.shared_image import (
    own_series,
    shared_image,
    shared_images_folder,
)
from tests.worker.environments.test_vm import require_machines
from tests.worker.supervisor.attempts import (
    HANGS,
    Told,
    begin,
    folder,
    job,
    order,
    repository,
    told,
)
from worker.supervisor import attach
from worker.supervisor.lingering import lingers

SHELL = [sys.executable, "-P", "-m", "worker.supervisor.shell"]


class LingeringCase(SynchronousTestCase):
    def begin(self, *scripts: str, linger: float = 600.0, **more: Any) -> Told:
        """A build whose jobs are ``scripts``; what it told at its end."""
        settings = more.pop("settings", {})
        jobs = more.pop("jobs", {})
        content = [[(f"job{n}", job(s, **jobs)) for n, s in enumerate(scripts)]]
        source = repository(self, {"README": "hello\n"})
        asked = order(source, content, linger=linger, **more)
        self.place, self.process = begin(self, asked, **settings)
        return self.until_told()

    def until_told(self) -> Told:
        deadline = time.monotonic() + 3 * HANGS
        while time.monotonic() < deadline:
            if (self.place / "reports").exists():
                so_far = told(self.place)
                if so_far.bodies and isinstance(so_far.bodies[-1], Ended):
                    return so_far
            select.select([], [], [], 0.02)
        raise AssertionError((self.place / attach.LOG).read_text())

    def shell(self, *argv: str, given: str = "", options: tuple[str, ...] = ()) -> Any:
        """What the program says that runs ``argv`` in there."""
        return subprocess.run(
            [*SHELL, *self.where(), *options, "--", *argv],
            input=given,
            capture_output=True,
            text=True,
            timeout=HANGS,
            env=attach.child_variables(),
        )

    def where(self) -> list[str]:
        return ["--builds", str(self.place.parent), "--attempt", self.place.name]

    def until_over(self) -> None:
        self.assertEqual(self.process.wait(HANGS), 0)
        self.assertFalse(lingers(self.place))
        self.assertEqual(list((self.place / "environments").iterdir()), [])


class NativeLingeringTests(LingeringCase):
    def test_the_environment_of_what_failed_is_entered_and_released(self) -> None:
        ended = self.begin("echo made > made; exit 7", "echo never")
        self.assertEqual(ended.results, {"job0:0": "failure", "job1:0": "unrun"})
        self.assertEqual(ended.jobs["job0:0"].lingers, 600.0)
        self.assertIsNone(ended.jobs["job1:0"].lingers)
        self.assertIn("headrace shell 7", ended.log())
        said = self.shell("cat", "made", "-", given="typed\n")
        self.assertEqual((said.stdout, said.returncode), ("made\ntyped\n", 0), said.stderr)
        said = self.shell("sh", "-c", "echo wrong >&2; touch more; exit 5")
        self.assertEqual((said.stderr, said.returncode), ("wrong\n", 5))
        self.assertEqual(self.shell("ls").stdout, "README\nmade\nmore\n")
        self.assertEqual(self.shell("ls", options=("--release",)).returncode, 0)
        self.until_over()
        self.assertEqual(self.shell("ls").returncode, 3)

    def test_what_passes_leaves_nothing(self) -> None:
        self.begin("true")
        self.until_over()

    def test_without_the_wish_nothing_lingers(self) -> None:
        source = repository(self, {"README": ""})
        self.place, self.process = begin(self, order(source, [[("a", job("false"))]]))
        self.assertIsNone(self.until_told().jobs["a:0"].lingers)
        self.until_over()

    def test_it_ends_when_its_time_has_come_whoever_is_in_there(self) -> None:
        self.begin("exit 7", linger=1.5)
        word = uuid4().hex
        said = self.shell("bash", "-c", f"exec -a {word} sleep 600")
        self.assertIn("over", said.stderr)
        self.until_over()
        self.assertEqual(processes_with(word), [])

    def test_what_a_shell_leaves_running_ends_with_the_last_one(self) -> None:
        self.begin("exit 7")
        word = uuid4().hex
        self.shell("bash", "-c", f"(setsid bash -c 'exec -a {word} sleep 600' &) ; true")
        self.assertEqual(self.shell("true").returncode, 0)
        self.assertEqual(processes_with(word), [])

    def test_who_goes_away_takes_the_command_along(self) -> None:
        self.begin("exit 7")
        word = uuid4().hex
        command = f"echo up; exec -a {word} sleep 600"
        client = subprocess.Popen(
            [*SHELL, *self.where(), "--", "bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=attach.child_variables(),
        )
        assert client.stdout is not None
        self.assertEqual(client.stdout.readline(), b"up\n")
        client.kill()
        client.wait()
        client.stdout.close()
        while processes_with(word):
            select.select([], [], [], 0.02)

    def test_a_terminal_is_one_of_its_own(self) -> None:
        self.begin("exit 7", linger=30.0)
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        client = subprocess.Popen(
            [*SHELL, *self.where(), "--", "bash", "--norc", "-i"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**attach.child_variables(), "TERM": "vt100"},
        )
        mine = os.ttyname(slave)
        os.close(slave)
        script = (
            "test -t 0 && echo is-$TERM-$((40 + 2)); readlink /proc/self/fd/0; exit 9\n"
        )
        os.write(master, script.encode())
        said = b""
        with self.ended_terminal():
            while part := os.read(master, 4096):
                said += part
        self.assertEqual(client.wait(HANGS), 9, said)
        self.assertIn(b"is-vt100-42", said)
        self.assertNotIn(f"{mine}\r".encode(), said)

    def ended_terminal(self) -> Any:
        return contextlib.suppress(OSError)  # EIO, when nobody has the other end

    def test_machines_that_shut_down_do_not_wait_for_it(self) -> None:
        self.begin("exit 7")
        self.process.send_signal(signal.SIGTERM)
        self.until_over()

    def test_nobody_renews_a_lease_that_is_over(self) -> None:
        self.begin("exit 7", fence_after=10.0)
        self.assertEqual(self.shell("sleep", "11").returncode, 0)
        self.assertTrue(lingers(self.place))

    def test_a_supervisor_that_is_killed_leaves_nothing_to_enter(self) -> None:
        self.begin("exit 7")
        word = uuid4().hex
        client = subprocess.Popen(
            [
                *SHELL,
                *self.where(),
                "--",
                "bash",
                "-c",
                f"echo up; exec -a {word} sleep 9e9",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=attach.child_variables(),
        )
        assert client.stdout is not None
        self.assertEqual(client.stdout.readline(), b"up\n")
        self.process.kill()
        self.process.wait()
        self.assertNotEqual(client.wait(HANGS), 0)
        client.stdout.close()
        attach.remove(self.place)
        self.assertEqual(processes_with(word), [])


class MachineLingeringTests(LingeringCase):
    def test_commands_are_run_in_a_machine_that_goes_on_and_a_terminal_is_refused(
        self,
    ) -> None:
        require_machines(self)
        shared_image(self)
        self.begin(
            "echo left > f; exit 7",
            isolation="vm",
            settings={
                "images": str(shared_images_folder()),
                "series_images": {"jammy": own_series()},
                "disk_limit": 1 << 30,
                "network": False,
            },
        )
        said = self.shell("sh", "-c", "cat f; hostname; exit 4")
        self.assertEqual((said.stdout, said.returncode), ("left\nheadrace\n", 4))
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        client = subprocess.run(
            [*SHELL, *self.where()],
            stdin=slave,
            capture_output=True,
            text=True,
            env=attach.child_variables(),
        )
        os.close(slave)
        self.assertIn("takes no terminal", client.stderr)
        self.assertEqual(self.shell("x", options=("--release",)).returncode, 0)
        self.until_over()


class SecretTests(LingeringCase):
    def test_secrets_of_the_worker_are_not_in_there(self) -> None:
        """Neither what apt was given, nor what the operator gives every command."""
        shared_image(self)
        secret, other = f"s3cret-{uuid4().hex}", uuid4().hex
        secrets = folder(self) / "secrets.yaml"
        secrets.write_text(f"key: {secret}\n")
        secrets.chmod(0o600)
        line = "deb http://user:{{key}}@127.0.0.1:1/debian x main"
        ended = self.begin(
            "exit 7",
            isolation="chroot",
            jobs={
                "packages": ("hello",),
                "environment": {"OWN": "mine"},
            },
            settings={
                "images": str(shared_images_folder()),
                "series_images": {"jammy": own_series()},
                "secrets_file": str(secrets),
                "package_repositories": (line,),
                "environment": {"OPERATORS": other},
            },
        )
        self.assertEqual(ended.results, {"job0:0": "failure"}, ended.log())
        self.assertRegex(ended.jobs["job0:0"].image, "^[0-9a-f]{64}$")
        said = self.shell("sh", "-c", "env; cat /etc/apt/sources.list.d/*; id -u")
        self.assertIn("OWN=mine", said.stdout)
        self.assertIn("deb http://***@127.0.0.1", said.stdout)
        self.assertNotIn(other, said.stdout)
        found = self.shell(
            *("sh", "-c", f"grep -rlF {secret[:12]} /etc /var /build /root /tmp /run"),
            options=("--root",),
        )
        self.assertEqual(found.stdout, "")

    def test_the_shell_has_no_more_rights_than_the_job_had(self) -> None:
        shared_image(self)
        self.begin(
            "touch mine; exit 7",
            isolation="chroot",
            jobs={"root": False},
            settings={
                "images": str(shared_images_folder()),
                "series_images": {"jammy": own_series()},
                "network": False,
            },
        )
        said = self.shell("sh", "-c", "id -un; ls; touch /x; grep CapEff /proc/self/status")
        self.assertIn("_lpci\nREADME\nmine\n", said.stdout)
        self.assertIn("CapEff:\t0000000000000000", said.stdout)
        self.assertIn("Permission denied", said.stderr)
        mount = "perl -e '($a, $b, $c) = qw(x /mnt tmpfs);"
        mount += " print syscall(165, $a, $b, $c, 0, 0), qq( $!)'"
        told_root = self.shell(
            *("sh", "-c", f"id -u; ls {Path(__file__).parent}; {mount}"),
            options=("--root",),
        )
        self.assertTrue(told_root.stdout.startswith("0\n"))
        self.assertIn("No such file", told_root.stderr)
        self.assertIn("-1 Operation not permitted", told_root.stdout)
