"""A request for a ``.headrace.yaml`` becomes nodes, and those rows: whole or nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from buildmaster.database import Cursor
from buildmaster.farm_series import Offering, lacking, series_offered, what_is_offered
from buildmaster.graph import needs_of
from buildmaster.intervention import retry_job, supersede
from buildmaster.lifecycle import JobState
from buildmaster.matching import ANY_SERIES, TAKES_HANDED_FILES, Needs
from buildmaster.references import keys
from buildmaster.references.definition import definition
from buildmaster.references.expansion import Graph, Node, expand
from buildmaster.references.model import ARCHITECTURE, SERIES, References, cell_text, plain
from buildmaster.references.reading import parse
from buildmaster.requests import (
    Problem,
    Refusal,
    Requirements,
    SubmissionRequest,
    Submitted,
    SubmittedJob,
)
from buildmaster.series import newest
from buildmaster.settling import SAME_KEY, UNCHANGED
from buildmaster.store import graphs, queue, reuse, semaphores
from buildmaster.store import jobs as job_store
from buildmaster.store import nodes as store
from buildmaster.store import submissions as run_store
from buildmaster.store import workers as worker_store
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.graphs import Place
from buildmaster.store.nodes import Identity, Known, NewEdge, NewNode, Origin
from buildmaster.store.reuse import Earlier
from buildmaster.store.submissions import NewRun
from buildmaster.submission import REFERENCES, TRUSTED, Material, SubmissionRules
from protocol.pipeline.model import Pipeline
from protocol.results import Result
from protocol.stages import dispatched

#: What the gate of a manual job says.
MANUAL = "it waits until somebody lets it go: headrace release {job}"
SCORE = 500_000
#: Why the job of a package that others depend on does not run.
NOT_TOP = "not_top: another package of the file depends on this one"
#: Of so many nodes that could be reused one is made anew, to compare.
VERIFIED_EACH = 100
#: The architecture that is taken where a file leaves it open and the farm has several.
_USUAL_ARCHITECTURE = "amd64"


@dataclass(frozen=True)
class Source:
    """The parts of a source that a file of references speaks of."""

    included: Mapping[str, bytes] = field(default_factory=dict)  #: files with pipelines
    digests: Mapping[str, str] = field(default_factory=dict)  #: of paths; "": of all


def read_references(request: SubmissionRequest, text: bytes) -> References:
    """The jobs in ``text``, or a `Refusal` that lists everything wrong with them."""
    parsed = parse(text)
    if parsed.references is None:
        count = "an error" if len(parsed.errors) == 1 else f"{len(parsed.errors)} errors"
        raise Refusal(
            422,
            "bad_configuration",
            f"{request.configuration} has {count}; mend the file and submit again.",
            tuple(
                Problem(where=one.where, line=one.line, message=one.message)
                for one in parsed.errors
            ),
        )
    return parsed.references


def paths_in(file: References) -> list[str]:
    """All parts of the source whose digests keys are made of; ``""`` is all of it."""
    paths = {path for package in file.packages for path in package.paths}
    paths |= {path for job in file.jobs for path in job.paths or ()}
    return ["", *sorted(paths | set(file.inputs))]


@dataclass(frozen=True)
class _Placed:
    """Where a node runs, and what."""

    architecture: str
    series: str
    isolation: str
    configuration: bytes  #: sha256
    stages: list[Any]
    stage_numbers: list[int]
    pipeline_jobs: list[tuple[str, int, int, int, str]]
    needed: tuple[str, ...]  #: series that the worker must have
    digest: str  #: of all of it, for keys

    @property
    def environment(self) -> str:
        """What results are of: ``chroot/amd64/noble``."""
        return f"{self.isolation}/{self.architecture}/{self.series}"


@dataclass(frozen=True)
class Keyed:
    """A graph, with what stands for each node in its order."""

    graph: Graph
    notes: tuple[str, ...]  #: what was left out, in sentences
    placed: Sequence[_Placed]
    keys: Sequence[keys.Keys]


@dataclass
class NodeSubmission:
    """One request on its way into the database."""

    request: SubmissionRequest
    by: str
    material: Material
    file: References
    included: Mapping[str, Pipeline]
    source: Source
    rules: SubmissionRules
    texts: dict[bytes, str] = field(default_factory=dict)  #: configurations, by sha256
    _placed: dict[tuple[str, str, int], _Placed] = field(default_factory=dict)

    @property
    def replaces(self) -> bool:
        """Whether it may ask earlier jobs to stop."""
        return any(job.concurrency is not None for job in self.file.jobs)

    async def store(self, cursor: Cursor) -> Submitted:
        """Expand for the farm as it is, and write everything."""
        await semaphores.keep(cursor)
        offerings = await worker_store.offerings(cursor)
        keyed = self.keyed(offerings)
        graph, placed = keyed.graph, keyed.placed
        run = await self._add_run(cursor)
        nodes = await self._nodes(cursor, graph, placed, keyed.keys)
        earlier = await self._earlier(cursor, nodes)
        nodes = [
            replace(one, verifies=earlier[one.id].job) if _verifies(one, earlier) else one
            for one in nodes
        ]
        fresh, merged = await self._write(cursor, nodes)
        ids = [
            merged[_identity(one)].id if one.id not in fresh else one.id for one in nodes
        ]
        # What need not run must be over before anything that it waits for lets it go.
        ended = await self._settle(cursor, nodes, fresh, earlier)
        await self._connect(cursor, graph, ids, fresh)
        await store.settle(cursor, ended)
        was_there = {one.id for one in merged.values()}
        await run_store.add_to_run(cursor, run, {job: job in was_there for job in ids})
        await self._wait(cursor, graph, placed, ids, fresh)
        await queue.make_ready(cursor, [one.id for one in nodes if one.id in fresh])
        await self._supersede(cursor, nodes, fresh)
        if self.request.force:
            await self._force(cursor, graph, ids, merged)
        await run_store.set_notes(cursor, run, list(keyed.notes))
        await job_store.end_run_without_jobs(cursor, run)
        return await self._answer(cursor, run, graph, placed, ids, was_there, keyed.notes)

    # The graph, for the farm as it is.

    def keyed(self, offerings: Sequence[Offering]) -> Keyed:
        """What is submitted, with its keys; nothing is asked or written for it."""
        graph, notes = self._graph(offerings)
        placed = [self._place(node, offerings) for node in graph.nodes]
        known = keys.keys_of(
            graph,
            self.file,
            self._digest_of,
            lambda node: placed[node.number].digest,
            {name: hashlib.sha256(text).hexdigest()
             for name, text in self.source.included.items()},
        )  # fmt: skip
        return Keyed(graph, notes, placed, known)

    def _graph(self, offerings: Sequence[Offering]) -> tuple[Graph, tuple[str, ...]]:
        isolation = self.request.isolation or self.rules.isolation
        series = (
            self.rules.series
            if self.request.wait_for_worker
            else series_offered(self.rules.series, offerings, isolation)
        )
        expanded = expand(
            self.file,
            self.request.trigger,
            self.included,
            series,
            self.request.cross_architecture,
        )
        if expanded.graph is None:
            raise Refusal(
                422,
                "unplannable",
                f"The jobs cannot be run: {expanded.errors[0].message}",
                tuple(
                    Problem(where=one.where, line=one.line, message=one.message)
                    for one in expanded.errors[:100]
                ),
            )
        if not expanded.graph.nodes:
            raise Refusal(
                422,
                "nothing_to_run",
                "There is no job in this run: the file has none"
                + (f" for {self.request.trigger}." if self.request.trigger else "."),
            )
        return expanded.graph, expanded.notes

    def _place(self, node: Node, offerings: Sequence[Offering]) -> _Placed:
        key = (node.job.name, cell_text(node.cell), node.build.part if node.build else 0)
        if key not in self._placed:
            self._placed[key] = self._place_anew(node, offerings)
        return self._placed[key]

    def _place_anew(self, node: Node, offerings: Sequence[Offering]) -> _Placed:
        isolation = node.job.isolation or self.request.isolation or self.rules.isolation
        if isolation == "native" and self.rules.trust_domain != TRUSTED:
            raise Refusal(
                422,
                "not_trusted",
                f"Code of the trust domain {self.rules.trust_domain} never runs natively,"
                f" as {node.job.name} would: ask for a chroot or a vm.",
            )
        if node.build is not None:
            return self._place_build(node, isolation, offerings)
        assert node.runs is not None
        architecture = node.value(ARCHITECTURE) or _some_architecture(offerings, isolation)
        series = node.value(SERIES) or self._some_series(offerings, isolation, architecture)
        if architecture is None or series is None:
            what = "a series and an architecture" if architecture is None else "a series"
            raise Refusal(
                422,
                "no_worker",
                f"{node.job.name} leaves open where it runs, and this farm has nothing to"
                f" choose from: give it {what}. {what_is_offered(offerings, isolation)}",
            )
        runs = msgspec.structs.replace(
            node.runs, series=series, architectures=(architecture,)
        )
        text = definition(node.job.name, runs, self.file.license)
        needed = self._needed(node, {series}, architecture, isolation, offerings)
        return _Placed(
            architecture=architecture,
            series=series,
            isolation=isolation,
            configuration=self._keep(text),
            stages=[[[node.job.name, 0]]],
            stage_numbers=[0],
            pipeline_jobs=[(node.job.name, 0, 0, 0, series)],
            needed=needed,
            digest=keys.digest(text, isolation).hex(),
        )

    def _place_build(
        self, node: Node, isolation: str, offerings: Sequence[Offering]
    ) -> _Placed:
        build = node.build
        assert build is not None and node.job.lpci is not None
        pipeline = self.included[node.job.lpci]
        text = self.source.included[node.job.lpci].decode("utf-8", "replace")
        rows = [
            (name, index, stage, place, pipeline.jobs[name][index].series)
            for stage, cells in enumerate(build.stages)
            for place, (name, index) in enumerate(cells)
        ]
        wanted = {series for *_, series in rows}
        named = {*(one.name for one in self.rules.series), *_offered(offerings)}
        usable = {
            series
            for series in wanted & named
            if not lacking([series], build.architecture, offerings, isolation)
        }
        needed = self._needed(node, usable, build.architecture, isolation, offerings)
        return _Placed(
            architecture=build.architecture,
            series=build.series,
            isolation=isolation,
            configuration=self._keep(text),
            stages=dispatched(build.stages),
            stage_numbers=list(build.stage_numbers),
            pipeline_jobs=rows,
            needed=needed,
            digest=keys.digest(text, plain(build), isolation).hex(),
        )

    def _needed(
        self,
        node: Node,
        series: set[str],
        architecture: str,
        isolation: str,
        offerings: Sequence[Offering],
    ) -> tuple[str, ...]:
        """The series that the worker must have; refuses what would wait for ever."""
        missing = lacking(series, architecture, offerings, isolation)
        if not missing:
            return tuple(sorted(series))
        if not self.request.wait_for_worker:
            raise Refusal(
                422,
                "no_worker",
                f"No worker of this farm can run {node.job.name} on {architecture}: it"
                f" would need {', '.join(missing)}. {what_is_offered(offerings, isolation)}"
                f" --wait-for-worker queues it all the same.",
            )
        # What strangers name is no class of jobs, or they could make as many as they like.
        named = {*(one.name for one in self.rules.series), *_offered(offerings)}
        return tuple(sorted(series & named))

    def _some_series(
        self, offerings: Sequence[Offering], isolation: str, architecture: str | None
    ) -> str | None:
        offered = series_offered(self.rules.series, offerings, isolation)
        had = [one for one in offered if architecture and one.has(architecture)]
        best = newest(had) or (
            newest(list(self.rules.series)) if self.request.wait_for_worker else None
        )
        return best.name if best else None

    def _keep(self, text: str) -> bytes:
        sha256 = hashlib.sha256(text.encode()).digest()
        self.texts[sha256] = text
        return sha256

    def _digest_of(self, paths: tuple[str, ...]) -> str:
        chosen = paths or ("",)
        return keys.digest([(one, self.source.digests[one]) for one in chosen]).hex()

    # Rows

    async def _add_run(self, cursor: Cursor) -> int:
        text = self.material.configuration.decode("utf-8", "replace")
        run = await run_store.add_run(
            cursor,
            NewRun(
                repository=self.material.repository,
                source_digest=self.material.digest,
                refs=self.request.refs,
                trust_domain=self.rules.trust_domain,
                configuration=await run_store.add_configuration(cursor, text),
                cross_architecture=self.request.cross_architecture,
                requester=self.by,
                owner=self._owner,
                name="",
            ),
        )
        payload = {"state": "sealed", "repository": self.material.repository, "name": ""}
        await write_events(cursor, [Event("run.created", run=run, payload=payload)])
        return run

    @property
    def suffix(self) -> str:
        """What tells its jobs from those of another file of the same source."""
        file = self.request.configuration
        return "" if file == REFERENCES else f" ({file})"

    @property
    def _owner(self) -> str:
        return self.request.owner or self.by

    @property
    def _origin(self) -> Origin:
        return Origin(
            repository=self.material.repository,
            source_digest=self.material.digest,
            trust_domain=self.rules.trust_domain,
            refs=self.request.refs,
            requester=self.by,
            owner=self._owner,
            source=msgspec.json.encode(self.material.source).decode(),
        )

    async def _nodes(
        self,
        cursor: Cursor,
        graph: Graph,
        placed: Sequence[_Placed],
        known: Sequence[keys.Keys],
    ) -> list[NewNode]:
        ids = await graphs.reserve_ids(cursor, len(graph.nodes))
        # Nodes of one cell share their place, and there are few of those.
        of_place = {id(place): place for place in placed}
        need_of = {key: self._needs_of(place) for key, place in of_place.items()}
        needs = [need_of[id(place)] for place in placed]
        classes = await graphs.classes_for(cursor, list(need_of.values()))
        # All stand in one line for each architecture.
        counts = Counter(place.architecture for place in placed)
        first: dict[str, int] = {}
        for place, need in zip(placed, needs, strict=True):
            first.setdefault(place.architecture, classes[need])
        lines = {one: Place(self._owner, one, SCORE) for one in counts}
        taken = await graphs.turns_for(
            cursor, {line: (counts[one], first[one]) for one, line in lines.items()}
        )
        turns = {one: taken[line] for one, line in lines.items()}
        caps = await semaphores.caps_among(cursor, {(self._owner, one) for one in counts})
        groups = [self._group(node) for node in graph.nodes]
        if any(groups):
            await semaphores.make_groups(cursor, {group for group in groups if group})
        seen: Counter[str] = Counter()
        blocked = Counter(edge.down for edge in graph.edges)
        nodes = []
        for node, place, need, key, group in zip(
            graph.nodes, placed, needs, known, groups, strict=True
        ):
            architecture = place.architecture
            cap = caps.get((self._owner, architecture))
            nodes.append(
                self._node(
                    node,
                    place,
                    key,
                    ids[node.number],
                    blocked[node.number],
                    classes[need],
                    turns[architecture].of(seen[architecture]),
                    group,
                    [cap] if cap else [],
                )
            )
            seen[architecture] += 1
        return nodes

    def _needs_of(self, place: _Placed) -> Needs:
        wanted = needs_of(
            Requirements(architecture=place.architecture), self.rules.requirements, ""
        )
        # Others would leave aside what a node is handed, and its variables.
        tags = tuple(sorted({*wanted.tags, TAKES_HANDED_FILES}))
        return replace(wanted, isolation=place.isolation, series=place.needed, tags=tags)

    def _group(self, node: Node) -> str | None:
        if node.job.concurrency is None:
            return None
        ref = self.request.refs[0] if self.request.refs else ""
        words = {
            "project": self.material.repository or "",
            "ref": ref,
            "package": node.package or "",
            "job": node.job.name,
        }
        group = node.job.concurrency.group
        for word, value in words.items():
            group = group.replace(f"{{{word}}}", value)
        if self.rules.trust_domain != TRUSTED:  # They hold up and replace their own only.
            group = f"{self.rules.trust_domain}: {group}"
        return group if len(group) <= 500 else keys.digest(group).hex()

    def _node(
        self,
        node: Node,
        place: _Placed,
        key: keys.Keys,
        number: int,
        blocked_by: int,
        class_id: int,
        turn: int,
        group: str | None,
        limits: list[str],
    ) -> NewNode:
        job = node.job
        if group is not None:
            limits = [*limits, semaphores.group_name(group)]
        return NewNode(
            id=number,
            blocked_by=blocked_by,
            name=f"{node.name}{self.suffix}",
            cell=cell_text(node.cell),
            part=node.build.part if node.build else 0,
            class_id=class_id,
            virtual_start=turn,
            limits=tuple(sorted(limits)),
            retry=[{"limit": rule.limit, "exit": rule.exit} for rule in job.retry],
            run_limit=job.limits.run or self.rules.run_limit,
            idle_limit=job.limits.idle or self.rules.idle_limit,
            queue_limit=job.limits.queue,
            total_limit=job.limits.total,
            interruptible=job.interruptible,
            concurrency_group=group,
            allow_failure=job.allow_failure,
            gate=MANUAL.format(job=number) if job.manual else "",
            architecture=place.architecture,
            series=place.series,
            stages=place.stages,
            stage_numbers=place.stage_numbers,
            configuration=place.configuration.hex(),
            job_name=job.name,
            package=node.package,
            covers=node.covers,
            scope=job.scope,
            reuse="never" if self.request.force else job.reuse,
            base=key.base.hex(),
            inputs=key.inputs.hex(),
            is_late=key.is_late,
            environment=place.environment,
            verifies=None,
            skipped=node.skipped,
            provides=job.provides,
            member=self._member(node) if job.provides is not None else None,
            pipeline_jobs=place.pipeline_jobs,
        )

    async def _earlier(
        self, cursor: Cursor, nodes: Sequence[NewNode]
    ) -> dict[int, Earlier]:
        """Of each node that may do without running: a job that passed with its key."""
        wanted = [one for one in nodes if one.reuse != "never" and not one.skipped]
        found = await reuse.passed_with_inputs(
            cursor,
            [bytes.fromhex(one.inputs) for one in wanted],
            {one.environment for one in wanted},
            (self.rules.trust_domain, TRUSTED),
        )
        same = {one.id: found.get(bytes.fromhex(one.inputs)) for one in wanted}
        published = [
            earlier.job
            for one in wanted
            if one.scope == "component" and (earlier := same[one.id]) is not None
        ]
        own = await reuse.still_published(
            cursor, self.material.repository, self.rules.trust_domain, published
        )
        return {
            one.id: earlier
            for one in wanted
            if (earlier := same[one.id]) is not None
            # Another job may have the same key, as two that include one pipeline have.
            and (
                one.scope != "component"
                or own.get(earlier.job) == (one.job_name, one.package, one.cell, one.part)
            )
        }

    def _member(self, node: Node) -> str:
        """As what a node's files are in a collection: a package, or the repository."""
        address = (self.material.repository or "").rstrip("/")
        own = address.rsplit("/", 1)[-1].removesuffix(".git")
        return (node.job.member or node.package or own or node.job.name)[:100]

    async def _wait(
        self, cursor: Cursor, graph: Graph, placed: Sequence[_Placed], ids: Sequence[int],
        fresh: set[int],
    ) -> None:  # fmt: skip
        """Let new nodes wait for the collections that they need."""
        waits = []
        for node, place, job in zip(graph.nodes, placed, ids, strict=True):
            for need in node.job.collections if job in fresh else ():
                own = {"arch": place.architecture, "series": place.series}
                value = {**own, **dict(node.cell)}.get(need.same) if need.same else None
                if need.same and value is None:
                    raise Refusal(
                        422,
                        "unplannable",
                        f"{node.job.name} waits for the same {need.same} in a collection,"
                        f" and has no such axis itself.",
                    )
                waits.append(
                    store.NewWait(
                        job, need.collection, need.contains, need.same, value, need.timeout
                    )
                )
        if waits:
            await store.wait_for_collections(cursor, self.rules.trust_domain, waits)

    async def _write(
        self, cursor: Cursor, nodes: Sequence[NewNode]
    ) -> tuple[set[int], dict[Identity, Known]]:
        """Write the nodes that are new; their ids, and those that were there."""
        origin = self._origin
        await store.add_configurations(cursor, sorted(self.texts.items()))
        fresh = await store.add_jobs(cursor, origin, nodes)
        await store.add_builds(cursor, origin, [one for one in nodes if one.id in fresh])
        merged = await store.take_known(
            cursor, origin, [_identity(one) for one in nodes if one.id not in fresh]
        )
        return fresh, merged

    async def _connect(
        self, cursor: Cursor, graph: Graph, ids: Sequence[int], fresh: set[int]
    ) -> None:
        """Add the edges that new nodes wait on, and resolve those already decided."""
        handed: dict[Any, str] = {}
        edges = []
        for edge in graph.edges:
            if ids[edge.down] not in fresh:
                continue
            text = None
            if edge.handed is not None:
                text = handed.get(edge.handed)
                if text is None:
                    text = msgspec.json.encode([edge.handed]).decode()
                    handed[edge.handed] = text
            edges.append(
                NewEdge(
                    up=ids[edge.up],
                    down=ids[edge.down],
                    require=edge.require,
                    stage=edge.stage,
                    choice=edge.choice,
                    handed=text,
                    label=keys.label(edge, graph.nodes[edge.up]) if edge.rebuild else None,
                )
            )
        await store.add_edges(cursor, edges)
        before = sorted({edge.up for edge in edges if edge.up not in fresh})
        over = []
        stages = {(edge.up, edge.stage) for edge in edges if edge.stage is not None}
        for job in await job_store.lock(cursor, before):
            passed = await run_store.passed_stages(cursor, job.id) if stages else ()
            for stage in passed:
                if (job.id, stage) in stages:
                    await job_store.pass_stage(cursor, job.id, stage)
            if job.state is JobState.DONE:
                over.append(job.id)
        await graphs.resolve_ended(cursor, over)

    async def _settle(
        self,
        cursor: Cursor,
        nodes: Sequence[NewNode],
        fresh: set[int],
        earlier: Mapping[int, Earlier],
    ) -> list[int]:
        """End the nodes of which it is known at once how they end; which."""
        reused: dict[int, Earlier] = {}
        ends: dict[int, tuple[Result, str]] = {}
        for one in nodes:
            if one.id not in fresh:
                continue
            if one.skipped:
                ends[one.id] = Result.SKIPPED, NOT_TOP
            elif one.id in earlier and one.scope == "component":
                ends[one.id] = Result.SKIPPED, UNCHANGED
            elif one.id in earlier and one.verifies is None:
                reused[one.id] = earlier[one.id]
                ends[one.id] = Result.REUSED, SAME_KEY
        if reused:
            await reuse.note_reused(cursor, reused)
        if ends:
            await store.end_new(cursor, ends)
        return list(ends)

    async def _supersede(
        self, cursor: Cursor, nodes: Sequence[NewNode], fresh: set[int]
    ) -> None:
        """Let new members of groups take the place of earlier ones of their repository.

        Those of another one may have to wait for each other, but nobody's file stops them.
        """
        policies = {
            job.name: job.concurrency.policy for job in self.file.jobs if job.concurrency
        }
        newest_of = {
            one.concurrency_group: one
            for one in nodes
            if one.id in fresh
            and one.concurrency_group
            and policies[one.job_name] != "queue"
        }
        own = {one.id for one in nodes}
        for group, one in sorted(newest_of.items()):
            members = await semaphores.replaceable(
                cursor, str(group), self.material.repository
            )
            locked = await job_store.lock(
                cursor, [job for job in members if job not in own]
            )
            earlier = [
                job
                for job in locked
                if policies[one.job_name] == "replace_all"
                or job.state not in (JobState.ASSIGNED, JobState.RUNNING)
            ]
            if earlier:
                reason = f"superseded by job {one.id}, a newer one of the group {group}"
                await supersede(cursor, earlier, one.id, reason, self.by)

    async def _force(
        self,
        cursor: Cursor,
        graph: Graph,
        ids: Sequence[int],
        merged: Mapping[Identity, Known],
    ) -> None:
        """Try again what was there and is over: in the order of the graph."""
        known = {one.id: one for one in merged.values()}
        for node in graph.nodes:
            job = known.get(ids[node.number])
            if job is None or job.state != JobState.DONE.value or node.skipped:
                continue
            if job.result != Result.UNRUN.value:
                await retry_job(cursor, job.id, self.by, from_start=True)

    async def _answer(
        self,
        cursor: Cursor,
        run: int,
        graph: Graph,
        placed: Sequence[_Placed],
        ids: Sequence[int],
        was_there: set[int],
        notes: tuple[str, ...],
    ) -> Submitted:
        now = await graphs.states_of(cursor, ids)
        return Submitted(
            run=run,
            source_digest=self.material.digest,
            jobs=tuple(
                SubmittedJob(
                    id=job,
                    kind="build",
                    name=f"{node.name}{self.suffix}",
                    architecture=place.architecture,
                    series=place.series,
                    part=node.build.part if node.build else 0,
                    state=now[job][0],
                    result=now[job][1],
                    attempt=now[job][2],
                    merged=job in was_there,
                )
                for node, place, job in zip(graph.nodes, placed, ids, strict=True)
            ),
            skipped=(),
            notes=notes,
        )


def _verifies(node: NewNode, earlier: Mapping[int, Earlier]) -> bool:
    """Whether a node is made anew to see if it comes out the same: one of a hundred."""
    return node.id in earlier and node.scope != "component" and not node.id % VERIFIED_EACH


def _identity(node: NewNode) -> Identity:
    return node.name, node.cell, node.part


def _offered(offerings: Sequence[Offering]) -> set[str]:
    return {
        series for one in offerings for offer in one.offers for series in offer.series
    } - {ANY_SERIES}


def _some_architecture(offerings: Sequence[Offering], isolation: str) -> str | None:
    had = sorted(
        {
            offer.architecture
            for one in offerings
            for offer in one.offers
            if offer.isolation == isolation
        }
    )
    return _USUAL_ARCHITECTURE if _USUAL_ARCHITECTURE in had else had[0] if had else None
