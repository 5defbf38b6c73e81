"""What operators decide, as rows: duties of workers, holds of the line, scores, places."""

from __future__ import annotations

from collections.abc import Sequence

from buildmaster.database import Cursor, Database
from buildmaster.matching import Needs
from buildmaster.status.questions import LARGEST_LIMIT
from buildmaster.store import queue
from buildmaster.store.documents.fragments import at
from buildmaster.store.documents.pages import Listing
from buildmaster.store.events import CURSOR


async def wake_dispatchers(cursor: Cursor) -> None:
    """Let every master look at all lines from their beginnings."""
    await cursor.run("SELECT pg_notify(%s, '')", (queue.READY_CHANNEL,))


async def set_duty(
    cursor: Cursor, workers: Sequence[str], duty: str, why: str, by: str, until: str | None
) -> None:
    """Give workers a duty; the one of active ends a quarantine, too."""
    await cursor.run(
        """
        UPDATE worker SET duty = %(duty)s::worker_duty,
            duty_reason = CASE WHEN %(duty)s = 'active' THEN '' ELSE %(why)s END,
            duty_by = CASE WHEN %(duty)s = 'active' THEN '' ELSE %(by)s END,
            duty_until = CASE WHEN %(duty)s = 'active' THEN NULL
                              ELSE %(until)s::timestamptz END,
            quarantined_at = CASE WHEN %(duty)s = 'active' THEN NULL
                                  ELSE quarantined_at END,
            quarantine_reason = CASE WHEN %(duty)s = 'active' THEN ''
                                     ELSE quarantine_reason END
        WHERE name = ANY (%(workers)s::text[])
        """,
        {"duty": duty, "why": why, "by": by, "until": until, "workers": list(workers)},
    )


async def retired_of(cursor: Cursor, workers: Sequence[str]) -> dict[str, str]:
    """Those that may not join again, with nothing left to end there, and why."""
    rows = await cursor.rows(
        """
        SELECT name, duty_reason FROM worker
        WHERE name = ANY (%s::text[]) AND duty = 'retired'
          AND NOT EXISTS (SELECT FROM running WHERE running.worker = worker.name)
        """,
        (sorted(workers),),
    )
    return {str(name): str(reason) for name, reason in rows}


async def is_future(cursor: Cursor, moment: str) -> bool:
    """Whether a time, in ISO 8601, is still to come."""
    (future,) = await cursor.one("SELECT %s::timestamptz > farm_now()", (moment,))
    return bool(future)


async def hold(
    cursor: Cursor,
    scope: str,
    name: str,
    why: str,
    by: str,
    address: str,
    until: str | None,
) -> bool:
    """Keep jobs from starting; False if that was so already, and has another reason now."""
    if scope == "project":
        await cursor.run("DELETE FROM hold_release WHERE name = %s", (name,))
    (is_new,) = await cursor.one(
        """
        INSERT INTO queue_hold (scope, name, reason, held_by, held_from, until)
        VALUES (%s::hold_scope, %s, %s, %s, %s, %s::timestamptz)
        ON CONFLICT ON CONSTRAINT queue_hold_pkey DO UPDATE
        SET reason = excluded.reason, held_by = excluded.held_by,
            held_from = excluded.held_from, until = excluded.until
        RETURNING xmax = 0
        """,
        (scope, name, why, by, address, until),
    )
    return bool(is_new)


async def release(cursor: Cursor, scope: str, name: str) -> bool:
    """Let them start again; False if nothing was held."""
    gone = await cursor.run(
        "DELETE FROM queue_hold WHERE scope = %s::hold_scope AND name = %s", (scope, name)
    )
    if gone and scope == "project":
        await cursor.run(
            "INSERT INTO hold_release VALUES (%s) ON CONFLICT DO NOTHING", (name,)
        )
    return gone > 0


