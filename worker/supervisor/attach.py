"""What a worker daemon does with supervisors: starts, finds, attaches to, removes them.

An attempt has a folder (mode 0700) of its own. In it lie, for the daemon:

``order.json``       the order; written by `write_order` before anything starts
``worker.json``      the worker's `settings.Settings`
``supervisor.pid``   which process it is: its id, its start time, the boot
``supervisor.log``   what went wrong in the supervisor itself, for the operator
``files-url``        where files go now, if another master told it since the order
``reports``          the spool (`spool.SpoolReader`)
``control``          the socket (`connect`; lines as in `control`)
``lingering``        what of it lingers, and until when; ``shell`` is the socket into it
``recorded``         the master has every report; only what lingers keeps the folder

and, for the supervisor, the source, the environments and the outputs. A life:

    write_order(folder, order, settings)     the attempt is accepted: it is on the disk
    start(folder)                            a process of its own session, no child of ours
    line = connect(folder)                   as soon as, and as often as, one likes
    reader = SpoolReader(folder)             reports up to the number that the line tells
    ...                                      until ``reader.ended`` and all is recorded
    remove(folder)

If `is_alive` is false and the reader has not ended, the supervisor died: `write_off`
puts the missing reports into the spool, so that their numbers are stable.

A daemon that starts many gives `start` a `nursery.Nursery`'s ``launch``.

Everything here is quick enough for a reactor thread except `remove` and `write_off`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

import worker
from protocol.order import Order
from protocol.results import Result
from worker.environments import traces
from worker.environments.interface import EnvironmentFault
from worker.supervisor.aftermath import report_end
from worker.supervisor.settings import Settings

ORDER = "order.json"
SETTINGS = "worker.json"
PID = "supervisor.pid"
FILES_URL = "files-url"
LOG = "supervisor.log"
CONTROL = "control"
#: Below it lie the environments, one folder each; `remove` sweeps it.
ENVIRONMENTS = "environments"

#: Starts "$@" in the background, says its process id, and is gone: the supervisor is no
#: child of the daemon, which so needs not wait for it.
_LAUNCH = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'


class NotAttached(Exception):
    """Nobody listens on the control socket: not yet, or no longer."""


class StillAlive(Exception):
    """The supervisor lives, so its attempt can neither be written off nor removed."""


class NotRemoved(Exception):
    """Something of an attempt is still there; the message says what."""


def write_order(folder: Path, order: Order, settings: Settings) -> None:
    """Make ``folder`` with the order on the disk; safe to repeat after a crash.

    OSError if that fails (the disk is full): then refuse the order.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(folder / SETTINGS, msgspec.json.encode(settings))
    _write(folder / ORDER, msgspec.json.encode(order))


