"""What follows when an attempt or a job ends, inside the transaction that ends it.

An attempt that the farm failed is followed by another one until its limit; else the job
is done, its edges are resolved, jobs downstream are released or decided, and runs whose
jobs are all done get their result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from buildmaster.database import Cursor
from buildmaster.dependencies import Verdict, judge
from buildmaster.lifecycle import JobState
from buildmaster.store import jobs as job_store
from buildmaster.store import queue
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.jobs import LockedJob, ResolvedEdge
from buildmaster.store.text import storable
from protocol.results import GOOD, Result, worst


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after how many seconds, the farm tries again by itself."""

    delays: tuple[float, ...] = (2.0, 10.0, 60.0)  #: the last one repeats
    refusal: float = 900.0  #: seconds for which a worker is passed over

    def delay(self, errors: int) -> float:
        """Seconds to wait before the try that follows error number ``errors``."""
        return self.delays[min(errors, len(self.delays)) - 1]


@dataclass(frozen=True)
class _End:
    """How one job is to end."""

    job: LockedJob
    result: Result
    reason: str
    root_cause: int | None = None


async def end_attempt(
    cursor: Cursor,
    job: LockedJob,
    result: Result,
    reason: str,
    policy: RetryPolicy,
    *,
    final: bool = False,
    avoid: str | None = None,
) -> None:
    """End the current attempt of ``job``, and the job with it unless it is tried again.

    ``final``: the farm's failure would repeat, so it is not tried again. ``avoid``: the
    worker that the next attempt should pass over.
    """
    if job.cancelling and result in (Result.ERROR, Result.CANCELLED):
        # Who asked, and why, outweighs what the worker saw of it.
        result, reason = Result.CANCELLED, job.cancel_reason
    if result not in GOOD:
        reason = reason or "the worker gave no reason"
    await job_store.end_pipeline_jobs(
        cursor,
        job.id,
        job.attempt,
        running=Result.CANCELLED if result is Result.CANCELLED else Result.ERROR,
        waiting=Result.UNRUN,
        reason=reason or "its build ended before it ran",
    )
    if not await job_store.end_attempt(cursor, job.id, job.attempt, result, reason):
        return
    errors = job.errors + 1
    if result is Result.ERROR and not final and errors < job.error_limit:
        await _try_again(cursor, job, reason, errors, policy, avoid)
    else:
        await end_jobs(cursor, [_End(job, result, reason)])


async def refused(
    cursor: Cursor, worker: str, job: int, attempt: int, reason: str, policy: RetryPolicy
) -> None:
    """Act on a worker that would not take an order: nobody's fault while another can.

    With no other worker left it counts as the farm's failure, so that the job is tried
    again later, and not for ever. Nothing happens if the lease is not the worker's, or
    it has accepted.
    """
    if not await queue.is_unaccepted(cursor, worker, job, attempt):
        return
    reason = storable(reason)
    [locked] = await job_store.lock(cursor, [job])
    if locked.cancelling or not await queue.refuse(
        cursor, job, worker, reason, policy.refusal
    ):
        reason = f"worker {worker} refused it: {reason}"
        await end_attempt(cursor, locked, Result.ERROR, reason, policy)
        return
    await queue.give_back(cursor, worker, job, attempt)
    payload = {"state": "ready", "attempt": attempt, "reason": reason}
    await write_events(
        cursor, [Event("job.ready", job=job, worker=worker, payload=payload)]
    )


async def _try_again(
    cursor: Cursor,
    job: LockedJob,
    reason: str,
    errors: int,
    policy: RetryPolicy,
    avoid: str | None,
) -> None:
    if avoid is not None:
        await queue.refuse(cursor, job.id, avoid, reason, policy.refusal)
    delay = policy.delay(errors)
    number = await job_store.next_attempt(cursor, job.id, errors=errors, delay=delay)
    rows = await job_store.pipeline_jobs(cursor, job.id, job.attempt)
    # What was not to run in this attempt was asked for so.
    kept = [*kept_after(rows), *((row.name, row.index) for row in rows if row.is_kept)]
    await job_store.copy_pipeline_jobs(cursor, job.id, job.attempt, number, kept)
    payload = {"state": "waiting", "attempt": number, "reason": reason, "delay": delay}
    await write_events(cursor, [Event("job.waiting", job=job.id, payload=payload)])


def kept_after(rows: Sequence[job_store.PipelineJobRow]) -> list[tuple[str, int]]:
    """The pipeline jobs of passed stages: a passed stage is durable."""
    kept: list[tuple[str, int]] = []
    for stage in sorted({row.stage for row in rows}):
        members = [row for row in rows if row.stage == stage]
        if any(row.result is not Result.SUCCESS for row in members):
            break
        kept += [(row.name, row.index) for row in members]
    return kept


