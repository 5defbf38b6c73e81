"""A graph of new jobs becomes rows: one run, whole or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from buildmaster.database import Cursor
from buildmaster.graph import BadGraph, Graph, Member, Upstream
from buildmaster.intervention import supersede
from buildmaster.lifecycle import JobState
from buildmaster.requests import Enqueued, EnqueuedJob, GraphRequest, Problem, Refusal
from buildmaster.store import graphs as store
from buildmaster.store import jobs as job_store
from buildmaster.store import queue, semaphores
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.graphs import Key, NewEdge, NewJob, Place
from buildmaster.store.jobs import LockedJob
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

    async def store(self, cursor: Cursor, run: int | None = None) -> Enqueued:
        """Write everything, as a run of its own or as a part of ``run``."""
        await semaphores.keep(cursor)
        if self._groups:
            await semaphores.make_groups(cursor, self._groups)
        keys = await self._keys(cursor)
        locked = await self._lock(cursor, keys)
        ended = self._ended_outside(locked)
        await self._check_semaphores(cursor)
        merged = _under_way(self._keyed, keys, locked)
        fresh = [each for each in self.graph.members if each.number not in merged]
        ids = merged | dict(
            zip(
                [member.number for member in fresh],
                await store.reserve_ids(cursor, len(fresh)),
                strict=True,
            )
        )
        edges = [
            NewEdge(_up(up, ids), ids[member.number], up.require, up.weak)
            for member in fresh
            for up in member.ups
            if up.job is None or up.job in ended
        ]
        if run is None:
            run = await self._add_run(cursor)
        jobs = await self._jobs(cursor, fresh, ids, edges)
        await store.add_jobs(cursor, run, self.by, jobs)
        if merged:
            await store.add_to_run(cursor, run, sorted(merged.values()))
        if keys:
            new = {key: ids[n] for n, key in self._keyed.items() if n not in merged}
            await store.set_keys(cursor, new)
        await store.add_edges(cursor, edges)
        await store.resolve_ended(cursor, [job for job, over in ended.items() if over])
        waiting = {edge.down for edge in edges}
        await queue.make_ready(cursor, [job.id for job in jobs if job.id not in waiting])
        await self._supersede(cursor, locked, ids, set(merged.values()))
        return await self._answer(cursor, run, ids, set(merged))

    async def _add_run(self, cursor: Cursor) -> int:
        run = await store.add_run(
            cursor, self.request.name or "", self.by, self._owner, len(self.graph.members)
        )
        payload = {"state": "sealed", "name": self.request.name or ""}
        await write_events(cursor, [Event("run.created", run=run, payload=payload)])
        return run

    @property
    def _groups(self) -> dict[str, str]:
        """The groups of members, and what each does with its earlier ones."""
        return {
            each.group: each.policy
            for member in self.graph.members
            if (each := member.request.concurrency) is not None
        }

    async def _supersede(
        self,
        cursor: Cursor,
        locked: dict[int, LockedJob],
        ids: dict[int, int],
        merged: set[int],
    ) -> None:
        """Let the last new member of each group take the place of earlier ones."""
        newest = {
            each.group: ids[member.number]
            for member in self.graph.members
            if (each := member.request.concurrency) is not None
            and ids[member.number] not in merged
        }
        for group, job in sorted(newest.items()):
            policy = self._groups[group]
            earlier = [
                each
                for each in locked.values()
                if each.group == group
                and each.id not in merged
                and (
                    policy == "replace_all"
                    or each.state not in (JobState.ASSIGNED, JobState.RUNNING)
                )
            ]
            if policy != "queue" and earlier:
                reason = f"superseded by job {job}, a newer one of the group {group}"
                await supersede(cursor, earlier, job, reason, self.by)

    @property
    def _keyed(self) -> dict[int, Key]:
        """The keys that members have, by their numbers."""
        return {
            member.number: (member.request.kind, member.request.key)
            for member in self.graph.members
            if member.request.key is not None
        }

    async def _keys(self, cursor: Cursor) -> dict[Key, int | None]:
        keyed = self._keyed
        return await store.lock_keys(cursor, list(keyed.values())) if keyed else {}

    async def _lock(
        self, cursor: Cursor, keys: dict[Key, int | None]
    ) -> dict[int, LockedJob]:
        """All that exists and matters, in one order."""
        known = self.graph.outside | {job for job in keys.values() if job is not None}
        if replacing := [g for g, policy in self._groups.items() if policy != "queue"]:
            known |= set(await semaphores.members_of(cursor, replacing))
        return {job.id: job for job in await job_store.lock(cursor, sorted(known))}

    @property
    def _owner(self) -> str:
        return self.request.owner or self.by

    def _ended_outside(self, locked: dict[int, LockedJob]) -> dict[int, bool]:
        """The jobs outside that the graph waits for; whether each has ended."""
        ended = {
            job: locked[job].state is JobState.DONE
            for job in self.graph.outside
            if job in locked
        }
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
        self,
        cursor: Cursor,
        members: Sequence[Member],
        ids: dict[int, int],
        edges: Sequence[NewEdge],
    ) -> list[NewJob]:
        if not members:
            return []
        classes = await store.classes_for(cursor, [member.needs for member in members])
        places = [
            Place(
                member.request.owner or self._owner,
                member.needs.architecture,
                member.request.score,
            )
            for member in members
        ]
        first: dict[Place, int] = {}
        for member, place in zip(members, places, strict=True):
            first.setdefault(place, classes[member.needs])
        counts = Counter(places)
        turns = await store.turns_for(
            cursor, {place: (counts[place], first[place]) for place in first}
        )
        caps = await semaphores.caps_among(
            cursor, {(place.owner, place.architecture) for place in places}
        )
        blocked = Counter(edge.down for edge in edges)
        seen: Counter[Place] = Counter()
        jobs = []
        for member, place in zip(members, places, strict=True):
            job = ids[member.number]
            jobs.append(
                self._job(
                    member,
                    job,
                    place.owner,
                    classes[member.needs],
                    turns[place].of(seen[place]),
                    blocked[job],
                    caps.get((place.owner, place.architecture)),
                )
            )
            seen[place] += 1
        return jobs

    def _job(
        self,
        member: Member,
        job: int,
        owner: str,
        class_id: int,
        turn: int,
        blocked: int,
        cap: str | None,
    ) -> NewJob:
        request, limits = member.request, member.request.limits
        group = request.concurrency.group if request.concurrency else None
        held = {
            *request.semaphores,
            *([semaphores.group_name(group)] if group else ()),
            *([cap] if cap else ()),
        }
        return NewJob(
            id=job,
            kind=request.kind,
            name=member.name,
            owner=owner,
            class_id=class_id,
            virtual_start=turn,
            blocked_by=blocked,
            arguments=request.arguments,
            stores=request.stores,
            limits=tuple(sorted(held)),  # taken in the order of their names
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
            concurrency_group=group,
        )

    async def _answer(
        self, cursor: Cursor, run: int, ids: dict[int, int], merged: set[int]
    ) -> Enqueued:
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
                    merged=member.number in merged,
                )
            )
        return Enqueued(run=run, jobs=tuple(jobs))


def _under_way(
    keyed: dict[int, Key], keys: dict[Key, int | None], locked: dict[int, LockedJob]
) -> dict[int, int]:
    """The members that are asked for again, and the jobs that they are."""
    found = {}
    for number, key in keyed.items():
        job = locked.get(keys[key] or 0)
        # One that is being stopped does not do what is asked for now.
        if job is not None and job.state is not JobState.DONE and not job.cancelling:
            found[number] = job.id
    return found


def _up(up: Upstream, ids: dict[int, int]) -> int:
    if up.member is not None:
        return ids[up.member]
    assert up.job is not None
    return up.job
