"""What operators do: to workers, to the line, and to many jobs at a time.

Each act is one transaction of bounded size, and leaves an event that says who did it, from
where and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import msgspec

from buildmaster import intervention
from buildmaster.database import Cursor, Database
from buildmaster.explanation.misses import no_worker_could
from buildmaster.explanation.standings import capability_of
from buildmaster.patterns import (
    BadPattern,
    Condition,
    parse_filter,
    parse_selector,
)
from buildmaster.requests import Refusal
from buildmaster.store import jobs as job_store
from buildmaster.store import lingering, queue
from buildmaster.store import operating as store
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.jobs import LockedJob
from buildmaster.store.picture import picture
from buildmaster.store.selection import (
    Batch,
    matching_jobs,
    selected_workers,
    still_matching,
)
from buildmaster.store.text import storable
from protocol.results import Result

Duty = Literal["active", "paused", "draining", "retired"]
Scope = Literal["farm", "architecture", "project"]
Act = Literal["cancel", "retry", "rescore"]
T = TypeVar("T")

#: Jobs that one call changes at most, and jobs that it looks up when it only looks.
BATCH, RETRY_BATCH, LOOK = 500, 50, 20_000
#: Ids that an answer shows.
_SHOWN = 20


@dataclass(frozen=True)
class Actor:
    """Who asks for something, and why."""

    who: str
    address: str  #: from where
    why: str

    def note(self, **more: Any) -> dict[str, Any]:
        """The payload of the event that tells of it."""
        told = {"by": self.who, "from": self.address, "why": self.why}
        return {**more, **{name: storable(text) for name, text in told.items()}}

    @property
    def reason(self) -> str:
        """A short sentence for a job that it ends."""
        return str(storable(f"cancelled by {self.who}: {self.why}"))


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch did."""

    matched: int
    changed: int
    refused: dict[str, int]  #: why jobs were left as they are, and how many
    jobs: tuple[int, ...]  #: some of those that were meant
    next: int | None  #: give it as ``after`` to go on; None: all of them were seen


