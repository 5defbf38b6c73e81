"""Compares what the queue keeps beside the facts with the facts."""

from __future__ import annotations

from dataclasses import dataclass

from buildmaster.database import Cursor

#: Differences that are told one by one.
LIMIT = 1000


@dataclass(frozen=True)
class Difference:
    """Something that the books keep, and what it should be."""

    what: str  #: as in blocked_by, line, lease, open_jobs, hold, count
    job: int | None
    run: int | None
    worker: str | None
    name: str | None  #: of a semaphore, or of what is counted
    kept: str
    should_be: str

    def __str__(self) -> str:
        about = [
            f"{kind} {value}"
            for kind, value in (
                ("job", self.job),
                ("run", self.run),
                ("worker", self.worker),
                ("for", self.name),
            )
            if value is not None
        ]
        return f"{self.what} of {', '.join(about)} is {self.kept}, not {self.should_be}"


async def audit(cursor: Cursor) -> list[Difference]:
    """The first `LIMIT` differences; none in sound books. Reads every job once."""
    # A large farm's takes longer than other reading may.
    await cursor.run("SET LOCAL statement_timeout = '600s'")
    rows = await cursor.rows(
        f"""
        SELECT what, job, run, worker, name, kept, should_be FROM audit_queue()
        ORDER BY what, job, run, name LIMIT {LIMIT}
        """
    )
    return [Difference(*row) for row in rows]


async def begin_audit(cursor: Cursor, every: float) -> bool:
    """Whether it is time: nobody has audited within ``every`` seconds. It is noted."""
    row = await cursor.row(
        """
        INSERT INTO audit AS last (begun_at) VALUES (farm_now())
        ON CONFLICT (sole) DO UPDATE SET begun_at = excluded.begun_at, differences = NULL
        WHERE last.begun_at <= farm_now() - make_interval(secs => %s)
        RETURNING begun_at
        """,
        (every,),
    )
    return row is not None


async def note_audit(cursor: Cursor, differences: int) -> None:
    """Note what the audit that was begun has found."""
    await cursor.run("UPDATE audit SET differences = %s", (differences,))
