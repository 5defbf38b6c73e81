"""Lingering: the environment of a job that failed, left for those who look into it.

The build's own process goes on holding it when the end of the attempt is reported. It
listens on the socket ``shell`` in the attempt's folder, starts commands in there with the
descriptors of whoever asks, and removes all when the time has come. The conversation:

    shell                               build
    -> Enter, and three descriptors
                                        <- Entered    how the command ended
                                        <- Turned     or why there is none
    -> Release                                        and the environment is removed now

What a command left running ends with the last one that somebody entered with.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import msgspec

from protocol.results import Result
from protocol.stages import Cell, title
from worker.environments.interface import (
    BadPath,
    EnvironmentFault,
    IEnvironment,
    Streams,
    Unfit,
)
from worker.supervisor.endings import exit_status
from worker.supervisor.stopping import Stopper

#: Ends of a pipeline job after which its environment may linger.
LINGERING_RESULTS = frozenset({Result.FAILURE, Result.TIMEOUT})
#: In the attempt's folder: that its environment lingers, and the socket.
NOTE, SOCKET = "lingering", "shell"
#: Bytes of a message.
_LIMIT = 256 * 1024
#: Seconds that whoever connects has to say what is wanted.
_HURRY = 5.0
#: The clock goes on while the machine sleeps, waiting does not.
_LONGEST_WAIT = 1.0
_SHELLS = 16


@dataclass(frozen=True)
class Remains:
    """What a pipeline job leaves behind."""

    cell: Cell
    environment: IEnvironment
    user: str | None  #: who ran its commands
    variables: Mapping[str, str]  #: the environment's and its own, none of the operator's


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What the file `NOTE` tells."""

    name: str
    index: int
    reason: str
    until: float  #: seconds since this boot of the machine


class Enter(msgspec.Struct, frozen=True, kw_only=True, tag="enter", tag_field="type"):
    """Run a command; its three standard descriptors come along."""

    argv: tuple[str, ...]
    is_terminal: bool = False
    as_root: bool = False  #: as who administers the environment, whoever ran the job
    terminal: str = "dumb"  #: its TERM


class Release(msgspec.Struct, frozen=True, tag="release", tag_field="type"):
    """Nobody needs the environment any more."""


class Entered(msgspec.Struct, frozen=True, kw_only=True, tag="entered", tag_field="type"):
    """The command has ended."""

    status: int


class Turned(msgspec.Struct, frozen=True, kw_only=True, tag="turned", tag_field="type"):
    """Nothing was started."""

    why: str


_encoder = msgspec.json.Encoder()
_wish: msgspec.json.Decoder[Enter | Release] = msgspec.json.Decoder(Enter | Release)


