"""Faults, quarantines, outages and limits of time, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildmaster.blame import Fault
from buildmaster.database import Cursor

#: Faults that are looked at, jobs that one round parks or lets go.
FAULTS, BATCH = 2000, 500
#: Seconds for which faults are kept.
_KEPT = 86400.0


@dataclass(frozen=True)
class KnownFault:
    """A row of ``fault`` that nothing outside is to blame for yet."""

    id: int
    attempt: int
    fault: Fault


@dataclass(frozen=True)
class Outage:
    """Something outside that is, or was, away."""

    id: int
    failure: str
    probes: int
    probe: int | None
    probe_attempt: int | None
    next_at: float
    is_over: bool


@dataclass(frozen=True)
class Suspects:
    """What the rules look at; times are seconds since 1970, by the database's clock."""

    now: float
    faults: tuple[KnownFault, ...]
    working: frozenset[str]
    quarantined: dict[str, float]  #: since when
    outages: tuple[Outage, ...]


async def suspects(cursor: Cursor, window: float) -> Suspects | None:
    """All of it; None if there is nothing, or another master looks at it just now."""
    (something,) = await cursor.one(
        """
        SELECT (EXISTS (SELECT FROM fault WHERE at > farm_now() - make_interval(secs => %s))
                OR EXISTS (SELECT FROM worker WHERE quarantined_at IS NOT NULL)
                OR EXISTS (SELECT FROM outage))
               AND pg_try_advisory_xact_lock(hashtext('headrace.blame'))
        """,
        (window,),
    )
    if not something:
        return None
    faults = await cursor.rows(
        """
        SELECT f.id, f.attempt, extract(epoch FROM f.at)::double precision, f.job, f.worker,
               f.reason
        FROM fault AS f JOIN job AS j ON j.id = f.job
        WHERE f.at > farm_now() - make_interval(secs => %s) AND NOT f.is_forgiven
          -- What would repeat anywhere is neither a worker's fault nor an outage's.
          AND NOT (j.state = 'done' AND j.attempt = f.attempt AND j.errors < j.error_limit
                   AND j.lost_workers = 0)
        ORDER BY f.at DESC LIMIT %s
        """,
        (window, FAULTS),
    )
    now, working, quarantined, since = await cursor.one(
        """
        SELECT extract(epoch FROM farm_now())::double precision,
               ARRAY(SELECT name FROM worker WHERE state = 'connected' AND duty = 'active'),
               ARRAY(SELECT name FROM worker
                     WHERE quarantined_at IS NOT NULL ORDER BY name),
               ARRAY(SELECT extract(epoch FROM quarantined_at)::double precision FROM worker
                     WHERE quarantined_at IS NOT NULL ORDER BY name)
        """
    )
    outages = await cursor.rows(
        """
        SELECT id, failure, probes, probe, probe_attempt,
               extract(epoch FROM next_at)::double precision, is_over
        FROM outage ORDER BY id LIMIT 100
        """
    )
    return Suspects(
        now,
        tuple(KnownFault(one, attempt, Fault(*of)) for one, attempt, *of in faults),
        frozenset(working),
        dict(zip(quarantined, since, strict=True)),
        tuple(Outage(*row) for row in outages),
    )


async def quarantine(cursor: Cursor, worker: str, reason: str) -> bool:
    """Give a worker one job at a time; False if it has that already."""
    return (
        await cursor.run(
            """
            UPDATE worker SET quarantined_at = farm_now(), quarantine_reason = %s
            WHERE name = %s AND quarantined_at IS NULL
            """,
            (reason, worker),
        )
        > 0
    )


async def end_quarantines(cursor: Cursor) -> list[str]:
    """Trust workers again whose canary has passed; whom."""
    rows = await cursor.rows(
        """
        UPDATE worker SET quarantined_at = NULL, quarantine_reason = ''
        WHERE quarantined_at IS NOT NULL AND EXISTS (
            SELECT FROM attempt
            WHERE attempt.worker = worker.name AND attempt.assigned_at > quarantined_at
              AND attempt.result IN ('success', 'failure'))
        RETURNING name
        """
    )
    return sorted(str(name) for (name,) in rows)


async def rest(cursor: Cursor, worker: str, until: float) -> None:
    """Give a worker no canary before a time, unless somebody decided about it."""
    await cursor.run(
        """
        UPDATE worker SET duty = 'paused', duty_by = 'the farm',
            duty_reason = 'in quarantine, between two canaries',
            duty_until = to_timestamp(%s)
        WHERE name = %s AND duty = 'active' AND to_timestamp(%s) > farm_now()
        """,
        (until, worker, until),
    )


async def open_outage(cursor: Cursor, failure: str, reason: str, delay: float) -> int:
    """The outage of a failure, made if it is new."""
    await cursor.run(
        """
        INSERT INTO outage (failure, reason, began_at, next_at)
        VALUES (%s, %s, farm_now(), farm_now() + make_interval(secs => %s))
        ON CONFLICT (failure) WHERE NOT is_over DO NOTHING
        """,
        (failure, reason, delay),
    )
    (number,) = await cursor.one(
        "SELECT id FROM outage WHERE failure = %s AND NOT is_over", (failure,)
    )
    return int(number)


