"""Rows of ``job``, ``attempt`` and ``edge``, as one transaction sees and changes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildmaster.database import Cursor
from buildmaster.lifecycle import JobState
from protocol.results import Result


@dataclass(frozen=True)
class LockedJob:
    """What rules ask of a job; its row stays locked until the transaction ends."""

    id: int
    kind: str
    name: str
    cell: str
    state: JobState
    result: Result | None
    reason: str
    root_cause: int | None
    attempt: int
    errors: int
    error_limit: int
    blocked_by: int
    cancelling: bool
    cancel_reason: str
    interruptible: bool
    group: str | None  #: of which one job is at work at a time
    allow_failure: bool  #: whether a bad end counts as a good one

    @property
    def title(self) -> str:
        """What people call the job in sentences."""
        return f"job {self.id} ({self.name} {self.cell})" if self.cell else f"job {self.id}"


async def lock(cursor: Cursor, jobs: Sequence[int]) -> list[LockedJob]:
    """Those of ``jobs`` that exist, in the order of their ids, locked."""
    rows = await cursor.rows(
        """
        SELECT id, kind, name, cell, state::text, result::text, reason, root_cause, attempt,
               errors, error_limit, blocked_by, cancel_asked_at IS NOT NULL, cancel_reason,
               interruptible, concurrency_group, allow_failure
        FROM job WHERE id = ANY (%s::bigint[]) ORDER BY id FOR NO KEY UPDATE
        """,
        (sorted(set(jobs)),),
    )
    return [_locked(list(row)) for row in rows]


def _locked(fields: list[Any]) -> LockedJob:
    fields[4] = JobState(fields[4])
    fields[5] = Result(fields[5]) if fields[5] else None
    return LockedJob(*fields)


async def ask_to_cancel(
    cursor: Cursor, job: int, reason: str, superseded_by: int | None = None
) -> None:
    """Note that somebody asked a job to stop that a worker has, or is about to have."""
    await cursor.run(
        """
        UPDATE job SET cancel_asked_at = farm_now(), cancel_reason = %s, superseded_by = %s
        WHERE id = %s
        """,
        (reason, superseded_by, job),
    )
    # If nobody has it after all, nobody would tell of its end.
    await cursor.run(
        "INSERT INTO cancel_wish (job) VALUES (%s) ON CONFLICT DO NOTHING", (job,)
    )


async def jobs_only_of(cursor: Cursor, run: int) -> list[int] | None:
    """Unfinished jobs that only this unfinished run wants; None if there is no such run."""
    if await cursor.row("SELECT 1 FROM run WHERE id = %s", (run,)) is None:
        return None
    rows = await cursor.rows(
        """
        SELECT job.id FROM run_job JOIN job ON job.id = run_job.job
        WHERE run_job.run = %(run)s AND job.state <> 'done' AND NOT EXISTS (
            SELECT FROM run_job AS other JOIN run ON run.id = other.run
            WHERE other.job = job.id AND run.id <> %(run)s AND run.state <> 'done')
        ORDER BY job.id LIMIT 100000
        """,
        {"run": run},
    )
    return [int(job) for (job,) in rows]


async def next_attempt(
    cursor: Cursor, job: int, *, errors: int, delay: float | None
) -> int:
    """Open another attempt of ``job``, which waits again, in a new turn; its number.

    ``delay``: seconds until it may be queued; None is at once. What it still misses of
    collections it waits for as long as the first time.
    """
    await cursor.run("SELECT take_another_turn(%s)", (job,))
    (number,) = await cursor.one(
        """
        UPDATE job SET deadline = CASE WHEN kind <> 'build' THEN deadline ELSE (
                   SELECT farm_now() + (job.deadline - max(w.since))
                   FROM collection_wait AS w WHERE w.job = job.id) END,
               state = 'waiting', result = NULL, reason = '', root_cause = NULL,
               finished_at = NULL, started_at = NULL, ready_at = NULL,
               cancel_asked_at = NULL, cancel_reason = '', attempt = attempt + 1,
               errors = %s, failures = 0, lost_workers = 0, superseded_by = NULL,
               not_before = farm_now() + make_interval(secs => %s)
        WHERE id = %s RETURNING attempt
        """,
        (errors, delay, job),
    )
    await cursor.run("INSERT INTO attempt (job, number) VALUES (%s, %s)", (job, number))
    await cursor.run("SELECT watch_limits(ARRAY[%s]::bigint[])", (job,))
    # Of a node: now it runs itself. And while it was over, nobody told it who came.
    await cursor.run(
        """
        WITH itself AS (
            UPDATE node SET runs = true WHERE job = %(job)s AND NOT runs
        ), anew AS (
            UPDATE collection_wait SET since = farm_now() WHERE job = %(job)s
            RETURNING job)
        SELECT look_at_collections(ARRAY(SELECT DISTINCT job FROM anew))
        """,
        {"job": job},
    )
    return int(number)


async def copy_pipeline_jobs(
    cursor: Cursor, job: int, old: int, new: int, kept: Sequence[tuple[str, int]]
) -> None:
    """Give attempt ``new`` the pipeline jobs of ``old``: ``kept`` passed, others open."""
    await cursor.run(
        "SELECT copy_pipeline_jobs(%s, %s, %s, %s::text[])",
        (job, old, new, [f"{name}:{index}" for name, index in kept]),
    )


@dataclass(frozen=True)
class PipelineJobRow:
    """Where one pipeline job of an attempt stands."""

    name: str
    index: int
    stage: int
    result: Result | None
    is_kept: bool = False  #: it passed in an earlier attempt and does not run in this one


async def pipeline_jobs(cursor: Cursor, job: int, attempt: int) -> list[PipelineJobRow]:
    """The pipeline jobs of an attempt, in the order in which they run."""
    rows = await cursor.rows(
        """
        SELECT name, index, stage, result::text, kept_from IS NOT NULL FROM pipeline_job
        WHERE job = %s AND attempt = %s ORDER BY stage, place LIMIT 100000
        """,
        (job, attempt),
    )
    return [
        PipelineJobRow(name, index, stage, Result(result) if result else None, is_kept)
        for name, index, stage, result, is_kept in rows
    ]


async def settle_done(cursor: Cursor, job: int) -> None:
    """Resolve edges that were added to a job after it was done, and what follows of it."""
    await cursor.run("SELECT resolve_again(%s)", (job,))


async def pass_stage(cursor: Cursor, job: int, stage: int) -> None:
    """Tell those who wait for a stage (an index of the file) of a build that it passed."""
    await cursor.run(
        "SELECT resolve_edges(ARRAY[%s]::bigint[], %s, farm_now())", (job, stage)
    )


async def end_unstarted(
    cursor: Cursor,
    jobs: Sequence[int],
    result: Result,
    reason: str,
    superseded_by: int | None = None,
) -> None:
    """End jobs that no worker has and that stand in no line, and all that follows.

    All of them end before any edge is resolved, so that none becomes unrun instead.
    """
    await cursor.run(
        "SELECT end_unstarted(%s::bigint[], %s::job_result, %s, %s)",
        (sorted(jobs), result.value, reason, superseded_by),
    )


async def end_run_without_jobs(cursor: Cursor, run: int) -> None:
    """Give a sealed run its result if it waits for nothing."""
    await cursor.run("SELECT end_runs(ARRAY[%s]::bigint[], farm_now())", (run,))


async def reopen_runs_of(cursor: Cursor, jobs: Sequence[int]) -> list[int]:
    """Let runs wait for ``jobs`` again, which get another attempt; those that were done."""
    rows = await cursor.rows("SELECT reopen_runs(%s::bigint[])", (sorted(jobs),))
    return sorted(int(run) for (run,) in rows)
