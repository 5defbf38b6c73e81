"""The waiting line and the claims.

Locks are taken in one order: ``worker``, then ``ready`` or ``running``, then ``job`` by
id, then ``attempt``, then the jobs downstream, then ``run``; who has a job already takes
its row of ``ready`` only if nobody else has it. Jobs downstream may have smaller ids, so
two transactions can still wait for each other: `Database.transaction` tries again then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from buildmaster.database import Cursor
from buildmaster.matching import JobClass

#: Where dispatchers hear that something was queued; a hint, as all notifications.
READY_CHANNEL = "headrace_ready"


#: Whether the worker ``other`` is there, suits ``job_class`` (the same rule as
#: `buildmaster.matching.suits`) and has not refused the job.
_COULD_TAKE = """
    other.state = 'connected' AND other.slots > 0 AND job_class.tags <@ other.tags
    AND EXISTS (
        SELECT FROM jsonb_array_elements(other.offers) AS offer
        WHERE offer ->> 'isolation' = job_class.isolation::text
          AND job_class.architecture IN ('', offer ->> 'architecture')
          AND (offer -> 'series' @> '["*"]'
               OR offer -> 'series' @> to_jsonb(job_class.series)))
    AND NOT EXISTS (
        SELECT FROM refusal AS earlier
        WHERE earlier.job = {job} AND earlier.worker = other.name
          AND earlier.until > farm_now())
