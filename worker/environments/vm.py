"""The vm environment: a virtual machine, for code that nobody trusts.

Its kernel is its own; it shares nothing with this machine but some lines to an agent and,
where builds have a network, the machine's way out.  Its disk is an overlay that goes with
the environment.
"""

from __future__ import annotations

import os
import select
import signal
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from typing import NoReturn

from zope.interface import implementer

from worker.environments import fitting, joining, syscalls, traces
from worker.environments.bootstrap import NoImage
from worker.environments.delivering import Delivery, entries
from worker.environments.disks import FILE, Disks
from worker.environments.interface import (
    SOURCES,
    EnvironmentFault,
    IEnvironment,
    Streams,
    Unfit,
)
from worker.environments.kernel import Kernels
from worker.environments.layers import differing
from worker.environments.limits import UNLIMITED, Limits, in_units, ran_out
from worker.environments.line import Line, MachineGone, listed, refusal, words
from worker.environments.machine import Machine, Plan, accelerator
from worker.environments.store import Held

#: What a machine gets if nobody says.
_MEMORY = 1 << 30
_DISK = 20 << 30


@implementer(IEnvironment)
class VirtualMachine:
    """A system of its own on top of an image, below a kernel of its own."""

    project = fitting.PROJECT
    inputs = fitting.INPUTS
    can_snap = False
    root = None

    def __init__(
        self,
        image: Path,
        folder: Path,
        *,
        images: Path,
        architecture: str,
        say: Callable[[str], None],
        network: bool = True,
        layers: Sequence[Path] = (),
        installed: Sequence[str] = (),
        held: Sequence[Held] = (),
        limits: Limits = UNLIMITED,
    ) -> None:
        """``images`` is the folder in which kernels and disks are kept.

        The rest is as for a chroot.
        """
        self._stack = (*layers, image)
        self.image = image.name
        self._images = images
        self._architecture = architecture
        self._folder = folder.absolute().parent.resolve() / folder.name
        self._say = say
        self._network = network
        self._installed = tuple(installed)
        self._held = list(held)
        self._memory = limits.memory or _MEMORY
        self._disk = limits.disk or _DISK
        self._limits = limits
        self._machine: Machine | None = None
        self._space = b""  #: number of the process space in there
        self._commands: list[tuple[Popen[bytes], Line]] = []
        self.can_install = network
        self.variables: Mapping[str, str] = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }

    def prepare(self) -> None:
        try:
            kernel = Kernels(self._images, self._architecture).find(self._say)
            self._held.append(kernel.held)
            disk = Disks(self._images).find(self._stack, self._disk, self._say)
            self._held.append(disk)
        except NoImage as error:
            raise EnvironmentFault(str(error)) from error
        found = accelerator(kernel, self._architecture, self._images, self._say)
        self._folder.mkdir(mode=0o711, parents=True)
        plan = Plan(
            architecture=self._architecture,
            kernel=kernel,
            disk=disk.path / FILE,
            memory=self._memory,
            # An emulated processor is no quicker for having company.
            processors=max(1, int(self._limits.processors or 1)) if found == "kvm" else 1,
            network=self._network,
            accelerator=found,
        )
        self._machine = Machine(plan, self._folder)
        traces.note(self._folder, init=self._machine.pid)
        self._machine.wait()

    def begin(self, *, again: bool = False) -> None:
        processes = str(self._limits.processes or "")
        [self._space] = self._ask(b"b", processes, *(["again"] if again else []))

    def command(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: str,
        user: str | None = None,
        streams: Streams | None = None,
    ) -> Popen[bytes]:
        if not self._space:
            raise EnvironmentFault("The environment was not begun.")
        if streams is not None and streams.is_terminal:
            raise Unfit(
                "A virtual machine takes no terminal; say what is to run in there, with "
                "--run."
            )
        line = self._free_line()
        variables = [f"{name}={value}" for name, value in environment.items()]
        wanted: list[bytes | str] = [
            self._space,
            directory,
            user or "",
            str(len(argv)),
            *argv,
            *variables,
        ]
        line.ask(b"x", *wanted)
        kind, rest = line.hear()
        if kind == b"n":
            raise refusal(rest)
        process = joining.Relayed(
            [argv[0]],
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            bufsize=0,
            preexec_fn=lambda: _relay(line),
        )
        self._commands.append((process, line))
        return process

    def end(self) -> None:
        if self._machine is not None and self._space:
            with suppress(MachineGone):
                self._ask(b"e")
        self._space = b""
        for process, _ in self._commands:
            process.wait()
        self._commands.clear()

    def push(self, local: Path, inside: str, *, owner: str | None = None) -> None:
        found = entries(local)
        control = self._control()
        control.ask(b"p", inside, owner or "")
        for kind, rest in found:
            control.say(kind, rest)
        control.say(b"z")
        control.answer()

    def pull(self, inside: str, local: Path) -> None:
        control = self._control()
        control.ask(b"g", inside)
        delivery = Delivery(local)
        try:
            for kind, rest in control.frames():
                if kind != b"y":
                    delivery.take(kind, rest)
        finally:
            delivery.close()

    def files(self, inside: str) -> list[str]:
        return [os.fsdecode(path) for path in self._ask(b"l", inside)]

    def resolve(self, inside: str) -> str:
        [path] = self._ask(b"r", inside)
        return os.fsdecode(path)

    def install(
        self, packages: Sequence[str], sources: Sequence[str] = ()
    ) -> list[list[str]]:
        if not sources:
            packages = differing(packages, self._installed)
        if not packages:
            return []
        if not self._network:
            raise Unfit(
                "packages: the operator gave builds on this worker no network, so nothing "
                "can be installed."
            )
        lines = self._folder / "sources"
        lines.write_text("".join(f"{line}\n" for line in sources))
        lines.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)
        self.push(lines, SOURCES)
        return [
            ["apt-get", "--quiet", "update"],
            ["apt-get", "--quiet", "--yes", "install", "--", *packages],
        ]

    def exhausted(self) -> str:
        if self._machine is None or not self._space:
            return ""
        try:
            memory, processes, disk = self._ask(b"c")
        except MachineGone:
            if self._machine.how_it_ended() not in (None, 0):
                raise
            return "the virtual machine was shut down from within"
        if _count(memory, b"oom_kill"):
            return ran_out("memory", in_units(self._memory), "memory_limit")
        if _count(processes, b"max"):
            number = f"{self._limits.processes} processes"
            return ran_out("processes", number, "process_limit")
        if disk:
            return ran_out("room on its disk", in_units(self._disk), "disk_limit")
        return ""

    def destroy(self) -> None:
        if self._machine is not None:
            # Quicker than asking it to end: nothing in there is to be had again.
            self._machine.kill()
            self._machine = None
        self.end()
        traces.remove(self._folder)
        for each in self._held:
            each.close()

    def _control(self) -> Line:
        if self._machine is None:
            raise EnvironmentFault("The environment was not prepared.")
        return self._machine.control

    def _ask(self, kind: bytes, *wanted: bytes | str) -> list[bytes]:
        control = self._control()
        control.ask(kind, *wanted)
        return control.answer()

    def _free_line(self) -> Line:
        """A line on which no command runs."""
        assert self._machine is not None
        busy = {id(line) for process, line in self._commands if process.poll() is None}
        for line in self._machine.free:
            if id(line) not in busy:
                return line
        raise EnvironmentFault(f"More than {len(busy)} commands run at the same time.")


