"""Undoes what the end of a job decided downstream, when that job is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildmaster.database import Cursor
from buildmaster.dependencies import Require

#: Whether the edge's stage passed in the attempt that it saw, or in the current one: a
#: passed stage is never judged again.
_STAGE_PASSED = """
    EXISTS (
        SELECT FROM build JOIN pipeline_job ON pipeline_job.job = build.job
        WHERE build.job = edge.up AND pipeline_job.attempt IN (edge.up_attempt, up.attempt)
          AND build.stage_numbers[pipeline_job.stage + 1] = edge.up_stage
        GROUP BY pipeline_job.attempt
        HAVING bool_and(pipeline_job.result IS NOT DISTINCT FROM 'success'))
"""
#: Whether the attempt that the edge saw let its downstream go.
_LET_GO = """
    (EXISTS (
        SELECT FROM attempt
        WHERE attempt.job = edge.up AND attempt.number = edge.up_attempt
          AND judge(edge.require, counted(attempt.result, up.allow_failure)) = 'go')
    -- Of a choice another edge let it go.
    OR edge.up_attempt = 0
    OR edge.choice IS NOT NULL AND EXISTS (
        SELECT FROM edge AS other JOIN job AS its ON its.id = other.up
        JOIN attempt ON attempt.job = other.up AND attempt.number = other.up_attempt
        WHERE other.down = edge.down AND other.choice = edge.choice
          AND other.id <> edge.id
          AND judge(other.require, counted(attempt.result, its.allow_failure)) = 'go'))
"""
#: Whether another edge of its choice decided for the edge, and does so still.
_DECIDED = """
    (edge.up_attempt = 0 AND EXISTS (
        SELECT FROM edge AS other JOIN job AS its ON its.id = other.up
        JOIN attempt ON attempt.job = other.up AND attempt.number = other.up_attempt
        WHERE other.down = edge.down AND other.choice = edge.choice
          AND other.up <> ALL (%(revived)s::bigint[])
          AND judge(other.require, counted(attempt.result, its.allow_failure)) = 'go'))
"""


async def jobs_unrun_because_of(cursor: Cursor, job: int) -> list[int]:
    """Jobs that never ran, and might if ``job`` passed.

    Those with it as their root cause. Of a choice that failed only one is named as the
    cause, and any of the others would have sufficed: so those as well that wait for it in
    a choice, and all that never ran because of the same cause as these.
    """
    rows = await cursor.rows(
        """
        WITH RECURSIVE downstream (id) AS (
            SELECT down FROM edge WHERE up = %(job)s
            UNION SELECT edge.down FROM edge JOIN downstream ON edge.up = downstream.id
        ), hanging (id, cause) AS (
            SELECT %(job)s::bigint, %(job)s::bigint
            UNION
            SELECT down.id, down.root_cause
            FROM hanging JOIN edge ON edge.up = hanging.id
            JOIN job AS down ON down.id = edge.down AND down.result = 'unrun'
            WHERE down.root_cause = hanging.cause
               OR edge.choice IS NOT NULL AND EXISTS (
                   SELECT FROM edge AS other JOIN job AS its ON its.id = other.up
                   WHERE other.down = down.id AND other.choice = edge.choice
                     AND down.root_cause IN (its.id, its.root_cause))
        )
        SELECT job.id FROM job
        WHERE job.result = 'unrun'
          AND (job.root_cause = %(job)s AND job.id IN (SELECT id FROM downstream)
               OR job.id IN (SELECT id FROM hanging))
        ORDER BY job.id LIMIT 100000
        """,
        {"job": job},
    )
    return [int(number) for (number,) in rows]


async def upstreams_of(
    cursor: Cursor, jobs: Sequence[int], *, with_own: bool = False
) -> list[int]:
    """All that ``jobs`` wait for, or have waited for; perhaps themselves as well."""
    rows = await cursor.rows(
        "SELECT DISTINCT up FROM edge WHERE down = ANY (%s::bigint[]) LIMIT 100000",
        (list(jobs),),
    )
    ups = {int(up) for (up,) in rows}
    return sorted(ups | set(jobs)) if with_own else sorted(ups)


async def waiting_for_a_choice_of(cursor: Cursor, jobs: Sequence[int]) -> list[int]:
    """Jobs that wait, and have one of ``jobs`` among those of which one suffices."""
    rows = await cursor.rows(
        """
        SELECT DISTINCT down.id FROM edge JOIN job AS down ON down.id = edge.down
        WHERE edge.up = ANY (%s::bigint[]) AND edge.choice IS NOT NULL
          AND down.state = 'waiting' ORDER BY down.id LIMIT 100000
        """,
        (list(jobs),),
    )
    return [int(number) for (number,) in rows]


async def reopen_choices(cursor: Cursor, revived: Sequence[int]) -> None:
    """Let those wait for ``revived``, too, who wait for others of their choice.

    Those jobs are locked already.
    """
    await cursor.run(
        """
        WITH opened AS (
            UPDATE edge SET resolved_at = NULL, up_attempt = NULL
            FROM job AS down
            WHERE edge.up = ANY (%(revived)s::bigint[])
              AND edge.down <> ALL (%(revived)s::bigint[])
              AND edge.choice IS NOT NULL AND edge.resolved_at IS NOT NULL
              AND down.id = edge.down AND down.state = 'waiting'
              -- A choice is decided when none of its edges is open.
              AND EXISTS (SELECT FROM edge AS other
                          WHERE other.down = edge.down AND other.choice = edge.choice
                            AND other.resolved_at IS NULL)
            RETURNING edge.down
        )
        UPDATE job SET blocked_by = blocked_by + more.edges
        FROM (SELECT down, count(*)::integer AS edges FROM opened GROUP BY down) AS more
        WHERE job.id = more.down
        """,
        {"revived": list(revived)},
    )


@dataclass(frozen=True)
class OpenEdge:
    """An edge that was resolved, and is not any more."""

    up: int
    down: int
    require: Require
    choice: int | None  #: another edge with this number may suffice


async def reopen_edges(cursor: Cursor, revived: Sequence[int]) -> list[OpenEdge]:
    """Let ``revived`` wait again for each other, and for what never let them go.

    Those are jobs that wait again. What they wait for is locked already.
    """
    rows = await cursor.rows(
        f"""
        UPDATE edge SET resolved_at = NULL, up_attempt = NULL
        FROM job AS up
        WHERE up.id = edge.up AND edge.down = ANY (%(revived)s::bigint[])
          AND edge.resolved_at IS NOT NULL AND NOT {_STAGE_PASSED}
          AND (edge.up = ANY (%(revived)s::bigint[]) AND NOT {_DECIDED}
               OR NOT {_LET_GO})
        RETURNING edge.up, edge.down, edge.require::text, edge.choice
        """,
        {"revived": list(revived)},
    )
    await cursor.run(
        """
        UPDATE job SET blocked_by = (
            SELECT count(*) FROM edge WHERE edge.down = job.id AND resolved_at IS NULL)
        WHERE id = ANY (%s::bigint[])
        """,
        (sorted(revived),),
    )
    return [
        OpenEdge(up, down, Require(require), choice) for up, down, require, choice in rows
    ]
