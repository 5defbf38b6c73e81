"""What machine a run was made on, and how busy others kept it."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from benchmarks.report import Figures


def describe(folder: Path) -> Figures:
    """The machine, and the file system that ``folder`` lies on."""
    return {
        "processor": _first(r"model name\s*: (.*)", "/proc/cpuinfo") or platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory() / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": _file_system(folder),
        "load_at_start": os.getloadavg()[0],
    }


def memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def busy_seconds() -> float:
    """Processor seconds that anybody has used since the machine started."""
    user, nice, system, _idle, _wait, *rest = _cpu_ticks()
    return (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK")


def tree_seconds(root: int) -> float:
    """Processor seconds of a process and all below it, those that have ended, too."""
    members, seconds = {root}, 0.0
    for pid, (parent, used, of_ended) in sorted(_living().items()):  # parents are older
        if pid in members or parent in members:
            members.add(pid)
            seconds += used + of_ended
    return seconds


def own_seconds() -> float:
    """Processor seconds that this process and all that it started have used."""
    ended = getrusage(RUSAGE_CHILDREN)
    of_us, living = {os.getpid()}, _living()
    seconds = ended.ru_utime + ended.ru_stime
    for pid in sorted(living):  # parents are older, nearly always
        parent, used, of_children = living[pid]
        if pid in of_us or parent in of_us:
            of_us.add(pid)
            # Of our own ended children the kernel has told above.
            seconds += used if pid == os.getpid() else used + of_children
    return seconds


def _living() -> dict[int, tuple[int, float, float]]:
    """Of each process: its parent, what it has used, and its ended children."""
    found = {}
    tick = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                user, system, of_user, of_system = map(int, fields[11:15])
                used, ended = (user + system) / tick, (of_user + of_system) / tick
                found[int(entry.name)] = (int(fields[1]), used, ended)
    return found


def processor_seconds(pid: int) -> float:
    """What one process has used since it started, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_ticks() -> list[int]:
    first = Path("/proc/stat").read_text().splitlines()[0]
    return [int(number) for number in first.split()[1:]]


def _first(pattern: str, file: str) -> str:
    try:
        found = re.search(pattern, Path(file).read_text())
    except OSError:
        return ""
    return found[1].strip() if found else ""


def _file_system(folder: Path) -> str:
    """Its type: on ``tmpfs`` a durable commit costs nothing, and no figure counts."""
    best, kind = "", "unknown"
    place = str(folder.resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mounted, its_kind, *_ = line.split()
        inside = place == mounted or place.startswith(mounted.rstrip("/") + "/")
        if inside and len(mounted) >= len(best):
            best, kind = mounted, its_kind
    return kind
