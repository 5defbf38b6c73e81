"""The lxd environment: a chroot's place taken by a container of LXD's or Incus's making.

For operators who have either: its root is no root of the machine, and the machine's ids are
not its. The same images serve; each is imported once. Commands enter the container's
namespaces as those of chroots do, under the same bounds, rather than by ``lxc exec``, which
passes neither signals nor the order of what is said. Seccomp filters and AppArmor profiles
that LXD gives a container's own processes do not hold them; the dropped capabilities do.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from zope.interface import implementer

from worker.environments import fitting, syscalls, traces
from worker.environments.bounds import open_groups
from worker.environments.chroot import Chroot
from worker.environments.idmap import shifted
from worker.environments.interface import EnvironmentFault, IEnvironment
from worker.environments.limits import Limits
from worker.environments.store import Held
from worker.environments.tree import Tree

_PROGRAMS = ("incus", "lxc")
#: The file in an environment's folder that tells a sweep of the container.
NOTE = "container"
_NAMESPACES = (
    syscalls.NEWUSER
    | syscalls.NEWNS
    | syscalls.NEWPID
    | syscalls.NEWIPC
    | syscalls.NEWUTS
    | syscalls.NEWNET
)
#: It only keeps the container going; images have no other that could.
_INIT = "lxc.init.cmd = /bin/sleep infinity"
#: Where the daemons keep their files, if LXD_DIR or INCUS_DIR does not say.
_PLACES = ("/var/lib/lxd", "/var/lib/incus", "/var/snap/lxd/common/lxd")
_PATIENCE = 120.0


def program() -> str | None:
    """The client program that this machine has and whose daemon answers; or none."""
    for name in _PROGRAMS:
        if shutil.which(name) is not None:
            with suppress(EnvironmentFault):
                _call(name, "query", "/1.0")
                return name
    return None


@implementer(IEnvironment)
class Container(Chroot):
    """A container of an image; stopped between pipeline jobs, deleted at the end."""

    def __init__(
        self,
        image: Path,
        folder: Path,
        *,
        say: Callable[[str], None],
        client: str,
        network: bool,
        held: tuple[Held, ...],
        limits: Limits,
    ) -> None:
        """``client`` is what `program` found; the rest is as for a chroot."""
        super().__init__(image, folder, say=say, network=network, held=held, limits=limits)
        self._client = client
        self._image = image
        self._opened = -1  #: the descriptor of its root folder
        digest = hashlib.sha256(os.fsencode(self._folder)).hexdigest()
        self._name = f"headrace-{digest[:32]}"

    def prepare(self) -> None:
        if os.geteuid() != 0:
            raise EnvironmentFault(
                "Containers of LXD are for workers that run as root: only root enters them."
            )
        self._folder.mkdir(mode=0o700, parents=True)
        self._bounds = open_groups(self._folder, self._limits, self._say)
        alias = self._import()
        # Known before it is there: then it is also deleted if it is half there.
        (self._folder / NOTE).write_text(f"{self._client}\n{self._name}\n")
        self._run("init", alias, self._name, "--config", f"raw.lxc={_INIT}")
        if not self._network:
            self._take_network()
        self._start()
        self._stop()
        folder = self._open_root()
        self._tree = Tree(os.dup(folder))
        self._opened = folder
        self.root = Path(f"/proc/{os.getpid()}/fd/{folder}")
        fitting.fit(self._tree)
        if self._limits.disk is not None:
            self._say(
                "LXD's storage pool bounds what the build writes, if its operator set a "
                "size; else only each of its files is bounded (disk_limit)."
            )

    def begin(self, *, again: bool = False) -> None:
        if not again:
            fitting.make_project(self._files())
        if self._bounds is not None:
            self._bounds.begin()
        init = self._start()
        self._space = _Inside(init, self._stop)  # type: ignore[assignment]
        traces.note(self._folder, init=init)

    def keep_changes(self, target: Path) -> None:
        """Never asked for: packages of a container are not kept in layers."""
        raise EnvironmentFault("What a container installed is not kept in layers.")

    def destroy(self) -> None:
        self.end()
        self.root = None
        if self._opened != -1:
            os.close(self._opened)
            self._opened = -1
        if self._tree is not None:
            self._tree.close()
            self._tree = None
        if self._bounds is not None:
            self._bounds.close()
            self._bounds = None
        sweep(self._folder)
        traces.remove(self._folder)
        for each in self._held:
            each.close()

    def _run(self, *words: str) -> str:
        return _call(self._client, *words)

    def _state(self) -> dict[str, Any]:
        told = self._run("query", f"/1.0/instances/{self._name}/state")
        return dict(json.loads(told))

    def _start(self) -> int:
        """Its first process, as the machine numbers it."""
        self._run("start", self._name)
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            process = int(self._state()["pid"])
            # Before it is the program that it should be, it has not entered its root.
            with suppress(OSError):
                if b"sleep" in Path(f"/proc/{process}/cmdline").read_bytes():
                    return process
            time.sleep(0.02)
        raise EnvironmentFault("The container does not start; its daemon's log tells more.")

    def _stop(self) -> None:
        self._run("stop", "--force", self._name)

    def _take_network(self) -> None:
        told = json.loads(self._run("query", f"/1.0/instances/{self._name}"))
        for name, device in told["expanded_devices"].items():
            if device.get("type") == "nic":
                self._run("config", "device", "add", self._name, name, "none")

    def _open_root(self) -> int:
        """A descriptor of its root folder, in which root's files are this root's."""
        told = json.loads(self._run("query", f"/1.0/instances/{self._name}"))
        devices = told["expanded_devices"].values()
        pool = next(d["pool"] for d in devices if d.get("path") == "/")
        own = [os.environ[n] for n in ("LXD_DIR", "INCUS_DIR") if n in os.environ]
        for place in (*own, *_PLACES):
            root = Path(place, "storage-pools", pool, "containers", self._name, "rootfs")
            try:
                owner = root.stat().st_uid
            except OSError:
                continue
            try:
                if owner != 0:
                    return shifted(root, owner)
                return os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise EnvironmentFault(
                    f"The container's files can't be seen as its root sees them: {error}. "
                    "That needs a file system with id-mapped mounts (Linux 5.12, ext4)."
                ) from None
        raise EnvironmentFault(
            f"The files of containers in the storage pool {pool} are not to be seen while "
            "they are stopped: give the default profile a pool of the driver dir."
        )

    def _import(self) -> str:
        alias = f"headrace-{self._image.name}"
        with suppress(EnvironmentFault):
            self._run("query", f"/1.0/images/aliases/{alias}")
            return alias
        self._say(f"Importing the image {self._image.name[:12]} into LXD")
        archive = self._folder / "image.tar"
        metadata = json.dumps(
            {
                "architecture": os.uname().machine,
                "creation_date": int(time.time()),
                "properties": {"description": f"Headrace's {self._image.name}"},
            }
        ).encode()
        with tarfile.open(archive, "w") as packed:
            member = tarfile.TarInfo("metadata.yaml")
            member.size = len(metadata)
            packed.addfile(member, io.BytesIO(metadata))
        # Appended by tar, which knows what Python's does not keep: attributes, holes.
        argv = ["tar", "--append", "--numeric-owner", "--xattrs", f"--file={archive}"]
        argv += [f"--directory={self._image.parent}"]
        argv += [f"--transform=s,^{self._image.name},rootfs,", self._image.name]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise EnvironmentFault(f"The image could not be packed: {done.stderr[-500:]}")
        try:
            self._run("image", "import", str(archive), "--alias", alias)
        except EnvironmentFault:
            # Another build may have been quicker.
            self._run("query", f"/1.0/images/aliases/{alias}")
        finally:
            archive.unlink()
        return alias


class _Inside:
    """The namespaces of a container that runs; what `Chroot` does with a space."""

    def __init__(self, init: int, stop: Callable[[], None]) -> None:
        self.init = init
        self._descriptor = os.pidfd_open(init)
        self._end = stop

    def join(self) -> None:
        """Move this process into it; only its children get into its process ids."""
        syscalls.setns(self._descriptor, _NAMESPACES)

    def stop(self) -> None:
        """Stop the container, which kills all that is in there."""
        self._end()
        os.close(self._descriptor)


def sweep(folder: Path) -> None:
    """Delete the container whose note lies in the environment's ``folder``, if one does."""
    try:
        client, name = (folder / NOTE).read_text().split()
    except (OSError, ValueError):
        return
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            _call(client, "delete", "--force", name)
            break
        except EnvironmentFault as error:
            if "not found" in str(error).lower():
                break
            # The daemon needs a while to see that its first process was killed.
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
    (folder / NOTE).unlink(missing_ok=True)


def _call(client: str, *words: str) -> str:
    """What the client says; EnvironmentFault with its complaint."""
    try:
        done = subprocess.run(
            [client, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFault(f"{client} {words[0]} did not answer: {error}.") from None
    if done.returncode:
        complaint = done.stderr.strip().rpartition("\n")[2]
        raise EnvironmentFault(f"{client} {words[0]}: {complaint or 'no reason given'}")
    return done.stdout