"""


@dataclass(frozen=True)
class Claim:
    """A job that was leased to a worker."""

    job: int
    attempt: int


async def class_for(
    cursor: Cursor,
    architecture: str,
    isolation: str,
    series: Sequence[str],
    tags: Sequence[str],
) -> int:
    """The id of the class with exactly these requirements, made if it is new."""
    key = (architecture, isolation, sorted(set(series)), sorted(set(tags)))
    await cursor.run(
        """
        INSERT INTO job_class (architecture, isolation, series, tags)
        VALUES (%s, %s::isolation, %s::text[], %s::text[])
        ON CONFLICT DO NOTHING
        """,
        key,
    )
    (number,) = await cursor.one(
        """
        SELECT id FROM job_class
        WHERE (architecture, isolation, series, tags)
            = (%s, %s::isolation, %s::text[], %s::text[])
        """,
        key,
    )
    return int(number)


async def classes_but(cursor: Cursor, known: Sequence[int]) -> list[JobClass]:
    """Classes other than those ``known``, in the order of their ids.

    Ids are not given in the order of commits, so the highest known one says nothing.
    """
    rows = await cursor.rows(
        """
        SELECT id, architecture, isolation::text, series, tags FROM job_class
        WHERE id <> ALL (%s::integer[]) ORDER BY id LIMIT 1000
        """,
        (list(known),),
    )
    return [
        JobClass(number, architecture, isolation, tuple(series), tuple(tags))
        for number, architecture, isolation, series, tags in rows
    ]


async def make_ready(cursor: Cursor, jobs: Sequence[int]) -> list[tuple[int, int]]:
    """Queue those of ``jobs`` that wait for nothing; their ids and attempts."""
    rows = await cursor.rows(
        """
        WITH unblocked AS (
            UPDATE job SET state = 'ready', ready_at = farm_now(), not_before = NULL
            WHERE id = ANY (%s::bigint[]) AND state = 'waiting' AND blocked_by = 0
              AND (not_before IS NULL OR not_before <= farm_now())
            RETURNING id, attempt, class, coalesce(manual_score, score) AS score
        ), queued AS (
            INSERT INTO ready (class, position, job, attempt)
            SELECT class, queue_position(score, id), id, attempt FROM unblocked
        )
        SELECT id, attempt FROM unblocked ORDER BY id
        """,
        (sorted(jobs),),
    )
    if rows:
        await cursor.run(f"NOTIFY {READY_CHANNEL}")
    return [(int(job), int(attempt)) for job, attempt in rows]


async def due(cursor: Cursor, limit: int) -> list[int]:
    """Jobs whose time to wait is over, locked; at most ``limit``."""
    rows = await cursor.rows(
        """
        SELECT id FROM job
        WHERE state = 'waiting' AND blocked_by = 0 AND not_before <= farm_now()
        ORDER BY not_before LIMIT %s FOR UPDATE SKIP LOCKED
        """,
        (limit,),
    )
    return [int(job) for (job,) in rows]


async def claim(
    cursor: Cursor, worker: str, classes: Sequence[int], slots: int
) -> list[Claim]:
    """Lease up to ``slots`` of the most urgent jobs of ``classes`` to ``worker``.

    Each class is read in its own order, so depth costs nothing; jobs that the worker
    refused a short time ago are passed over.
    """
    rows = await cursor.rows(
        """
        WITH head AS MATERIALIZED (
            SELECT taken.class, taken.position
            FROM unnest(%(classes)s::integer[]) AS wanted (class)
            CROSS JOIN LATERAL (
                SELECT ready.class, ready.position FROM ready
                WHERE ready.class = wanted.class
                  AND NOT EXISTS (
                      SELECT FROM refusal
                      WHERE refusal.job = ready.job AND refusal.worker = %(worker)s
                        AND refusal.until > farm_now())
                ORDER BY ready.position LIMIT %(slots)s
                FOR UPDATE OF ready SKIP LOCKED
            ) AS taken
            ORDER BY taken.position LIMIT %(slots)s
        ), gone AS (
            DELETE FROM ready USING head
            WHERE ready.class = head.class AND ready.position = head.position
            RETURNING ready.job, ready.attempt, ready.class
        ), claimed AS (
            INSERT INTO running (job, attempt, worker, class)
            SELECT job, attempt, %(worker)s, class FROM gone
            RETURNING job, attempt, worker, assigned_at
        ), assigned AS (
            UPDATE job SET state = 'assigned' FROM claimed WHERE job.id = claimed.job
        ), tried AS (
            UPDATE attempt SET worker = claimed.worker, assigned_at = claimed.assigned_at
            FROM claimed
            WHERE attempt.job = claimed.job AND attempt.number = claimed.attempt
        )
        SELECT job, attempt FROM claimed ORDER BY job
        """,
        {"classes": sorted(classes), "worker": worker, "slots": slots},
    )
    return [Claim(int(job), int(attempt)) for job, attempt in rows]


async def leave_queue(cursor: Cursor, job: int) -> bool:
    """Take ``job`` out of the waiting line; False if it is being claimed just now.

    Never waits: who claims has the row and may wait for the job, which the caller has.
    """
    rows = await cursor.run(
        """
        DELETE FROM ready WHERE job = (
            SELECT job FROM ready WHERE job = %s FOR UPDATE SKIP LOCKED)
        """,
        (job,),
    )
    return rows > 0


async def accept(cursor: Cursor, worker: str, job: int, attempt: int) -> bool:
    """Note that ``worker`` took the attempt; False if it is no longer its lease."""
    rows = await cursor.run(
        """
        WITH lease AS (
            UPDATE running SET accepted_at = farm_now(), renewals = renewals + 1
            WHERE job = %(job)s AND attempt = %(attempt)s AND worker = %(worker)s
              AND accepted_at IS NULL
            RETURNING job, attempt
        ), begun AS (
            UPDATE job SET state = 'running', started_at = farm_now() FROM lease
            WHERE job.id = lease.job AND job.state = 'assigned'
        )
        UPDATE attempt SET started_at = farm_now() FROM lease
        WHERE attempt.job = lease.job AND attempt.number = lease.attempt
        """,
        {"job": job, "attempt": attempt, "worker": worker},
    )
    return rows > 0


async def is_unaccepted(cursor: Cursor, worker: str, job: int, attempt: int) -> bool:
    """Whether the attempt is leased to ``worker``, which has not accepted it; locked."""
    row = await cursor.row(
        """
        SELECT accepted_at IS NULL FROM running
        WHERE job = %s AND attempt = %s AND worker = %s FOR UPDATE
        """,
        (job, attempt, worker),
    )
    return row is not None and bool(row[0])


async def is_accepted(cursor: Cursor, worker: str, job: int, attempt: int) -> bool:
    """Whether the attempt is leased to ``worker``, which has accepted it."""
    row = await cursor.row(
        """
        SELECT 1 FROM running
        WHERE job = %s AND attempt = %s AND worker = %s AND accepted_at IS NOT NULL
        """,
        (job, attempt, worker),
    )
    return row is not None


async def give_back(cursor: Cursor, worker: str, job: int, attempt: int) -> bool:
    """Put an attempt that was never accepted back into the line.

    False if the lease is not the worker's, or it has accepted.
    """
    gone = await cursor.run(
        """
        DELETE FROM running
        WHERE job = %s AND attempt = %s AND worker = %s AND accepted_at IS NULL
        """,
        (job, attempt, worker),
    )
    if not gone:
        return False
    await cursor.run("UPDATE job SET state = 'waiting' WHERE id = %s", (job,))
    await cursor.run(
        """
        UPDATE attempt SET worker = NULL, assigned_at = NULL
        WHERE job = %s AND number = %s
        """,
        (job, attempt),
    )
    await make_ready(cursor, [job])
    return True


async def refuse(
    cursor: Cursor, job: int, worker: str, reason: str, seconds: float
) -> bool:
    """Pass over ``worker`` for ``job`` for ``seconds``, if another could do it.

    False if there is no other that could and has not refused it, too.
    """
    rows = await cursor.run(
        f"""
        INSERT INTO refusal (job, worker, reason, until)
        SELECT job.id, %(worker)s, %(reason)s,
               farm_now() + make_interval(secs => %(seconds)s)
        FROM job JOIN job_class ON job_class.id = job.class
        WHERE job.id = %(job)s AND EXISTS (
            SELECT FROM worker AS other
            WHERE other.name <> %(worker)s AND {_COULD_TAKE.format(job="job.id")})
        ON CONFLICT (job, worker) DO UPDATE
        SET reason = excluded.reason, until = excluded.until
        """,
        {"job": job, "worker": worker, "reason": reason, "seconds": seconds},
    )
    return rows > 0


async def forget_refusals(cursor: Cursor, job: int) -> None:
    """Let every worker have ``job`` again."""
    await cursor.run("DELETE FROM refusal WHERE job = %s", (job,))


async def forget_vain_refusals(cursor: Cursor) -> None:
    """Remove refusals that are over, and those of queued jobs that nobody else can take."""
    await cursor.run(
        f"""
        DELETE FROM refusal
        WHERE until <= farm_now() OR EXISTS (
            SELECT FROM ready JOIN job_class ON job_class.id = ready.class
            WHERE ready.job = refusal.job AND NOT EXISTS (
                SELECT FROM worker AS other WHERE {_COULD_TAKE.format(job="refusal.job")}))
        """
    )


async def renew(cursor: Cursor, worker: str, attempts: Sequence[tuple[int, int]]) -> None:
    """Count one more sign of life for each lease of ``worker`` among ``attempts``."""
    await cursor.run(
        """
        UPDATE running SET renewals = renewals + 1
        FROM unnest(%s::bigint[], %s::integer[]) AS held (job, attempt)
        WHERE running.job = held.job AND running.attempt = held.attempt
          AND running.worker = %s
        """,
        ([job for job, _ in attempts], [number for _, number in attempts], worker),
    )


@dataclass(frozen=True)
class Lease:
    """A row of ``running``, as the reaper sees it."""

    job: int
    attempt: int
    worker: str
    renewals: int
    accepted: bool
    cancelling: bool  #: somebody asked the job to stop
    reachable: bool  #: the worker has a session with some master
    assigned_at: datetime  #: tells a lease from an earlier one of the same attempt
    run_limit: float | None  #: seconds that the attempt may take


async def leases(cursor: Cursor) -> list[Lease]:
    """Every lease there is; there are no more than the farm has slots."""
    rows = await cursor.rows(
        """
        SELECT running.job, running.attempt, running.worker, running.renewals,
               running.accepted_at IS NOT NULL, job.cancel_asked_at IS NOT NULL,
               worker.state = 'connected', running.assigned_at, job.run_limit
        FROM running JOIN job ON job.id = running.job
        JOIN worker ON worker.name = running.worker
        ORDER BY running.job LIMIT 100000
        """
    )
    return [Lease(*row) for row in rows]


async def leases_of(
    cursor: Cursor, worker: str, *, locked: bool = False
) -> list[tuple[int, int, bool]]:
    """Job, attempt, and whether it was accepted, of every lease of ``worker``.

    ``locked``: nobody else ends one of them before this transaction is over.
    """
    rows = await cursor.rows(
        f"""
        SELECT job, attempt, accepted_at IS NOT NULL FROM running
        WHERE worker = %s ORDER BY job {"FOR UPDATE" if locked else ""}
        """,
        (worker,),
    )
    return [(int(job), int(attempt), bool(accepted)) for job, attempt, accepted in rows]
