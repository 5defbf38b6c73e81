"""Runs jobs of a run again: new attempts of the same jobs, all in one transaction."""

from __future__ import annotations

from buildmaster.database import Cursor
from buildmaster.intervention import reopen_runs
from buildmaster.lifecycle import JobState
from buildmaster.requests import Refusal, Rerun, RerunRequest
from buildmaster.reruns import Filter, NothingToRerunError, choose
from buildmaster.store import jobs as job_store
from buildmaster.store import queue, revival
from buildmaster.store import reruns as store
from buildmaster.store.event_log import Event, write_events


async def rerun(cursor: Cursor, run: int, asked: RerunRequest, by: str) -> Rerun:
    """Queue another attempt of the jobs that are meant, and of what is in their way.

    What they wait for and is not among them stays as it is; they get the files of its
    newest attempt.
    """
    found = await store.jobs_of(cursor, run)
    if found is None:
        raise Refusal(404, "no_such_run", f"There is no run {run}.")
    jobs, waits = found
    only = Filter(asked.job, asked.package, asked.cell)
    try:
        selection = choose(jobs, waits, asked.scope, only)
    except NothingToRerunError as error:
        raise Refusal(
            409, "nothing_to_rerun", f"Nothing of run {run} is run again: {error}."
        ) from error
    near = await revival.upstreams_of(cursor, selection.jobs, with_own=True)
    near += await revival.waiting_for_a_choice_of(cursor, selection.jobs)
    locked = {job.id: job for job in await job_store.lock(cursor, near)}
    # Somebody else may have been quicker.
    again = [n for n in selection.jobs if locked[n].state is JobState.DONE]
    for number in again:
        job = locked[number]
        attempt = await job_store.next_attempt(cursor, number, errors=0, delay=None)
        await job_store.copy_pipeline_jobs(cursor, number, job.attempt, attempt, [])
        await queue.forget_refusals(cursor, number)
        payload = {"state": "waiting", "attempt": attempt, "by": by}
        await write_events(cursor, [Event("job.retried", job=number, payload=payload)])
    await reopen_runs(cursor, again)
    await store.bind_anew(cursor, again)
    await revival.reopen_choices(cursor, again)
    opened = await revival.reopen_edges(cursor, again)
    decided = {
        edge.up
        for edge in opened
        if locked[edge.up].state is JobState.DONE and edge.up not in again
    }
    for up in sorted(decided):
        await job_store.settle_done(cursor, up)
    await queue.make_ready(cursor, again)
    return Rerun(
        run=run,
        jobs=tuple(again),
        added=tuple(
            f"job {up} as well: job {down} needs it, and it ended as {_result(locked[up])}"
            for up, down in sorted(selection.added.items())
            if up in again
        ),
    )


def _result(job: job_store.LockedJob) -> str:
    return job.result.value if job.result else job.state.value
