"""What still runs, or seems to, of a cluster's earlier server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from buildmaster.postgres.cluster import read_small
from buildmaster.postgres.placement import Home


def remnants(home: Home) -> list[int]:
    """Processes of an earlier server of this cluster that still run; its chief first.

    Only while this process holds the cluster's lock. Where ``/proc`` is missing the
    answer is empty, and PostgreSQL's own check decides.
    """
    chief = _recorded_pid(home)
    if chief is None:
        return []
    cluster = os.path.realpath(home.cluster)
    found = [pid for pid in _processes() if _is_server_in(pid, cluster)]
    return sorted(found, key=lambda pid: (pid != chief, pid))


def forget_stranger(home: Home) -> None:
    """Remove the trace of a dead server whose process id a stranger got; see ``remnants``.

    PostgreSQL would take that process, if it is of its own account, for the old server
    and refuse to start: it happens after a reboot, and at every restart of a container.
    """
    pid = _recorded_pid(home)
    if pid is None or not Path(f"/proc/{pid}").exists():
        return  # PostgreSQL's own check is better: it also finds orphans of a dead server
    if not _is_server_in(pid, os.path.realpath(home.cluster)):
        (home.cluster / "postmaster.pid").unlink(missing_ok=True)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _processes() -> Iterator[int]:
    with suppress(FileNotFoundError):
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal():
                yield int(entry.name)


def _is_server_in(pid: int, cluster: str) -> bool:
    """Whether this is a server of the cluster, or one of its children."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if not os.path.basename(words[0]).startswith(b"postgres"):
            return False
        try:
            return os.readlink(f"/proc/{pid}/cwd") == cluster  # it is their work folder
        except PermissionError:  # root without the right to look, as in a container
            return os.fsencode(cluster) in words
    except OSError:
        return False  # ended meanwhile


def _recorded_pid(home: Home) -> int | None:
    """The process id that the last server left in its folder; None if it left in order."""
    try:
        first = read_small(home.cluster / "postmaster.pid").split("\n")[0]
    except FileNotFoundError:
        return None
    return int(first) if first.isdecimal() else None
