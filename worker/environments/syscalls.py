"""System calls for namespaces and mounts that Python 3.11 lacks."""

from __future__ import annotations

import ctypes
import os
import signal

NEWNS = 0x00020000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _path(path: str | bytes | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def unshare(flags: int) -> None:
    """Move this process (for NEWPID: its children) into new namespaces."""
    _checked(_libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """Join the namespace of a descriptor, or those of a process of a pidfd."""
    _checked(_libc.setns(descriptor, flags), "setns")


def mount(
    source: str | bytes | None,
    target: str | bytes,
    kind: str | None = None,
    flags: int = 0,
    data: str | bytes | None = None,
) -> None:
    """mount(2)."""
    arguments = (_path(source), _path(target), _path(kind))
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), _path(data))
    _checked(result, f"mount {os.fsdecode(target)}")


def pivot_into(folder: str) -> None:
    """Make the mount point ``folder`` the root of this mount namespace.

    All its processes whose root was the old one move along; the old one is gone.
    """
    os.chdir(folder)
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"pivot_root isn't known for {os.uname().machine}")
    # The new root is stacked upon the old one, then the old one is taken from below it.
    _checked(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")


#: The C library has no function for it.
_SYS_PIVOT_ROOT = {
    "x86_64": 155,
    "aarch64": 41,
    "riscv64": 41,
    "loongarch64": 41,
    "ppc64le": 203,
    "s390x": 217,
    "armv7l": 218,
    "i686": 217,
}


def close_all_but(*kept: int) -> None:
    """Close every descriptor of this process but these."""
    start = 0
    for descriptor in sorted(kept):
        # Of an empty range that starts at 0, Python makes one without an end.
        if descriptor > start:
            os.closerange(start, descriptor)
        start = max(start, descriptor + 1)
    # The limit may be a thousand million, which takes a while without close_range(2).
    os.closerange(start, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))


def set_host_name(name: str) -> None:
    """Name this UTS namespace."""
    encoded = os.fsencode(name)
    _checked(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))), "sethostname")


def _prctl(option: int, argument: int) -> int:
    zero = ctypes.c_ulong(0)
    return int(_libc.prctl(option, ctypes.c_ulong(argument), zero, zero, zero))


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel kill this process when the thread that forked it ends.

    Undone by a change of user: call it after that. Another signal than SIGKILL leaves
    it the time to clean up.
    """
    _checked(_prctl(_PR_SET_PDEATHSIG, number), "prctl PR_SET_PDEATHSIG")


def dies_with_parent_by() -> int:
    """The signal that the kernel sends when the parent ends; 0 if it sends none."""
    number = ctypes.c_int(0)
    zero = ctypes.c_ulong(0)
    result = _libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(number), zero, zero, zero)
    _checked(result, "prctl PR_GET_PDEATHSIG")
    return number.value


def show_memory() -> None:
    """Let other processes of this user look into this one, as is usual."""
    _checked(_prctl(_PR_SET_DUMPABLE, 1), "prctl PR_SET_DUMPABLE")


def hide_memory() -> None:
    """Keep other processes from reading this one's memory, until it executes a program."""
    _checked(_prctl(_PR_SET_DUMPABLE, 0), "prctl PR_SET_DUMPABLE")


def adopt_orphans(adopt: bool) -> None:
    """Make this process the parent of its descendants' orphans, or leave them to init."""
    _checked(_prctl(_PR_SET_CHILD_SUBREAPER, int(adopt)), "prctl PR_SET_CHILD_SUBREAPER")


def give_up_capabilities(kept: frozenset[int]) -> None:
    """Let no program executed from here on have capabilities beyond ``kept``."""
    number = 0
    while (held := _prctl(_PR_CAPBSET_READ, number)) != -1:
        if held and number not in kept:
            _checked(_prctl(_PR_CAPBSET_DROP, number), "prctl PR_CAPBSET_DROP")
        number += 1
