"""Starting commands in a process space or a brood."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE, STDOUT, Popen, SubprocessError
from typing import NoReturn

from worker.environments import syscalls
from worker.environments.interface import BadPath, EnvironmentFault, Streams
from worker.environments.limits import UNLIMITED, Limits

FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
)
#: Asks a relay to kill its command.
KILL = signal.SIGUSR2


@dataclass(frozen=True)
class Identity:
    """A user, as the kernel knows one, and where it is at home."""

    user: int
    group: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command to start."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    identity: Identity | None = None  #: None stays what this process is
    capabilities: frozenset[int] | None = None  #: None stays what this process has
    enter: Callable[[], None] | None = None  #: moves the command into control groups
    limits: Limits = UNLIMITED  #: what must be held to without groups
    streams: Streams | None = None  #: None: no input, and a pipe for what it says


def at_home(
    environment: Mapping[str, str], identity: Identity | None, usual: Mapping[str, str]
) -> Mapping[str, str]:
    """``environment`` with the HOME of ``identity``, unless it has an unusual one."""
    if identity is None or environment.get("HOME") != usual["HOME"]:
        return environment
    return {**environment, "HOME": identity.home}


class Relayed(Popen[bytes]):
    """The relay of a command (see ``_relay``), as if it were the command.

    If a relay were killed, its command would become the orphan of a process outside of
    the space.  Should that one not wait for it, the space could never end.
    """

    def kill(self) -> None:
        """Kill the command, which ends the relay."""
        self.send_signal(KILL)


def start(command: Command, join: Callable[[], None]) -> Popen[bytes]:
    """The command's process; ``join`` moves the process that calls it into a space.

    BadPath if the program or the directory isn't there.
    """
    trouble_end, trouble = os.pipe()
    streams = command.streams
    try:
        return Relayed(
            list(command.argv),
            stdin=DEVNULL if streams is None else streams.input,
            stdout=PIPE if streams is None else streams.output,
            stderr=STDOUT if streams is None else streams.errors,
            bufsize=0,
            env=dict(command.environment),
            # The job's environment must not reach a program of this machine (think of
            # LD_PRELOAD), so joining is done here and not by nsenter.
            preexec_fn=lambda: _enter(command, join, trouble),
        )
    except SubprocessError:
        os.close(trouble)
        trouble = -1
        raise _read_trouble(trouble_end, command) from None
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        reason = error.strerror
        raise BadPath(f"{command.argv[0]} can't be run here: {reason}.") from None
    except (OSError, ValueError) as error:
        raise EnvironmentFault(
            f"{command.argv[0]} could not be started: {error}."
        ) from None
    finally:
        os.close(trouble_end)
        if trouble != -1:
            os.close(trouble)


def _read_trouble(trouble_end: int, command: Command) -> Exception:
    kind, _, message = os.read(trouble_end, 4096).decode(errors="replace").partition(" ")
    if kind == "directory":
        return BadPath(f"Commands can't run in {command.directory}: {message}.")
    return EnvironmentFault(f"{command.argv[0]} could not be started: {message}.")


def _enter(command: Command, join: Callable[[], None], trouble: int) -> None:
    step = "joining"
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.setsid()
        join()
        child = os.fork()
        if child:
            _relay(child)
        os.setsid()
        if command.streams is not None and command.streams.is_terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        step = "limiting"
        _limit(command)
        _become(command)
        syscalls.die_with_parent()
        step = "directory"
        os.chdir(command.directory)
    except OSError as error:
        os.write(trouble, f"{step} {error.strerror}".encode(errors="replace"))
        raise
    except BaseException as error:
        os.write(trouble, f"{step} {error}".encode(errors="replace"))
        raise


def _limit(command: Command) -> None:
    """Put this process under the bounds of ``command``."""
    if command.enter is not None:
        command.enter()
    for kind, limit in (
        (resource.RLIMIT_AS, command.limits.memory),
        (resource.RLIMIT_NPROC, command.limits.processes),
        (resource.RLIMIT_FSIZE, command.limits.disk),
    ):
        if limit is not None:
            resource.setrlimit(kind, (limit, limit))


def _become(command: Command) -> None:
    # Until it executes a program, this process knows all that its parent knows.
    syscalls.hide_memory()
    if command.capabilities is not None:
        syscalls.give_up_capabilities(command.capabilities)
    if command.identity is not None:
        os.setgroups(command.identity.groups)
        os.setresgid(*[command.identity.group] * 3)
        os.setresuid(*[command.identity.user] * 3)
    os.umask(0o022)
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _relay(child: int) -> NoReturn:
    """Stand for the command, outside of its space: pass signals in and its status out."""

    def forward(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            if number == KILL:
                os.kill(child, signal.SIGKILL)
                return
            try:
                os.killpg(child, number)
            except ProcessLookupError:
                os.kill(child, number)  # has no process group of its own yet

    try:
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
        for number in (*FORWARDED, KILL):
            signal.signal(number, forward)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        syscalls.close_all_but()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killer = os.WTERMSIG(status)
            with suppress(OSError, ValueError):
                signal.signal(killer, signal.SIG_DFL)
            os.kill(os.getpid(), killer)
        os._exit(os.waitstatus_to_exitcode(status))
    finally:
        os._exit(255)