class Operations:
    """Every method raises `Refusal`."""

    def __init__(self, database: Database, wake: Callable[[], None] = lambda: None) -> None:
        """``wake`` is called when jobs may have to be told to stop, or be parked."""
        self._database = database
        self._wake = wake

    # Workers

    async def set_duty(
        self, selector: str, duty: Duty, actor: Actor, until: str | None = None
    ) -> list[str]:
        """Give the workers that are meant a duty, for good or ``until``; their names."""
        wanted = _read(lambda: parse_selector(selector))

        async def work(cursor: Cursor) -> list[str]:
            await self._check_until(cursor, until)
            names = await selected_workers(cursor, wanted)
            if not names:
                raise Refusal(
                    404,
                    "no_such_worker",
                    f"The farm knows no worker like {selector[:200]!r}.",
                )
            await store.set_duty(
                cursor, names, duty, storable(actor.why), storable(actor.who), until
            )
            note = actor.note(duty=duty, until=until)
            await write_events(
                cursor, [Event("worker.duty", worker=one, payload=note) for one in names]
            )
            await store.wake_dispatchers(cursor)
            return names

        return await self._database.transaction(work)

    # The line

    async def hold(
        self, scope: Scope, name: str, actor: Actor, until: str | None = None
    ) -> None:
        """Keep jobs from starting; those of a project are parked, batch by batch."""
        _check_hold(scope, name)

        async def work(cursor: Cursor) -> None:
            await self._check_until(cursor, until)
            await store.hold(
                cursor,
                scope,
                name,
                storable(actor.why),
                storable(actor.who),
                actor.address,
                until,
            )
            note = actor.note(scope=scope, name=name, until=until)
            await write_events(cursor, [Event("queue.held", payload=note)])

        await self._database.transaction(work)
        self._wake()

    async def release(self, scope: Scope, name: str, actor: Actor) -> None:
        """Let them start again."""
        _check_hold(scope, name)

        async def work(cursor: Cursor) -> None:
            if not await store.release(cursor, scope, name):
                what = " ".join(part for part in (scope, name) if part)
                raise Refusal(404, "not_held", f"The {what} is not held.")
            note = actor.note(scope=scope, name=name)
            await write_events(cursor, [Event("queue.released", payload=note)])
            await store.wake_dispatchers(cursor)

        await self._database.transaction(work)
        self._wake()

    async def _check_until(self, cursor: Cursor, until: str | None) -> None:
        if until is not None and not await store.is_future(cursor, until):
            raise Refusal(422, "bad_until", f"The time {until} is past: give a later one.")

    # One job

    async def move(self, job: int, worker: str | None, actor: Actor) -> None:
        """Let a job that has not begun run on ``worker`` only; None: on any again."""
        known = await picture(self._database)

        async def work(cursor: Cursor) -> None:
            needs = await store.needs_of_job(cursor, job)
            if needs is None:
                raise Refusal(404, "no_such_job", f"There is no job {job}.")
            wanted = replace(needs, worker=worker or "")
            never = no_worker_could(wanted, map(capability_of, known.workers))
            if worker is not None and never is not None:
                raise Refusal(
                    422, "never", f"Job {job} could never run on worker {worker}: {never}."
                )
            state = await store.reclass(cursor, job, await queue.class_for(cursor, wanted))
            if state is not None:
                raise Refusal(
                    409,
                    "has_begun",
                    f"Job {job} is {state}: only a job that no worker has can be moved.",
                )
            note = actor.note(worker=worker)
            await write_events(cursor, [Event("job.moved", job=job, payload=note)])

        await self._database.transaction(work)

    async def rescore(self, job: int, score: int | None, actor: Actor) -> None:
        """Give a job another score; None is its own again."""

        async def work(cursor: Cursor) -> None:
            if not await store.rescore(cursor, [job], score):
                if await store.needs_of_job(cursor, job) is None:
                    raise Refusal(404, "no_such_job", f"There is no job {job}.")
                raise Refusal(409, "is_done", f"Job {job} is done: its score is over.")
            await _tell_rescored(cursor, [job], score, actor)

        await self._database.transaction(work)

    async def enter(self, job: int, actor: Actor, *, release: bool) -> dict[str, Any]:
        """Note that ``actor`` enters the environment of ``job`` that lingers; about it.

        With ``release`` it is not needed any more.
        """

        async def work(cursor: Cursor) -> dict[str, Any]:
            found = await lingering.newest(cursor, job)
            if found is None:
                raise Refusal(409, "not_held", await _why_not_held(cursor, job))
            told = {key: found[key] for key in ("attempt", "name", "index", "worker")}
            note = actor.note(release=release, **told)
            await write_events(cursor, [Event("job.shell", job=job, payload=note)])
            return found

        return await self._database.transaction(work)

    # Many jobs

    async def bulk(
        self,
        act: Act,
        where: str,
        actor: Actor,
        *,
        score: int | None = None,
        after: int = 0,
        dry_run: bool = False,
    ) -> Changed:
        """Do ``act`` to the first of the jobs after ``after`` that ``where`` means.

        To be called again with ``next`` until that is None. What one call did stays done.
        """
        conditions = _read(lambda: parse_filter(where))
        if dry_run:
            batch = await matching_jobs(self._database, conditions, after, LOOK)
            return _changed(batch, batch.jobs, [], {})
        if act == "retry":
            return await self._retry(conditions, where, actor, after)
        return await self._database.transaction(
            lambda cursor: self._change(cursor, act, conditions, where, actor, score, after)
        )

    async def _change(
        self,
        cursor: Cursor,
        act: Act,
        conditions: Sequence[Condition],
        where: str,
        actor: Actor,
        score: int | None,
        after: int,
    ) -> Changed:
        batch = await matching_jobs(cursor, conditions, after, BATCH)
        if not batch.jobs:
            return _changed(batch, [], [], {})
        # As a claim does: what stands in the line first, then the jobs.
        mine = await store.lock_line(cursor, batch.jobs)
        jobs = await still_matching(cursor, conditions, batch.jobs)
        if act == "rescore":
            changed = await store.rescore(cursor, jobs, score)
            await _tell_rescored(cursor, changed, score, actor)
        else:
            changed = await _cancel(cursor, jobs, mine, actor)
            self._wake()
        refused = {"done": len(jobs) - len(changed)} if len(changed) < len(jobs) else {}
        await self._tell(cursor, act, where, actor, len(changed), score=score)
        return _changed(batch, jobs, changed, refused)

    async def _retry(
        self, conditions: Sequence[Condition], where: str, actor: Actor, after: int
    ) -> Changed:
        """One transaction for each job: much may follow from one."""
        batch = await matching_jobs(self._database, conditions, after, RETRY_BATCH)
        changed: list[int] = []
        refused: dict[str, int] = {}
        for job in batch.jobs:

            async def work(cursor: Cursor, job: int = job) -> None:
                if not await still_matching(cursor, conditions, [job]):
                    raise Refusal(409, "changed_meanwhile", "It changed meanwhile.")
                await intervention.retry_job(cursor, job, actor.who)

            try:
                await self._database.transaction(work)
                changed.append(job)
            except Refusal as refusal:
                refused[refusal.code] = refused.get(refusal.code, 0) + 1
        if batch.jobs:
            await self._tell(self._database, "retry", where, actor, len(changed))
        return _changed(batch, batch.jobs, changed, refused)

    async def _tell(
        self,
        cursor: Cursor,
        act: Act,
        where: str,
        actor: Actor,
        changed: int,
        **more: Any,
    ) -> None:
        note = actor.note(act=act, where=storable(where), changed=changed, **more)
        await write_events(cursor, [Event("jobs.changed", payload=note)])


