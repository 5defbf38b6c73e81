"""A disk of a fixed size in a file, for what a build writes: a quota that holds.

Any file system can carry it.  The kernel lets go of the loop device, and of the file, when
the mount namespace that has it ends; so a killed owner leaves nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from worker.environments import syscalls

_CTL_GET_FREE, _CONFIGURE, _AUTOCLEAR = 0x4C82, 0x4C0A, 4
#: Tells ext4 that nothing written from now on matters.
_SHUTDOWN, _DROP_ALL = 0x8004587D, struct.pack("I", 2)
#: How often another process may be quicker in taking the free loop device.
_TRIES = 50

SMALLEST = 16 << 20


def mount_disk(file: Path, size: int, target: Path, templates: Path) -> None:
    """Make a disk of ``size`` bytes and mount it; OSError where that can't be.

    For a mount namespace of its own. ``file`` lends its name for a moment. In the folder
    ``templates`` lies an empty one of each size from then on.
    """
    size = max(size, SMALLEST)
    template = templates / f".disk-{size}"
    if not template.exists():
        _make_template(template, size)
    _copy_data(template, file)
    device, held = _attach(file)
    # Nobody needs its name any more, and the kernel frees it by and by.
    file.unlink()
    try:
        flags = syscalls.MS_NODEV | syscalls.MS_NOATIME
        syscalls.mount(device, str(target), "ext4", flags, "nobarrier,noinit_itable")
    finally:
        os.close(held)
    (target / "lost+found").rmdir()


def _make_template(template: Path, size: int) -> None:
    new = template.with_name(f"{template.name}.{os.getpid()}")
    try:
        with new.open("xb") as disk:
            disk.truncate(size)
        mke2fs(new)
        os.replace(new, template)
    finally:
        new.unlink(missing_ok=True)


def _copy_data(source: Path, target: Path) -> None:
    """Copy a file that is nearly all holes, and leave them holes."""
    with source.open("rb") as old, target.open("xb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        place = 0
        while place < size:
            try:
                start = os.lseek(old.fileno(), place, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no data follow
                    break
                raise
            place = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            os.pwrite(new.fileno(), os.pread(old.fileno(), place - start, start), start)


def mke2fs(file: Path, options: Sequence[str] = ()) -> None:
    """Make a file system of the whole of ``file``; OSError if that fails."""
    argv = [
        *(_program(), "-q", "-F", "-t", "ext4", "-m", "0"),
        # Nothing of it is to be had again after a crash.
        *("-O", "^has_journal,^resize_inode", "-E", "nodiscard,lazy_itable_init=1"),
        *options,
        str(file),
    ]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"mke2fs: {done.stderr.strip().rpartition(chr(10))[2]}")


def forget_writes(target: int) -> None:
    """Let the kernel drop what was written to the disk whose folder this is.

    Else it would write all of it before the disk goes.  The disk is dead from then on.
    """
    with suppress(OSError):
        folder = os.open(f"/proc/self/fd/{target}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, _DROP_ALL)
        finally:
            os.close(folder)


def _program() -> str:
    # It lies where an ordinary PATH does not lead.
    return shutil.which("mke2fs") or "/sbin/mke2fs"


def _attach(file: Path) -> tuple[str, int]:
    """A loop device with ``file`` on it, and a descriptor that holds it for a while."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            device = f"/dev/loop{fcntl.ioctl(control, _CTL_GET_FREE)}"
            held = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            # struct loop_config: the file, the size of blocks, loop_info64 (its flags are
            # the 14th of its 32-bit words), and what is reserved.
            info = bytearray(232)
            struct.pack_into("=I", info, 52, _AUTOCLEAR)
            config = struct.pack("=II", backing, 0) + bytes(info) + bytes(64)
            try:
                fcntl.ioctl(held, _CONFIGURE, config)
            except OSError as error:
                os.close(held)
                problem = error
                continue
            return device, held
        raise problem
    finally:
        os.close(backing)
        os.close(control)
