"""What a ``.headrace.yaml`` should expand to, in plain Python: slowly, rule by rule.

Nothing of the project is used. A file is what YAML makes of it; only valid ones are asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Cell = tuple[tuple[str, str], ...]

#: The pipeline that jobs may include, and what it comes to: of each architecture the
#: stages with their pipeline jobs, and which stage of which architecture is waited for.
PIPELINE = """\
pipeline: [make, check]
jobs:
  make: {series: noble, architectures: amd64, run: make}
  check: {series: noble, architectures: [amd64, arm64], run: check}
"""
BUILDS: dict[str, tuple[list[str], tuple[str, int] | None]] = {
    "amd64": (["make", "check"], None),
    "arm64": (["check"], ("amd64", 0)),
}
#: What a farm with all series and architectures takes where a file leaves it open.
USUAL = {"arch": "amd64", "series": "noble"}


class WrongFile(Exception):
    """The file makes no sense, or has nothing for this run."""


@dataclass(frozen=True)
class Node:
    """One job of one package in one cell."""

    job: str
    package: str | None
    cell: Cell

    @property
    def name(self) -> str:
        """As the queue calls it."""
        return f"{self.package}/{self.job}" if self.package else self.job


@dataclass(frozen=True)
class Handed:
    """Files that are handed over: from which job, into which folder."""

    job: str
    folder: str = ""
    patterns: tuple[str, ...] | None = None
    whole: bool = False  #: of a pipeline


@dataclass(frozen=True)
class Need:
    """An edge."""

    up: Node
    down: Node
    require: str = "good"
    stage: int | None = None
    choice: object = None  #: of the edges of a node with an equal one, one suffices
    handed: Handed | None = None
    counts: bool = True  #: for the key of ``down``


class Expansion:
    """The nodes and edges of a file in a run that ``trigger`` started."""

    def __init__(self, file: dict[str, Any], trigger: str | None = None) -> None:
        self.all = file["jobs"]
        self.jobs = {
            name: job
            for name, job in self.all.items()
            if trigger is None or job.get("trigger") in (None, trigger)
        }
        self.inputs = file.get("inputs", [])
        self.packages = file.get("packages", {})
        usual = file.get("depends_default", "rebuild") == "rebuild"
        #: Of each package those it depends on, and whether it is rebuilt with them.
        self.depends: dict[str, dict[str, bool]] = {
            name: {
                one if isinstance(one, str) else one["name"]: usual
                if isinstance(one, str)
                else one.get("rebuild", usual)
                for one in body.get("depends", [])
            }
            for name, body in self.packages.items()
        }

    # -- packages

    def below(self, name: str) -> set[str]:
        """All that the package is rebuilt with, near or far."""
        near = {other for other, rebuild in self.depends[name].items() if rebuild}
        return near.union(*map(self.below, near))

    def is_top(self, name: str | None) -> bool:
        """Whether no package depends on it."""
        return not any(name in of for of in self.depends.values())

    def component(self, name: str) -> tuple[str, ...]:
        """The packages that hang together with it, in the order of the file."""
        found = {name}
        for _ in self.depends:
            for one, of in self.depends.items():
                if found & {one, *of}:
                    found |= {one, *of}
        return tuple(one for one in self.depends if one in found)

    def component_name(self, name: str) -> str:
        """Its component, as people call it."""
        return ",".join(sorted(filter(self.is_top, self.component(name))))

    # -- jobs

    def scope(self, name: str) -> str:
        """What there is one of the job for."""
        job = self.all[name]
        if "scope" in job:
            return str(job["scope"])
        if job.get("per_package"):
            return "each"
        is_publish = "publish" in (name, job.get("type")) and "per_package" not in job
        return "component" if is_publish and self.packages else "run"

    def reuse(self, name: str) -> str:
        """When an earlier result stands for it."""
        job = self.all[name]
        if job.get("cutoff"):
            return "outputs"
        return job.get("reuse") or ("never" if self.scope(name) == "run" else "inputs")

    def has_pipeline(self, name: str) -> bool:
        """Whether it includes one."""
        return "lpci" in self.all[name]

    def owners(self, name: str) -> list[str | None]:
        """The packages, or components, that have the job."""
        scope = self.scope(name)
        if scope == "run":
            return [None]
        if scope == "component":
            return list(dict.fromkeys(self.component_name(one) for one in self.depends))
        return list(self.depends)

    def covers(self, node: Node) -> tuple[str, ...]:
        """The packages that the node is about."""
        scope = self.scope(node.job)
        if scope == "run":
            return tuple(self.depends)
        if scope == "component":
            return tuple(o for o in self.depends if self.component_name(o) == node.package)
        return (str(node.package),)

    def cells(self, name: str) -> list[Cell]:
        """All cells of the job."""
        job = self.all[name]
        if self.has_pipeline(name):
            wanted = job.get("architectures")
            return [(("arch", one),) for one in BUILDS if wanted in (None, one)]
        axes = sorted(job.get("matrix", {}).items())
        return [
            tuple(zip([axis for axis, _ in axes], values, strict=True))
            for values in itertools.product(*(values for _, values in axes))
        ]

    def stages(self, node: Node) -> list[str]:
        """The pipeline jobs that it runs, one after the other."""
        if self.has_pipeline(node.job):
            return BUILDS[dict(node.cell)["arch"]][0]
        return [node.job]

    def nodes(self) -> list[Node]:
        """All of them."""
        found = [
            Node(name, owner, cell)
            for name in self.jobs
            for owner in self.owners(name)
            for cell in self.cells(name)
        ]
        if not found:
            raise WrongFile("there is no job in this run")
        return found

    def never_runs(self, node: Node) -> bool:
        """Whether it is only there so that the chain stays visible."""
        return self.scope(node.job) == "top" and not self.is_top(node.package)

    # -- edges

    def needs(self) -> list[Need]:
        """All edges."""
        found: dict[tuple[Node, Node], Need] = {}
        for node in self.nodes():
            for edge in self._of(node):
                first = found.setdefault((edge.up, edge.down), edge)
                if first.require != edge.require:
                    raise WrongFile(f"{edge} contradicts {first}")
        return list(found.values())

    def _of(self, node: Node) -> Iterator[Need]:
        for number, one in enumerate(self.all[node.job].get("needs", [])):
            need = {"job": one} if isinstance(one, str) else one
            if need["job"] in self.jobs:
                yield from self._by_need(node, number, need)
            elif not need.get("weak"):
                raise WrongFile(f"{need['job']} is not in this run")
        if self.has_pipeline(node.job):
            wait = BUILDS[dict(node.cell)["arch"]][1]
            if wait is not None:
                up = Node(node.job, node.package, (("arch", wait[0]),))
                if up.cell in self.cells(node.job):
                    yield Need(up, node, stage=wait[1])
        scope = self.scope(node.job)
        if scope == "each" or (scope == "top" and self.is_top(node.package)):
            for other, rebuild in self.depends[str(node.package)].items():
                whole = self.has_pipeline(node.job)
                handed = Handed(node.job, other, whole=whole) if rebuild else None
                up = Node(node.job, other, node.cell)
                yield Need(up, node, handed=handed, counts=rebuild)

    def _by_need(self, node: Node, number: int, need: dict[str, Any]) -> Iterator[Need]:
        matching = {cell: self._matching(need, cell) for cell in self.cells(node.job)}
        if self.never_runs(node):
            return
        is_single = all(len(found) == 1 for found in matching.values())
        for owner in self._groups(node, need["job"]):
            found = matching[node.cell]
            is_choice = need.get("map") == "any" and len(found) > 1
            for cell in found:
                up = Node(need["job"], owner, cell)
                yield Need(
                    up,
                    node,
                    need.get("require", "good"),
                    choice=(number, owner) if is_choice else None,
                    handed=self._handed(need, up, node, is_single),
                )

    def _matching(self, need: dict[str, Any], down: Cell) -> list[Cell]:
        fixed = need.get("cell", {})
        ups = [
            up
            for up in self.cells(need["job"])
            if all(dict(up).get(axis) == value for axis, value in fixed.items())
        ]
        own = dict(down)
        shared = [axis for axis, _ in (*ups, ())[0] if axis in own and axis not in fixed]
        if need.get("map") == "all":
            shared = []
        loose = [axis for axis in shared if len({dict(up)[axis] for up in ups}) > 1]
        for axes in (shared, loose):
            found = [up for up in ups if all(dict(up)[axis] == own[axis] for axis in axes)]
            if found:
                return found
        raise WrongFile(f"{need['job']} has no such cell")

    def _groups(self, node: Node, up: str) -> list[str | None]:
        """The packages, or components, of ``up`` that belong together with the node."""
        mine, theirs = self.scope(node.job), self.scope(up)
        if theirs == "run":
            return [None]
        if mine == "run":
            return self.owners(up)
        if theirs == "component":
            return [self.component_name(self.covers(node)[0])]
        if mine == "component":
            return list(self.covers(node))
        package = str(node.package)
        is_closed = self.all[node.job].get("install") == "closure"
        return [package, *(sorted(self.below(package)) if is_closed else [])]

    def _handed(
        self, need: dict[str, Any], up: Node, down: Node, is_single: bool
    ) -> Handed | None:
        patterns = need.get("artifacts")
        if patterns == []:
            return None
        folders = [up.package] if up.package not in (None, down.package) else []
        if not is_single:
            folders.append(cell_text(up.cell) or "only")
        return Handed(
            need["job"],
            "/".join(map(str, folders)),
            None if patterns is None else tuple(patterns),
            self.has_pipeline(up.job),
        )

    # -- sources

    def paths(self, node: Node) -> tuple[str, ...]:
        """The part of the source that the node is made of; none: all of it."""
        own = self.all[node.job].get("paths")
        if own is None:
            of = [self.packages[one].get("paths") for one in self.covers(node)]
            if not of or None in of:
                return ()
            own = [path for paths in of for path in paths]
        return tuple(sorted({*own, *self.inputs}))

    # -- what waits for itself

    def has_package_cycle(self) -> bool:
        """Whether packages depend on each other."""
        ups = {name: set(of) for name, of in self.depends.items()}
        return len(in_order(ups)) < len(ups)

    def has_cycle(self) -> bool:
        """Whether nodes wait for each other."""
        return len(in_order(self.ups())) < len(self.nodes())

    def ups(self) -> dict[Node, set[Node]]:
        """What each node waits for."""
        found: dict[Node, set[Node]] = {node: set() for node in self.nodes()}
        for need in self.needs():
            found[need.down].add(need.up)
        return found


def in_order(ups: Mapping[T, set[T]]) -> list[T]:
    """Each after all it waits for, but those in or behind cycles."""
    order: list[T] = []
    left = dict(ups)
    while free := [node for node, of in left.items() if not of & left.keys()]:
        order += free
        for node in free:
            del left[node]
    return order


def cell_text(cell: Cell) -> str:
    """As the queue has it."""
    return ",".join(f"{axis}={value}" for axis, value in cell)
