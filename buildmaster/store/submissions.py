"""Puts whole submissions into the database: run, jobs, builds, edges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from buildmaster.database import Cursor
from buildmaster.sources import Source
from protocol.stages import Cell, Stages, dispatched


@dataclass(frozen=True)
class Identity:
    """What makes two requests ask for the same job."""

    repository: str | None  #: None of both: no other request asks for the same
    source_digest: str | None
    trust_domain: str
    name: str
    cell: str
    part: int


@dataclass(frozen=True)
class NewRun:
    """A run about to be written."""

    repository: str | None
    source_digest: str | None
    refs: tuple[str, ...]
    trust_domain: str
    configuration: bytes  #: sha256
    cross_architecture: str
    requester: str
    owner: str
    name: str


@dataclass(frozen=True)
class NewBuild:
    """A build about to be written; ``series_of`` names the series of each pipeline job."""

    identity: Identity
    refs: tuple[str, ...]
    requester: str
    owner: str
    class_id: int
    virtual_start: int  #: its turn among all that wait for the architecture
    architecture: str
    series: str
    stages: Stages
    stage_numbers: tuple[int, ...]
    series_of: dict[Cell, str]
    configuration: bytes
    source: Source
    run_limit: float | None
    idle_limit: float | None
    limits: tuple[str, ...] = ()  #: names of semaphores


@dataclass(frozen=True)
class Stored:
    """A job row that a submission made or met."""

    id: int
    attempt: int
    state: str
    result: str | None
    merged: bool
    isolation: str | None = None  #: of one that it met


async def add_configuration(cursor: Cursor, text: str) -> bytes:
    """Keep a configuration's text; its sha256."""
    digest = hashlib.sha256(text.encode()).digest()
    await cursor.run(
        "INSERT INTO configuration (sha256, text) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (digest, text),
    )
    return digest


async def add_run(cursor: Cursor, run: NewRun) -> int:
    """Write a sealed run; its id."""
    (number,) = await cursor.one(
        """
        INSERT INTO run (state, repository, source_digest, refs, trust_domain,
                         configuration, cross_architecture, requester, owner, name)
        VALUES ('sealed', %s, %s, %s::text[], %s, %s, %s::cross_architecture, %s, %s, %s)
        RETURNING id
        """,
        (
            run.repository,
            run.source_digest,
            list(run.refs),
            run.trust_domain,
            run.configuration,
            run.cross_architecture,
            run.requester,
            run.owner,
            run.name,
        ),
    )
    return int(number)


async def set_notes(cursor: Cursor, run: int, notes: list[object]) -> None:
    """What a run remembers of its submission."""
    await cursor.run(
        "UPDATE run SET notes = %s::jsonb WHERE id = %s", (json.dumps(notes), run)
    )


async def add_build(cursor: Cursor, build: NewBuild) -> Stored:
    """Write a build with its first attempt, or merge the refs into the one there is.

    The database's unique key decides between submissions that race.
    """
    made = await _insert_job(cursor, build)
    if made is None:
        return await _merge(cursor, build)
    await _insert_build(cursor, made, build)
    await cursor.run("INSERT INTO attempt (job, number) VALUES (%s, 1)", (made,))
    await _insert_pipeline_jobs(cursor, made, build)
    return Stored(made, 1, "waiting", None, merged=False)


async def _insert_job(cursor: Cursor, build: NewBuild) -> int | None:
    identity = build.identity
    row = await cursor.row(
        """
        INSERT INTO job (kind, repository, source_digest, trust_domain, name, cell, part,
                         refs, requester, owner, class, virtual_start, run_limit,
                         idle_limit, limits)
        VALUES ('build', %s, %s, %s, %s, %s, %s, %s::text[], %s, %s, %s, %s, %s, %s,
                %s::text[])
        ON CONFLICT ON CONSTRAINT job_identity DO NOTHING RETURNING id
        """,
        (
            identity.repository,
            identity.source_digest,
            identity.trust_domain,
            identity.name,
            identity.cell,
            identity.part,
            sorted(set(build.refs)),
            build.requester,
            build.owner,
            build.class_id,
            build.virtual_start,
            build.run_limit,
            build.idle_limit,
            list(build.limits) or None,
        ),
    )
    return int(row[0]) if row else None


