"""What a valid ``.headrace.yaml`` says, before it is expanded."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec

from protocol.pipeline.model import License, PipelineJob

RequireName = Literal["good", "finished", "bad", "always"]
MapName = Literal["same", "all", "any"]
ScopeName = Literal["each", "top", "component", "run"]
ReuseName = Literal["never", "inputs", "outputs"]
InstallName = Literal["own", "closure"]
IsolationName = Literal["native", "chroot", "vm"]
PolicyName = Literal["queue", "replace_pending", "replace_all"]

#: Axes that the farm itself knows; a matrix may have others.
ARCHITECTURE, SERIES = "arch", "series"
#: What stands in a definition for a series or an architecture that the file leaves open.
OPEN = "left-open"

#: Axis values of a node, sorted by axis.
Cell = tuple[tuple[str, str], ...]


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """A job that must end first, and what is taken of it."""

    job: str  #: its identifier
    require: RequireName = "good"
    map: MapName = "same"
    cell: dict[str, str] = {}  #: axes that are not matched but fixed
    artifacts: tuple[str, ...] | None = None  #: patterns of files; None: all; (): none
    weak: bool = False  #: nothing to wait for if the job is not in the run
    line: int = 0


class CollectionNeed(msgspec.Struct, frozen=True, kw_only=True):
    """A set of files of several repositories that must be complete first."""

    collection: str
    contains: tuple[str, ...]  #: the members that it needs
    same: str | None = None  #: the axis on which they must agree with the job
    timeout: float | None = None  #: seconds
    line: int = 0


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Seconds that a job may take; None is what the farm does by default."""

    run: float | None = None
    idle: float | None = None
    queue: float | None = None
    total: float | None = None


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """A failure after which the farm tries again by itself."""

    limit: int
    exit: int | None = None  #: exit status; None is any


class Concurrency(msgspec.Struct, frozen=True, kw_only=True):
    """A group of which one job is at work at a time."""

    group: str  #: may hold {project}, {ref}, {package}, {job} and {axis}
    policy: PolicyName = "queue"


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of a job, and what it runs."""

    cell: Cell
    runs: PipelineJob | None  #: None: a whole pipeline, `Job.lpci`


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job of the file, with all of its cells."""

    name: str  #: its identifier
    line: int
    variants: tuple[Variant, ...]
    kind: str = ""  #: the file's ``job`` or ``type``: a word for people
    trigger: str | None = None  #: the only event whose runs have it
    needs: tuple[Need, ...] = ()
    collections: tuple[CollectionNeed, ...] = ()
    scope: ScopeName = "run"
    install: InstallName = "own"
    reuse: ReuseName = "never"
    paths: tuple[str, ...] | None = None  #: its own part of the source, for its key
    retry: tuple[Retry, ...] = ()
    limits: Limits = Limits()
    isolation: IsolationName | None = None
    concurrency: Concurrency | None = None
    manual: bool = False
    allow_failure: bool = False
    interruptible: bool = True
    lpci: str | None = None  #: path of the pipeline's file in the source
    provides: str | None = None  #: the collection that its files go into
    member: str | None = None  #: as what they do

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of its axes, sorted."""
        return tuple(axis for axis, _ in self.variants[0].cell) if self.variants else ()

    @property
    def is_per_package(self) -> bool:
        """Whether each package has its own."""
        return self.scope in ("each", "top")


class Depend(msgspec.Struct, frozen=True, kw_only=True):
    """A package that another one depends on."""

    name: str
    rebuild: bool = True  #: whether its change makes the other one's jobs run anew
    line: int = 0


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the source that is built by itself."""

    name: str
    line: int = 0
    paths: tuple[str, ...] = ()  #: none: all of the source
    depends: tuple[Depend, ...] = ()


class References(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file."""

    jobs: tuple[Job, ...]
    packages: tuple[Package, ...] = ()
    inputs: tuple[str, ...] = ()  #: paths that count for every package
    license: License | None = None

    @property
    def includes(self) -> tuple[str, ...]:
        """Paths of the pipelines that jobs include, sorted."""
        return tuple(sorted({job.lpci for job in self.jobs if job.lpci is not None}))


@lru_cache(maxsize=4096)  # asked for each node and each edge, and there are few cells
def cell_text(cell: Cell) -> str:
    """A cell as the database and people have it: ``arch=amd64,series=noble``."""
    return ",".join(f"{axis}={value}" for axis, value in cell)


def plain(value: Any) -> Any:
    """``value`` as JSON has it, with no field that says nothing."""
    return msgspec.to_builtins(value)
