"""Starts what schedules say, each time once, however many masters there are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from twisted.logger import Logger

from buildmaster import intervention
from buildmaster.cron import BadCron, read_cron
from buildmaster.database import Cursor, Database, DatabaseAway
from buildmaster.orchestration.control import Control
from buildmaster.requests import (
    Enqueued,
    GraphRequest,
    Refusal,
    Seconds,
    SubmissionRequest,
    Text,
)
from buildmaster.store import schedules as store
from buildmaster.store import workflows as workflow_store
from buildmaster.store.schedules import Firing, Schedule
from buildmaster.submission import Prepared
from buildmaster.workflow.definition import checked_arguments
from buildmaster.workflow.failures import BadWorkflow

#: Seconds after which a time was missed, and is caught up with, or not.
LATE = 60.0
#: Schedules that one round deals with.
AT_ONCE = 100


class StartWorkflow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Start a workflow; its name is the schedule's, and the time."""

    class_: Text = msgspec.field(name="class")
    arguments: list[Any] | dict[str, Any] = []
    execution_timeout: Seconds | None = None


class Starts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a schedule starts: exactly one of these."""

    workflow: StartWorkflow | None = None
    run: SubmissionRequest | None = None
    jobs: GraphRequest | None = None


class NewSchedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api/v1/schedules."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\\Z")]
    cron: Text
    zone: Text = "UTC"
    starts: Starts
    overlap: Literal["skip", "queue", "replace"] = "skip"
    catch_up: Literal["none", "last", "all"] = "last"
    catch_up_limit: Annotated[int, Meta(ge=1, le=100)] = 10
    owner: Text | None = None


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, and when it comes next."""

    name: str
    paused: bool = False
    next_at: datetime | None = None


class Schedules:
    """What people do to schedules. All raise `Refusal`."""

    def __init__(self, database: Database, control: Control) -> None:
        self._database = database
        self._control = control

    async def add(self, asked: NewSchedule, by: str) -> Planned:
        """Make a schedule; when it comes first."""
        starts = asked.starts
        if (
            sum(each is not None for each in (starts.workflow, starts.run, starts.jobs))
            != 1
        ):
            raise Refusal(
                422, "bad_schedule", "A schedule starts one of: workflow, run, jobs."
            )
        if starts.workflow is not None:
            self._check_workflow(starts.workflow)
        first = _next(asked.cron, asked.zone, await store.now(self._database))
        if first is None:
            raise Refusal(422, "bad_schedule", f"The time {asked.cron} never comes.")
        kept = {
            name: msgspec.to_builtins(value)
            for name, value in msgspec.structs.asdict(starts).items()
            if value is not None
        }

        async def work(cursor: Cursor) -> bool:
            return await store.add(
                cursor,
                name=asked.name,
                cron=asked.cron,
                zone=asked.zone,
                starts=kept,
                overlap=asked.overlap,
                catch_up=asked.catch_up,
                catch_up_limit=asked.catch_up_limit,
                owner=asked.owner or by,
                by=by,
                next_at=first,
            )

        if not await self._database.transaction(work):
            raise Refusal(409, "name_taken", f"There is a schedule {asked.name} already.")
        return Planned(name=asked.name, next_at=first)

    def _check_workflow(self, asked: StartWorkflow) -> None:
        try:
            definition = self._control.classes.newest(asked.class_)
            checked_arguments(definition.run, asked.arguments)
        except BadWorkflow as error:
            raise Refusal(422, "bad_schedule", f"{error}.") from error

    async def remove(self, name: str) -> None:
        """Forget a schedule; what it started goes on."""
        if not await self._database.transaction(lambda cursor: store.remove(cursor, name)):
            raise _no_schedule(name)

    async def pause(self, name: str, paused: bool) -> Planned:
        """Let its times pass, or go on with the first one after now."""

        async def work(cursor: Cursor) -> datetime | None:
            found = await store.get(cursor, name)
            if found is None:
                raise _no_schedule(name)
            next_at = None if paused else _next(*found, await store.now(cursor))
            await store.pause(cursor, name, paused, next_at)
            return next_at

        next_at = await self._database.transaction(work)
        return Planned(name=name, paused=paused, next_at=next_at)


