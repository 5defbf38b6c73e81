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
from typing import Any

from buildmaster.database import Cursor
from buildmaster.matching import JobClass, Needs

#: Where dispatchers hear that something was queued; a hint, as all notifications.
READY_CHANNEL = "headrace_ready"


async def class_for(cursor: Cursor, needs: Needs) -> int:
    """The id of the class with exactly these requirements, made if it is new."""
    key = (
        needs.architecture,
        needs.isolation,
        sorted(set(needs.series)),
        sorted(set(needs.tags)),
        needs.performs,
        needs.worker,
        needs.slots,
        needs.cpu,
        needs.memory,
        needs.disk,
    )
    await cursor.run(
        """
        INSERT INTO job_class (architecture, isolation, series, tags, performs, worker,
                               slots, cpu, memory, disk)
        VALUES (%s, %s::isolation, %s::text[], %s::text[], %s, %s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        key,
    )
    (number,) = await cursor.one(
        """
        SELECT id FROM job_class
        WHERE (architecture, isolation, series, tags, performs, worker, slots, cpu, memory,
               disk)
            = (%s, %s::isolation, %s::text[], %s::text[], %s, %s, %s, %s, %s, %s)
        """,
        key,
    )
    return int(number)


async def classes_but(cursor: Cursor, known: Sequence[int]) -> list[JobClass]:
    """Classes other than those ``known``, in the order of their ids.

    Ids are not given in the order of commits, so the highest known one says nothing.
    """
    rows = await cursor.rows(
        f"SELECT {_NEEDS} FROM job_class WHERE id <> ALL (%s::integer[]) "
        f"ORDER BY id LIMIT 1000",
        (list(known),),
    )
    return [JobClass(number, _needs(fields)) for number, *fields in rows]


async def needs_of(cursor: Cursor, classes: Sequence[int]) -> dict[int, Needs]:
    """What the jobs of these classes need."""
    rows = await cursor.rows(
        f"SELECT {_NEEDS} FROM job_class WHERE id = ANY (%s::integer[]) LIMIT 100000",
        (list(classes),),
    )
    return {number: _needs(fields) for number, *fields in rows}


_NEEDS = """
    id, architecture, isolation::text, series, tags, performs, worker, slots, cpu, memory,
    disk
"""


def _needs(fields: Sequence[Any]) -> Needs:
    architecture, isolation, series, tags, *others = fields
    return Needs(architecture, isolation, tuple(series), tuple(tags), *others)


@dataclass(frozen=True)
class Turns:
    """Where the next jobs of an owner stand among all who wait."""

    first: int
    distance: int

    def of(self, number: int) -> int:
        """The place of the one with this ``number``, counted from 0."""
        return self.first + number * self.distance


async def take_turns(
    cursor: Cursor,
    owner: str,
    architecture: str,
    jobs: int,
    *,
    class_id: int | None = None,
    score: int = 500_000,
) -> Turns:
    """The turns of so many new jobs of ``owner`` that wait for ``architecture``.

    They begin where the others of that class and score are; without a class, where those
    of the whole architecture are.
    """
    row = await cursor.one(
        "SELECT first, distance FROM take_turns(%s, %s, %s, %s, %s)",
        (owner, architecture, jobs, class_id, score),
    )
    return Turns(*row)


async def make_ready(cursor: Cursor, jobs: Sequence[int]) -> list[tuple[int, int]]:
    """Queue those of ``jobs`` that wait for nothing, and tell; their ids and attempts.

    Those whose time has not come wait for it; those of a held project are parked.
    """
    rows = await cursor.rows(
        "SELECT job, attempt FROM make_ready(%s::bigint[])", (sorted(jobs),)
    )
    return [(int(job), int(attempt)) for job, attempt in rows]


async def make_due_ready(cursor: Cursor, limit: int) -> int:
    """Queue jobs whose time to wait is over, ``limit`` at most; how many."""
    rows = await cursor.rows(
        """
        WITH due AS (
            DELETE FROM delayed WHERE job IN (
                SELECT job FROM delayed WHERE not_before <= farm_now()
                ORDER BY not_before LIMIT %s FOR UPDATE SKIP LOCKED)
            RETURNING job
        )
        SELECT job FROM due ORDER BY job
        """,
        (limit,),
    )
    if rows:
        await make_ready(cursor, [job for (job,) in rows])
    return len(rows)


async def leave_queue(cursor: Cursor, job: int) -> bool:
    """Take ``job`` out of the waiting line; False if it is being claimed just now.

    Never waits: who claims has the row and may wait for the job, which the caller has.
    """
    (left,) = await cursor.one("SELECT leave_queue(%s)", (job,))
    return bool(left)


async def accept(cursor: Cursor, worker: str, job: int, attempt: int) -> bool:
    """Note that ``worker`` took the attempt; False if it is not its lease."""
    row = await cursor.one(
        """
        SELECT what FROM accept_jobs(ARRAY[%s]::bigint[], ARRAY[%s]::integer[], ARRAY[%s])
        """,
        (job, attempt, worker),
    )
    return bool(row[0] == "accepted")


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
    """Put an attempt that was never accepted back into the line, where it stood.

    If somebody asked it to stop it ends instead. False if the lease is not the worker's,
    or it has accepted.
    """
    (given,) = await cursor.one("SELECT give_back(%s, %s, %s)", (worker, job, attempt))
    return bool(given)


async def refuse(
    cursor: Cursor, job: int, worker: str, reason: str, seconds: float
) -> bool:
    """Pass over ``worker`` for ``job`` for ``seconds``, if another could do it.

    False if there is no other that could and has not refused it, too.
    """
    (passed_over,) = await cursor.one(
        "SELECT pass_over(%s, %s, %s, %s)", (job, worker, reason, seconds)
    )
    return bool(passed_over)


async def settle_cancels(cursor: Cursor) -> None:
    """End jobs that were to stop while they could not be taken out of the line."""
    await cursor.run("SELECT settle_cancels()")


async def fill_semaphores(cursor: Cursor) -> None:
    """Put jobs that stand aside for semaphores with free places back into the line."""
    await cursor.run("SELECT fill_semaphores(NULL)")


async def forget_refusals(cursor: Cursor, job: int) -> None:
    """Let every worker have ``job`` again."""
    await cursor.run("DELETE FROM refusal WHERE job = %s", (job,))


async def forget_vain_refusals(cursor: Cursor) -> None:
    """Remove refusals that are over, and those of queued jobs that nobody else can take."""
    await cursor.run(
        """
        DELETE FROM refusal
        WHERE until <= farm_now() OR EXISTS (
            SELECT FROM ready JOIN job_class ON job_class.id = ready.class
            WHERE ready.job = refusal.job AND NOT EXISTS (
                SELECT FROM worker AS other
                WHERE could_take(other, job_class, refusal.job)))
        """
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


@dataclass(frozen=True)
class OwnLease:
    """A lease of one worker."""

    job: int
    attempt: int
    accepted: bool
    class_id: int
    kind: str
    is_native: bool
    number: int


async def leases_of(cursor: Cursor, worker: str, *, locked: bool = False) -> list[OwnLease]:
    """Every lease of ``worker``, in the order of the jobs.

    ``locked``: nobody else ends one of them before this transaction is over.
    """
    rows = await cursor.rows(
        f"""
        SELECT running.job, running.attempt, accepted_at IS NOT NULL, running.class,
               job.kind, job_class.performs <> '', running.lease
        FROM running JOIN job ON job.id = running.job
        JOIN job_class ON job_class.id = running.class
        WHERE running.worker = %s ORDER BY running.job
        {"FOR UPDATE OF running" if locked else ""}
        """,
        (worker,),
    )
    return [OwnLease(*row) for row in rows]