async def park(cursor: Cursor, outage: int, jobs: Sequence[int]) -> list[int]:
    """Park jobs that met an outage, and take back their errors; which."""
    (parked,) = await cursor.one(
        "SELECT park_for_outage(%s, %s::bigint[])", (outage, list(jobs))
    )
    return [int(job) for job in parked]


async def ended_by(cursor: Cursor, attempts: Sequence[tuple[int, int]]) -> list[int]:
    """The jobs among these (job, attempt) that are done because of just that error."""
    rows = await cursor.rows(
        """
        SELECT j.id FROM unnest(%s::bigint[], %s::integer[]) AS t (job, attempt)
        JOIN job AS j ON j.id = t.job AND j.attempt = t.attempt
        WHERE j.state = 'done' AND j.result = 'error' AND j.errors >= j.error_limit
        ORDER BY j.id
        """,
        ([job for job, _ in attempts], [attempt for _, attempt in attempts]),
    )
    return [int(job) for (job,) in rows]


@dataclass(frozen=True)
class ProbeRow:
    """The attempt that tries whether an outage is over."""

    result: str | None  #: None while it has not ended
    worker: str
    reason: str


async def probe_of(cursor: Cursor, job: int, attempt: int) -> ProbeRow | None:
    """How a probe stands; None if there is no such attempt."""
    row = await cursor.row(
        """
        SELECT result::text, coalesce(worker, ''), reason FROM attempt
        WHERE job = %s AND number = %s
        """,
        (job, attempt),
    )
    return ProbeRow(*row) if row else None


async def send_probe(cursor: Cursor, outage: int) -> int | None:
    """Let one job of an outage go to try; None if none is left."""
    row = await cursor.row(
        """
        WITH first AS (
            SELECT o.job FROM outage_job AS o JOIN job AS j ON j.id = o.job
            WHERE o.outage = %(outage)s AND j.state = 'parked'
              AND starts_with(j.parked_for, 'outage ' || o.outage || ': ')
            ORDER BY o.job LIMIT 1
        )
        SELECT first.job, job.attempt FROM first JOIN job ON job.id = first.job
        """,
        {"outage": outage},
    )
    if row is None:
        return None
    job, attempt = row
    await cursor.run("SELECT let_go(ARRAY[%s]::bigint[])", (job,))
    await cursor.run(
        "UPDATE outage SET probe = %s, probe_attempt = %s WHERE id = %s",
        (job, attempt, outage),
    )
    return int(job)


async def probe_later(cursor: Cursor, outage: int, delay: float) -> None:
    """The probe met it, too: another one follows after ``delay`` seconds."""
    await cursor.run(
        """
        UPDATE outage SET probes = probes + 1, probe = NULL, probe_attempt = NULL,
               next_at = farm_now() + make_interval(secs => %s)
        WHERE id = %s
        """,
        (delay, outage),
    )


async def end_outage(cursor: Cursor, outage: int, faults: Sequence[int]) -> None:
    """It is over: what it did is nobody's fault."""
    await cursor.run("UPDATE outage SET is_over = true WHERE id = %s", (outage,))
    await cursor.run(
        "UPDATE fault SET is_forgiven = true WHERE id = ANY (%s::bigint[])", (list(faults),)
    )


async def let_outage_go(cursor: Cursor, outage: int) -> bool:
    """Let some of the jobs of an outage go that is over; whether there may be more."""
    rows = await cursor.rows(
        """
        DELETE FROM outage_job WHERE outage = %s AND job IN (
            SELECT job FROM outage_job WHERE outage = %s ORDER BY job LIMIT %s)
        RETURNING job
        """,
        (outage, outage, BATCH),
    )
    await cursor.run(
        """
        SELECT let_go(ARRAY(
            SELECT id FROM job WHERE id = ANY (%s::bigint[]) AND state = 'parked'
              AND starts_with(parked_for, 'outage ' || %s || ': ') ORDER BY id))
        """,
        ([job for (job,) in rows], outage),
    )
    if len(rows) == BATCH:
        return True
    await cursor.run("DELETE FROM outage WHERE id = %s", (outage,))
    return False


async def forget_faults(cursor: Cursor) -> None:
    """Remove faults that nobody looks at any more."""
    await cursor.run(
        "DELETE FROM fault WHERE at < farm_now() - make_interval(secs => %s)", (_KEPT,)
    )


@dataclass(frozen=True)
class Overdue:
    """A leased attempt of a job that has broken a limit of time."""

    job: int
    attempt: int
    why: str


async def end_overdue(cursor: Cursor, most: int) -> list[Overdue]:
    """End jobs without a worker that broke a limit; those that a worker has."""
    rows = await cursor.rows("SELECT job, attempt, why FROM end_overdue(%s)", (most,))
    return [Overdue(*row) for row in rows]