def boot_time() -> float:
    """Seconds since the machine started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def note(folder: Path, cell: Cell, reason: str, seconds: float) -> None:
    """Write down that an environment of the attempt in ``folder`` lingers from now on."""
    told = Note(name=cell[0], index=cell[1], reason=reason, until=boot_time() + seconds)
    (folder / NOTE).write_bytes(_encoder.encode(told))


def lingers(folder: Path) -> bool:
    """Whether an environment of the attempt in ``folder`` lingers."""
    return (folder / NOTE).exists()


def read_note(folder: Path) -> Note:
    """What `note` wrote; OSError if nothing lingers."""
    return msgspec.json.decode((folder / NOTE).read_bytes(), type=Note)


class Lingering:
    """One environment that lingers; `run` it once."""

    def __init__(
        self,
        folder: Path,
        remains: Remains,
        stopper: Stopper,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self._folder = folder
        self._remains = remains
        self._stopper = stopper
        self._clock = clock
        self._until = read_note(folder).until
        self._shells: dict[int, _Shell] = {}
        self._released = False

    def run(self) -> None:
        """Let in who asks, until the time has come, a stop or a release."""
        try:
            with _listener(self._folder) as listener:
                while not self._is_over():
                    self._turn(listener)
        finally:
            for shell in list(self._shells.values()):
                self._leave(shell)
            (self._folder / NOTE).unlink(missing_ok=True)

    def _is_over(self) -> bool:
        return (
            self._released or self._clock() >= self._until or self._stopper.stop is not None
        )

    def _turn(self, listener: socket.socket) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._stopper, select.POLLIN)
        for shell in self._shells.values():
            poll.register(shell.ended, select.POLLIN)
            poll.register(shell.line, select.POLLIN)
        wait = min(max(self._until - self._clock(), 0.0), _LONGEST_WAIT)
        ready = {descriptor for descriptor, _ in poll.poll(wait * 1000)}
        if listener.fileno() in ready:
            self._answer(listener)
        for shell in list(self._shells.values()):
            if shell.ended in ready:
                shell.tell(Entered(status=exit_status(shell.process.wait())))
                self._leave(shell)
            elif shell.line.fileno() in ready:
                # It has nothing more to say: who entered is gone.
                self._leave(shell)

    def _answer(self, listener: socket.socket) -> None:
        line, _ = listener.accept()
        descriptors: list[int] = []
        try:
            line.settimeout(_HURRY)
            data, descriptors, _, _ = socket.recv_fds(line, _LIMIT, 3)
            wish = _wish.decode(data)
            if isinstance(wish, Release):
                self._released = True
                line.close()
                return
            self._enter(line, wish, descriptors)
        except (OSError, msgspec.DecodeError, EnvironmentFault, BadPath, Unfit) as error:
            if not self._shells:
                self._remains.environment.end()
            with suppress(OSError):
                line.sendall(_encoder.encode(Turned(why=str(error))))
            line.close()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _enter(self, line: socket.socket, wish: Enter, descriptors: list[int]) -> None:
        if len(descriptors) != 3 or not wish.argv or len(self._shells) >= _SHELLS:
            raise EnvironmentFault("nothing can be started that way, or once more")
        _say_who(line, wish)
        environment = self._remains.environment
        if not self._shells:
            environment.begin(again=True)
        theirs, says, complains = descriptors
        streams = Streams(theirs, says, complains, wish.is_terminal)
        process = self._start(wish, streams)
        if process.stdout is not None:
            _pump(process, os.dup(says))
        shell = _Shell(line, process, os.pidfd_open(process.pid))
        self._shells[shell.ended] = shell

    def _start(self, wish: Enter, streams: Streams) -> Popen[bytes]:
        remains = self._remains
        environment = remains.environment
        try:
            environment.resolve(directory := environment.project)
        except BadPath:  # the job took it away
            directory = "/"
        return environment.command(
            wish.argv,
            environment={**remains.variables, "TERM": wish.terminal},
            directory=directory,
            user=None if wish.as_root else remains.user,
            streams=streams,
        )

    def _leave(self, shell: _Shell) -> None:
        del self._shells[shell.ended]
        if not self._shells:
            self._remains.environment.end()
        else:
            shell.process.kill()
            shell.process.wait()
        os.close(shell.ended)
        shell.line.close()


@dataclass(frozen=True)
class _Shell:
    """One command that somebody entered with."""

    line: socket.socket
    process: Popen[bytes]
    ended: int  #: a descriptor of the process

    def tell(self, message: Entered) -> None:
        with suppress(OSError):
            self.line.sendall(_encoder.encode(message))


def _listener(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        (folder / SOCKET).unlink(missing_ok=True)
        listener.bind(f"/proc/self/fd/{opened}/{SOCKET}")
    finally:
        os.close(opened)
    listener.listen(4)
    return listener


def _say_who(line: socket.socket, wish: Enter) -> None:
    """For the operator, in ``supervisor.log``: the farm's events tell who asked it."""
    peer = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    process, user, _ = struct.unpack("3i", peer)
    who = "as root" if wish.as_root else "as the job"
    print(
        f"shell: process {process} of user {user} runs {list(wish.argv)} {who}",
        file=sys.stderr,
        flush=True,
    )


def _pump(process: Popen[bytes], output: int) -> None:
    """Pass on what a command says that could not be given the descriptor itself."""
    stdout = process.stdout
    assert stdout is not None

    def pump() -> None:
        with suppress(OSError, ValueError):
            while data := os.read(stdout.fileno(), 1 << 16):
                while data:
                    data = data[os.write(output, data) :]
        stdout.close()
        os.close(output)

    threading.Thread(target=pump, daemon=True).start()


def describe(told: Note) -> str:
    """What lingers, in a few words."""
    return f"{title(told.name, told.index)} failed: {told.reason}"