def _count(pairs: bytes, key: bytes) -> int:
    found = pairs.split()
    for name, value in zip(found[::2], found[1::2], strict=False):
        if name == key and value.isdigit():
            return int(value)
    return 0


def _relay(line: Line) -> NoReturn:
    """Be the command as far as this machine sees it: its output, signals and status."""

    def forward(number: int, frame: object) -> None:
        told = signal.SIGKILL if number == joining.KILL else number
        with suppress(MachineGone):
            line.say(b"k", listed([str(int(told))]))

    try:
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
        os.setsid()
        syscalls.die_with_parent()
        for number in (*joining.FORWARDED, joining.KILL):
            signal.signal(number, forward)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        syscalls.close_all_but(1, line.fileno())
        while True:
            kind, rest = line.hear()
            if kind == b"o":
                _write(rest)
            elif kind == b"q":
                _end_as(words(rest))
    except BaseException:
        os._exit(255)
    finally:
        os._exit(255)


def _write(data: bytes) -> None:
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:
            # Whoever reads has made the pipe a non-blocking one, for both ends.
            select.select([], [1], [])
        except BrokenPipeError:
            return


def _end_as(how: Sequence[bytes]) -> NoReturn:
    kind, number = how[0], int(how[1])
    if kind == b"signal":
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(number & 255)
