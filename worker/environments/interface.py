"""The interface that every environment implements."""

# An Interface's methods have no self.
# ruff: noqa: N805

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from zope.interface import Attribute, Interface

#: The user that runs the commands of pipeline jobs that say ``root: false``.
UNPRIVILEGED = "_lpci"
#: Where ``install`` writes the lines for apt.
SOURCES = "/etc/apt/sources.list.d/headrace.list"


class EnvironmentFault(Exception):
    """The environment failed, not what runs in it: the farm's fault, worth another try."""


class Unfit(Exception):
    """This environment can't do what a pipeline job asks; the message names the key."""


class BadPath(Exception):
    """A path leads out of the environment, to nothing, or to what is no plain file.

    The fault of the job that made or named it.
    """


@dataclass(frozen=True)
class Streams:
    """Descriptors that a command has as its standard ones."""

    input: int
    output: int
    errors: int
    is_terminal: bool = False  #: the command's own, which its signals come from


class IEnvironment(Interface):
    """One series of one build, on one machine.

    Life: ``prepare``, then ``begin`` … ``end`` for each pipeline job, then ``destroy``.
    Files can be moved from ``prepare`` until ``destroy``; commands run between ``begin``
    and ``end``.  Everything raises EnvironmentFault where the machine fails.

    Everything is synchronous, and made for a process of its own with one thread: the
    kernel kills what runs in an environment when the *thread* that called ``begin`` ends.
    """

    project: str = Attribute("Path of the project's folder, as commands see it.")
    inputs: str = Attribute(
        "Path of the folder for what other jobs handed over: outside of the folder that "
        "the project lies in, so that nothing in it is an output."
    )
    image: str = Attribute("The key of the image that it starts from, or nothing.")
    root: Path | None = Attribute(
        "The file system as this process sees it, or None where it can't.  Never follow "
        "links below it: absolute ones would lead into the machine's own files."
    )
    can_install: bool = Attribute("Whether ``install`` can install packages at all.")
    can_snap: bool = Attribute("Whether ``snap install`` works as a command in here.")
    variables: Mapping[str, str] = Attribute(
        "What every command's environment should start from: PATH, HOME, proxies."
    )

    def prepare() -> None:
        """Make the file system.

        May take long; says what takes time through the function given at construction.
        """

    def begin(*, again: bool = False) -> None:
        """Start the process space for the commands of one pipeline job.

        The project's folder is empty then, nothing lies beside it, and there are no
        ``inputs``: what an earlier job left there is not for a later one.  All other files
        are as they were left.  ``again`` is for the same pipeline job: these, too, are as
        they were left.
        """

    def command(
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: str,
        user: str | None = None,
        streams: Streams | None = None,
    ) -> Popen[bytes]:
        """A process started in the environment, in a session of its own.

        ``environment`` is all of its environment, except that HOME, if it is as in
        ``variables``, becomes the home of ``user``; ``directory`` and ``user`` (None: the
        one who administers the environment) are the inside's.  Its input is empty; its
        output and errors come, unbuffered, from ``stdout``; its ``returncode`` is that
        of the command, negative for a signal.  ``terminate()`` reaches the command's
        process group, ``kill()`` kills the command.

        What a command leaves running keeps ``stdout`` open: the command has ended when
        ``poll()`` says so.  BadPath if ``directory`` or the program isn't there; Unfit if
        there can be no such user.

        With ``streams`` it has those instead, where the environment can do that: then
        there is no ``stdout``.  Unfit if they are a terminal and it can't.
        """

    def end() -> None:
        """Kill all that runs here and wait until it is gone; files stay.  Idempotent."""

    def push(local: Path, inside: str, *, owner: str | None = None) -> None:
        """Copy a file, or a folder with all it holds, to the absolute path ``inside``.

        All of it belongs to the user ``owner``, None meaning as in ``command``.

        Missing parents are made, what is there is replaced, symbolic links are copied as
        such.  BadPath if ``inside`` leads out of the environment, or for devices,
        sockets and pipes.
        """

    def pull(inside: str, local: Path) -> None:
        """Copy the file or folder at the absolute path ``inside`` to ``local``.

        Links are followed within the environment, and arrive as the files they lead to;
        in a folder, links to folders or to nothing are left out.  BadPath for what lies
        outside the environment, and for devices, sockets and pipes.
        """

    def files(inside: str) -> list[str]:
        """Paths, relative to the folder ``inside``, of all below it that is no folder.

        Links aren't followed.  Undecodable bytes are surrogates (``os.fsdecode``).
        """

    def resolve(inside: str) -> str:
        """The absolute path that ``inside`` leads to, free of links and of ``..``.

        BadPath if that is outside the environment, or nothing.
        """

    def install(packages: Sequence[str], sources: Sequence[str] = ()) -> list[list[str]]:
        """Make ready to install packages; the commands (argv) that do it, in order.

        ``sources`` are lines for apt's sources.list, besides those of the image.  The
        commands are to be run as ``user=None``; there are none if all is there already.
        Unfit if this environment can't.
        """

    def exhausted() -> str:
        """What commands ran out of since ``begin`` (memory, processes, disk), for people.

        Empty if nothing that is known.
        """

    def destroy() -> None:
        """Remove every trace: processes, mounts and files.  Idempotent."""
