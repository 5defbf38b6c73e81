"""The file system of a chroot: an image below, what the build writes above.

It is mounted in a mount namespace of its own that only a descriptor of this process
holds, so that the kernel unmounts it when this process ends, however it ends.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker.environments import own_root, quota, syscalls
from worker.environments.interface import EnvironmentFault
from worker.environments.limits import in_units
from worker.environments.space import fork, read_report

#: Where the file system is mounted, in the folder of the environment.
ROOT = "root"

#: Where what the build writes is kept, there.
UPPER = "upper"
_FILES = f"{UPPER}/files"

#: Ways to keep what the build writes.
_ON_DISK_OF_ITS_OWN = "disk"
_IN_FOLDER = "folder"
_IN_MEMORY = "memory"
_COPIED = "copy"


@dataclass
class Root:
    """A mounted file system; it lasts until all that hold it have let go."""

    namespace: int  #: descriptor of the mount namespace that has it
    folder: int  #: descriptor of its root folder
    upper: int | None  #: descriptor of the folder with what was written, if there is one
    is_bounded: bool  #: whether it can't grow beyond the limit
    on_own_disk: bool

    def close(self) -> None:
        """Let go of it; safe to repeat."""
        if self.namespace == -1:
            return
        if self.upper is not None:
            if self.on_own_disk:
                quota.forget_writes(self.upper)
            os.close(self.upper)
        os.close(self.namespace)
        os.close(self.folder)
        self.namespace = -1

    def keep_upper(self, place: Path, target: Path) -> None:
        """Move what was written to the empty folder ``target``; then close.

        ``place`` is the folder in which it was mounted.
        """
        if self.upper is None:
            raise EnvironmentFault("Without overlays, packages can't be kept in layers.")
        files = place / _FILES
        if files.is_dir():  # it is on the machine's own file system
            self.close()
            with suppress(OSError):  # the target may be on another
                os.rename(files, target)
                return
            _copy(files, target)
        else:
            _copy(Path(f"/proc/self/fd/{self.upper}"), target)
            self.close()

    def is_full(self) -> bool:
        """Whether there is no room left in it, though it is bounded."""
        if not self.is_bounded:
            return False
        room = os.statvfs(f"/proc/self/fd/{self.folder}")
        return room.f_bavail * room.f_frsize < 256 * 1024 or room.f_favail == 0


def mount_root(
    stack: Sequence[Path], folder: Path, say: Callable[[str], None], disk: int | None
) -> Root:
    """Mount a writable view of ``stack`` at ``folder``/root.

    ``stack`` are layers, the image last; ``disk`` are the bytes that may be written.
    """
    for name in (ROOT, UPPER):
        (folder / name).mkdir()
    root, how = _mount_apart(folder, lambda: _overlay(stack, folder, disk))
    if how == _IN_MEMORY:
        say(
            f"The file system of {folder} can't carry an overlay: "
            "what the build writes is kept in memory."
        )
    if how == _COPIED:
        say("This machine has no overlays: copying the image, which takes a while.")
        root.close()
        for layer in reversed(stack):
            _copy(layer, folder / ROOT)
        root, how = _mount_apart(folder, lambda: _bind(folder))
    if disk is not None and not root.is_bounded:
        say(
            "This machine has no loop devices to hold the build to "
            f"{in_units(disk)}: only each of its files is (disk_limit)."
        )
    return root


def _mount_apart(folder: Path, mount: Callable[[], str]) -> tuple[Root, str]:
    report_end, report = os.pipe()
    wait_end, wait = os.pipe()

    def body() -> None:
        syscalls.die_with_parent()
        syscalls.close_all_but(0, 1, 2, report, wait_end)
        syscalls.unshare(syscalls.NEWNS)
        syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
        os.write(report, f"ok {mount()}".encode())
        os.close(report)
        os.read(wait_end, 1)  # until the namespace has another that holds it

    child = fork(body, report)
    os.close(report)
    os.close(wait_end)
    try:
        how, _, bounded = read_report(report_end).partition(" ")
        seen = f"/proc/{child}"
        namespace = os.open(f"{seen}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        upper = None
        if how != _COPIED:
            upper = os.open(f"{seen}/root{folder / _FILES}", flags)
        opened = os.open(f"{seen}/root{folder / ROOT}", flags)
        on_own_disk = how == _ON_DISK_OF_ITS_OWN
        return Root(namespace, opened, upper, bool(bounded), on_own_disk), how
    finally:
        os.close(wait)
        os.waitpid(child, 0)


def _overlay(stack: Sequence[Path], folder: Path, disk: int | None) -> str:
    """Mount it in one way or another; the way, and whether it is bounded."""
    # Options are separated by commas and layers by colons; a descriptor's path has none.
    opened = [os.open(layer, os.O_PATH | os.O_DIRECTORY) for layer in stack]
    os.chdir(folder)
    lower = ":".join(f"/proc/self/fd/{layer}" for layer in opened)
    layers = f"lowerdir={lower},upperdir={_FILES},workdir={UPPER}/work"
    if disk is not None and os.access("/dev/loop-control", os.W_OK):
        with suppress(OSError):
            quota.mount_disk(folder / "disk", disk, Path(UPPER), stack[-1].parent)
            if _stack(layers):
                return f"{_ON_DISK_OF_ITS_OWN} bounded"
    with suppress(OSError):
        if _stack(layers):
            return _IN_FOLDER
        size = f",size={disk}" if disk is not None else ""
        syscalls.mount("build", UPPER, "tmpfs", syscalls.MS_NODEV, f"mode=700{size}")
        if _stack(layers):
            return f"{_IN_MEMORY}{' bounded' if disk is not None else ''}"
    return _COPIED


def _stack(layers: str) -> bool:
    """Whether an overlay could be mounted with the upper folder as it is now."""
    for name in ("files", "work"):
        Path(UPPER, name).mkdir(exist_ok=True)
    # The root has its mode from the upper layer.
    os.chmod(_FILES, 0o755)
    if own_root.is_within():
        # Trusted attributes are the machine's root's.
        layers = f"{layers},userxattr"
    # Nothing in there is to outlive a crash of the machine: no need to sync.
    for options in (f"{layers},volatile", layers):
        with suppress(OSError):
            syscalls.mount("build", ROOT, "overlay", syscalls.MS_NODEV, options)
            return True
    return False


def _bind(folder: Path) -> str:
    root = str(folder / ROOT)
    syscalls.mount(root, root, flags=syscalls.MS_BIND)
    again = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_NODEV
    syscalls.mount(None, root, flags=again)
    return _COPIED


def _copy(image: Path, root: Path) -> None:
    argv = ["cp", "-a", "--reflink=auto", "--", f"{image}/.", str(root)]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace")
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise EnvironmentFault(f"The image could not be copied: {reason}.")


def furnish(root: str, network: bool, memory: int | None) -> None:
    """Mount /proc, /dev and /sys below ``root``, for the space that calls this.

    ``memory`` are the bytes that files in /dev/shm may take.
    """
    _furnish_proc(f"{root}/proc")
    _furnish_dev(f"{root}/dev", memory)
    _furnish_sys(f"{root}/sys")
    syscalls.set_host_name("headrace")
    if not network:
        _raise_loopback()


def enter(root: str) -> None:
    """Make ``root`` the root of all processes of the mount namespace."""
    syscalls.pivot_into(root)


_PLAIN = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


def _furnish_proc(proc: str) -> None:
    syscalls.mount("proc", proc, "proc", _PLAIN)
    # Root in a chroot is root: through these it could change or stop the machine.
    for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"):
        path = f"{proc}/{name}"
        with suppress(FileNotFoundError):
            syscalls.mount(path, path, flags=syscalls.MS_BIND | syscalls.MS_REC)
            again = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY | _PLAIN
            syscalls.mount(None, path, flags=again)
    for name in ("kcore", "keys", "timer_list"):
        with suppress(FileNotFoundError):
            syscalls.mount("/dev/null", f"{proc}/{name}", flags=syscalls.MS_BIND)


def _furnish_dev(dev: str, memory: int | None) -> None:
    syscalls.mount("dev", dev, "tmpfs", syscalls.MS_NOSUID, "mode=755,size=1m")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        path = f"{dev}/{name}"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
        syscalls.mount(f"/dev/{name}", path, flags=syscalls.MS_BIND)
    for name, target in (
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ):
        os.symlink(target, f"{dev}/{name}")
    os.mkdir(f"{dev}/pts")
    no_programs = syscalls.MS_NOSUID | syscalls.MS_NOEXEC
    terminals = "newinstance,ptmxmode=0666,mode=0620,gid=5"
    syscalls.mount("devpts", f"{dev}/pts", "devpts", no_programs, terminals)
    os.mkdir(f"{dev}/shm")
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    size = "" if memory is None else f",size={memory}"
    syscalls.mount("shm", f"{dev}/shm", "tmpfs", flags, f"mode=1777{size}")
    again = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount(None, dev, flags=again)


def _furnish_sys(sys: str) -> None:
    # Few programs look there; those that do can live without.
    with suppress(OSError):
        syscalls.mount("sysfs", sys, "sysfs", _PLAIN | syscalls.MS_RDONLY)


def _raise_loopback() -> None:
    import fcntl
    import socket
    import struct

    set_flags, up = 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", up)
        fcntl.ioctl(any_socket, set_flags, request)
