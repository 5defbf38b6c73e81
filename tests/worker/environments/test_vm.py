from __future__ import annotations

import atexit
import os
from pathlib import Path
from shutil import which
from tempfile import mkdtemp
from typing import TypeVar
from unittest import TestCase

from twisted.trial.unittest import SynchronousTestCase

from tests.requirements import require
from tests.worker.environments.attacks import LIMITS, Attacks
from tests.worker.environments.conformance import (
    EnvironmentCase,
    EnvironmentConformance,
    processes_with,
)
from tests.worker.environments.shared_image import (
    require_chroots,
    shared_image,
    shared_images_folder,
)
from worker.environments import traces
from worker.environments.delivering import Delivery
from worker.environments.interface import EnvironmentFault
from worker.environments.limits import UNLIMITED, Limits
from worker.environments.line import listed
from worker.environments.vm import VirtualMachine

#: Tests that end their machine; the others share one, for a start takes long.
_OWN_MACHINE = (
    "test_destruction_leaves_no_process_mount_or_folder",
    "test_nothing_survives_the_death_of_who_owns_it",
    "test_the_end_comes_twice_without_harm_and_so_does_destruction",
    "test_a_thousand_folders_within_each_other_can_be_removed",
    "test_a_machine_that_is_shut_down_from_within_says_so",
    "test_a_machine_that_dies_is_the_farm_s_fault",
)


def require_machines(test: TestCase) -> None:
    """Skip ``test`` where no virtual machine can be made."""
    require_chroots(test)
    for program in ("qemu-system-x86_64", "qemu-img"):
        require(test, which(program) is not None, f"this machine lacks {program}")
    require(test, os.uname().machine == "x86_64", "machines here are of amd64")


M = TypeVar("M", bound=VirtualMachine)


class Shared(VirtualMachine):
    """One that goes on to the next test."""

    is_up = False

    @property
    def is_alive(self) -> bool:
        return self._machine is None or self._machine.how_it_ended() is None

    def prepare(self) -> None:
        if not self.is_up:
            super().prepare()
            self.is_up = True

    def destroy(self) -> None:
        self.end()


_shared: dict[Limits, Shared] = {}


class MachineCase(EnvironmentCase):
    limits: Limits = UNLIMITED
    network = False
    said: list[str]
    environment: VirtualMachine

    def make(self, folder: Path) -> VirtualMachine:
        require_machines(self)
        image = shared_image(self).path
        if self._testMethodName in _OWN_MACHINE:
            return self._machine(VirtualMachine, image, folder)
        if self.limits not in _shared or not _shared[self.limits].is_alive:
            place = Path(mkdtemp(prefix="headrace, machine: "))
            found = self._machine(Shared, image, place / "e")
            _shared[self.limits] = found
            atexit.register(traces.remove, place)
            atexit.register(VirtualMachine.destroy, found)
        return _shared[self.limits]

    def _machine(self, kind: type[M], image: Path, folder: Path) -> M:
        return kind(
            image,
            folder,
            images=shared_images_folder(),
            architecture="amd64",
            say=self.said.append,
            network=self.network,
            limits=self.limits,
        )

    def command_lines(self, word: str) -> list[bytes]:
        script = (
            "for f in /proc/[0-9]*/cmdline; do l=$(tr '\\0\\n' '  ' < $f) && "
            f'case "$l" in *{word[:16]}""{word[16:]}*) echo "$l";; esac; done'
        )
        try:
            process = self.environment.command(
                ["bash", "-c", script],
                environment={"PATH": "/bin:/usr/bin"},
                directory="/",
            )
        except EnvironmentFault:
            return []
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        process.stdout.close()
        process.wait()
        return [line.rstrip().replace(b" ", b"\0") for line in lines]

    def living(self, word: str) -> list[int]:
        # When a job has ended, the agent itself has seen that nothing is left.
        return processes_with(word) + list(range(len(self.command_lines(word))))


class VirtualMachineTests(MachineCase, EnvironmentConformance, SynchronousTestCase):
    def test_the_kernel_is_its_own(self) -> None:
        self.environment.begin()
        self.assertNotEqual(self.output("uname -r").strip(), os.uname().release)

    def test_a_user_has_a_home_and_its_project_and_no_more(self) -> None:
        self.environment.begin()
        (self.local / "tree").mkdir()
        (self.local / "tree" / "f").write_text("x")
        project = self.environment.project
        self.environment.push(self.local / "tree", project, owner="_lpci")
        text = self.output("id -un; rm f && echo mine; echo $HOME; touch /c", user="_lpci")
        self.assertTrue(text.startswith("_lpci\nmine\n/home/_lpci\n"), text)
        self.assertIn("Permission denied", text)

    def test_services_of_one_job_are_gone_in_the_next(self) -> None:
        self.environment.begin()
        self.output("(setsid sleep 600 &); mount -t tmpfs x /mnt; touch /dev/shm/x")
        self.environment.end()
        self.environment.begin()
        self.assertEqual(self.output("ls /dev/shm; grep ' /mnt ' /proc/mounts"), "")
        self.assertLessEqual(int(self.output("ls -d /proc/[0-9]* | wc -l")), 5)

    def test_a_machine_that_is_shut_down_from_within_says_so(self) -> None:
        self.environment.begin()
        script = "echo o > /proc/sysrq-trigger; sleep 600"
        self.assertEqual(self.command(script).wait(), 255)
        self.assertIn("from within", self.environment.exhausted())

    def test_a_machine_that_dies_is_the_farm_s_fault(self) -> None:
        self.environment.begin()
        command = self.command("sleep 600")
        machine = self.environment._machine
        assert machine is not None
        os.kill(machine.pid, 9)
        self.assertEqual(command.wait(), 255)
        machine._process.wait()
        self.assertRaises(EnvironmentFault, self.environment.exhausted)


class AttackTests(MachineCase, Attacks, SynchronousTestCase):
    limits = LIMITS

    def test_root_in_there_may_do_as_it_likes_but_only_in_there(self) -> None:
        self.output("sysctl -w kernel.hostname=other; mount -t tmpfs x /opt; swapoff -a")
        self.assertNotEqual(os.uname().nodename, "other")
        self.all_is_well()

    def test_qemu_has_no_rights_to_lose(self) -> None:
        machine = self.environment._machine
        assert machine is not None
        status = Path(f"/proc/{machine.pid}/status").read_text()
        for wanted in ("Uid:\t65534\t65534", "CapEff:\t0000000000000000", "Seccomp:\t2"):
            self.assertIn(wanted, status)

    def test_what_the_machine_sends_makes_no_file_elsewhere(self) -> None:
        delivery = Delivery(self.local / "got")
        delivery.take(b"d", listed(["", "493"]))
        for name in ("../x", "/etc/x", "a/../../x", "a\0b", ".."):
            with self.assertRaises(EnvironmentFault):
                delivery.take(b"f", listed([name, "420", "0"]))
        delivery.close()
        self.assertEqual([each.name for each in self.local.iterdir()], ["got"])
        for nonsense in (b"\0\0\0\xff", b"\0\0", b""):
            with self.assertRaises(EnvironmentFault):
                delivery.take(b"f", nonsense)