async def cancel_unstarted(cursor: Cursor, jobs: Sequence[LockedJob], reason: str) -> None:
    """End jobs as cancelled that no worker has and that stand in no queue.

    All of them end before any edge is resolved, so that none becomes unrun instead.
    """
    for job in jobs:
        await job_store.end_pipeline_jobs(
            cursor, job.id, job.attempt, Result.CANCELLED, Result.UNRUN, reason
        )
        await job_store.end_attempt(cursor, job.id, job.attempt, Result.CANCELLED, reason)
    await end_jobs(cursor, [_End(job, Result.CANCELLED, reason) for job in jobs])


async def end_jobs(cursor: Cursor, ends: Sequence[_End]) -> None:
    """End jobs, then all that their ends decide, level by level downstream."""
    ended: list[int] = []
    while ends:
        wave = [end for end in ends if await _end_job(cursor, end)]
        ended += [end.job.id for end in wave]
        resolved = await job_store.resolve_edges_of(cursor, [end.job.id for end in wave])
        ends = await apply_edges(cursor, resolved, {end.job.id: end for end in wave})
    await finish_runs(cursor, ended)


async def _end_job(cursor: Cursor, end: _End) -> bool:
    written = await job_store.end(
        cursor, end.job.id, end.result, end.reason, end.root_cause
    )
    if written:
        payload = {
            "state": "done",
            "result": end.result.value,
            "reason": end.reason,
            "attempt": end.job.attempt,
        }
        await write_events(cursor, [Event("job.done", job=end.job.id, payload=payload)])
    return written


async def apply_edges(
    cursor: Cursor, resolved: Sequence[ResolvedEdge], ends: dict[int, _End]
) -> list[_End]:
    """Release or decide the jobs downstream of ``resolved``; how the decided ones end.

    ``ends`` tells how upstreams ended; one that is missing there has a passed stage.
    """
    if not resolved:
        return []
    downstream = {
        job.id: job
        for job in await job_store.lock(cursor, [edge.down for edge in resolved])
    }
    free = await job_store.release(cursor, Counter(edge.down for edge in resolved))
    decided = _decided(resolved, ends, downstream)
    queued = await queue.make_ready(cursor, [job for job in free if job not in decided])
    await write_events(
        cursor,
        [
            Event("job.ready", job=job, payload={"state": "ready", "attempt": attempt})
            for job, attempt in queued
        ],
    )
    for decision in decided.values():
        job = decision.job
        await job_store.end_pipeline_jobs(
            cursor, job.id, job.attempt, Result.UNRUN, Result.UNRUN, decision.reason
        )
        await job_store.end_attempt(
            cursor, job.id, job.attempt, decision.result, decision.reason
        )
    return list(decided.values())


def _decided(
    resolved: Sequence[ResolvedEdge],
    ends: Mapping[int, _End],
    downstream: Mapping[int, LockedJob],
) -> dict[int, _End]:
    """Of the jobs downstream, those whose end is decided: unrun outweighs skipped."""
    decided: dict[int, _End] = {}
    for edge in sorted(resolved, key=lambda edge: (edge.down, edge.up)):
        job, up = downstream[edge.down], ends.get(edge.up)
        decision = None
        if up is not None and job.state is JobState.WAITING:
            decision = _decide(job, edge, up)
        before = decided.get(job.id)
        if decision and (before is None or before.result is not Result.UNRUN):
            decided[job.id] = decision
    return decided


def _decide(job: LockedJob, edge: ResolvedEdge, up: _End) -> _End | None:
    verdict = judge(edge.require, up.result)
    if verdict is Verdict.UNRUN:
        root = up.root_cause or up.job.id
        cause = up.reason if up.root_cause else f"{up.job.title}: {up.reason}"
        return _End(job, Result.UNRUN, f"it needs {cause}"[:4000], root)
    if verdict is Verdict.SKIP:
        reason = f"it is only for a bad end of {up.job.title}, which passed"
        return _End(job, Result.SKIPPED, reason)
    return None


async def finish_runs(cursor: Cursor, ended: Sequence[int]) -> None:
    """Give a result to every run whose last required job has ended."""
    for run, results in await job_store.finish_runs_of(cursor, ended):
        result = worst(results)
        await job_store.end_run(cursor, run, result)
        payload = {"state": "done", "result": result.value}
        await write_events(cursor, [Event("run.done", run=run, payload=payload)])


async def tell_end_again(cursor: Cursor, job: LockedJob) -> None:
    """Resolve edges that were added to a job after it was done."""
    assert job.result is not None
    end = _End(job, job.result, job.reason, job.root_cause)
    resolved = await job_store.resolve_edges_of(cursor, [job.id])
    await end_jobs(cursor, await apply_edges(cursor, resolved, {job.id: end}))


async def pass_stage(cursor: Cursor, job: int, attempt: int, stage: int) -> None:
    """Tell those who wait for a stage of a build that it passed; it stays so."""
    resolved = await job_store.resolve_stage(cursor, job, attempt, stage)
    await apply_edges(cursor, resolved, {})
