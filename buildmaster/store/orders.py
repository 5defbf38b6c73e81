"""What an order is made of: a build's row, its configuration, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildmaster.database import Cursor


@dataclass(frozen=True)
class BuildRow:
    """A build, its job, and the attempt that is to run."""

    job: int
    attempt: int
    project: str  #: the address of its repository; without one its name
    isolation: str
    architecture: str
    series: str
    stages: list[list[list[Any]]]
    stage_numbers: tuple[int, ...]
    source: str  #: JSON, as in protocol.order
    configuration: str
    run_limit: float | None
    idle_limit: float | None
    trust_domain: str
    linger: float | None  #: seconds for which environments of what fails linger
    node: dict[str, Any] | None  #: of a node, what only nodes have


@dataclass(frozen=True)
class KeptRow:
    """A pipeline job that passed before, with its files."""

    name: str
    index: int
    properties: dict[str, Any] | None
    files: list[dict[str, Any]]


async def build_row(cursor: Cursor, job: int, attempt: int) -> BuildRow | None:
    """The build that attempt ``attempt`` of ``job`` runs, or None if it is not current."""
    row = await cursor.row(
        """
        SELECT job.id, job.attempt, coalesce(job.repository, job.name),
               job_class.isolation::text, build.architecture, build.series,
               build.stages, build.stage_numbers, build.source::text,
               configuration.text, job.run_limit, job.idle_limit, job.trust_domain,
               attempt.linger, to_jsonb(node) || jsonb_build_object(
                   'cell', job.cell, 'is_due', job.deadline IS NOT NULL)
        FROM job JOIN build ON build.job = job.id
        JOIN attempt ON attempt.job = job.id AND attempt.number = job.attempt
        JOIN job_class ON job_class.id = job.class
        JOIN configuration ON configuration.sha256 = build.configuration
        LEFT JOIN node ON node.job = job.id
        WHERE job.id = %s AND job.attempt = %s
        """,
        (job, attempt),
    )
    if row is None:
        return None
    fields = list(row)
    fields[7] = tuple(fields[7])
    return BuildRow(*fields)


async def lift_deadline(cursor: Cursor, job: int) -> None:
    """Let a build, which waited no longer than it may, take its time from now on."""
    await cursor.run(
        """
        WITH lifted AS (
            UPDATE job SET deadline = NULL WHERE id = %(job)s
            RETURNING coalesce(total_limit, queue_limit) IS NULL AS is_free)
        DELETE FROM time_limit USING lifted WHERE job = %(job)s AND is_free
        """,
        {"job": job},
    )


async def output_of_upstream(cursor: Cursor, job: int, up: int) -> Any:
    """What the job ``up`` returned in the attempt that ``job`` saw; None: nothing."""
    row = await cursor.row(
        """
        SELECT attempt.output FROM edge
        JOIN attempt ON attempt.job = edge.up AND attempt.number = edge.up_attempt
        WHERE edge.down = %s AND edge.up = %s
        """,
        (job, up),
    )
    return None if row is None else row[0]


async def size_of_blob(cursor: Cursor, sha256: str) -> int | None:
    """The size of a file among the farm's blobs; None if it was never stored."""
    row = await cursor.row(
        "SELECT size FROM blob WHERE sha256 = decode(%s, 'hex')", (sha256,)
    )
    return None if row is None else int(row[0])


_FILES = """
    coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'path', path, 'sha256', encode(blob.sha256, 'hex'), 'size', blob.size))
        FROM artifact JOIN blob USING (sha256)
        WHERE (artifact.job, artifact.attempt, artifact.name, artifact.index)
            = (kept.job, kept.attempt, kept.name, kept.index)), '[]')
"""


async def kept_rows(cursor: Cursor, job: int, attempt: int) -> list[KeptRow]:
    """Pipeline jobs that need not run in this attempt."""
    rows = await cursor.rows(
        f"""
        SELECT name, index, properties, {_FILES} FROM pipeline_job AS kept
        WHERE job = %s AND attempt = %s AND state = 'done' AND kept_from IS NOT NULL
        ORDER BY stage, place LIMIT 100000
        """,
        (job, attempt),
    )
    return [KeptRow(*row) for row in rows]


@dataclass(frozen=True)
class UpstreamRow(KeptRow):
    """The same of another build."""

    architecture: str  #: of that build


async def upstream_rows(cursor: Cursor, job: int) -> list[UpstreamRow]:
    """Pipeline jobs of other builds that passed up to a stage which ``job`` waited for.

    Or which these waited for in turn: what has passed before is there. Those of the attempt
    that the edge saw: it is never judged again.
    """
    rows = await cursor.rows(
        f"""
        WITH RECURSIVE passed (job, attempt, stage) AS (
            SELECT up, up_attempt, up_stage FROM edge
            WHERE down = %s AND up_stage IS NOT NULL
            UNION
            SELECT edge.up, edge.up_attempt, edge.up_stage
            FROM passed JOIN edge ON edge.down = passed.job
            WHERE edge.up_stage IS NOT NULL
        ), kept AS (
            SELECT DISTINCT ON (p.job, p.name, p.index) p.*, build.architecture
            FROM passed JOIN build USING (job)
            JOIN pipeline_job AS p ON (p.job, p.attempt) = (passed.job, passed.attempt)
            WHERE p.result = 'success' AND build.stage_numbers[p.stage + 1] <= passed.stage
            ORDER BY p.job, p.name, p.index, p.attempt DESC
        )
        SELECT name, index, properties, {_FILES}, architecture FROM kept
        ORDER BY job, stage, place LIMIT 100000
        """,
        (job,),
    )
    return [UpstreamRow(*row) for row in rows]
