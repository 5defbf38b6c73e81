"""Submits one job of a graph, with what it needs: those that are there are joined.

The nodes are those that a whole run of the source would have, under the same identities
and keys. So a job that is under way somewhere is that one, and one that has passed, or
whose key has, is not run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from buildmaster.database import Cursor, Database
from buildmaster.farm_series import Offering
from buildmaster.nodes import NodeSubmission
from buildmaster.references.expansion import Graph, Node
from buildmaster.references.listing import listed
from buildmaster.requests import (
    GitRequest,
    Refusal,
    RerunRequest,
    SubmissionRequest,
    TreeRequest,
)
from buildmaster.rerunning import rerun
from buildmaster.store import runs
from buildmaster.submission import REFERENCES, Prepared
from protocol.results import GOOD, Result

#: Titles that a refusal names.
_TOLD = 10


class WantedJob(msgspec.Struct, frozen=True, kw_only=True):
    """Which job of which source it is."""

    job: str  #: its identifier in the file
    package: str | None = None
    cell: dict[str, str] = {}  #: as much of it as tells it from others
    again: bool = False  #: another attempt, if it ended badly
    submission: SubmissionRequest | None = None  #: None: the source of a run
    run: int | None = None
    fields: dict[str, Any] = {}  #: what stands beside the source of that run

    @property
    def title(self) -> str:
        """As people call it."""
        name = f"{self.package}/{self.job}" if self.package else self.job
        cell = ",".join(f"{axis}={value}" for axis, value in sorted(self.cell.items()))
        return f"{name} ({cell})" if cell else name

    def fits(self, node: Node) -> bool:
        """Whether it may be this node."""
        return (
            node.job.name == self.job
            and (self.package is None or node.package == self.package)
            and self.cell.items() <= dict(node.cell).items()
        )


@dataclass(frozen=True)
class Ensured:
    """The job, and the run that has it for the sake of who asked."""

    run: int
    job: int


async def request_of_run(database: Database, wanted: WantedJob) -> SubmissionRequest:
    """What submits the source of an earlier run once more; `Refusal`."""
    assert wanted.run is not None
    found = await runs.source_of(database, wanted.run)
    if found is None:
        raise Refusal(404, "no_such_run", f"There is no run {wanted.run}.")
    if found.repository is None or found.digest is None:
        raise Refusal(
            422,
            "no_source",
            f"Run {wanted.run} has no source of its own: jobs of it cannot be started.",
        )
    source: Any = GitRequest(repository=found.repository, revision=found.digest)
    if found.digest.startswith("sha256:"):
        sha256 = found.digest.removeprefix("sha256:")
        source = TreeRequest(name=found.repository, sha256=sha256)
    return msgspec.convert(
        {"refs": found.refs, **wanted.fields, "source": msgspec.to_builtins(source)},
        SubmissionRequest,
    )


def only_job(prepared: Prepared, wanted: WantedJob) -> OneJob:
    """The submission, reduced to that job and what it needs; `Refusal`."""
    if not isinstance(prepared, NodeSubmission):
        raise Refusal(
            422,
            "no_references",
            f"Only jobs of a {REFERENCES} are asked for by their names, and the source has"
            f" none for {wanted.title}.",
        )
    known = {each.name: getattr(prepared, each.name) for each in fields(prepared)}
    return OneJob(**known, wanted=wanted)


@dataclass
class OneJob(NodeSubmission):
    """One job of a source on its way into the database."""

    wanted: WantedJob = field(default_factory=lambda: WantedJob(job=""))

    async def ensure(self, cursor: Cursor) -> Ensured:
        """Write what is not there, in the transaction of ``cursor``: whole or nothing."""
        await self._check_domain(cursor)
        submitted = await self.store(cursor)
        job = submitted.jobs[-1]  # nothing waits for it, so it is the last
        if self.wanted.again and job.result and Result(job.result) not in GOOD:
            await rerun(cursor, submitted.run, RerunRequest(scope="failed"), self.by)
        return Ensured(submitted.run, job.id)

    async def _check_domain(self, cursor: Cursor) -> None:
        """What strangers sent is not run as trusted, nor the other way round."""
        if self.wanted.run is None:
            return
        found = await runs.source_of(cursor, self.wanted.run)
        if found is not None and found.trust_domain != self.rules.trust_domain:
            raise Refusal(
                422,
                "not_trusted",
                f"Run {self.wanted.run} is of the trust domain {found.trust_domain}, and"
                f" this master's jobs are of {self.rules.trust_domain}.",
            )

    def _graph(self, offerings: Sequence[Offering]) -> tuple[Graph, tuple[str, ...]]:
        graph, _ = super()._graph(offerings)
        return _with_needs(graph, self._chosen(graph)), ()

    def _chosen(self, graph: Graph) -> Node:
        fitting = [node for node in graph.nodes if self.wanted.fits(node)]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            named = [node for node in graph.nodes if node.job.name == self.wanted.job]
            known = _titles(named or graph.nodes)
            raise Refusal(
                422,
                "no_such_job",
                f"There is no job {self.wanted.title} in the source; there are: {known}.",
            )
        raise Refusal(
            422,
            "ambiguous_job",
            f"{self.wanted.title} is more than one job: {_titles(fitting)}. Name its"
            f" package, and as much of its cell as it takes.",
        )


def _with_needs(graph: Graph, chosen: Node) -> Graph:
    """The part of a graph that ends with a node."""
    ups = graph.ups()
    kept = {chosen.number}
    waiting = [chosen.number]
    while waiting:
        for edge in ups[waiting.pop()]:
            if edge.up not in kept:
                kept.add(edge.up)
                waiting.append(edge.up)
    places = {number: place for place, number in enumerate(sorted(kept))}
    return Graph(
        nodes=tuple(
            msgspec.structs.replace(graph.nodes[number], number=place)
            for number, place in places.items()
        ),
        edges=tuple(
            msgspec.structs.replace(edge, up=places[edge.up], down=places[edge.down])
            for edge in graph.edges
            if edge.down in kept
        ),
    )


def _titles(nodes: Sequence[Node]) -> str:
    return listed(sorted({node.title for node in nodes}), _TOLD)
