"""Undoes what the end of a job decided downstream, when that job is tried again."""

from __future__ import annotations

from collections.abc import Sequence

from buildmaster.database import Cursor


async def jobs_unrun_because_of(cursor: Cursor, job: int) -> list[int]:
    """Jobs that never ran with ``job`` as their root cause."""
    rows = await cursor.rows(
        """
        SELECT job.id FROM job
        WHERE root_cause = %s AND result = 'unrun' AND id IN (
            WITH RECURSIVE downstream (id) AS (
                SELECT down FROM edge WHERE up = %s
                UNION SELECT edge.down FROM edge JOIN downstream ON edge.up = downstream.id)
            SELECT id FROM downstream)
        ORDER BY job.id LIMIT 100000
        """,
        (job, job),
    )
    return [int(number) for (number,) in rows]


async def reopen_edges(cursor: Cursor, job: int, revived: Sequence[int]) -> None:
    """Let ``revived`` wait again for ``job`` and for each other.

    An edge whose stage passed stays resolved: a passed stage is never judged again.
    """
    ups = [job, *revived]
    await cursor.run(
        """
        UPDATE edge SET resolved_at = NULL, up_attempt = NULL
        WHERE up = ANY (%(ups)s::bigint[]) AND down = ANY (%(downs)s::bigint[])
          AND resolved_at IS NOT NULL
          AND NOT EXISTS (
            SELECT FROM build JOIN pipeline_job ON pipeline_job.job = build.job
            WHERE build.job = edge.up AND pipeline_job.attempt = edge.up_attempt
              AND build.stage_numbers[pipeline_job.stage + 1] = edge.up_stage
            HAVING bool_and(pipeline_job.result IS NOT DISTINCT FROM 'success'))
        """,
        {"ups": ups, "downs": list(revived)},
    )
    await cursor.run(
        """
        UPDATE job SET blocked_by = (
            SELECT count(*) FROM edge WHERE edge.down = job.id AND resolved_at IS NULL)
        WHERE id = ANY (%s::bigint[])
        """,
        (sorted(revived),),
    )
