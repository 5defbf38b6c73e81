"""A process space: namespaces with an init of their own, which die as one.

Three processes hold one up::

    this process ── holder ── init (pid 1 of the space) ── whatever was orphaned inside

The holder enters the new namespaces and becomes init's parent.  Init is the machine's
own ``cat``, reading a pipe that only this process can write to: it ends when this process
does, and when it ends the kernel kills all that is in the space.  The kernel is also told
to kill holder and init if their parents die, so that a stopped init changes nothing.
Init ignores SIGCHLD, which lets the kernel reap orphans.  It is a program, not a fork of
this process, because what runs in the space may be able to read its memory.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from worker.environments import syscalls
from worker.environments.interface import EnvironmentFault

_INIT_PROGRAMS = ("/bin/cat", "/usr/bin/cat")


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a space consists of."""

    namespaces: int  #: flags of unshare(2); NEWPID and NEWNS are among them
    enter: Callable[[], None] = _nothing  #: run by the holder while init gets ready
    mounts: int | None = None  #: a mount namespace to start from, else this process's
    needed: tuple[int, ...] = ()  #: descriptors that `enter` needs
    furnish: Callable[[], None] = _nothing  #: run by init, before anything else runs
    close: Callable[[], None] = _nothing  #: run by the holder, once init is a program


class Refused(EnvironmentFault):
    """The kernel lets this process make no such namespaces or mounts."""


class Space:
    """A running process space."""

    def __init__(self, layout: Layout) -> None:
        self._namespaces = layout.namespaces
        self._holder, self._alive, self.init = _start(layout)
        self._init_descriptor = os.pidfd_open(self.init)

    def join(self) -> None:
        """Move this process into the space; only its children get into its process ids."""
        syscalls.setns(self._init_descriptor, self._namespaces)

    def stop(self) -> None:
        """Kill all that is in the space; return when nothing is left of it."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._init_descriptor, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._holder, 0)
        os.close(self._init_descriptor)
        os.close(self._alive)


def fork(body: Callable[[], object], report: int) -> int:
    """The id of a child that runs ``body``; why it failed, if so, goes to ``report``."""
    child = os.fork()
    if child:
        return child
    try:
        body()
        os._exit(0)
    except BaseException as error:
        number = error.errno if isinstance(error, OSError) else None
        with suppress(OSError):
            os.write(report, f"fault {number or 0} {error}".encode(errors="replace"))
    finally:
        os._exit(1)


def read_report(report: int) -> str:
    """What a child of ``fork`` wrote before it closed ``report``, which is closed too.

    Raises Refused or EnvironmentFault if the child failed.
    """
    with os.fdopen(report, "rb") as stream:
        text = stream.read().decode(errors="replace")
    word, _, rest = text.partition(" ")
    if word == "ok":
        return rest
    number, _, message = rest.partition(" ")
    message = message or "it ended without a word"
    raise (Refused if number not in ("", "0") else EnvironmentFault)(
        f"This machine could not set up the environment: {message}."
    )


def _start(layout: Layout) -> tuple[int, int, int]:
    """Holder, the pipe that keeps the space alive, and init."""
    alive_end, alive = os.pipe()
    # Init gives this byte back once it is the program it should be.
    os.write(alive, b".")
    report_end, report = os.pipe()
    holder = fork(lambda: _hold(layout, alive_end, report), report)
    os.close(alive_end)
    os.close(report)
    try:
        return holder, alive, int(read_report(report_end))
    except BaseException:
        os.close(alive)
        os.waitpid(holder, 0)
        raise


def _hold(layout: Layout, alive_end: int, report: int) -> None:
    syscalls.die_with_parent()
    kept = [*layout.needed, *([] if layout.mounts is None else [layout.mounts])]
    syscalls.close_all_but(0, 1, 2, alive_end, report, *kept)
    os.setsid()
    # What this process does on a signal is not for the holder to do.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if layout.mounts is not None:
        syscalls.setns(layout.mounts, syscalls.NEWNS)
    _enter_new(layout.namespaces)
    syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    echo_end, echo = os.pipe()
    init = fork(lambda: _become_init(layout, alive_end, echo), report)
    layout.enter()
    os.close(alive_end)
    os.close(echo)
    if os.read(echo_end, 1):
        os.close(echo_end)
        layout.close()
        os.write(report, b"ok %d" % init)
    os.close(report)
    os.waitpid(init, 0)


def _enter_new(namespaces: int) -> None:
    user, group = os.geteuid(), os.getegid()
    syscalls.unshare(namespaces)
    if namespaces & syscalls.NEWUSER:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _become_init(layout: Layout, alive_end: int, echo: int) -> NoReturn:
    syscalls.die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.chdir("/")
    layout.furnish()
    os.dup2(alive_end, 0)
    os.dup2(echo, 1)
    os.dup2(os.open("/dev/null", os.O_RDWR), 2)
    for program in _INIT_PROGRAMS:
        with suppress(FileNotFoundError):
            os.execve(program, ["init"], {})
    raise EnvironmentFault("there is no program cat in /bin or /usr/bin")
