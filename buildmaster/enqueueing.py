"""A graph of new jobs becomes rows: one run, whole or nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import msgspec

from buildmaster.database import Cursor
from buildmaster.graph import BadGraph, Graph, Member, Upstream
from buildmaster.lifecycle import JobState
from buildmaster.requests import Enqueued, EnqueuedJob, GraphRequest, Problem, Refusal
from buildmaster.store import graphs as store
from buildmaster.store import jobs as job_store
from buildmaster.store import queue
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.graphs import NewEdge, NewJob
from protocol.pipeline.problems import quoted, suggestion


def refusal_of(error: BadGraph) -> Refusal:
    """What is answered to somebody whose graph makes no sense."""
    return Refusal(422, "bad_graph", str(error), error.problems)


@dataclass(frozen=True)
class Enqueueing:
    """One graph on its way into the database."""

    request: GraphRequest
    graph: Graph
    by: str
    run_limit: float | None  #: of attempts that ask for no other

    async def store(self, cursor: Cursor) -> Enqueued:
        """Write everything."""
        ended = await self._ended_outside(cursor)
        await self._check_semaphores(cursor)
        members = self.graph.members
        ids = dict(
            zip(
                [member.number for member in members],
                await store.reserve_ids(cursor, len(members)),
                strict=True,
            )
        )
        edges = [
            NewEdge(_up(up, ids), ids[member.number], up.require, up.weak)
            for member in members
            for up in member.ups
            if up.job is None or up.job in ended
        ]
        run = await store.add_run(
            cursor, self.request.name or "", self.by, self._owner, len(members)
        )
        payload = {"state": "sealed", "name": self.request.name or ""}
        await write_events(cursor, [Event("run.created", run=run, payload=payload)])
        await store.add_jobs(cursor, run, self.by, await self._jobs(cursor, ids, edges))
        await store.add_edges(cursor, edges)
        await store.resolve_ended(cursor, [job for job, over in ended.items() if over])
        waiting = {edge.down for edge in edges}
        await queue.make_ready(cursor, sorted(set(ids.values()) - waiting))
        return await self._answer(cursor, run, ids)

    @property
    def _owner(self) -> str:
        return self.request.owner or self.by

    async def _ended_outside(self, cursor: Cursor) -> dict[int, bool]:
        """The jobs outside that the graph waits for, locked; whether each has ended."""
        locked = await job_store.lock(cursor, sorted(self.graph.outside))
        ended = {job.id: job.state is JobState.DONE for job in locked}
        missing = [
            Problem(
                where=f"jobs.{member.number}.needs",
                line=None,
                message=f"it needs job {up.job}, and there is no job of that number",
            )
            for member in self.graph.members
            for up in member.ups
            if up.job is not None and up.job not in ended and not up.weak
        ]
        if missing:
            raise refusal_of(BadGraph(missing[:100]))
        return ended

    async def _check_semaphores(self, cursor: Cursor) -> None:
        """A job that names a semaphore which nobody made would wait for ever."""
        named = {
            name: member.number
            for member in reversed(self.graph.members)
            for name in member.request.semaphores
        }
        if not named:
            return
        unknown = await store.unknown_semaphores(cursor, list(named))
        if unknown:
            known = await store.some_semaphores(cursor)
            raise refusal_of(
                BadGraph(
                    [
                        Problem(
                            where=f"jobs.{named[name]}.semaphores",
                            line=None,
                            message=f"this farm has no semaphore {quoted(name)}"
                            f"{suggestion(name, known)}; an operator makes one",
                        )
                        for name in unknown[:100]
                    ]
                )
            )

    async def _jobs(
        self, cursor: Cursor, ids: dict[int, int], edges: list[NewEdge]
    ) -> list[NewJob]:
        members = self.graph.members
        classes = await store.classes_for(cursor, [member.needs for member in members])
        places = [
            (member.request.owner or self._owner, member.needs.architecture)
            for member in members
        ]
        turns = await store.turns_for(cursor, Counter(places))
        blocked = Counter(edge.down for edge in edges)
        seen: Counter[tuple[str, str]] = Counter()
        jobs = []
        for member, place in zip(members, places, strict=True):
            job = ids[member.number]
            jobs.append(
                self._job(
                    member,
                    job,
                    place[0],
                    classes[member.needs],
                    turns[place].of(seen[place]),
                    blocked[job],
                )
            )
            seen[place] += 1
        return jobs

    def _job(
        self, member: Member, job: int, owner: str, class_id: int, turn: int, blocked: int
    ) -> NewJob:
        request, limits = member.request, member.request.limits
        return NewJob(
            id=job,
            kind=request.kind,
            name=member.name,
            owner=owner,
            class_id=class_id,
            virtual_start=turn,
            blocked_by=blocked,
            arguments=request.arguments,
            limits=tuple(sorted(request.semaphores)),  # taken in the order of their names
            score=request.score,
            error_limit=request.error_limit,
            retry=tuple(msgspec.structs.asdict(rule) for rule in request.retry),
            run_limit=limits.run or self.run_limit,
            idle_limit=limits.idle,
            queue_limit=limits.queue,
            total_limit=limits.total,
            deadline=request.deadline,
            not_before=request.not_before,
            interruptible=request.interruptible,
        )

    async def _answer(self, cursor: Cursor, run: int, ids: dict[int, int]) -> Enqueued:
        states = await store.states_of(cursor, list(ids.values()))
        by_number = sorted(self.graph.members, key=lambda member: member.number)
        jobs = []
        for member in by_number:
            job = ids[member.number]
            state, result, attempt = states[job]
            jobs.append(
                EnqueuedJob(
                    id=job,
                    kind=member.request.kind,
                    name=member.name,
                    state=state,
                    result=result,
                    attempt=attempt,
                )
            )
        return Enqueued(run=run, jobs=tuple(jobs))


def _up(up: Upstream, ids: dict[int, int]) -> int:
    if up.member is not None:
        return ids[up.member]
    assert up.job is not None
    return up.job
