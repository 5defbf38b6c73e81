"""Expands a file into its graph: a node for each package, job and cell, and their edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from buildmaster.planner import CrossArchitecture, PlannedBuild, plan
from buildmaster.references.cycles import cycles, in_order, told
from buildmaster.references.matching import NoCellError, matched
from buildmaster.references.model import (
    ARCHITECTURE,
    SERIES,
    Cell,
    Job,
    Need,
    References,
    RequireName,
    cell_text,
)
from buildmaster.references.parts import Parts, parts_of
from buildmaster.series import Series
from protocol.pipeline.model import Pipeline, PipelineJob
from protocol.pipeline.problems import Problem, quoted

NODE_LIMIT = 20_000
EDGE_LIMIT = 200_000
#: Why a node is in the graph and does not run.
NOT_TOP = "not_top"


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One job, of one package, in one cell: what will be a row of the queue."""

    number: int
    job: Job
    package: str | None  #: or a component of packages
    covers: tuple[str, ...]  #: the packages whose changes are its own
    cell: Cell
    runs: PipelineJob | None  #: None: ``build``
    build: PlannedBuild | None = None  #: its part of an included pipeline
    skipped: str = ""  #: why it does not run

    @property
    def name(self) -> str:
        """``build``, or of a package ``A/build``."""
        return f"{self.package}/{self.job.name}" if self.package else self.job.name

    @property
    def title(self) -> str:
        """The name with the cell, for people."""
        part = f", part {self.build.part}" if self.build and self.build.part else ""
        return f"{self.name} ({cell_text(self.cell)}{part})" if self.cell else self.name

    def value(self, axis: str) -> str | None:
        """Its value on ``axis``."""
        return dict(self.cell).get(axis)


class Handed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Files of an upstream node that a node finds in a folder."""

    job: str  #: the folder is CI_INPUT_<JOB>
    folder: str = ""  #: below it
    patterns: tuple[str, ...] | None = None  #: None: all
    whole: bool = False  #: of an included pipeline: in a folder for each of its jobs


class Edge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``down`` waits for ``up``."""

    up: int
    down: int
    require: RequireName = "good"
    stage: int | None = None  #: only for this stage of an included pipeline
    choice: int | None = None  #: one of the edges of ``down`` with this number suffices
    handed: Handed | None = None
    rebuild: bool = True  #: whether a change of ``up`` makes ``down`` run anew


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes, each after all it waits for, and the edges by their ``down``."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def ups(self) -> list[list[Edge]]:
        """The edges of each node to what it waits for."""
        found: list[list[Edge]] = [[] for _ in self.nodes]
        for edge in self.edges:
            found[edge.down].append(edge)
        return found


class Expanded(msgspec.Struct, frozen=True, kw_only=True):
    """A graph, or why there is none."""

    graph: Graph | None = None
    errors: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()  #: what was left out


def expand(
    references: References,
    trigger: str | None = None,
    included: Mapping[str, Pipeline] | None = None,
    series: Sequence[Series] = (),
    mode: CrossArchitecture = "orchestrate",
) -> Expanded:
    """The graph of a run that ``trigger`` starts; without one, all jobs are in it.

    ``included`` holds the pipelines that jobs name, ``series`` what the farm has for them.
    """
    return _Expander(references, trigger, included or {}, series, mode).expand()


