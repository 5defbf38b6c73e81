"""Traces of an environment: what its folder tells about its processes, and their removal.

The kernel ends a process space when its owner dies (see ``space``), so a sweep finds
processes only in odd cases: an init that was tampered with, or an owner that had to do
without namespaces (see ``brood``).  The folder's file ``processes`` tells which to kill;
process ids come again, so each is noted with the time it started and the machine's boot.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from worker.environments import groups
from worker.environments.interface import EnvironmentFault

_NOTE = "processes"

#: Seconds to wait for the end of what was killed; it can't run anymore in any case.
_PATIENCE = 10.0

#: Folders within each other that are removed without the help of rm.
_SHALLOW = 50

#: Stands in the environment of every command that runs without namespaces.
MARK = "HEADRACE_ENVIRONMENT"


def note(folder: Path, *, init: int | None = None, mark: str = "") -> None:
    """Write down whom a sweep must kill: an init, or all who carry a mark."""
    started = "" if init is None else f"{init} {_started(init)}"
    (folder / _NOTE).write_text(f"{_boot()}\n{started}\n{mark}\n")


def unnote(folder: Path) -> None:
    """There is nobody to kill any more."""
    (folder / _NOTE).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Kill what runs in the environment of ``folder`` and remove the folder. Idempotent.

    For folders whose owner is dead; EnvironmentFault if something can't be removed.
    """
    try:
        boot, init, mark = (folder / _NOTE).read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (ValueError, UnicodeDecodeError):
        pass  # its owner died while it wrote, before it ran any command
    else:
        if boot == _boot():
            _kill_init(init)
            while any([kill(process) for process in _marked(mark, folder)]):
                pass
    groups.sweep(folder)
    if (folder / "container").exists():
        from worker.environments import lxd  # which imports this module

        lxd.sweep(folder)
    remove(folder)


def kill(process: int) -> bool:
    """SIGKILL for a process, which may be gone; False if it belongs to somebody else."""
    try:
        os.kill(process, signal.SIGKILL)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


def remove(folder: Path) -> None:
    """Remove a folder and all below it, whatever modes and depths a job gave it."""
    try:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        remove_below(parent, os.fsencode(folder.name))
    finally:
        os.close(parent)


def remove_below(parent: int, name: bytes) -> None:
    """``remove`` for what is called ``name`` in the folder with descriptor ``parent``.

    EnvironmentFault if it can't be removed.
    """
    # Most are small; starting rm would take longer than removing them.
    with suppress(OSError):
        _remove_shallow(parent, name, os.fstat(parent).st_dev, 0)
        return
    path = b"./" + name
    for obstacle in (None, ["chmod", "-R", "u+rwx"], ["chattr", "-R", "-f", "-i", "-a"]):
        if not _is_there(parent, name):
            return
        if obstacle is not None:
            _run(parent, [*obstacle, path])
        # rm, because shutil.rmtree gives up on a thousand folders within each other.
        problem = _run(parent, ["rm", "-rf", "--one-file-system", path])
    if os.geteuid() != 0 and _is_there(parent, name):
        # What users of a chroot wrote belongs to none that we are out here.
        from worker.environments import own_root

        own_root.remove(Path(os.readlink(f"/proc/self/fd/{parent}"), os.fsdecode(name)))
    if _is_there(parent, name):
        shown = os.fsdecode(name)
        raise EnvironmentFault(f"{shown} can't be removed: {problem or 'no reason given'}.")


def _remove_shallow(parent: int, name: bytes, device: int, depth: int) -> None:
    """Remove it in this process, or OSError as soon as anything is unusual."""
    if depth > _SHALLOW:
        raise OSError(errno.ENAMETOOLONG, "too many folders within each other")
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(name, flags, dir_fd=parent)
        try:
            if os.fstat(folder).st_dev != device:
                raise OSError(errno.EXDEV, "another file system is mounted there") from None
            for child in os.listdir(folder):
                _remove_shallow(folder, os.fsencode(child), device, depth + 1)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=parent)


def _is_there(parent: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _run(folder: int, argv: list[str | bytes]) -> str:
    """The last line of errors of a command that runs in the folder."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            errors="replace",
            # No path says which folder is meant, whatever moves meanwhile.
            preexec_fn=lambda: os.fchdir(folder),
        )
    except FileNotFoundError as error:
        return f"this machine has no program {error.filename}"
    return done.stderr.strip().rpartition("\n")[2]


def _kill_init(line: str) -> None:
    process, _, started = line.partition(" ")
    if not process:
        return
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(int(process))
        try:
            if _started(int(process)) == started:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                # Readable when it has ended, which is after all in its space have.
                select.select([descriptor], [], [], _PATIENCE)
        finally:
            os.close(descriptor)


def _marked(mark: str, folder: Path) -> Iterator[int]:
    """Processes that carry the mark, or removed it and are still in the folder."""
    if not mark:
        return
    wanted = f"{MARK}={mark}".encode()
    within = f"{folder.resolve()}/"
    for process in processes():
        with suppress(OSError):
            if wanted in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                yield process
            elif os.readlink(f"/proc/{process}/cwd").startswith(within):
                yield process


def processes() -> list[int]:
    """The ids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat_fields(process: int) -> list[str]:
    """/proc/PID/stat from its third field (the state) on; ProcessLookupError if gone."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(process) from None
    # The second field is a name in parentheses that may hold anything.
    return text.rpartition(")")[2].split()


def _started(process: int) -> str:
    """When a process started, in clock ticks since the boot."""
    return stat_fields(process)[19]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