async def _cancel(
    cursor: Cursor, jobs: Sequence[int], mine: Sequence[int], actor: Actor
) -> list[int]:
    """Cancel jobs that are locked; those that had not ended."""
    locked = [job for job in await job_store.lock(cursor, jobs) if job.result is None]
    in_line = set(mine)
    begun: list[LockedJob] = []
    unstarted: list[LockedJob] = []
    for job in locked:
        waits = job.state.value in ("waiting", "parked")
        (unstarted if waits or job.id in in_line else begun).append(job)
    await store.leave_line(cursor, [job.id for job in unstarted if job.id in in_line])
    asked = [job for job in begun if not job.cancelling]
    await store.ask_all_to_cancel(cursor, [job.id for job in asked], actor.reason)
    note = actor.note(reason=actor.reason)
    await write_events(
        cursor,
        [
            Event("job.cancelling", job=job.id, payload={"state": job.state.value, **note})
            for job in asked
        ],
    )
    ids = [job.id for job in unstarted]
    await job_store.end_unstarted(cursor, ids, Result.CANCELLED, actor.reason)
    return [job.id for job in locked]


async def _tell_rescored(
    cursor: Cursor, jobs: Sequence[int], score: int | None, actor: Actor
) -> None:
    note = actor.note(score=score)
    await write_events(
        cursor, [Event("job.rescored", job=job, payload=note) for job in jobs]
    )


def _changed(
    batch: Batch, jobs: Sequence[int], changed: Sequence[int], refused: dict[str, int]
) -> Changed:
    return Changed(
        matched=len(jobs),
        changed=len(changed),
        refused=refused,
        jobs=tuple(jobs[:_SHOWN]),
        next=batch.following,
    )


async def _why_not_held(cursor: Cursor, job: int) -> str:
    if await lingering.was_asked_for(cursor, job):
        return (
            f"No environment of job {job} is held: its time is over, nothing failed yet, "
            f"or its worker could not hold it, as its log tells. 'headrace retry {job} "
            f"--hold 1h' tries again."
        )
    return (
        f"No environment of job {job} is held, for nobody asked for it: 'headrace retry "
        f"{job} --hold 1h' runs it again, and holds the environment if it fails."
    )


def _check_hold(scope: Scope, name: str) -> None:
    if (scope == "farm") != (name == ""):
        raise Refusal(
            422,
            "bad_hold",
            "The farm has no name, an architecture and a project have one: hold farm,"
            " arch:NAME or project:ADDRESS.",
        )


def _read(parse: Callable[[], T]) -> T:
    try:
        return parse()
    except BadPattern as error:
        sentence = str(error)
        raise Refusal(
            422, "bad_pattern", f"{sentence[0].upper()}{sentence[1:]}."
        ) from error
