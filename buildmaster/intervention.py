"""What people do to jobs that exist: cancel them, or ask for another attempt."""

from __future__ import annotations

from collections.abc import Sequence

from buildmaster import ending
from buildmaster.database import Cursor
from buildmaster.lifecycle import JobState
from buildmaster.requests import Refusal
from buildmaster.store import jobs as job_store
from buildmaster.store import queue, revival
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.jobs import LockedJob
from protocol.results import Result
from protocol.stages import Cell, title


async def cancel_job(cursor: Cursor, job: int, by: str, why: str) -> None:
    """Ask a job to stop. One that no worker has is done at once; one that is done stays."""
    if not await _cancel(cursor, [job], by, why):
        raise Refusal(404, "no_such_job", f"There is no job {job}.")


async def cancel_run(cursor: Cursor, run: int, by: str, why: str) -> None:
    """Ask every unfinished job of a run to stop, but those that another run waits for."""
    jobs = await job_store.jobs_only_of(cursor, run)
    if jobs is None:
        raise Refusal(404, "no_such_run", f"There is no run {run}.")
    await _cancel(cursor, jobs, by, why)


async def _cancel(cursor: Cursor, jobs: Sequence[int], by: str, why: str) -> int:
    reason = f"cancelled by {by}" + (f": {why}" if why else "")
    # Rows of the queue first: that is the order of locks.
    for number in sorted(jobs):
        await queue.leave_queue(cursor, number)
    locked = await job_store.lock(cursor, jobs)
    held = (JobState.ASSIGNED, JobState.RUNNING)
    for job in locked:
        if job.state in held and not job.cancelling:
            await job_store.ask_to_cancel(cursor, job.id, reason)
            payload = {"state": job.state.value, "reason": reason, "by": by}
            event = Event("job.cancelling", job=job.id, payload=payload)
            await write_events(cursor, [event])
    unstarted = [job for job in locked if job.state not in (*held, JobState.DONE)]
    await ending.cancel_unstarted(cursor, unstarted, reason)
    return len(locked)


async def retry_job(
    cursor: Cursor, job: int, by: str, only: Cell | None = None, from_start: bool = False
) -> int:
    """Queue another attempt of a job that is done; its number.

    Pipeline jobs of passed stages are kept, with their files: a passed stage is durable.
    With ``only``, everything that passed is kept, but that one; ``from_start`` keeps
    nothing. Jobs that this one's end made impossible wait again, too.
    """
    locked = await _existing(cursor, job)
    if locked.state is not JobState.DONE:
        raise Refusal(
            409,
            "not_done",
            f"Job {job} is {locked.state.value}; only a job that is done can be retried. "
            f"Cancel it first, or wait for its end.",
        )
    if locked.root_cause is not None:
        raise Refusal(
            409,
            "needs_another",
            f"Job {job} never ran because of job {locked.root_cause}; retry that one, "
            f"and this one follows.",
        )
    rows = await job_store.pipeline_jobs(cursor, job, locked.attempt)
    kept = _kept(locked, rows, only, from_start)
    number = await job_store.next_attempt(cursor, job, errors=0, delay=None)
    await job_store.copy_pipeline_jobs(cursor, job, locked.attempt, number, kept)
    await _revive_downstream(cursor, job)
    runs = await job_store.reopen_runs_of(cursor, job)
    await write_events(
        cursor,
        [
            *(Event("run.reopened", run=run, payload={"state": "sealed"}) for run in runs),
            Event(
                "job.retried",
                job=job,
                payload={"state": "waiting", "attempt": number, "by": by},
            ),
        ],
    )
    await tell_ready(cursor, await queue.make_ready(cursor, [job]))
    return number


def _kept(
    job: LockedJob,
    rows: list[job_store.PipelineJobRow],
    only: Cell | None,
    from_start: bool,
) -> list[Cell]:
    if only is None:
        passed = [] if from_start else ending.kept_after(rows)
        # Everything passed: the wish can only be to run it again.
        return passed if len(passed) < len(rows) else []
    if only not in [(row.name, row.index) for row in rows]:
        known = ", ".join(title(row.name, row.index) for row in rows)
        raise Refusal(
            422,
            "no_such_pipeline_job",
            f"Job {job.id} has no pipeline job {title(*only)}; it has {known}.",
        )
    return [
        (row.name, row.index)
        for row in rows
        if row.result is Result.SUCCESS and (row.name, row.index) != only
    ]


async def _revive_downstream(cursor: Cursor, job: int) -> None:
    """Let jobs wait again whose root cause was ``job``."""
    unrun = await revival.jobs_unrun_because_of(cursor, job)
    for down in await job_store.lock(cursor, unrun):
        number = await job_store.next_attempt(cursor, down.id, errors=0, delay=None)
        await job_store.copy_pipeline_jobs(cursor, down.id, down.attempt, number, [])
        await job_store.reopen_runs_of(cursor, down.id)
        payload = {"state": "waiting", "attempt": number}
        await write_events(cursor, [Event("job.waiting", job=down.id, payload=payload)])
    await revival.reopen_edges(cursor, job, unrun)


async def tell_ready(cursor: Cursor, queued: list[tuple[int, int]]) -> None:
    """Write the event that jobs stand in the queue."""
    await write_events(
        cursor,
        [
            Event("job.ready", job=job, payload={"state": "ready", "attempt": attempt})
            for job, attempt in queued
        ],
    )


async def _existing(cursor: Cursor, job: int) -> LockedJob:
    locked = await job_store.lock(cursor, [job])
    if not locked:
        raise Refusal(404, "no_such_job", f"There is no job {job}.")
    return locked[0]
