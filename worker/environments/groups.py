"""Control groups (version 1 or 2): the kernel's bounds for all processes of an environment.

They are made below the group that this process is in, so that its own bounds hold, too.
Their folders outlive a killed owner; the note ``groups`` in the environment's folder tells
a sweep of them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from worker.environments.limits import Limits, in_units, ran_out

_NOTE = "groups"
_PREFIX = "headrace-"
_PERIOD = 100_000  # microseconds

#: Seconds to wait for killed processes to leave a group.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Hierarchy:
    """A mounted tree of groups, and where in it this process is."""

    own: Path  #: the folder of this process's group
    top: Path  #: where the tree is mounted
    controllers: frozenset[str]
    version: int


class Refused(Exception):
    """This machine lets us make no such group."""


def hierarchies(
    mounts: Path = Path("/proc/self/mountinfo"), own: Path = Path("/proc/self/cgroup")
) -> list[Hierarchy]:
    """The trees of groups that this process sees."""
    try:
        paths = dict(_own_groups(own.read_text()))
        lines = mounts.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        kind, options = rest[0], set(rest[-1].split(","))
        if kind not in ("cgroup", "cgroup2") or len(fields) < 5:
            continue
        top = Path(fields[4].encode().decode("unicode_escape"))
        if kind == "cgroup2":
            names, path = frozenset(_words(top / "cgroup.controllers")), paths.get("")
        else:
            names = frozenset(options & {"memory", "pids", "cpu"})
            path = next((p for c, p in paths.items() if names & set(c.split(","))), None)
        if path is None or not names:
            continue
        # Of the tree, only what lies below this one is mounted here, maybe.
        inside = os.path.relpath(path, fields[3]) if path != "/" else "."
        place = top / inside
        if ".." in Path(inside).parts or not place.is_dir():
            place = top
        version = 2 if kind == "cgroup2" else 1
        found.append(Hierarchy(place, top, names, version))
    return found


def _own_groups(text: str) -> list[tuple[str, str]]:
    lines = (line.split(":", 2) for line in text.splitlines())
    return [(line[1], line[2]) for line in lines if len(line) == 3]


class Groups:
    """The groups of one environment, one in each hierarchy that is needed."""

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        found: list[Hierarchy] | None = None,
    ) -> None:
        """Made at once; Refused if the machine can't hold processes to ``limits``.

        ``folder`` is the environment's.
        """
        self._limits = limits
        self._note = folder / _NOTE
        self._paths: dict[str, Path] = {}  #: controller -> the folder of its group
        self._versions: dict[str, int] = {}
        self._doors: list[int] = []
        name = _PREFIX + uuid4().hex
        try:
            self._make(name, hierarchies() if found is None else found)
            self._set()
            self._doors = [
                os.open(path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                for path in set(self._paths.values())
            ]
        except OSError as error:
            self.close()
            raise Refused(f"control groups can't be used: {error}") from None
        self._before = self._counts()

    @property
    def doors(self) -> tuple[int, ...]:
        """The descriptors that `enter` needs."""
        return tuple(self._doors)

    def enter(self) -> None:
        """Move this process into the groups."""
        for door in self._doors:
            os.write(door, b"0")

    def begin(self) -> None:
        """From here on, `exhausted` tells of what happens now."""
        self._before = self._counts()

    def exhausted(self) -> str:
        """What its processes ran out of since `begin`; empty if nothing."""
        for controller, count in self._counts().items():
            if count > self._before.get(controller, 0):
                if controller == "memory" and self._limits.memory is not None:
                    size = in_units(self._limits.memory)
                    return ran_out("memory", size, "memory_limit")
                if controller == "pids":
                    number = f"{self._limits.processes} processes"
                    return ran_out("processes", number, "process_limit")
        return ""

    def close(self) -> None:
        """Kill what is left in the groups, and remove them; safe to repeat."""
        for door in self._doors:
            os.close(door)
        self._doors = []
        for path in set(self._paths.values()):
            _remove(path)
        self._paths = {}
        self._note.unlink(missing_ok=True)

    def _make(self, name: str, found: list[Hierarchy]) -> None:
        for controller, wanted in (
            ("memory", self._limits.memory),
            ("pids", self._limits.processes),
            ("cpu", self._limits.processors),
        ):
            if wanted is None:
                continue
            trees = [each for each in found if controller in each.controllers]
            if not trees:
                raise OSError(f"there is no controller for {controller}")
            tree = min(trees, key=lambda each: each.version)
            self._versions[controller] = tree.version
            self._paths[controller] = self._make_one(name, controller, tree)

    def _make_one(self, name: str, controller: str, tree: Hierarchy) -> Path:
        error: OSError = OSError(f"no group can be made for {controller}")
        for parent in _parents(tree):
            path = parent / name
            # First the note: whoever dies in between leaves a note of nothing.
            with self._note.open("a") as note:
                note.write(f"{path}\n")
            try:
                if tree.version == 2:
                    # Fails in a group that has processes of its own: then its parent.
                    _write(parent / "cgroup.subtree_control", f"+{controller}")
                path.mkdir(exist_ok=True)
                return path
            except OSError as problem:
                error = problem
        raise error

    def _set(self) -> None:
        limits = self._limits
        if limits.memory is not None:
            path = self._paths["memory"]
            if self._versions["memory"] == 2:
                _write(path / "memory.max", str(limits.memory))
                with suppress(OSError):
                    _write(path / "memory.swap.max", "0")
            else:
                _write(path / "memory.limit_in_bytes", str(limits.memory))
                with suppress(OSError):
                    _write(path / "memory.memsw.limit_in_bytes", str(limits.memory))
        if limits.processes is not None:
            _write(self._paths["pids"] / "pids.max", str(limits.processes))
        if limits.processors is not None:
            path, quota = self._paths["cpu"], int(limits.processors * _PERIOD)
            if self._versions["cpu"] == 2:
                _write(path / "cpu.max", f"{quota} {_PERIOD}")
            else:
                _write(path / "cpu.cfs_period_us", str(_PERIOD))
                _write(path / "cpu.cfs_quota_us", str(quota))

    def _counts(self) -> dict[str, int]:
        """How often processes ran against the bounds."""
        counts = {}
        if "memory" in self._paths:
            name = (
                "memory.events" if self._versions["memory"] == 2 else "memory.oom_control"
            )
            counts["memory"] = _pairs(self._paths["memory"] / name).get("oom_kill", 0)
        if "pids" in self._paths:
            counts["pids"] = _pairs(self._paths["pids"] / "pids.events").get("max", 0)
        return counts


def sweep(folder: Path) -> None:
    """Remove the groups that the dead owner of the environment in ``folder`` left."""
    try:
        paths = (folder / _NOTE).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    tops = {each.top for each in hierarchies()}
    for path in map(Path, paths):
        if path.name.startswith(_PREFIX) and tops & set(path.parents):
            _remove(path)


def _parents(tree: Hierarchy) -> list[Path]:
    """Where a group can be made: below our own, or else beside it."""
    if tree.version == 1 or tree.own == tree.top:
        return [tree.own]
    return [tree.own, tree.own.parent]


def _remove(path: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while path.is_dir():
        for process in _words(path / "cgroup.procs"):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(process), signal.SIGKILL)
        with suppress(OSError):
            path.rmdir()
            return
        if time.monotonic() > until:
            return
        time.sleep(0.005)  # there is nothing to wait for: the kernel tells nobody


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _pairs(path: Path) -> Mapping[str, int]:
    words = _words(path)
    return {
        key: int(value)
        for key, value in zip(words[::2], words[1::2], strict=False)
        if value.isdigit()
    }
