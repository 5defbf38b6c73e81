"""A view of a folder in which other ids own its files: an id-mapped mount of our own."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

from worker.environments import syscalls

#: The same for every architecture (asm-generic/unistd.h).
_OPEN_TREE, _MOUNT_SETATTR = 428, 442
_CLONE, _EMPTY_PATH, _IDMAP = 1, 0x1000, 0x100000
_IDS = 65536

_libc = ctypes.CDLL(None, use_errno=True)


def shifted(folder: Path, first: int) -> int:
    """A descriptor of ``folder``, where those of ids from ``first`` on are of 0 and on.

    OSError where the kernel or the file system can't do that.
    """
    mapped = _user_namespace(f"{first} 0 {_IDS}")
    try:
        path = os.fsencode(folder)
        tree = _call(_OPEN_TREE, -100, path, _CLONE | os.O_CLOEXEC)
        attributes = struct.pack("=QQQQ", _IDMAP, 0, 0, mapped)
        try:
            _call(_MOUNT_SETATTR, tree, b"", _EMPTY_PATH, attributes, len(attributes))
        except OSError:
            os.close(tree)
            raise
        return tree
    finally:
        os.close(mapped)


def _call(number: int, *words: int | bytes) -> int:
    arguments = [w if isinstance(w, bytes) else ctypes.c_long(w) for w in words]
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _user_namespace(ids: str) -> int:
    """A descriptor of a user namespace with this map, in which nothing runs."""
    ready_end, ready = os.pipe()
    over_end, over = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            syscalls.unshare(syscalls.NEWUSER)
            os.write(ready, b".")
            os.close(over)
            os.read(over_end, 1)
        finally:
            os._exit(0)
    os.close(ready)
    os.close(over_end)
    try:
        if not os.read(ready_end, 1):
            raise OSError("there can be no user namespace")
        Path(f"/proc/{child}/uid_map").write_text(ids)
        Path(f"/proc/{child}/gid_map").write_text(ids)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_end)
        os.close(over)
        os.waitpid(child, 0)