async def hold_list(database: Database) -> Listing:
    """Everything that is held, as JSON."""
    items, cursor = await database.one(
        f"""
        SELECT (SELECT coalesce(json_agg(json_build_object(
                    'id', h.scope || CASE WHEN h.name = '' THEN '' ELSE ':' || h.name END,
                    'kind', 'hold', 'scope', h.scope, 'name', h.name, 'reason', h.reason,
                    'by', h.held_by, 'from', h.held_from,
                    'created_at', {at("h.created_at")}, 'until', {at("h.until")})
                    ORDER BY h.scope, h.name), '[]')
                FROM (SELECT * FROM queue_hold ORDER BY scope, name
                      LIMIT {LARGEST_LIMIT}) AS h)::text, {CURSOR}
        """
    )
    return Listing(items, None, cursor)


async def projects_to_settle(cursor: Cursor) -> tuple[list[str], list[str]]:
    """Held projects whose jobs still stand in the line, and those to be let go."""
    held, released = await cursor.one(
        """
        SELECT ARRAY(SELECT name FROM queue_hold WHERE scope = 'project' AND NOT is_parked
                     ORDER BY name LIMIT 100),
               ARRAY(SELECT name FROM hold_release ORDER BY name LIMIT 100)
        """
    )
    return list(held), list(released)


async def park_project(cursor: Cursor, project: str, most: int) -> bool:
    """Park some jobs of a held project; whether there may be more."""
    _, is_over = await cursor.one(
        "SELECT jobs, is_over FROM park_project(%s, %s)", (project, most)
    )
    return not is_over


async def release_project(cursor: Cursor, project: str, most: int) -> bool:
    """Let some jobs of a released project go; whether there may be more."""
    _, is_over = await cursor.one(
        "SELECT jobs, is_over FROM release_project(%s, %s)", (project, most)
    )
    return not is_over


async def end_due(cursor: Cursor) -> None:
    """End duties and holds whose time is over."""
    await cursor.run("SELECT end_due()")


async def lock_line(cursor: Cursor, jobs: Sequence[int]) -> list[int]:
    """Take the rows of ``jobs`` in the line, but for those that are being claimed."""
    (mine,) = await cursor.one("SELECT lock_line(%s::bigint[])", (list(jobs),))
    return [int(job) for job in mine]


async def leave_line(cursor: Cursor, jobs: Sequence[int]) -> None:
    """Take jobs out of the line whose rows there were locked."""
    await cursor.run("SELECT leave_line(%s::bigint[])", (list(jobs),))


async def rescore(cursor: Cursor, jobs: Sequence[int], score: int | None) -> list[int]:
    """Give jobs that are not done another score (None: their own); which."""
    (changed,) = await cursor.one(
        "SELECT rescore_jobs(%s::bigint[], %s)", (list(jobs), score)
    )
    return [int(job) for job in changed]


async def needs_of_job(cursor: Cursor, job: int) -> Needs | None:
    """What a job needs; None if there is no such job."""
    row = await cursor.row("SELECT class FROM job WHERE id = %s", (job,))
    if row is None:
        return None
    found = await queue.needs_of(cursor, [row[0]])
    return found[row[0]]


async def reclass(cursor: Cursor, job: int, class_id: int) -> str | None:
    """Put a job into another class; its state if it has begun, else None."""
    (state,) = await cursor.one("SELECT reclass_job(%s, %s)", (job, class_id))
    return None if state is None else str(state)


async def ask_all_to_cancel(cursor: Cursor, jobs: Sequence[int], reason: str) -> None:
    """Note that somebody asked jobs to stop that workers have, or are about to have."""
    await cursor.run(
        """
        WITH asked AS (
            UPDATE job SET cancel_asked_at = farm_now(), cancel_reason = %s
            WHERE id = ANY (%s::bigint[]) AND cancel_asked_at IS NULL RETURNING id
        )
        -- If nobody has one after all, nobody would tell of its end.
        INSERT INTO cancel_wish (job) SELECT id FROM asked ON CONFLICT DO NOTHING
        """,
        (reason, list(jobs)),
    )