class Scheduler:
    """One round starts what is due."""

    log = Logger()

    def __init__(
        self,
        database: Database,
        control: Control,
        prepare: Callable[[SubmissionRequest, str], Awaitable[Prepared]],
        enqueue: Callable[[Cursor, GraphRequest, str], Awaitable[Enqueued]],
        cancelled: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._control = control
        self._prepare = prepare
        self._enqueue = enqueue
        self._cancelled = cancelled

    async def round(self) -> None:
        for _ in range(AT_ONCE):
            if not await self._database.transaction(self._plan):
                break
        for firing in await store.waiting(self._database, AT_ONCE):
            try:
                await self._fire(firing)
            except Refusal as error:
                await self._failed(firing, error)
            except DatabaseAway:
                raise
            except Exception as error:
                self.log.failure("schedule {name} could not start", name=firing.name)
                told = f"the farm could not start it: {type(error).__name__}: {error}"
                await self._failed(firing, Refusal(500, "defect", told))

    async def _plan(self, cursor: Cursor) -> bool:
        schedule = await store.due(cursor)
        if schedule is None:
            return False
        now = await store.now(cursor)
        cron = read_cron(schedule.cron, schedule.zone)
        times = caught_up(schedule, now)
        await store.plan(cursor, schedule.id, times, cron.after(now))
        return True

    async def _fire(self, firing: Firing) -> None:
        starts = msgspec.convert(firing.starts, Starts)
        by = f"schedule {firing.name}"
        submission = None
        if starts.run is not None:
            run = starts.run
            if run.owner is None:
                run = msgspec.structs.replace(run, owner=firing.owner)
            # Asked for each time, so nothing that was built before stands in for it.
            submission = await self._prepare(msgspec.structs.replace(run, force=True), by)

        async def work(cursor: Cursor) -> bool:
            if not await store.take(cursor, firing):
                return False
            if not await self._has_room(cursor, firing):
                return True
            if submission is not None:
                submitted = await submission.store(cursor)
                await store.decide(cursor, firing, "started", run=submitted.run)
            elif starts.jobs is not None:
                graph = starts.jobs
                if graph.owner is None:
                    graph = msgspec.structs.replace(graph, owner=firing.owner)
                enqueued = await self._enqueue(cursor, graph, by)
                await store.decide(cursor, firing, "started", run=enqueued.run)
            elif starts.workflow is not None:
                await self._start(cursor, firing, starts.workflow, by)
            return True

        if await self._database.transaction(work) and firing.overlap == "replace":
            self._cancelled()

    async def _start(
        self, cursor: Cursor, firing: Firing, asked: StartWorkflow, by: str
    ) -> None:
        try:
            started = await self._control.start_within(
                cursor,
                asked.class_,
                asked.arguments,
                by,
                name=f"{firing.name}@{firing.at.astimezone(UTC):%Y-%m-%dT%H:%M}",
                owner=firing.owner,
                execution_timeout=asked.execution_timeout,
                on_duplicate="join",
            )
        except BadWorkflow as error:
            raise Refusal(422, "bad_schedule", f"{error}.") from error
        await store.decide(cursor, firing, "started", workflow=started.id)

    async def _has_room(self, cursor: Cursor, firing: Firing) -> bool:
        """Whether it may start beside what was started before."""
        earlier = await store.under_way(cursor, firing.schedule)
        if not earlier:
            return True
        if firing.overlap == "skip":
            reason = "what was started before is still under way"
            await store.decide(cursor, firing, "skipped", reason=reason)
            return False
        if firing.overlap == "queue":
            return False
        why = f"replaced by the time {firing.at:%Y-%m-%dT%H:%M} of schedule {firing.name}"
        for workflow, run in earlier:
            if workflow is not None:
                by = f"schedule {firing.name}"
                await workflow_store.send(
                    cursor, workflow, "cancel", None, why, "cancel", by
                )
            if run is not None:
                await intervention.cancel_run(cursor, run, f"schedule {firing.name}", why)
        return True

    async def _failed(self, firing: Firing, error: Refusal) -> None:
        self.log.error("schedule {name}: {told}", name=firing.name, told=str(error))
        problems = "; ".join(each.message for each in error.problems)

        async def work(cursor: Cursor) -> None:
            if await store.take(cursor, firing):
                reason = f"{error} {problems}".strip()
                await store.decide(cursor, firing, "failed", reason=reason)

        await self._database.transaction(work)


def caught_up(schedule: Schedule, now: datetime) -> list[datetime]:
    """The times of a schedule that are dealt with now, those included that were missed."""
    cron = read_cron(schedule.cron, schedule.zone)
    late = now - timedelta(seconds=LATE)
    first = schedule.next_at - timedelta(seconds=1)
    span = timedelta(hours=1)
    while True:
        # However long nobody was there, only the last ones are looked for.
        begin = max(first, now - span)
        times = cron.between(begin, now)
        if begin == first or len(times) >= schedule.catch_up_limit:
            break
        span *= 4
    on_time = [each for each in times if each > late]
    if schedule.catch_up == "none":
        return on_time
    if schedule.catch_up == "last":
        return on_time or times[-1:]
    return times[-schedule.catch_up_limit :]


def _next(cron: str, zone: str, now: datetime) -> datetime | None:
    try:
        return read_cron(cron, zone).after(now)
    except BadCron as error:
        raise Refusal(422, "bad_schedule", f"{error}.") from error


def _no_schedule(name: str) -> Refusal:
    return Refusal(404, "not_found", f"There is no schedule {name}.")
