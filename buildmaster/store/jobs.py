"""Rows of ``job``, ``attempt`` and ``edge``, as one transaction sees and changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from buildmaster.database import Cursor
from buildmaster.dependencies import Require
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

    @property
    def title(self) -> str:
        """What people call the job in sentences."""
        return f"job {self.id} ({self.name} {self.cell})" if self.cell else f"job {self.id}"


async def lock(cursor: Cursor, jobs: Sequence[int]) -> list[LockedJob]:
    """Those of ``jobs`` that exist, in the order of their ids, locked."""
    rows = await cursor.rows(
        """
        SELECT id, kind, name, cell, state::text, result::text, reason, root_cause, attempt,
               errors, error_limit, blocked_by, cancel_asked_at IS NOT NULL, cancel_reason
        FROM job WHERE id = ANY (%s::bigint[]) ORDER BY id FOR NO KEY UPDATE
        """,
        (sorted(set(jobs)),),
    )
    return [_locked(list(row)) for row in rows]


def _locked(fields: list[Any]) -> LockedJob:
    fields[4] = JobState(fields[4])
    fields[5] = Result(fields[5]) if fields[5] else None
    return LockedJob(*fields)


async def end(
    cursor: Cursor,
    job: int,
    result: Result,
    reason: str,
    root_cause: int | None = None,
) -> bool:
    """Write the end of a job into its row; False if it had ended already."""
    return (
        await cursor.run(
            """
            UPDATE job SET state = 'done', result = %s::job_result, reason = %s,
                           root_cause = %s, finished_at = farm_now()
            WHERE id = %s AND state <> 'done'
            """,
            (result.value, reason, root_cause, job),
        )
        > 0
    )


async def ask_to_cancel(cursor: Cursor, job: int, reason: str) -> None:
    """Note that somebody asked a job to stop that a worker has."""
    await cursor.run(
        "UPDATE job SET cancel_asked_at = farm_now(), cancel_reason = %s WHERE id = %s",
        (reason, job),
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


async def end_attempt(
    cursor: Cursor, job: int, attempt: int, result: Result, reason: str
) -> bool:
    """Write the end of an attempt; False if it had ended already."""
    ended = await cursor.run(
        """
        UPDATE attempt SET result = %s::job_result, reason = %s, finished_at = farm_now()
        WHERE job = %s AND number = %s AND finished_at IS NULL
        """,
        (result.value, reason, job, attempt),
    )
    await cursor.run("DELETE FROM running WHERE job = %s AND attempt = %s", (job, attempt))
    return ended > 0


async def end_pipeline_jobs(
    cursor: Cursor, job: int, attempt: int, running: Result, waiting: Result, reason: str
) -> None:
    """End what an attempt left open: ``running`` for what ran, ``waiting`` for the rest."""
    await cursor.run(
        """
        UPDATE pipeline_job
        SET state = 'done', finished_at = farm_now(), reason = %s,
            result = CASE state WHEN 'running' THEN %s ELSE %s END::job_result
        WHERE job = %s AND attempt = %s AND state <> 'done'
        """,
        (reason, running.value, waiting.value, job, attempt),
    )


async def next_attempt(
    cursor: Cursor, job: int, *, errors: int, delay: float | None
) -> int:
    """Open another attempt of ``job``, which waits again; its number.

    ``delay``: seconds until it may be queued; None is at once.
    """
    (number,) = await cursor.one(
        """
        UPDATE job SET state = 'waiting', result = NULL, reason = '', root_cause = NULL,
               finished_at = NULL, started_at = NULL, ready_at = NULL,
               cancel_asked_at = NULL, cancel_reason = '', attempt = attempt + 1,
               errors = %s, not_before = farm_now() + make_interval(secs => %s)
        WHERE id = %s RETURNING attempt
        """,
        (errors, delay, job),
    )
    await cursor.run("INSERT INTO attempt (job, number) VALUES (%s, %s)", (job, number))
    return int(number)


async def copy_pipeline_jobs(
    cursor: Cursor, job: int, old: int, new: int, kept: Sequence[tuple[str, int]]
) -> None:
    """Give attempt ``new`` the pipeline jobs of ``old``: ``kept`` passed, others open."""
    await cursor.run(
        """
        INSERT INTO pipeline_job (job, attempt, name, index, stage, place, series, state,
                                  result, exit_status, properties, started_at, finished_at,
                                  kept_from)
        SELECT job, %(new)s, old.name, old.index, stage, place, series,
               CASE WHEN keep THEN 'done' ELSE 'waiting' END::pipeline_job_state,
               CASE WHEN keep THEN result END, CASE WHEN keep THEN exit_status END,
               CASE WHEN keep THEN properties END, CASE WHEN keep THEN started_at END,
               CASE WHEN keep THEN finished_at END,
               CASE WHEN keep THEN coalesce(kept_from, attempt) END
        FROM pipeline_job AS old
        CROSS JOIN LATERAL (
            SELECT EXISTS (
                SELECT FROM unnest(%(names)s::text[], %(indices)s::integer[])
                    AS kept (name, index)
                WHERE kept.name = old.name AND kept.index = old.index) AS keep
        ) AS choice
        WHERE job = %(job)s AND attempt = %(old)s
        """,
        {
            "job": job,
            "old": old,
            "new": new,
            "names": [name for name, _ in kept],
            "indices": [index for _, index in kept],
        },
    )
    await cursor.run(
        """
        INSERT INTO artifact (job, attempt, name, index, path, sha256)
        SELECT artifact.job, %(new)s, artifact.name, artifact.index, path, sha256
        FROM artifact JOIN pipeline_job USING (job, name, index)
        WHERE artifact.job = %(job)s AND artifact.attempt = %(old)s
          AND pipeline_job.attempt = %(new)s AND pipeline_job.kept_from IS NOT NULL
        """,
        {"job": job, "old": old, "new": new},
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


@dataclass(frozen=True)
class ResolvedEdge:
    """An edge that its upstream has just decided."""

    up: int
    down: int
    require: Require


async def resolve_edges_of(cursor: Cursor, jobs: Sequence[int]) -> list[ResolvedEdge]:
    """Resolve every open edge of jobs that are done."""
    rows = await cursor.rows(
        """
        UPDATE edge SET resolved_at = farm_now(), up_attempt = job.attempt
        FROM job
        WHERE edge.up = ANY (%s::bigint[]) AND edge.resolved_at IS NULL
          AND job.id = edge.up
        RETURNING edge.up, edge.down, edge.require::text
        """,
        (sorted(jobs),),
    )
    return [ResolvedEdge(up, down, Require(require)) for up, down, require in rows]


async def resolve_stage(
    cursor: Cursor, job: int, attempt: int, stage: int
) -> list[ResolvedEdge]:
    """Resolve the open edges that wait for ``stage`` (an index of the file) of ``job``."""
    rows = await cursor.rows(
        """
        UPDATE edge SET resolved_at = farm_now(), up_attempt = %s
        WHERE up = %s AND up_stage = %s AND resolved_at IS NULL
        RETURNING up, down, require::text
        """,
        (attempt, job, stage),
    )
    return [ResolvedEdge(up, down, Require(require)) for up, down, require in rows]


async def release(cursor: Cursor, resolved: Mapping[int, int]) -> list[int]:
    """Count resolved edges off their downstream jobs; those that nothing blocks now."""
    rows = await cursor.rows(
        """
        UPDATE job SET blocked_by = blocked_by - edges.count
        FROM (SELECT id, count FROM unnest(%s::bigint[], %s::integer[]) AS given (id, count)
              ORDER BY id) AS edges
        WHERE job.id = edges.id
        RETURNING job.id, job.blocked_by
        """,
        (sorted(resolved), [resolved[job] for job in sorted(resolved)]),
    )
    return sorted(int(job) for job, blocked_by in rows if blocked_by == 0)


async def finish_runs_of(
    cursor: Cursor, jobs: Sequence[int]
) -> list[tuple[int, frozenset[Result]]]:
    """Sealed runs of ``jobs`` whose required jobs are all done, with the results of those.

    The runs are locked first: two jobs of a run that end at the same moment must see each
    other.
    """
    rows = await cursor.rows(
        """
        SELECT id FROM run
        WHERE state = 'sealed'
          AND id IN (SELECT run FROM run_job WHERE job = ANY (%s::bigint[]))
        ORDER BY id FOR UPDATE
        """,
        (sorted(jobs),),
    )
    if not rows:
        return []
    finished = await cursor.rows(
        """
        SELECT run, array_agg(DISTINCT job.result::text) FILTER (WHERE required)
        FROM run_job JOIN job ON job.id = run_job.job
        WHERE run = ANY (%s::bigint[])
        GROUP BY run HAVING bool_and(job.state = 'done' OR NOT required)
        ORDER BY run
        """,
        ([run for (run,) in rows],),
    )
    return [
        (int(run), frozenset(Result(result) for result in results or []))
        for run, results in finished
    ]


async def end_run(cursor: Cursor, run: int, result: Result) -> None:
    """Write the end of a run."""
    await cursor.run(
        """
        UPDATE run SET state = 'done', result = %s::job_result, finished_at = farm_now()
        WHERE id = %s
        """,
        (result.value, run),
    )


async def reopen_runs_of(cursor: Cursor, jobs: Sequence[int]) -> list[int]:
    """Runs that wait for ``jobs`` again, because these get another attempt.

    All of their runs are locked first: one may be about to end just now.
    """
    runs = await cursor.rows(
        """
        SELECT id FROM run
        WHERE id IN (SELECT run FROM run_job WHERE job = ANY (%s::bigint[]))
        ORDER BY id FOR NO KEY UPDATE
        """,
        (sorted(jobs),),
    )
    rows = await cursor.rows(
        """
        UPDATE run SET state = 'sealed', result = NULL, finished_at = NULL
        WHERE state = 'done' AND id = ANY (%s::bigint[])
        RETURNING id
        """,
        ([run for (run,) in runs],),
    )
    return sorted(int(run) for (run,) in rows)
