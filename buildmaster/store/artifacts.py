"""What the database knows of stored files: that they are there, and who may read them."""

from __future__ import annotations

from buildmaster.database import Database


async def record_blob(database: Database, sha256: str, size: int) -> None:
    """Remember that the file is among the blobs. Harmless when repeated."""
    await database.run(
        """
        INSERT INTO blob (sha256, size) VALUES (decode(%s, 'hex'), %s)
        ON CONFLICT DO NOTHING
        """,
        (sha256, size),
    )


async def is_blob(database: Database, sha256: str) -> bool:
    """Whether some master has stored the file."""
    [found] = await database.one(
        "SELECT EXISTS (SELECT FROM blob WHERE sha256 = decode(%s, 'hex'))", (sha256,)
    )
    return bool(found)


async def is_artifact(database: Database, sha256: str) -> bool:
    """Whether a pipeline job made this file, so that everybody may read it.

    Other files are source that somebody sent.
    """
    [found] = await database.one(
        "SELECT EXISTS (SELECT FROM artifact WHERE sha256 = decode(%s, 'hex'))", (sha256,)
    )
    return bool(found)


async def size_of_project(database: Database, job: int) -> int:
    """Bytes of all files that builds of the job's repository made, each content once."""
    [size] = await database.one(
        """
        SELECT coalesce(sum(size), 0)::bigint FROM blob WHERE sha256 IN (
            SELECT artifact.sha256 FROM artifact JOIN job ON job.id = artifact.job
             WHERE job.repository = (SELECT repository FROM job WHERE id = %s))
        """,
        (job,),
    )
    return int(size)


async def is_current_attempt(database: Database, job: int, number: int) -> bool:
    """Whether this attempt is the job's current one and has not ended."""
    [found] = await database.one(
        """
        SELECT EXISTS (
            SELECT FROM job j JOIN attempt a ON a.job = j.id AND a.number = j.attempt
             WHERE j.id = %s AND j.attempt = %s AND a.finished_at IS NULL)
        """,
        (job, number),
    )
    return bool(found)


async def is_source_of(database: Database, job: int, sha256: str) -> bool:
    """Whether the build is of this tree, which somebody sent or a job made for it."""
    [found] = await database.one(
        """
        SELECT EXISTS (
            SELECT FROM build
            LEFT JOIN edge ON edge.down = build.job
             AND build.source ->> 'kind' = 'made'
             AND edge.up = (build.source ->> 'job')::bigint
            LEFT JOIN attempt ON attempt.job = edge.up AND attempt.number = edge.up_attempt
            WHERE build.job = %s AND %s IN (
                build.source ->> 'sha256', attempt.output #>> '{tree,sha256}'))
        """,
        (job, sha256),
    )
    return bool(found)
