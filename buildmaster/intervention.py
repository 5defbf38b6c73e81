"""What people do to jobs that exist: cancel them, or ask for another attempt."""

from __future__ import annotations

from collections.abc import Sequence

from buildmaster.database import Cursor
from buildmaster.dependencies import Verdict, judge
from buildmaster.lifecycle import JobState
from buildmaster.requests import Refusal
from buildmaster.store import jobs as job_store
from buildmaster.store import lingering, queue, revival
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.jobs import LockedJob
from buildmaster.store.nodes import never_runs, open_gate
from buildmaster.store.text import storable
from protocol.results import BAD, Result
from protocol.stages import Cell, title


async def cancel_job(cursor: Cursor, job: int, by: str, why: str) -> None:
    """Ask a job to stop. One that no worker has is done at once; one that is done stays."""
    await _cancel(cursor, [await _existing(cursor, job)], by, why)


async def cancel_run(cursor: Cursor, run: int, by: str, why: str) -> None:
    """Ask every unfinished job of a run to stop, but those that another run waits for."""
    jobs = await job_store.jobs_only_of(cursor, run)
    if jobs is None:
        raise Refusal(404, "no_such_run", f"There is no run {run}.")
    locked = await job_store.lock(cursor, jobs)
    # Another run may have asked for one of them before it was locked.
    still = await job_store.jobs_only_of(cursor, run) or []
    await _cancel(cursor, [job for job in locked if job.id in still], by, why)


async def supersede(
    cursor: Cursor, locked: Sequence[LockedJob], newer: int, reason: str, by: str
) -> None:
    """Let job ``newer`` take the place of earlier ones, which end as cancelled.

    Those that no worker has end now, others are asked to stop if they may be interrupted.
    """
    await _stop(cursor, locked, by, storable(reason), newer)


async def _cancel(cursor: Cursor, locked: Sequence[LockedJob], by: str, why: str) -> None:
    reason = storable(f"cancelled by {by}" + (f": {why}" if why else ""))
    await _stop(cursor, locked, by, reason)


async def _stop(
    cursor: Cursor,
    locked: Sequence[LockedJob],
    by: str,
    reason: str,
    newer: int | None = None,
) -> None:
    unstarted = []
    for job in locked:
        if job.state is JobState.DONE:
            continue
        if await _is_unstarted(cursor, job):
            unstarted.append(job)
        elif not job.cancelling and (newer is None or job.interruptible):
            await job_store.ask_to_cancel(cursor, job.id, reason, newer)
            payload = {"state": job.state.value, "reason": reason, "by": by}
            event = Event("job.cancelling", job=job.id, payload=payload)
            await write_events(cursor, [event])
    await job_store.end_unstarted(
        cursor, [job.id for job in unstarted], Result.CANCELLED, reason, newer
    )


async def _is_unstarted(cursor: Cursor, job: LockedJob) -> bool:
    """Whether no worker has ``job``, which stands in no queue from now on.

    A claim under way may have its row of the queue and wait for us to let the job go.
    """
    if job.state is JobState.READY:
        return await queue.leave_queue(cursor, job.id)
    return job.state not in (JobState.ASSIGNED, JobState.RUNNING)


async def release_job(cursor: Cursor, job: int, by: str) -> None:
    """Let a job go that waits for somebody; it starts once it waits for nothing else."""
    locked = await _existing(cursor, job)
    if not await open_gate(cursor, job):
        raise Refusal(
            409,
            "not_gated",
            f"Job {job} is {locked.state.value} and waits for nobody to let it go.",
        )
    payload = {"by": by}
    await write_events(cursor, [Event("job.released", job=job, payload=payload)])