class _Expander:
    def __init__(
        self,
        references: References,
        trigger: str | None,
        included: Mapping[str, Pipeline],
        series: Sequence[Series],
        mode: CrossArchitecture,
    ) -> None:
        self._parts: Parts = parts_of(references.packages)
        self._all = {job.name: job for job in references.jobs}
        self._jobs = [
            job
            for job in references.jobs
            if trigger is None or job.trigger in (None, trigger)
        ]
        self._in_run = {job.name for job in self._jobs}
        self._trigger = trigger
        self._included = included
        self._series = series
        self._mode = mode
        self._errors: list[Problem] = []
        self._notes: list[str] = []
        self._nodes: list[Node] = []
        self._edges: dict[tuple[int, int], Edge] = {}
        #: Of each job: its packages (or components, or None), and where their nodes begin.
        self._starts: dict[str, dict[str | None, int]] = {}
        self._cells: dict[str, list[Cell]] = {}
        self._choices = 0

    def expand(self) -> Expanded:
        for job in self._jobs:
            self._add_nodes(job)
            if len(self._nodes) > NODE_LIMIT:
                self._error("jobs", job.line, _too_many("nodes", NODE_LIMIT))
                return Expanded(errors=tuple(self._errors))
        for job in self._jobs:
            self._add_edges(job)
            if len(self._edges) > EDGE_LIMIT:
                break
        if self._errors:
            return Expanded(errors=tuple(self._errors))
        return self._ordered()

    def _error(self, where: str, line: int | None, message: str) -> None:
        self._errors.append(Problem(where, line, message))

    # Nodes

    def _add_nodes(self, job: Job) -> None:
        variants: list[tuple[Cell, PipelineJob | None, PlannedBuild | None]]
        if job.lpci is not None:
            variants = [(cell, None, build) for cell, build in self._builds(job)]
        else:
            variants = [(one.cell, one.runs, None) for one in job.variants]
        self._cells[job.name] = [cell for cell, _, _ in variants]
        starts: dict[str | None, int] = {}
        for package, covers in self._packages_of(job):
            starts[package] = len(self._nodes)
            skipped = ""
            if job.scope == "top" and package not in self._parts.tops:
                skipped = NOT_TOP
            for cell, runs, build in variants:
                self._nodes.append(
                    Node(
                        number=len(self._nodes),
                        job=job,
                        package=package,
                        covers=covers,
                        cell=cell,
                        runs=runs,
                        build=build,
                        skipped=skipped,
                    )
                )
            if len(self._nodes) > NODE_LIMIT:
                break
        self._starts[job.name] = starts

    def _packages_of(self, job: Job) -> Iterator[tuple[str | None, tuple[str, ...]]]:
        if job.scope == "component":
            yield from self._parts.members.items()
        elif job.is_per_package:
            for package in self._parts.packages:
                yield package.name, (package.name,)
        else:
            yield None, tuple(package.name for package in self._parts.packages)

    def _builds(self, job: Job) -> list[tuple[Cell, PlannedBuild]]:
        """The builds of the pipeline that ``job`` includes."""
        assert job.lpci is not None
        where = f"jobs.{job.name}.lpci"
        pipeline = self._included.get(job.lpci)
        if pipeline is None:
            self._error(where, job.line, f"there is no pipeline in {job.lpci} to include")
            return []
        planned = plan(pipeline, self._series, self._mode)
        for error in planned.errors:
            self._error(where, job.line, f"{job.lpci}: {error.where}: {error.message}")
        for skipped in planned.skipped:
            self._notes.append(
                f"{job.name}: {', '.join(skipped.jobs[:5])} left out on"
                f" {skipped.architecture}: {skipped.reason}"
            )
        wanted = {dict(one.cell).get(ARCHITECTURE) for one in job.variants}
        builds = [
            build
            for build in planned.builds
            if wanted == {None} or build.architecture in wanted
        ]
        if not builds and not planned.errors:
            self._error(where, job.line, f"nothing of {job.lpci} can run on this farm")
        return [(((ARCHITECTURE, build.architecture),), build) for build in builds]

    # Edges

    def _add_edges(self, job: Job) -> None:
        for need in job.needs:
            self._add_need(job, need)
        if job.is_per_package:
            self._add_depends(job)
        if job.lpci is not None:
            self._add_waits(job)

    def _add_need(self, job: Job, need: Need) -> None:
        where = f"jobs.{job.name}.needs"
        if need.job not in self._in_run:
            if not need.weak:
                self._error(where, need.line, self._missing(job, need))
            return
        up = self._all[need.job]
        if not self._cells[up.name] or not self._cells[job.name]:
            return  # An error of their own.
        try:
            places = matched(need, self._cells[job.name], self._cells[up.name])
        except NoCellError as error:
            self._error(where, need.line, str(error))
            return
        alike = all(len(found) == 1 for found in places)
        for package, start in self._starts[job.name].items():
            if self._nodes and self._nodes[start].skipped:
                continue
            groups = list(self._groups(job, up, package))
            for place, found in enumerate(places):
                for group in groups:
                    # Of each package's: one does not stand for another.
                    choice = self._choice(need, found)
                    first = self._starts[up.name][group]
                    for at in found:
                        self._add_edge(
                            job,
                            need,
                            Edge(
                                up=first + at,
                                down=start + place,
                                require=need.require,
                                choice=choice,
                                handed=self._handed(
                                    need, self._nodes[first + at], package, alike
                                ),
                            ),
                        )
            if len(self._edges) > EDGE_LIMIT:
                self._error("jobs", job.line, _too_many("edges", EDGE_LIMIT))
                return

    def _choice(self, need: Need, found: Sequence[int]) -> int | None:
        if need.map != "any" or len(found) < 2:
            return None
        self._choices += 1
        return self._choices

    def _missing(self, job: Job, need: Need) -> str:
        other = self._all.get(need.job)
        if other is None:
            return f"there is no job {quoted(need.job)}"
        return (
            f"{job.name} needs {need.job}, which is only in runs that"
            f" {other.trigger} starts, and this one is started by"
            f" {self._trigger}: make the need weak, or give both the same trigger"
        )

    def _groups(self, job: Job, up: Job, package: str | None) -> Iterator[str | None]:
        """The packages (or components, or None) of ``up`` that ``job`` of one waits for."""
        if up.scope == "run":
            yield None
        elif up.scope == "component":
            if package is None:
                yield from self._parts.members
            elif job.scope == "component":
                yield package
            else:
                yield self._parts.component_of[package]
        elif package is None:
            yield from (one.name for one in self._parts.packages)
        elif job.scope == "component":
            yield from self._parts.members[package]
        else:
            yield package
            if job.install == "closure":
                yield from self._parts.closure(package)

    def _handed(
        self, need: Need, up: Node, package: str | None, alike: bool
    ) -> Handed | None:
        if need.artifacts == ():
            return None
        folders = []
        if up.package is not None and up.package != package:
            folders.append(up.package)
        if not alike:
            folders.append(cell_text(up.cell) or "only")
        return Handed(
            job=need.job,
            folder="/".join(folders),
            patterns=need.artifacts,
            whole=up.build is not None,
        )

    def _add_edge(self, job: Job, need: Need, edge: Edge) -> None:
        known = self._edges.setdefault((edge.down, edge.up), edge)
        if known.require != edge.require:
            up = self._nodes[edge.up]
            self._error(
                f"jobs.{job.name}.needs",
                need.line,
                f"{self._nodes[edge.down].title} needs {up.title} in two ways,"
                f" {known.require} and {edge.require}: leave one out",
            )

    def _add_depends(self, job: Job) -> None:
        starts = self._starts[job.name]
        for package in self._parts.packages:
            for depend in package.depends:
                first, start = starts.get(depend.name), starts.get(package.name)
                if first is None or start is None or self._nodes[start].skipped:
                    continue
                handed = Handed(
                    job=job.name, folder=depend.name, whole=job.lpci is not None
                )
                for at in range(len(self._cells[job.name])):
                    edge = Edge(
                        up=first + at,
                        down=start + at,
                        handed=handed if depend.rebuild else None,
                        rebuild=depend.rebuild,
                    )
                    self._edges.setdefault((edge.down, edge.up), edge)
            if len(self._edges) > EDGE_LIMIT:
                self._error("packages", package.line, _too_many("edges", EDGE_LIMIT))
                return

    def _add_waits(self, job: Job) -> None:
        """What builds of an included pipeline wait for of each other."""
        for start in self._starts[job.name].values():
            of_job = self._nodes[start : start + len(self._cells[job.name])]
            home = {
                (node.build.architecture, stage): node.number
                for node in of_job
                if node.build is not None
                for stage in node.build.stage_numbers
            }
            for node in of_job:
                for wait in node.build.waits if node.build else ():
                    up = home.get((wait.architecture, wait.stage))
                    if up is not None and up != node.number:
                        edge = Edge(up=up, down=node.number, stage=wait.stage)
                        self._edges.setdefault((edge.down, edge.up), edge)

    # The whole

    def _ordered(self) -> Expanded:
        ups: list[list[int]] = [[] for _ in self._nodes]
        for down, up in self._edges:
            ups[down].append(up)
        order = in_order(ups)
        if len(order) < len(self._nodes):
            for cycle in cycles(ups):
                first = self._nodes[cycle[0]]
                names = told([self._nodes[one].title for one in cycle])
                self._error(
                    f"jobs.{first.job.name}.needs",
                    first.job.line,
                    f"jobs wait for each other: {names}",
                )
            return Expanded(errors=tuple(self._errors))
        numbers = {old: new for new, old in enumerate(order)}
        nodes = tuple(
            msgspec.structs.replace(self._nodes[old], number=new)
            for new, old in enumerate(order)
        )
        edges = sorted(
            (
                msgspec.structs.replace(edge, up=numbers[edge.up], down=numbers[edge.down])
                for edge in self._edges.values()
            ),
            key=lambda edge: (edge.down, edge.up),
        )
        graph = Graph(nodes=nodes, edges=tuple(edges))
        return Expanded(graph=graph, notes=tuple(self._notes))


def _too_many(what: str, limit: int) -> str:
    return f"the file expands to more than {limit} {what}; use fewer packages or cells"


__all__ = [
    "ARCHITECTURE",
    "SERIES",
    "Edge",
    "Expanded",
    "Graph",
    "Handed",
    "Node",
    "expand",
]
