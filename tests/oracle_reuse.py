"""Which nodes of a queue need not run, and what others get of them, in plain Python.

Nothing of the project is used. A key is a number, the same for what is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count

from tests.oracle import Edge, End, Job, Oracle
from tests.oracle_expansion import Handed, Node

TRUSTED = "trusted"
Files = dict[tuple[str, str], str]  #: (pipeline job, path) -> content


@dataclass(frozen=True)
class Origin:
    """Of what and for whom a run is."""

    repository: str
    commit: str
    domain: str


@dataclass
class Facts:
    """What a job is besides its place in the queue."""

    node: Node
    origin: Origin
    covers: tuple[str, ...]
    scope: str
    reuse: str
    stages: Sequence[str]
    base: int  #: what it is, without what it waits for
    inputs: int  #: with the same of all that it builds upon
    is_late: bool  #: whether its key depends on the files of others
    never_runs: bool
    has_pipeline: bool
    key: int | None = None
    content: dict[str, int] | None = None  #: of a component, a key for each package
    changed: tuple[str, ...] = ()  #: those of its packages that are to go out
    reused_from: tuple[int, int] | None = None
    verifies: int | None = None


@dataclass
class NodeEdge(Edge):
    """A dependency of a node."""

    label: Hashable = None  #: what the key calls it; None: it does not count
    handed: Handed | None = None


class ReuseOracle(Oracle):
    """Nodes that are there: their keys, whose result stands for theirs, and their files."""

    def __init__(self, delays: Sequence[float], refusal: float) -> None:
        super().__init__(delays, refusal)
        self.facts: dict[int, Facts] = {}
        self.ended_as: dict[int, int] = {}  #: in which order jobs ended
        self._ends = count()
        self._made: dict[tuple[int, int, int], dict[str, str]] = {}  #: by stage
        self._numbers: dict[Hashable, int] = {}

    def _number(self, *value: Hashable) -> int:
        """The same for the same values."""
        return self._numbers.setdefault(value, len(self._numbers))

    def _key(self, base: int, ups: Iterable[tuple[Hashable, Hashable]]) -> int:
        return self._number("key", base, tuple(sorted(map(repr, ups))))

    # -- what passed before

    def _earlier(self, wanted: Facts) -> int | None:
        """The job whose result could stand for that of a node."""
        if wanted.reuse == "never" or wanted.never_runs:
            return None
        job = self._passed(wanted.origin, lambda facts: facts.inputs == wanted.inputs)
        if wanted.scope == "component" and job not in (None, self._published(wanted)):
            return None
        return job

    def _passed(self, origin: Origin, fits: Callable[[Facts], bool]) -> int | None:
        """The newest job that passed, may be read, and fits."""
        return max(
            (
                job
                for job, facts in self.facts.items()
                if self.jobs[job].result == "success"
                and facts.origin.domain in (TRUSTED, origin.domain)
                and fits(facts)
            ),
            default=None,
        )

    def _published(self, wanted: Facts, but: int | None = None) -> int | None:
        """The job by which a component last went out, from this repository."""
        return max(
            (
                job
                for job, facts in self.facts.items()
                if self.jobs[job].result == "success"
                and facts.scope == "component"
                and facts.node == wanted.node
                and facts.origin.repository == wanted.origin.repository
                and facts.origin.domain == wanted.origin.domain
                and job != but
            ),
            key=self.ended_as.__getitem__,
            default=None,
        )

    def _note_reused(self, facts: Facts, earlier: int) -> None:
        facts.reused_from = earlier, self.jobs[earlier].number
        if self.facts[earlier].key is not None:
            facts.key = self.facts[earlier].key

    # -- what workers do

    def begin(self, job: int) -> str | None:
        """A worker is about to get the job: how it ends instead, if it need not run."""
        facts = self.facts[job]
        facts.changed = facts.covers
        if not facts.is_late and facts.scope != "component":
            return None
        ups = [edge for edge in self.edges if edge.down == job]
        facts.key = self._key(
            facts.base,
            [
                (edge.label, self._taken(edge, facts.reuse == "outputs"))
                for edge in ups
                if isinstance(edge, NodeEdge) and edge.label is not None
            ],
        )
        is_first = self.jobs[job].number == 1 and facts.reuse != "never"
        if facts.scope == "component":
            facts.content = self._content(facts, ups)
            last = None
            if facts.reuse != "never":
                earlier = self._published(facts, job)
                last = self.facts[earlier].content if earlier is not None else None
            facts.changed = tuple(
                name
                for name in facts.covers
                if last is None or last.get(name) != facts.content[name]
            )
            if not facts.changed and is_first:
                return "skipped"
            facts.changed = facts.changed or facts.covers
            return None
        key = facts.key
        earlier = self._passed(facts.origin, lambda other: other.key == key)
        if earlier is None or not is_first:
            return None
        self._note_reused(facts, earlier)
        return "reused"

    def _taken(self, edge: Edge, by_files: bool) -> Hashable:
        if by_files:
            return ("files", *sorted(self._files_seen(edge).items()))
        return self._final_key(self.facts[edge.up])

    @staticmethod
    def _final_key(facts: Facts) -> int:
        return facts.inputs if facts.key is None else facts.key

    def _content(self, facts: Facts, ups: Iterable[Edge]) -> dict[str, int]:
        """Of each package what its jobs were; without any, what all of it is."""
        found: dict[str, int] = {}
        for name in facts.covers:
            made_of = [
                self._final_key(self.facts[edge.up])
                for edge in ups
                if self.facts[edge.up].node.package == name
            ]
            made_of = made_of or [self._final_key(facts)]
            found[name] = self._number("package", *sorted(made_of))
        return found

    # -- files

    def make(self, job: int, stage: int, files: dict[str, str]) -> None:
        """What the pipeline job of a stage made."""
        self._made[job, self.jobs[job].number, stage] = files

    def _files(self, job: int, attempt: int) -> Files:
        one = self.jobs[job].attempts[attempt - 1]
        return {
            (self.facts[job].stages[stage], path): content
            for stage in one.passed
            for path, content in self._made.get((job, attempt, stage), {}).items()
        }

    def _files_seen(self, edge: Edge) -> Files:
        """What the upstream made in the attempt that its edge saw."""
        if not edge.saw:
            return {}
        reused = self.facts[edge.up].reused_from
        if self.jobs[edge.up].attempts[edge.saw - 1].result == "reused":
            assert reused is not None
            return self._files(*reused)
        return self._files(edge.up, edge.saw)

    def handed(self, job: int) -> dict[str, dict[str, str]]:
        """What a job finds in its folders, by the job that made it."""
        facts = self.facts[job]
        found: dict[str, dict[str, str]] = {}
        if facts.scope in ("each", "top"):
            found[facts.node.job] = {}
        for edge in self.edges:
            if edge.down != job or not isinstance(edge, NodeEdge) or edge.handed is None:
                continue
            folder = found.setdefault(edge.handed.job, {})
            is_pipeline = self.facts[edge.up].has_pipeline
            for (name, path), content in self._files_seen(edge).items():
                patterns = edge.handed.patterns
                if patterns is None or any(fnmatchcase(path, one) for one in patterns):
                    parts = [edge.handed.folder, f"{name}/0" if is_pipeline else "", path]
                    folder["/".join(filter(None, parts))] = content
        return found

    # -- what follows

    def _next_attempt(self, job: Job) -> None:
        super()._next_attempt(job)
        for stage in job.attempts[-1].passed:
            files = self._made.get((job.id, job.number - 1, stage), {})
            self._made[job.id, job.number, stage] = files

    def _done(self, job: Job, result: str, root: int | None = None) -> None:
        super()._done(job, result, root)
        self.ended_as[job.id] = next(self._ends)

    def end_instead(self, job: int, result: str, worker: str) -> None:
        """A job that was claimed need not run."""
        self.end([End(job, self.jobs[job].number, result, worker)])