async def retry_job(
    cursor: Cursor,
    job: int,
    by: str,
    only: Cell | None = None,
    from_start: bool = False,
    linger: float | None = None,
) -> int:
    """Queue another attempt of a job that is done; its number.

    Pipeline jobs of passed stages are kept, with their files: a passed stage is durable.
    With ``only``, everything that passed is kept, but that one; ``from_start`` keeps
    nothing. Jobs that this one's end made impossible wait again, too. ``linger``: seconds
    for which the environment of a pipeline job that fails is left as it is.
    """
    locked = await _existing(cursor, job)
    if linger is not None and locked.kind != "build":
        raise Refusal(
            422,
            "not_a_build",
            f"Job {job} is of the kind {locked.kind}: only builds have environments that "
            f"could be held.",
        )
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
    if await never_runs(cursor, job):
        raise Refusal(
            409,
            "never_runs",
            f"Job {job} never runs ({locked.reason}); retry that one's instead.",
        )
    rows = await job_store.pipeline_jobs(cursor, job, locked.attempt)
    kept = _kept(locked, rows, only, from_start)
    unrun = await revival.jobs_unrun_because_of(cursor, job)
    ups = await revival.upstreams_of(cursor, [job, *unrun])
    ups += await revival.waiting_for_a_choice_of(cursor, [job, *unrun])
    all_locked = {each.id: each for each in await job_store.lock(cursor, [*unrun, *ups])}
    number = await job_store.next_attempt(cursor, job, errors=0, delay=None)
    await job_store.copy_pipeline_jobs(cursor, job, locked.attempt, number, kept)
    if linger is not None:
        await lingering.ask(cursor, job, number, linger)
    await queue.forget_refusals(cursor, job)
    payload = {"state": "waiting", "attempt": number, "by": by}
    if linger is not None:
        payload["hold"] = linger
    await write_events(cursor, [Event("job.retried", job=job, payload=payload)])
    for down in unrun:
        await _revive(cursor, all_locked[down])
    await reopen_runs(cursor, [job, *unrun])
    revived = [job, *unrun]
    await revival.reopen_choices(cursor, revived)
    opened = await revival.reopen_edges(cursor, revived)
    decided = [
        (edge, up)
        for edge in opened
        if (up := all_locked[edge.up]).result is not None and up.id not in revived
    ]
    for edge, up in decided:
        if edge.down != job or edge.choice is not None:
            continue
        if judge(edge.require, _counted(up)) is not Verdict.GO:
            raise Refusal(
                409,
                "needs_another",
                f"Job {job} needs {up.title}, which ended as {_result(up).value}; retry "
                f"that one first.",
            )
    # In the order of their ids: the first that decides is the root cause.
    for up_id in sorted({up.id for _, up in decided}):
        await job_store.settle_done(cursor, up_id)
    await queue.make_ready(cursor, [job])
    return number


def _kept(
    job: LockedJob,
    rows: list[job_store.PipelineJobRow],
    only: Cell | None,
    from_start: bool,
) -> list[Cell]:
    if only is None:
        passed = [] if from_start else kept_after(rows)
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


def kept_after(rows: Sequence[job_store.PipelineJobRow]) -> list[Cell]:
    """The pipeline jobs of passed stages: a passed stage is durable."""
    kept: list[Cell] = []
    for stage in sorted({row.stage for row in rows}):
        members = [row for row in rows if row.stage == stage]
        if any(row.result is not Result.SUCCESS for row in members):
            break
        kept += [(row.name, row.index) for row in members]
    return kept


async def _revive(cursor: Cursor, job: LockedJob) -> None:
    """Let a job wait again that was unrun; what passed before it was retried is kept."""
    rows = await job_store.pipeline_jobs(cursor, job.id, job.attempt)
    number = await job_store.next_attempt(cursor, job.id, errors=0, delay=None)
    kept = kept_after(rows)
    await job_store.copy_pipeline_jobs(cursor, job.id, job.attempt, number, kept)
    payload = {"state": "waiting", "attempt": number}
    await write_events(cursor, [Event("job.waiting", job=job.id, payload=payload)])


async def reopen_runs(cursor: Cursor, jobs: Sequence[int]) -> None:
    """Let the runs of jobs that are tried again wait for them."""
    runs = await job_store.reopen_runs_of(cursor, jobs)
    payload = {"state": "sealed"}
    await write_events(
        cursor, [Event("run.reopened", run=run, payload=payload) for run in runs]
    )


def _result(job: LockedJob) -> Result:
    assert job.result is not None
    return job.result


def _counted(job: LockedJob) -> Result:
    """Its result as it counts for those who wait."""
    return Result.SUCCESS if job.allow_failure and _result(job) in BAD else _result(job)


async def _existing(cursor: Cursor, job: int) -> LockedJob:
    locked = await job_store.lock(cursor, [job])
    if not locked:
        raise Refusal(404, "no_such_job", f"There is no job {job}.")
    return locked[0]
