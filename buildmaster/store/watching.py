"""What monitoring asks of the books: lines by what they need, failures by cause, lag."""

from __future__ import annotations

from dataclasses import dataclass

from buildmaster.database import Database

#: Failures that are looked at, the newest first; and workers that are named.
MOST_FAILURES, MOST_WORKERS = 20_000, 1000


@dataclass(frozen=True)
class Line:
    """Jobs in the line that need the same."""

    architecture: str  #: empty: any
    isolation: str
    performs: str
    jobs: int
    oldest: float  #: seconds


@dataclass(frozen=True)
class Failures:
    """Jobs that failed in the last day."""

    result: str
    cause: str  #: a classification, or none
    jobs: int


@dataclass(frozen=True)
class Faults:
    """Attempts of the last day that a worker could not run."""

    worker: str
    attempts: int


@dataclass(frozen=True)
class Seen:
    """One look."""

    lines: tuple[Line, ...]
    failures: tuple[Failures, ...]
    faults: tuple[Faults, ...]
    outages: int


async def look(database: Database) -> Seen:
    """All of it; reads the whole line once, and no history."""
    lines = await database.rows(
        """
        WITH of_class AS (
            SELECT class, count(*) AS jobs, min(job) AS oldest FROM ready GROUP BY class),
        of_sort AS (
            SELECT c.architecture, c.isolation::text AS isolation, c.performs,
                   sum(o.jobs)::bigint AS jobs, min(o.oldest) AS oldest
              FROM of_class o JOIN job_class c ON c.id = o.class
             GROUP BY c.architecture, c.isolation, c.performs
             ORDER BY jobs DESC LIMIT 1000)
        SELECT s.architecture, s.isolation, coalesce(s.performs, ''), s.jobs,
               greatest(0, coalesce(extract(epoch FROM farm_now() - j.ready_at), 0))::float8
          FROM of_sort s JOIN job j ON j.id = s.oldest
         ORDER BY 1, 2, 3
        """
    )
    failures = await database.rows(
        f"""
        SELECT f.result::text, coalesce(k.classification::text, 'none'), count(*)
          FROM (SELECT j.id, j.attempt, j.result, j.finished_at
                  FROM (SELECT job FROM failed_job ORDER BY job DESC
                         LIMIT {MOST_FAILURES}) x JOIN job j ON j.id = x.job
                 WHERE is_failure(j.result)) f
          LEFT JOIN classified k ON (k.job, k.attempt) = (f.id, f.attempt)
         WHERE f.finished_at > farm_now() - interval '1 day'
         GROUP BY 1, 2 ORDER BY 1, 2
        """
    )
    faults = await database.rows(
        f"""
        SELECT worker, count(*) FROM fault
         WHERE at > farm_now() - interval '1 day' AND NOT is_forgiven
         GROUP BY worker ORDER BY count(*) DESC, worker LIMIT {MOST_WORKERS}
        """
    )
    [outages] = await database.one("SELECT count(*) FROM outage WHERE NOT is_over")
    return Seen(
        tuple(Line(*row) for row in lines),
        tuple(Failures(*row) for row in failures),
        tuple(Faults(*row) for row in faults),
        int(outages),
    )


async def event_lag(database: Database) -> float:
    """Seconds for which the oldest event that followers cannot have yet has waited."""
    [seconds] = await database.one(
        """
        SELECT coalesce(extract(epoch FROM farm_now() - min(at)), 0)::float8 FROM event
         WHERE transaction >= pg_snapshot_xmin(pg_current_snapshot())
        """
    )
    return max(0.0, float(seconds))
