"""The native environment: commands run on the machine itself, and leave nothing running.

They see the machine's own files and network; only processes, System V IPC and mounts are
their own.  For trusted code.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import Popen

from zope.interface import implementer

from worker.environments import joining, syscalls, traces
from worker.environments.bounds import open_groups, per_process
from worker.environments.brood import Brood
from worker.environments.groups import Groups
from worker.environments.interface import EnvironmentFault, IEnvironment, Streams, Unfit
from worker.environments.limits import UNLIMITED, Limits
from worker.environments.space import Layout, Refused, Space
from worker.environments.tree import Tree

PLAIN = syscalls.NEWPID | syscalls.NEWNS | syscalls.NEWIPC
THROUGH_USER = PLAIN | syscalls.NEWUSER


@implementer(IEnvironment)
class Native:
    """The machine itself, with a folder of the build's own."""

    can_install = False
    can_snap = False
    image = ""

    def __init__(
        self,
        folder: Path,
        *,
        say: Callable[[str], None],
        ways: tuple[int | None, ...] | None = None,
        limits: Limits = UNLIMITED,
    ) -> None:
        """``folder`` is made by ``prepare`` and removed by ``destroy``.

        ``ways`` are tried in their order until the machine allows one.
        """
        self._folder = folder.absolute().parent.resolve() / folder.name
        self._say = say
        self._ways = _ways() if ways is None else ways
        self._limits = limits
        self._bounds: Groups | None = None
        self._tree: Tree | None = None
        self._space: Space | Brood | None = None
        self._commands: list[Popen[bytes]] = []
        # Nothing lies beside it: what a job writes to ../ can be an output, too.
        self.project = str(self._folder / "build" / "project")
        self.inputs = str(self._folder / "headrace-inputs")
        self.root: Path | None = Path("/")
        self.variables: Mapping[str, str] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder / "home"),
            "TMPDIR": str(self._folder / "tmp"),
            "LANG": "C.UTF-8",
            **proxies(),
        }

    def prepare(self) -> None:
        for name in ("home", "tmp"):
            (self._folder / name).mkdir(parents=True)
        descriptor = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._tree = Tree(descriptor, str(self._folder))
        self._bounds = open_groups(self._folder, self._limits, self._say)

    def begin(self, *, again: bool = False) -> None:
        tree = self._files()
        if not again:
            tree.remove(str(Path(self.project).parent))
            tree.remove(self.inputs)
            tree.make_folder(self.project)
        if self._bounds is not None:
            self._bounds.begin()
        reason = ""
        while self._ways:
            try:
                self._space = self._open_space(self._ways[0])
            except Refused as error:
                reason = str(error)
                self._ways = self._ways[1:]
                if self._ways[:1] == (None,):
                    self._say("This machine allows no namespaces; going without.")
                continue
            if isinstance(self._space, Space):
                traces.note(self._folder, init=self._space.init)
            else:
                traces.note(self._folder, mark=self._space.mark)
            return
        raise EnvironmentFault(reason)

    def command(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: str,
        user: str | None = None,
        streams: Streams | None = None,
    ) -> Popen[bytes]:
        if self._space is None:
            raise EnvironmentFault("The environment was not begun.")
        if isinstance(self._space, Brood):
            environment = {**environment, traces.MARK: self._space.mark}
        identity = _identity(user)
        command = joining.Command(
            argv=argv,
            environment=joining.at_home(environment, identity, self.variables),
            directory=directory,
            identity=identity,
            enter=None if self._bounds is None else self._bounds.enter,
            limits=per_process(self._limits, self._bounds, None),
            streams=streams,
        )
        process = joining.start(command, self._space.join)
        self._commands.append(process)
        return process

    def end(self) -> None:
        if isinstance(self._space, Space):
            self._space.stop()
        elif self._space is not None:
            self._space.stop(self._commands)
        self._space = None
        for process in self._commands:
            process.wait()
        self._commands.clear()
        if self._folder.exists():
            traces.unnote(self._folder)

    def push(self, local: Path, inside: str, *, owner: str | None = None) -> None:
        self._files().push(local, inside, _owner(owner))

    def pull(self, inside: str, local: Path) -> None:
        self._files().pull(inside, local)

    def files(self, inside: str) -> list[str]:
        return self._files().files(inside)

    def resolve(self, inside: str) -> str:
        return self._files().resolve(inside)

    def install(
        self, packages: Sequence[str], sources: Sequence[str] = ()
    ) -> list[list[str]]:
        missing = [name for name in packages if not _is_installed(name)]
        if missing:
            raise Unfit(
                "packages: the native environment installs nothing, and this machine "
                f"lacks {', '.join(missing)}; ask its operator to install them, or let "
                "the build run in a chroot."
            )
        return []

    def destroy(self) -> None:
        self.end()
        if self._tree is not None:
            self._tree.close()
            self._tree = None
        if self._bounds is not None:
            self._bounds.close()
            self._bounds = None
        traces.remove(self._folder)

    def exhausted(self) -> str:
        return "" if self._bounds is None else self._bounds.exhausted()

    def _open_space(self, way: int | None) -> Space | Brood:
        if way is None:
            return Brood()
        return Space(Layout(namespaces=way, furnish=_mount_proc))

    def _files(self) -> Tree:
        if self._tree is None:
            raise EnvironmentFault("The environment was not prepared.")
        return self._tree


def _ways() -> tuple[int | None, ...]:
    """Ways to hold a process space, the best first: namespaces, or (None) a brood."""
    return (PLAIN, THROUGH_USER, None) if os.geteuid() == 0 else (THROUGH_USER, None)


def proxies() -> dict[str, str]:
    """The variables by which programs of this machine find their way to the network."""
    names = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
    both = [*names, *(name.upper() for name in names)]
    return {name: os.environ[name] for name in both if name in os.environ}


def _mount_proc() -> None:
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "/proc", "proc", flags)


def _identity(user: str | None) -> joining.Identity | None:
    # An ordinary user is nobody's administrator: its commands already run as they should.
    if user is None or os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise Unfit(
            f"root: false needs a user {user} in the native environment, and this machine "
            f"has none; ask its operator for one (useradd --system {user}), or let the "
            "build run in a chroot."
        ) from None
    groups = tuple(os.getgrouplist(user, entry.pw_gid))
    return joining.Identity(entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def _owner(user: str | None) -> tuple[int, int] | None:
    identity = _identity(user)
    return None if identity is None else (identity.user, identity.group)


def _is_installed(package: str) -> bool:
    """Whether dpkg has ``name``, ``name:architecture`` or ``name=version`` installed."""
    name, _, version = package.partition("=")
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}\n", "--"]
    try:
        done = subprocess.run([*query, name], capture_output=True, text=True)
    except FileNotFoundError:
        return False
    states = [line.split() for line in done.stdout.splitlines()]
    return any(
        state[:1] == ["installed"] and version in ("", *state[1:]) for state in states
    )
