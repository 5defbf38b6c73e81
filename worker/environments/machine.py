"""A virtual machine: one qemu, the lines to its agent, and how it ends."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker.environments import syscalls
from worker.environments.interface import EnvironmentFault
from worker.environments.kernel import Kernel
from worker.environments.line import Line, MachineGone
from worker.environments.quota import SMALLEST

#: Commands that can run at the same time.
COMMANDS = 4
#: Seconds for the agent to answer after a start; slow where a processor is emulated.
_BOOT = 180.0
#: Seconds for a probe: what takes longer is no help.
_PROBE = 12.0
_PROGRAMS = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
_MACHINES = {"amd64": "q35", "arm64": "virt"}
#: What the kernel is told; the last becomes a variable of the first program. A machine has
#: one build only, with nobody in it to protect from the faults of processors.
_ARGUMENTS = (
    "console=ttyS0 quiet panic=-1 loglevel=3 mitigations=off no_timer_check headrace="
)
_PASSED = b"headrace-probe-passed"
#: What the last words of a machine that did not start may take.
_LAST_WORDS = 4096


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a machine is made of."""

    architecture: str
    kernel: Kernel
    disk: Path  #: which is never written to
    memory: int  #: bytes
    processors: int
    network: bool
    accelerator: str  #: ``kvm`` or ``tcg``


class Machine:
    """A running virtual machine in a folder."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        """Started, but not yet up: see `wait`."""
        self._lines: list[Line] = []
        ends = []
        for _ in range(COMMANDS + 1):
            ours, theirs = socket.socketpair()
            self._lines.append(Line(ours))
            ends.append(theirs)
        try:
            self._process = _start(plan, folder, ends)
        except FileNotFoundError as error:
            raise EnvironmentFault(
                f"This machine has no program {error.filename}: apt-get install "
                "qemu-system-x86 qemu-utils."
            ) from None
        except subprocess.SubprocessError as error:
            raise EnvironmentFault(f"qemu could not be started: {error}.") from None
        finally:
            for end in ends:
                end.close()
        self.control, self.free = self._lines[0], self._lines[1:]

    @property
    def pid(self) -> int:
        """Of qemu."""
        return self._process.pid

    def wait(self) -> None:
        """Return when the agent answers; EnvironmentFault if it does not."""
        until = time.monotonic() + _BOOT
        console = _Console(self._process)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(console, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            ready = {descriptor for descriptor, _ in poll.poll(left * 1000)}
            if self.control.fileno() in ready:
                try:
                    self.control.hear()
                except MachineGone:
                    break
                return
            if console.fileno() in ready and not console.hear():
                poll.unregister(console)
        raise EnvironmentFault(f"The virtual machine did not start: {console.last_words}.")

    def how_it_ended(self) -> int | None:
        """qemu's exit status; None if it runs.  0: it was shut down from within."""
        return self._process.poll()

    def kill(self) -> None:
        """End it at once; safe to repeat."""
        for line in self._lines:
            line.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class _Console:
    """What the machine's kernel says while it starts."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._output = process.stdout
        self._heard = b""

    def fileno(self) -> int:
        return self._output.fileno()

    def hear(self) -> bytes:
        data = os.read(self.fileno(), _LAST_WORDS)
        self._heard = (self._heard + data)[-_LAST_WORDS:]
        return data

    @property
    def last_words(self) -> str:
        lines = self._heard.decode(errors="replace").split("\n")
        told = [line.strip() for line in lines if line.strip()]
        # The kernel's own lines are about its end, and follow what caused it.
        causes = [line for line in told if not line.startswith("[")]
        return " / ".join((causes or told)[-3:]) or "it said nothing"


def _start(plan: Plan, folder: Path, ends: list[socket.socket]) -> subprocess.Popen[bytes]:
    place = folder / "machine"
    place.mkdir(mode=0o700)
    identity = _identity(plan.accelerator)
    passed = [
        os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        for path in (plan.disk, plan.kernel.image, plan.kernel.first_files)
    ]
    try:
        base, image, first = (f"/proc/self/fd/{number}" for number in passed)
        (place / "base").symlink_to(base)
        _make_overlay(place, plan.disk.stat().st_size)
        if identity is not None:
            for path in (place, place / "overlay"):
                os.chown(path, *identity)
        argv = [
            *_usual(plan),
            *("-m", str(plan.memory >> 20), "-smp", str(plan.processors)),
            *("-kernel", image, "-initrd", first),
            *("-append", _ARGUMENTS + ("network" if plan.network else "none")),
            "-drive",
            "if=none,id=disk,file=overlay,format=qcow2,cache=unsafe,discard=unmap",
            *("-device", "virtio-blk-pci,drive=disk"),
            *("-device", f"virtio-serial-pci,max_ports={len(ends) + 1}"),
        ]
        for number, end in enumerate(ends):
            name = f"command{number}" if number else "control"
            argv += ["-chardev", f"socket,id=line{number},fd={end.fileno()}"]
            argv += ["-device", f"virtserialport,chardev=line{number},name={name}"]
        if plan.network:
            argv += ["-netdev", "user,id=net"]
            argv += ["-device", "virtio-net-pci,netdev=net,romfile="]

        def prepare() -> None:
            os.setpgid(0, 0)
            if identity is not None:
                os.setgroups([])
                os.setresgid(*[identity[1]] * 3)
                os.setresuid(*[identity[0]] * 3)
            syscalls.die_with_parent()

        return subprocess.Popen(
            argv,
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            pass_fds=[*passed, *(end.fileno() for end in ends)],
            preexec_fn=prepare,
        )
    finally:
        for number in passed:
            os.close(number)


def _usual(plan: Plan) -> list[str]:
    """What every machine of ours has, and what none has."""
    return [
        _PROGRAMS[plan.architecture],
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none", "-serial", "stdio", "-monitor", "none"),
        *("-machine", f"{_MACHINES[plan.architecture]},accel={plan.accelerator}"),
        *("-cpu", "host" if plan.accelerator == "kvm" else "max"),
        *("-device", "virtio-rng-pci"),
        # Who breaks out of the machine finds itself able to do little.
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]


def _make_overlay(place: Path, size: int) -> None:
    argv = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "base"]
    done = subprocess.run(
        [*argv, "overlay", str(max(size, SMALLEST))],
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise EnvironmentFault(f"qemu-img failed: {done.stderr.strip()}.")


def _identity(accelerator: str) -> tuple[int, int] | None:
    """Whom qemu runs as: nobody, where root can choose that."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    if accelerator == "kvm":
        device = os.stat("/dev/kvm")
        if not device.st_mode & stat.S_IWOTH:
            return (entry.pw_uid, device.st_gid) if device.st_mode & stat.S_IWGRP else None
    return entry.pw_uid, entry.pw_gid


