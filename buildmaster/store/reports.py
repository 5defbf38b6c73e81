"""What attempts tell, written into their rows, results, logs and artifacts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from buildmaster.database import Cursor
from buildmaster.store.text import storable
from protocol.messages import FileMade, LogChunk, PipelineJobEnded
from protocol.results import Result


@dataclass(frozen=True)
class Progress:
    """How far the reports of an attempt are recorded."""

    reports: int
    log_length: int
    leased: bool  #: the attempt is still the worker's lease


async def progress(cursor: Cursor, worker: str, job: int, attempt: int) -> Progress | None:
    """Where an attempt of ``worker`` stands, locked; None if it never was this worker's."""
    lease = await cursor.row(
        """
        SELECT 1 FROM running
        WHERE job = %s AND attempt = %s AND worker = %s FOR UPDATE
        """,
        (job, attempt, worker),
    )
    row = await cursor.row(
        """
        SELECT reports, log_length FROM attempt
        WHERE job = %s AND number = %s AND (worker = %s OR %s)
        """,
        (job, attempt, worker, lease is not None),
    )
    return Progress(row[0], row[1], lease is not None) if row else None


async def advance(
    cursor: Cursor, job: int, attempt: int, reports: int, log_length: int
) -> None:
    """Note how far the reports are recorded; a report renews the lease, too."""
    await cursor.run(
        "UPDATE attempt SET reports = %s, log_length = %s WHERE job = %s AND number = %s",
        (reports, log_length, job, attempt),
    )
    await cursor.run(
        "UPDATE running SET renewals = renewals + 1 WHERE job = %s AND attempt = %s",
        (job, attempt),
    )


async def add_log(
    cursor: Cursor, job: int, attempt: int, chunks: Sequence[LogChunk]
) -> None:
    """Store chunks as they came; they follow each other without gaps."""
    await cursor.run(
        """
        INSERT INTO log_chunk (job, attempt, start, length, name, index, data)
        SELECT %s, %s, start, length, name, index, data
        FROM unnest(%s::bigint[], %s::integer[], %s::text[], %s::integer[], %s::bytea[])
            AS chunk (start, length, name, index, data)
        """,
        (
            job,
            attempt,
            [chunk.start for chunk in chunks],
            [chunk.length for chunk in chunks],
            [chunk.name for chunk in chunks],
            [chunk.index for chunk in chunks],
            [chunk.data for chunk in chunks],
        ),
    )


async def start_pipeline_job(
    cursor: Cursor, job: int, attempt: int, name: str, index: int
) -> bool:
    """Note that a pipeline job runs; False if the attempt has none of that name waiting."""
    return (
        await cursor.run(
            """
            UPDATE pipeline_job SET state = 'running', started_at = farm_now()
            WHERE job = %s AND attempt = %s AND name = %s AND index = %s
              AND state = 'waiting'
            """,
            (job, attempt, name, index),
        )
        > 0
    )


async def end_pipeline_job(
    cursor: Cursor, job: int, attempt: int, body: PipelineJobEnded, reason: str
) -> int | None:
    """Note how a pipeline job ended; its stage, or None if it was not open."""
    properties = None
    if body.properties is not None:
        properties = json.dumps(storable(body.properties), allow_nan=False)
    row = await cursor.row(
        """
        UPDATE pipeline_job
        SET state = 'done', result = %s::job_result, reason = %s, exit_status = %s,
            properties = %s::jsonb, finished_at = farm_now(), image = %s,
            lingers_until = farm_now() + make_interval(secs => %s)
        WHERE job = %s AND attempt = %s AND name = %s AND index = %s AND state <> 'done'
        RETURNING stage
        """,
        (
            body.result.value,
            reason,
            body.exit_status,
            properties,
            body.image,
            body.lingers,
            job,
            attempt,
            body.name,
            body.index,
        ),
    )
    return int(row[0]) if row else None


async def add_artifacts(
    cursor: Cursor,
    job: int,
    attempt: int,
    name: str,
    index: int,
    files: Sequence[FileMade],
) -> list[str]:
    """Store which files a pipeline job made; the paths whose contents never arrived."""
    if not files:
        return []
    rows = await cursor.rows(
        """
        WITH made AS (
            SELECT path, decode(sha256, 'hex') AS sha256
            FROM unnest(%s::text[], %s::text[]) AS made (path, sha256)
        ), stored AS (
            INSERT INTO artifact (job, attempt, name, index, path, sha256)
            SELECT %s, %s, %s, %s, path, sha256 FROM made JOIN blob USING (sha256)
            ON CONFLICT DO NOTHING
        )
        SELECT path FROM made LEFT JOIN blob USING (sha256) WHERE blob.sha256 IS NULL
        """,
        (
            [storable(file.path) for file in files],
            [file.sha256 for file in files],
            job,
            attempt,
            name,
            index,
        ),
    )
    return [path for (path,) in rows]


async def stage_passed(cursor: Cursor, job: int, attempt: int, stage: int) -> int | None:
    """If all pipeline jobs of ``stage`` passed: that stage's index in the file."""
    row = await cursor.row(
        """
        SELECT build.stage_numbers[%(stage)s + 1] FROM build
        WHERE build.job = %(job)s AND NOT EXISTS (
            SELECT FROM pipeline_job
            WHERE job = %(job)s AND attempt = %(attempt)s AND stage = %(stage)s
              AND result IS DISTINCT FROM 'success')
        """,
        {"job": job, "attempt": attempt, "stage": stage},
    )
    return int(row[0]) if row else None


async def results(cursor: Cursor, job: int, attempt: int) -> list[Result | None]:
    """The result of each of the attempt's pipeline jobs; None if it has not ended."""
    rows = await cursor.rows(
        """
        SELECT result::text FROM pipeline_job
        WHERE job = %s AND attempt = %s LIMIT 100000
        """,
        (job, attempt),
    )
    return [Result(result) if result else None for (result,) in rows]
