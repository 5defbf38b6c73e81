"""The chroot environment: a throw-away Debian system on an image, below this kernel.

Its files, processes, mounts and System V IPC are its own; its network is the machine's,
or none.  Root in there is the machine's root with most privileges taken away: enough to
keep builds clean and apart, not to hold a determined attacker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import Popen

from zope.interface import implementer

from worker.environments import fitting, joining, own_root, rootfs, syscalls, traces
from worker.environments.bounds import nothing, open_groups, per_process
from worker.environments.groups import Groups
from worker.environments.interface import (
    SOURCES,
    BadPath,
    EnvironmentFault,
    IEnvironment,
    Streams,
    Unfit,
)
from worker.environments.layers import differing
from worker.environments.limits import UNLIMITED, Limits, in_units, ran_out
from worker.environments.native import proxies
from worker.environments.space import Layout, Space
from worker.environments.store import Held
from worker.environments.tree import Tree

#: Capabilities (linux/capability.h) that installing and building packages needs.
_CAPABILITIES = frozenset(
    {
        0,  # CHOWN
        1,  # DAC_OVERRIDE
        3,  # FOWNER
        4,  # FSETID
        5,  # KILL
        6,  # SETGID
        7,  # SETUID
        8,  # SETPCAP
        10,  # NET_BIND_SERVICE
        13,  # NET_RAW
        18,  # SYS_CHROOT
        27,  # MKNOD, harmless: no file system in there allows devices
        29,  # AUDIT_WRITE
        31,  # SETFCAP
    }
)

_NAMESPACES = syscalls.NEWPID | syscalls.NEWNS | syscalls.NEWIPC | syscalls.NEWUTS


@implementer(IEnvironment)
class Chroot:
    """A system of its own on top of an image."""

    project = fitting.PROJECT
    inputs = fitting.INPUTS
    can_snap = False  # there is no init in there that could run snapd

    def __init__(
        self,
        image: Path,
        folder: Path,
        *,
        say: Callable[[str], None],
        network: bool = True,
        layers: Sequence[Path] = (),
        installed: Sequence[str] = (),
        held: Sequence[Held] = (),
        limits: Limits = UNLIMITED,
    ) -> None:
        """``image`` is a root file system; ``folder`` is made and removed in here.

        ``layers`` lie upon the image, the uppermost first, and have the packages
        ``installed``.  What is ``held`` is let go of in the end.
        """
        self._installed = tuple(installed)
        self._held = held
        self._stack = (*layers, image)
        self.image = image.name
        self._limits = limits
        self._folder = folder.absolute().parent.resolve() / folder.name
        self._say = say
        self._network = network
        self._root: rootfs.Root | None = None
        self._bounds: Groups | None = None
        self._tree: Tree | None = None
        self._space: Space | None = None
        self._commands: list[Popen[bytes]] = []
        self.root: Path | None = None
        self.can_install = network
        self.variables: Mapping[str, str] = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **(proxies() if network else {}),
        }

    def prepare(self) -> None:
        if os.geteuid() != 0:
            if why := own_root.why_not():
                raise EnvironmentFault(
                    "Chroots need root, or an ordinary user's own namespace. This worker "
                    f"runs as an ordinary user, and {why}."
                )
            own_root.enter()
        if self._is_of_another_account():
            raise EnvironmentFault(
                f"The image {self._stack[-1]} was made by another account: let each "
                "account make its own, in a folder of its own (images)."
            )
        self._folder.mkdir(mode=0o700, parents=True)
        self._bounds = open_groups(self._folder, self._limits, self._say)
        disk = self._limits.disk
        self._root = rootfs.mount_root(self._stack, self._folder, self._say, disk)
        self._tree = Tree(os.dup(self._root.folder))
        self.root = Path(f"/proc/{os.getpid()}/fd/{self._root.folder}")
        fitting.fit(self._tree)

    def begin(self, *, again: bool = False) -> None:
        if not again:
            fitting.make_project(self._files())
        assert self._root is not None
        if self._bounds is not None:
            self._bounds.begin()
        root = str(self._folder / rootfs.ROOT)
        network = self._network
        layout = Layout(
            namespaces=_NAMESPACES | (0 if network else syscalls.NEWNET),
            # The kernel takes its time for the first that enters: not the command.
            enter=self._bounds.enter if self._bounds else nothing,
            needed=self._bounds.doors if self._bounds else (),
            mounts=self._root.namespace,
            furnish=lambda: rootfs.furnish(root, network, self._limits.memory),
            close=lambda: rootfs.enter(root),
        )
        self._space = Space(layout)
        traces.note(self._folder, init=self._space.init)

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
        identity = self._identity(user)
        command = joining.Command(
            argv=argv,
            environment=joining.at_home(environment, identity, self.variables),
            directory=directory,
            identity=identity,
            capabilities=_CAPABILITIES,
            enter=None if self._bounds is None else self._bounds.enter,
            limits=per_process(self._limits, self._bounds, self._root),
            streams=streams,
        )
        process = joining.start(command, self._space.join)
        self._commands.append(process)
        return process

    def end(self) -> None:
        if self._space is not None:
            self._space.stop()
            self._space = None
            traces.unnote(self._folder)
        for process in self._commands:
            process.wait()
        self._commands.clear()

    def push(self, local: Path, inside: str, *, owner: str | None = None) -> None:
        identity = self._identity(owner)
        self._files().push(local, inside, (identity.user, identity.group))

    def pull(self, inside: str, local: Path) -> None:
        self._files().pull(inside, local)

    def files(self, inside: str) -> list[str]:
        return self._files().files(inside)

    def resolve(self, inside: str) -> str:
        return self._files().resolve(inside)

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
        lines = "".join(f"{line}\n" for line in sources)
        self._files().write(SOURCES, lines.encode())
        return [
            ["apt-get", "--quiet", "update"],
            ["apt-get", "--quiet", "--yes", "install", "--", *packages],
        ]

    def keep_changes(self, target: Path) -> None:
        """Make of what was written here a layer in the empty folder ``target``.

        Nothing must run any more, and only ``destroy`` can follow.
        """
        self._files().remove(fitting.FOLDER)
        assert self._root is not None
        self._root.keep_upper(self._folder, target)

    def destroy(self) -> None:
        self.end()
        self.root = None
        if self._tree is not None:
            self._tree.close()
            self._tree = None
        if self._root is not None:
            self._root.close()
            self._root = None
        if self._bounds is not None:
            self._bounds.close()
            self._bounds = None
        traces.remove(self._folder)
        for each in self._held:
            each.close()

    def exhausted(self) -> str:
        reason = "" if self._bounds is None else self._bounds.exhausted()
        if not reason and self._root is not None and self._root.is_full():
            disk = in_units(self._limits.disk or 0)
            reason = ran_out("room on its disk", disk, "disk_limit")
        return reason

    def _is_of_another_account(self) -> bool:
        """Whether the image's root isn't who is root here."""
        try:
            return self._stack[-1].stat().st_uid != 0
        except OSError as error:
            raise EnvironmentFault(
                f"There is no image at {self._stack[-1]}: {error.strerror}."
            ) from None

    def _files(self) -> Tree:
        if self._tree is None:
            raise EnvironmentFault("The environment was not prepared.")
        return self._tree

    def _identity(self, user: str | None) -> joining.Identity:
        """The inside's user of that name; its numbers are taken from its own files."""
        if user is None:
            return joining.Identity(0, 0, (), "/root")
        for entry in self._entries("/etc/passwd"):
            if entry[0] == user and len(entry) > 5 and _numbers(*entry[2:4]):
                number, group = int(entry[2]), int(entry[3])
                groups = (group, *self._groups_of(user))
                return joining.Identity(number, group, groups, entry[5])
        raise Unfit(f"root: there is no user {user} in the environment.")

    def _groups_of(self, user: str) -> list[int]:
        return [
            int(entry[2])
            for entry in self._entries("/etc/group")
            if len(entry) > 3 and user in entry[3].split(",") and _numbers(entry[2])
        ]

    def _entries(self, path: str) -> list[list[str]]:
        try:
            content = self._files().read(path)
        except BadPath:
            return []
        return [line.split(":") for line in os.fsdecode(content).splitlines()]


def _numbers(*texts: str) -> bool:
    """Whether these can be ids of users or groups; the largest means "don't change"."""
    return all(
        text.isascii() and text.isdigit() and int(text) < 2**32 - 1 for text in texts
    )
