"""What submissions of a ``.headrace.yaml`` should do to a queue, in plain Python.

Which of its nodes are there already, which end at once, and what is run again.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.oracle import GOOD, Edge, Job, Refused, Wrong, judge
from tests.oracle_expansion import Expansion, Need, Node, cell_text, in_order
from tests.oracle_reuse import Facts, NodeEdge, Origin, ReuseOracle

#: Of so many jobs that could be reused one is made anew, to compare.
VERIFIED_EACH = 100


@dataclass
class Asked:
    """One submission."""

    origin: Origin
    file: Expansion
    words: Mapping[str, str]  #: what jobs run
    content: Mapping[str, str]  #: of parts of the source; "": of all
    force: bool = False
    ids: dict[Node, int] = field(default_factory=dict)  #: which the queue gave


class NodeOracle(ReuseOracle):
    """All there is, as it should be."""

    def __init__(self, delays: Sequence[float], refusal: float) -> None:
        super().__init__(delays, refusal)
        self.known: dict[tuple[Origin, Node], int] = {}

    # -- submission

    def submit(self, run: int, asked: Asked) -> None:
        """A run of a file; the queue has numbered its nodes already."""
        nodes = asked.file.nodes()
        needs = asked.file.needs()
        was = {node: self._known(asked, node) for node in nodes}
        before = {job: self.jobs[job].result for job in was.values() if job}
        facts = self._facts(asked, needs)
        earlier = {node: self._earlier(facts[node]) for node in nodes}
        ended: list[int] = []
        for node in (node for node in nodes if was[node] is None):
            ended += self._add(asked, node, facts[node], earlier[node])
        edges = [self._edge(asked, need) for need in needs if was[need.down] is None]
        self.edges += edges
        for edge in edges:
            if (
                edge.stage is not None
                and edge.stage in self.jobs[edge.up].attempts[-1].passed
            ):
                self._resolve([edge.up], edge.stage)
        ups = {edge.up for edge in edges if edge.up in before}
        self._settle([up for up in ups if self.jobs[up].state == "done"])
        self._settle(ended)
        self.add_run(run, dict.fromkeys(asked.ids.values(), True))
        self._queue(asked.ids[node] for node in nodes if was[node] is None)
        if asked.force:
            self._force(asked, before)
        self._end_runs(self.runs)

    def _known(self, asked: Asked, node: Node) -> int | None:
        job = self.known.get((asked.origin, node))
        if job is not None and job != asked.ids[node]:
            raise Wrong(f"{node} was job {job}, and now is {asked.ids[node]}")
        return job

    def _facts(self, asked: Asked, needs: Sequence[Need]) -> dict[Node, Facts]:
        file = asked.file
        counted: dict[Node, list[Need]] = {node: [] for node in file.nodes()}
        for need in needs:
            if need.counts:
                counted[need.down].append(need)
        found: dict[Node, Facts] = {}
        for node in in_order(file.ups()):
            base = self._base(asked, node)
            found[node] = Facts(
                node,
                asked.origin,
                file.covers(node),
                file.scope(node.job),
                "never" if asked.force else file.reuse(node.job),
                file.stages(node),
                base,
                self._key(base, [(_label(n), found[n.up].inputs) for n in counted[node]]),
                any(
                    found[need.up].is_late or file.reuse(node.job) == "outputs"
                    for need in counted[node]
                ),
                file.never_runs(node),
                file.has_pipeline(node.job),
            )
        return found

    def _base(self, asked: Asked, node: Node) -> int:
        paths = asked.file.paths(node) or ("",)
        # A pipeline is the same whatever the job that includes it is called.
        is_pipeline = asked.file.has_pipeline(node.job)
        return self._number(
            "base",
            None if is_pipeline else (node.job, asked.words[node.job]),
            node.package,
            node.cell,
            tuple((path, asked.content[path]) for path in paths),
        )

    def _add(
        self, asked: Asked, node: Node, facts: Facts, earlier: int | None
    ) -> list[int]:
        """A new job; itself if it is over at once."""
        job = asked.ids[node]
        if job in self.jobs:
            raise Wrong(f"{node} is new, and was given the number of {self.facts[job]}")
        says = asked.file.jobs[node.job]
        retry = says.get("retry", [])
        rules = [{"limit": retry}] if isinstance(retry, int) else retry
        self.jobs[job] = Job(
            job,
            retry=tuple((rule.get("exit"), rule["limit"]) for rule in rules),
            stages=len(facts.stages),
            allow_failure=says.get("allow_failure", False),
            has_gate=says.get("manual", False),
        )
        self.facts[job] = facts
        self.known[asked.origin, node] = job
        if facts.never_runs or (earlier is not None and facts.scope == "component"):
            self._done(self.jobs[job], "skipped")
        elif earlier is not None and job % VERIFIED_EACH == 0:
            facts.verifies = earlier
        elif earlier is not None:
            self._note_reused(facts, earlier)
            self._done(self.jobs[job], "reused")
        return [job] if self.jobs[job].state == "done" else []

    def _edge(self, asked: Asked, need: Need) -> NodeEdge:
        return NodeEdge(
            asked.ids[need.up],
            asked.ids[need.down],
            need.require,
            need.stage,
            choice=need.choice,  # type: ignore[arg-type]
            label=_label(need) if need.counts else None,
            handed=need.handed,
        )

    def _force(self, asked: Asked, before: Mapping[int, str | None]) -> None:
        """What was over is tried again, whatever it waits for first."""
        for node in in_order(asked.file.ups()):
            job = asked.ids[node]
            result = before.get(job)
            if result not in (None, "unrun") and not self.facts[job].never_runs:
                self.retry(job, from_start=True)

    # -- what people do

    def retry(self, number: int, from_start: bool = False) -> None:
        """Try it again; what never runs cannot."""
        if self.facts[number].never_runs:
            raise Refused
        super().retry(number, from_start)

    def rerun(
        self, run: int, scope: str, job: str | None, package: str | None, cell: str
    ) -> list[int]:
        """Run jobs of a run again, and what is in their way; which."""
        of_run = [n for n in self.runs[run].jobs if not self.facts[n].never_runs]
        chosen = {
            number
            for number in of_run
            if self.jobs[number].state == "done"
            and job in (None, self.facts[number].node.job)
            and package in (None, self.facts[number].node.package)
            and set(filter(None, [cell]))
            <= set(cell_text(self.facts[number].node.cell).split(","))
            and (scope != "failed" or self.jobs[number].result not in GOOD)
        }
        if not chosen:
            raise Refused
        waits = [edge for edge in self.edges if edge.down in of_run and edge.saw != 0]
        if scope == "from-here":
            left = list(chosen)
            behind: set[int] = set()
            while left:
                new = {e.down for e in waits if e.up in left} - chosen - behind
                behind |= new
                left = list(new)
            chosen |= {number for number in behind if self.jobs[number].state == "done"}
        left = list(chosen)
        while left:
            in_the_way = {
                edge.up
                for edge in waits
                if edge.down in left
                and edge.up in of_run
                and edge.up not in chosen
                and self.jobs[edge.up].state == "done"
                and self._says(edge) == "unrun"
            }
            chosen |= in_the_way
            left = list(in_the_way)
        self._again(sorted(chosen))
        return sorted(chosen)

    def _says(self, edge: Edge) -> str:
        up = self.jobs[edge.up]
        return judge(edge.require, str(up.result), up.allow_failure)

    def _again(self, jobs: Sequence[int]) -> None:
        self._reopen_choices(jobs)
        for number in jobs:
            self._revive(self.jobs[number], from_start=True)
            self.jobs[number].refused.clear()
        self._reopen_runs(jobs)
        for edge in self.edges:
            up = self.jobs[edge.up]
            if (
                edge.down in jobs
                and edge.up not in jobs
                and edge.saw
                and edge.stage is None
                and up.result in GOOD
            ):
                edge.saw = up.number
        opened = self._reopen_edges(jobs)
        for up_id in sorted({edge.up for edge in opened}):
            if self.jobs[up_id].state == "done":
                self._settle_again(up_id)
        self._queue(jobs)


def _label(need: Need) -> Hashable:
    """What a key calls an upstream: the same for the same place in two runs."""
    return need.require, need.up.name, need.up.cell, need.handed