def _write(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(file, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(new, path)


def read_order(folder: Path) -> Order:
    """The order that was written into ``folder``."""
    return msgspec.json.decode((folder / ORDER).read_bytes(), type=Order)


def read_settings(folder: Path) -> Settings:
    """The settings that were written into ``folder``."""
    return msgspec.json.decode((folder / SETTINGS).read_bytes(), type=Settings)


def tell_files_url(folder: Path, url: str) -> None:
    """Let the build store and fetch files below ``url`` from now on; OSError."""
    new = folder / f"{FILES_URL}.new"
    new.write_text(url)
    os.replace(new, folder / FILES_URL)


def files_url(folder: Path) -> str | None:
    """Where files go, if that was told since the order."""
    try:
        return (folder / FILES_URL).read_text()
    except FileNotFoundError:
        return None


def launch(folder: Path) -> int:
    """Start a supervisor from nothing; its process id. `Nursery.launch` is quicker."""
    command = [sys.executable, "-P", "-m", "worker.supervisor", str(folder)]
    launched = subprocess.run(
        ["/bin/sh", "-c", _LAUNCH, "sh", str(folder / LOG), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd="/",
        env=child_variables(),
        start_new_session=True,
        check=True,
    )
    return int(launched.stdout)


def child_variables() -> dict[str, str]:
    """The environment in which another Python finds the packages that this one found."""
    paths = [str(Path(worker.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def start(folder: Path, launch: Callable[[Path], int] = launch) -> None:
    """Start the supervisor of the attempt in ``folder``, detached from this process.

    It is in a session of its own and inherits no file but its log. From then on
    `is_alive` tells the truth. StillAlive if there is one already.
    """
    if is_alive(folder):
        raise StillAlive(f"a supervisor works in {folder} already")
    note_process(folder, launch(folder))


def note_process(folder: Path, pid: int) -> None:
    """Write down that ``pid`` is the supervisor of ``folder``.

    It does so itself, too: the daemon may die between starting it and writing it down.
    """
    _write(folder / PID, f"{pid} {_start_time(pid)} {_boot()}\n".encode())


def is_alive(folder: Path) -> bool:
    """Whether the supervisor of ``folder`` lives; never mistakes another process for it."""
    return supervisor_pid(folder) is not None


def supervisor_pid(folder: Path) -> int | None:
    """The process id of the living supervisor of ``folder``."""
    try:
        pid, started, boot = (folder / PID).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    if boot != _boot() or started != _start_time(int(pid)) or started == "0":
        return None
    return int(pid)


def _start_time(pid: int) -> str:
    """Clock ticks between boot and the start of ``pid``; "0" if it is no more."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "0"
    # The name, in brackets, may hold anything: blanks and brackets, too.
    fields = status.rpartition(")")[2].split()
    return "0" if fields[0] in "ZX" else fields[19]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@contextlib.contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """A name for ``folder``'s control socket that is short enough for an address."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{opened}/{CONTROL}"
    finally:
        os.close(opened)


def connect(folder: Path) -> socket.socket:
    """A connected, non-blocking stream socket to the supervisor, or `NotAttached`.

    A reactor takes it with ``adoptStreamConnection(fileno, AF_UNIX, factory)``.
    """
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.setblocking(False)
    try:
        with short_path(folder) as address:
            line.connect(address)
    except OSError as error:
        line.close()
        raise NotAttached(f"no supervisor listens in {folder}: {error}") from error
    return line


def write_off(folder: Path, reason: str) -> None:
    """Report the end of an attempt whose supervisor died, in its stead.

    Pipeline jobs that were running ended in ``error`` with ``reason``; those that had not
    begun are ``unrun``. Does nothing if the end is reported already, so it is safe to
    repeat. OSError if the disk is still full.
    """
    if is_alive(folder):
        raise StillAlive(f"the supervisor in {folder} is alive")
    report_end(folder, read_order(folder), Result.ERROR, reason)


def remove(folder: Path) -> None:
    """Remove every trace of an attempt: processes, mounts, files. Safe to repeat.

    StillAlive if its supervisor lives (tell it ``kill`` first); NotRemoved if something
    resists, with what it was.
    """
    if is_alive(folder):
        raise StillAlive(f"the supervisor in {folder} is alive")
    if not folder.exists():
        return
    _sweep_environments(folder)
    mounted = _mounts_below(folder)
    if mounted:
        raise NotRemoved(f"{mounted[0]} is still mounted; unmount it by hand")
    try:
        traces.remove(folder)
    except EnvironmentFault as error:
        raise NotRemoved(str(error)) from error


def _sweep_environments(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        for place in sorted((folder / ENVIRONMENTS).iterdir()):
            try:
                traces.sweep(place)
            except EnvironmentFault as error:
                raise NotRemoved(str(error)) from error


def _mounts_below(folder: Path) -> list[str]:
    # Deleting through a forgotten bind mount would delete what is behind it.
    inside = os.fsencode(folder.resolve()) + b"/"
    points = (
        line.split()[4] for line in Path("/proc/self/mountinfo").read_bytes().splitlines()
    )
    plain = (point.decode("unicode_escape").encode("latin-1") for point in points)
    return [os.fsdecode(point) for point in plain if point.startswith(inside)]
