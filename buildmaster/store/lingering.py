"""Environments that linger on workers, and the images that an attempt's were made of."""

from __future__ import annotations

from typing import Any

from buildmaster.database import Cursor, Database


async def ask(cursor: Cursor, job: int, attempt: int, seconds: float) -> None:
    """Let the environment of what fails in this attempt linger."""
    await cursor.run(
        "UPDATE attempt SET linger = %s WHERE job = %s AND number = %s",
        (seconds, job, attempt),
    )


async def newest(cursor: Cursor, job: int) -> dict[str, Any] | None:
    """What `headrace shell` must know of the environment of ``job`` that lingers now.

    The newest, where those of several attempts do; None if none does.
    """
    row = await cursor.row(
        """
        SELECT to_jsonb(found) FROM (
            SELECT p.job, p.attempt, p.name, p.index, p.series, p.reason, attempt.worker,
                   job_class.isolation, p.lingers_until
            FROM pipeline_job AS p
            JOIN attempt ON attempt.job = p.job AND attempt.number = p.attempt
            JOIN job ON job.id = p.job JOIN job_class ON job_class.id = job.class
            WHERE p.job = %s AND p.lingers_until > farm_now()
            ORDER BY p.attempt DESC, p.finished_at DESC LIMIT 1) AS found
        """,
        (job,),
    )
    return None if row is None else dict(row[0])


async def was_asked_for(cursor: Cursor, job: int) -> bool:
    """Whether some attempt of ``job`` should have left one."""
    row = await cursor.row(
        "SELECT FROM attempt WHERE job = %s AND linger IS NOT NULL LIMIT 1", (job,)
    )
    return row is not None


async def images_of(database: Database, job: int, attempt: int) -> dict[str, str]:
    """Of each series of the attempt, the key of the image that stood for it."""
    rows = await database.rows(
        """
        SELECT DISTINCT ON (series) series, image FROM pipeline_job
        WHERE job = %s AND attempt <= %s AND image <> ''
        ORDER BY series, attempt DESC, finished_at DESC LIMIT 200
        """,
        (job, attempt),
    )
    return {series: image for series, image in rows}