def can_run(architecture: str) -> bool:
    """Whether the programs for machines of that architecture are there."""
    program = _PROGRAMS.get(architecture)
    return program is not None and all(map(shutil.which, (program, "qemu-img")))


def accelerator(
    kernel: Kernel, architecture: str, folder: Path, say: Callable[[str], None]
) -> str:
    """``kvm`` if this machine has one that works, else ``tcg``; probed once a boot.

    A machine may have the device and make virtual machines that never start.
    """
    modules = Path("/sys/module")
    if not any((modules / name).exists() for name in ("kvm_intel", "kvm_amd")):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    note = folder / f".kvm-{kernel.key}"
    with suppress(OSError, ValueError):
        told, found = note.read_text().split()
        if told == boot:
            return found
    found = (
        "kvm"
        if os.access("/dev/kvm", os.W_OK) and _probe(kernel, architecture)
        else ("tcg")
    )
    if found == "tcg":
        say("The KVM of this machine starts no virtual machine: processors are emulated.")
    with suppress(OSError):
        note.write_text(f"{boot} {found}\n")
    return found


def _probe(kernel: Kernel, architecture: str) -> bool:
    argv = [
        _PROGRAMS[architecture],
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-serial", "stdio", "-monitor", "none", "-m", "128", "-cpu", "host"),
        *("-machine", f"{_MACHINES[architecture]},accel=kvm"),
        *("-kernel", str(kernel.image), "-initrd", str(kernel.first_files)),
        *("-append", _ARGUMENTS + "probe"),
    ]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE
        )
    except (subprocess.TimeoutExpired, OSError):
        return False
    return _PASSED in done.stdout