async def _merge(cursor: Cursor, build: NewBuild) -> Stored:
    identity = build.identity
    row = await cursor.one(
        """
        UPDATE job SET refs = ARRAY(
            SELECT DISTINCT ref FROM unnest(refs || %s::text[]) AS given (ref) ORDER BY ref)
        WHERE (repository, source_digest, trust_domain, name, cell, part)
            = (%s, %s, %s, %s, %s, %s)
        RETURNING id, attempt, state::text, result::text,
            (SELECT isolation::text FROM job_class WHERE job_class.id = job.class)
        """,
        (
            list(build.refs),
            identity.repository,
            identity.source_digest,
            identity.trust_domain,
            identity.name,
            identity.cell,
            identity.part,
        ),
    )
    job, attempt, state, result, isolation = row
    return Stored(job, attempt, state, result, merged=True, isolation=isolation)


async def move_to_class(cursor: Cursor, job: int, class_id: int) -> None:
    """Let the next attempt of a job that is done need what that class says."""
    await cursor.run(
        "UPDATE job SET class = %s WHERE id = %s AND state = 'done'", (class_id, job)
    )


async def _insert_build(cursor: Cursor, job: int, build: NewBuild) -> None:
    await cursor.run(
        """
        INSERT INTO build (job, architecture, series, stages, stage_numbers, configuration,
                           source)
        VALUES (%s, %s, %s, %s::jsonb, %s::integer[], %s, %s::jsonb)
        """,
        (
            job,
            build.architecture,
            build.series,
            json.dumps(dispatched(build.stages)),
            list(build.stage_numbers),
            build.configuration,
            msgspec.json.encode(build.source).decode(),
        ),
    )


async def _insert_pipeline_jobs(cursor: Cursor, job: int, build: NewBuild) -> None:
    rows = [
        {
            "name": name,
            "index": index,
            "stage": stage,
            "place": place,
            "series": build.series_of[name, index],
        }
        for stage, cells in enumerate(build.stages)
        for place, (name, index) in enumerate(cells)
    ]
    await cursor.run(
        """
        INSERT INTO pipeline_job (job, attempt, name, index, stage, place, series)
        SELECT %s, 1, name, index, stage, place, series
        FROM jsonb_to_recordset(%s::jsonb)
            AS given (name text, index integer, stage integer, place integer, series text)
        """,
        (job, json.dumps(rows)),
    )


async def add_to_run(cursor: Cursor, run: int, jobs: Mapping[int, bool]) -> None:
    """Let jobs belong to a new run; of each, whether it was there before."""
    await cursor.run(
        """
        INSERT INTO run_job (run, job, merged)
        SELECT %s, job, merged
        FROM unnest(%s::bigint[], %s::boolean[]) AS given (job, merged)
        """,
        (run, list(jobs), list(jobs.values())),
    )
    await cursor.run(
        """
        UPDATE run SET open_jobs = (
            SELECT count(*) FROM run_job JOIN job ON job.id = run_job.job
            WHERE run_job.run = run.id AND run_job.required AND job.state <> 'done')
        WHERE id = %s
        """,
        (run,),
    )


async def add_edge(cursor: Cursor, up: int, stage: int, down: int) -> None:
    """Let ``down`` wait until ``stage`` (an index of the file) of build ``up`` passed."""
    await cursor.run(
        """
        WITH added AS (
            INSERT INTO edge (up, up_stage, down) VALUES (%s, %s, %s)
            ON CONFLICT DO NOTHING RETURNING down
        )
        UPDATE job SET blocked_by = blocked_by + 1 FROM added WHERE job.id = added.down
        """,
        (up, stage, down),
    )


async def wait_for(cursor: Cursor, up: int, downs: Sequence[int]) -> None:
    """Let new jobs wait until the job ``up``, which is new as well, has passed."""
    await cursor.run(
        """
        WITH added AS (
            INSERT INTO edge (up, down) SELECT %s, unnest(%s::bigint[]) RETURNING down
        )
        UPDATE job SET blocked_by = blocked_by + 1 FROM added WHERE job.id = added.down
        """,
        (up, list(downs)),
    )


async def passed_stages(cursor: Cursor, job: int) -> tuple[int, ...]:
    """The stages (indices of the file) that passed in a build's current attempt."""
    rows = await cursor.rows(
        """
        SELECT build.stage_numbers[pipeline_job.stage + 1]
        FROM build JOIN job ON job.id = build.job
        JOIN pipeline_job ON pipeline_job.job = job.id
         AND pipeline_job.attempt = job.attempt
        WHERE job.id = %s
        GROUP BY 1 HAVING bool_and(pipeline_job.result IS NOT DISTINCT FROM 'success')
        ORDER BY 1
        """,
        (job,),
    )
    return tuple(int(stage) for (stage,) in rows)
