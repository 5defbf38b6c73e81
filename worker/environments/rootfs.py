"""The file system of a chroot: an image below, what the build writes above.

It is mounted in a mount namespace of its own that only a descriptor of this process
holds, so that the kernel unmounts it when this process ends, however it ends.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from worker.environments import syscalls
from worker.environments.interface import EnvironmentFault
from worker.environments.space import fork, read_report

#: Where the file system is mounted, in the folder of the environment.
ROOT = "root"

#: Says that the folder's own file system can't carry an overlay.
_IN_MEMORY = "memory"
_COPIED = "copy"


def mount_root(image: Path, folder: Path, say: Callable[[str], None]) -> tuple[int, int]:
    """Mount a writable view of ``image`` at ``folder``/root.

    Answers descriptors of the mount namespace that has it and of the root folder; the
    file system lasts until both are closed and the last process in it ended.
    """
    for name in (ROOT, "upper"):
        (folder / name).mkdir()
    namespace, root, how = _mount_apart(folder, lambda: _overlay(image, folder))
    if how == _IN_MEMORY:
        say(
            f"The file system of {folder} can't carry an overlay: "
            "what the build writes is kept in memory."
        )
    if how == _COPIED:
        say("This machine has no overlays: copying the image, which takes a while.")
        os.close(root)
        os.close(namespace)
        _copy(image, folder / ROOT)
        namespace, root, _ = _mount_apart(folder, lambda: _bind(folder))
    return namespace, root


def _mount_apart(folder: Path, mount: Callable[[], str]) -> tuple[int, int, str]:
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
        how = read_report(report_end)
        seen = f"/proc/{child}"
        namespace = os.open(f"{seen}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        return namespace, os.open(f"{seen}/root{folder / ROOT}", flags), how
    finally:
        os.close(wait)
        os.waitpid(child, 0)


def _overlay(image: Path, folder: Path) -> str:
    # Options are separated by commas and layers by colons; a descriptor's path has none.
    lower = os.open(image, os.O_PATH | os.O_DIRECTORY)
    os.chdir(folder)
    layers = f"lowerdir=/proc/self/fd/{lower},upperdir=upper/files,workdir=upper/work"
    for way in ("", _IN_MEMORY):
        with suppress(OSError):
            if way == _IN_MEMORY:
                syscalls.mount("build", "upper", "tmpfs", syscalls.MS_NODEV, "mode=700")
            for name in ("files", "work"):
                Path("upper", name).mkdir(exist_ok=True)
            # The root has its mode from the upper layer.
            os.chmod("upper/files", 0o755)
            # Nothing in there is to outlive a crash of the machine: no need to sync.
            for options in (f"{layers},volatile", layers):
                with suppress(OSError):
                    syscalls.mount("build", ROOT, "overlay", syscalls.MS_NODEV, options)
                    return way
    return _COPIED


def _bind(folder: Path) -> str:
    root = str(folder / ROOT)
    syscalls.mount(root, root, flags=syscalls.MS_BIND)
    again = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_NODEV
    syscalls.mount(None, root, flags=again)
    return ""


def _copy(image: Path, root: Path) -> None:
    argv = ["cp", "-a", "--reflink=auto", "--", f"{image}/.", str(root)]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace")
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise EnvironmentFault(f"The image could not be copied: {reason}.")


def furnish(root: str, network: bool) -> None:
    """Mount /proc, /dev and /sys below ``root``, for the space that calls this."""
    _furnish_proc(f"{root}/proc")
    _furnish_dev(f"{root}/dev")
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


def _furnish_dev(dev: str) -> None:
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
    syscalls.mount("shm", f"{dev}/shm", "tmpfs", flags, "mode=1777")
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
