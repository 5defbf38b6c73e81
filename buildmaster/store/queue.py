"""The waiting line and the claims.

Locks are taken in one order everywhere: ``ready`` or ``running``, then ``job`` by id,
then ``attempt``, then the jobs downstream, then ``run``. So no two transactions can wait
for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildmaster.database import Cursor
from buildmaster.matching import JobClass

#: Where dispatchers hear that something was queued; a hint, as all notifications.
READY_CHANNEL = "headrace_ready"


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


async def classes_after(cursor: Cursor, known: int) -> list[JobClass]:
    """Classes with an id above ``known``, in the order of their ids."""
    rows = await cursor.rows(
        """
        SELECT id, architecture, isolation::text, series, tags FROM job_class
        WHERE id > %s ORDER BY id LIMIT 1000
        """,
        (known,),
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
    """Take ``job`` out of the waiting line; say whether it stood there."""
    return await cursor.run("DELETE FROM ready WHERE job = %s", (job,)) > 0


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
        """
        INSERT INTO refusal (job, worker, reason, until)
        SELECT job.id, %(worker)s, %(reason)s,
               farm_now() + make_interval(secs => %(seconds)s)
        FROM job JOIN job_class ON job_class.id = job.class
        WHERE job.id = %(job)s AND EXISTS (
            SELECT FROM worker AS other
            WHERE other.name <> %(worker)s AND other.state = 'connected'
              AND NOT EXISTS (
                  SELECT FROM refusal AS earlier
                  WHERE earlier.job = job.id AND earlier.worker = other.name
                    AND earlier.until > farm_now())
              AND other.offers @> jsonb_build_array(jsonb_build_object(
                  'isolation', job_class.isolation,
                  'architecture', job_class.architecture)))
        ON CONFLICT (job, worker) DO UPDATE
        SET reason = excluded.reason, until = excluded.until
        """,
        {"job": job, "worker": worker, "reason": reason, "seconds": seconds},
    )
    return rows > 0


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


async def leases(cursor: Cursor) -> list[Lease]:
    """Every lease there is; there are no more than the farm has slots."""
    rows = await cursor.rows(
        """
        SELECT running.job, running.attempt, running.worker, running.renewals,
               running.accepted_at IS NOT NULL, job.cancel_asked_at IS NOT NULL,
               worker.state = 'connected'
        FROM running JOIN job ON job.id = running.job
        JOIN worker ON worker.name = running.worker
        ORDER BY running.job LIMIT 100000
        """
    )
    return [Lease(*row) for row in rows]


async def leases_of(cursor: Cursor, worker: str) -> list[tuple[int, int, bool]]:
    """Job, attempt, and whether it was accepted, of every lease of ``worker``."""
    rows = await cursor.rows(
        """
        SELECT job, attempt, accepted_at IS NOT NULL FROM running
        WHERE worker = %s ORDER BY job
        """,
        (worker,),
    )
    return [(int(job), int(attempt), bool(accepted)) for job, attempt, accepted in rows]
