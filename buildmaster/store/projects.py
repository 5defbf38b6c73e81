"""Of which repository a run, a job or a file is."""

from __future__ import annotations

from buildmaster.database import Database


async def repository_of_run(database: Database, run: int) -> str | None:
    """The run's repository; None if there is no such run."""
    row = await database.row("SELECT repository FROM run WHERE id = %s", (run,))
    return None if row is None else str(row[0])


async def repository_of_job(database: Database, job: int) -> str | None:
    """The job's repository; None if it has none, or there is no such job."""
    row = await database.row("SELECT repository FROM job WHERE id = %s", (job,))
    return None if row is None else row[0]


async def repositories_of_file(database: Database, sha256: str) -> list[str]:
    """The repositories of the jobs that made an artifact, some of them if many."""
    rows = await database.rows(
        """
        SELECT DISTINCT j.repository FROM artifact a JOIN job j ON j.id = a.job
        WHERE a.sha256 = decode(%s, 'hex') AND j.repository IS NOT NULL LIMIT 1000
        """,
        (sha256,),
    )
    return [repository for (repository,) in rows]
