"""Reads what a run consists of, for those who want some of it again."""

from __future__ import annotations

from collections.abc import Sequence

from buildmaster.database import Cursor
from buildmaster.dependencies import Require
from buildmaster.reruns import Candidate, Wait
from protocol.results import Result


async def jobs_of(cursor: Cursor, run: int) -> tuple[list[Candidate], list[Wait]] | None:
    """The jobs of a run, and their waits; None if there is no such run.

    Without those that never run: they are only there so that a chain stays visible.
    """
    if await cursor.row("SELECT 1 FROM run WHERE id = %s", (run,)) is None:
        return None
    rows = await cursor.rows(
        """
        SELECT job.id, coalesce(node.job_name, job.name), node.package, job.cell,
               job.result::text, job.allow_failure
        FROM run_job JOIN job ON job.id = run_job.job LEFT JOIN node ON node.job = job.id
        WHERE run_job.run = %s AND coalesce(node.skipped, '') = ''
        ORDER BY job.id LIMIT 100000
        """,
        (run,),
    )
    jobs = [
        Candidate(number, name, package, cell, Result(result) if result else None, allowed)
        for number, name, package, cell, result, allowed in rows
    ]
    edges = await cursor.rows(
        """
        SELECT edge.up, edge.down, edge.require::text
        FROM run_job JOIN edge ON edge.down = run_job.job
        WHERE run_job.run = %s AND edge.up_attempt IS DISTINCT FROM 0 LIMIT 1000000
        """,
        (run,),
    )
    return jobs, [Wait(up, down, Require(require)) for up, down, require in edges]


async def bind_anew(cursor: Cursor, jobs: Sequence[int]) -> None:
    """Let these take the files of the newest attempt of what let them go and passed."""
    await cursor.run(
        """
        UPDATE edge SET up_attempt = up.attempt FROM job AS up
        WHERE up.id = edge.up AND edge.down = ANY (%(jobs)s::bigint[])
          AND edge.up <> ALL (%(jobs)s::bigint[]) AND edge.up_attempt > 0
          AND edge.up_stage IS NULL AND up.state = 'done'
          AND up.result IN ('success', 'reused', 'skipped')
        """,
        {"jobs": list(jobs)},
    )
