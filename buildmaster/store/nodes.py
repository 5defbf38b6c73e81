"""Puts the nodes of a run into the database, all in a bounded number of statements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from buildmaster.database import Cursor
from protocol.results import Result

#: Name, cell and part: what tells apart the jobs of one source.
Identity = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True)
class NewNode:
    """A node about to be written; its id was reserved."""

    id: int
    blocked_by: int  #: so many edges are written for it
    name: str
    cell: str
    part: int
    class_id: int
    virtual_start: int
    limits: tuple[str, ...]
    retry: list[dict[str, int | None]]
    run_limit: float | None
    idle_limit: float | None
    queue_limit: float | None
    total_limit: float | None
    interruptible: bool
    concurrency_group: str | None
    allow_failure: bool
    gate: str
    architecture: str
    series: str
    stages: list[Any]
    stage_numbers: list[int]
    configuration: str  #: sha256, in hexadecimal digits
    job_name: str
    package: str | None
    covers: tuple[str, ...]
    scope: str
    reuse: str
    base: str
    inputs: str
    is_late: bool
    environment: str
    verifies: int | None
    skipped: str
    provides: str | None
    member: str | None
    pipeline_jobs: list[
        tuple[str, int, int, int, str]
    ]  #: name, index, stage, place, series


@dataclass(frozen=True)
class Origin:
    """What all nodes of a run have in common."""

    repository: str | None
    source_digest: str | None
    trust_domain: str
    refs: tuple[str, ...]
    requester: str
    owner: str
    source: str  #: JSON, as in protocol.order


@dataclass(frozen=True)
class NewEdge:
    """``down`` waits for ``up``."""

    up: int
    down: int
    require: str
    stage: int | None
    choice: int | None
    handed: str | None  #: JSON
    label: str | None  #: what the key of ``down`` calls it; None: it does not count


async def add_configurations(cursor: Cursor, texts: Sequence[tuple[bytes, str]]) -> None:
    """Keep texts of configurations under their sha256."""
    await cursor.run(
        """
        INSERT INTO configuration (sha256, text)
        SELECT decode(sha256, 'hex'), text FROM unnest(%s::text[], %s::text[])
            AS given (sha256, text)
        ORDER BY sha256 ON CONFLICT DO NOTHING
        """,
        ([sha256.hex() for sha256, _ in texts], [text for _, text in texts]),
    )


def _encoded(rows: list[dict[str, Any]]) -> str:
    """Thousands of rows as JSON, quickly."""
    return msgspec.json.encode(rows).decode()


async def add_jobs(cursor: Cursor, origin: Origin, nodes: Sequence[NewNode]) -> set[int]:
    """Write those nodes that are not there, waiting for the edges to come; their ids."""
    if not nodes:
        return set()
    rows = await cursor.rows(
        """
        INSERT INTO job (id, kind, repository, source_digest, trust_domain, name, cell,
                         part, refs, requester, owner, class, virtual_start, limits, retry,
                         run_limit, idle_limit, queue_limit, total_limit, interruptible,
                         concurrency_group, allow_failure, gate, blocked_by)
        OVERRIDING SYSTEM VALUE
        SELECT id, 'build', %(repository)s, %(source_digest)s, %(trust_domain)s, name,
               cell, part, %(refs)s::text[], %(requester)s, %(owner)s, class_id,
               virtual_start, limits, retry, run_limit, idle_limit, queue_limit,
               total_limit, interruptible, concurrency_group, allow_failure, gate,
               blocked_by
        FROM jsonb_to_recordset(%(nodes)s::jsonb) AS given (
            id bigint, name text, cell text, part integer, class_id integer,
            virtual_start bigint, limits text[], retry jsonb, run_limit double precision,
            idle_limit double precision, queue_limit double precision,
            total_limit double precision, interruptible boolean, concurrency_group text,
            allow_failure boolean, gate text, blocked_by integer)
        ORDER BY id
        ON CONFLICT ON CONSTRAINT job_identity DO NOTHING RETURNING id
        """,
        {
            "repository": origin.repository,
            "source_digest": origin.source_digest,
            "trust_domain": origin.trust_domain,
            "refs": sorted(set(origin.refs)),
            "requester": origin.requester,
            "owner": origin.owner,
            "nodes": _encoded(
                [
                    {
                        **{name: getattr(node, name) for name in _JOB_FIELDS},
                        "limits": node.limits or None,
                    }
                    for node in nodes
                ]
            ),
        },
    )
    return {int(job) for (job,) in rows}


_JOB_FIELDS = (
    "id", "name", "cell", "part", "class_id", "virtual_start", "retry", "run_limit",
    "idle_limit", "queue_limit", "total_limit", "interruptible", "concurrency_group",
    "allow_failure", "gate", "blocked_by",
)  # fmt: skip
_BUILD_FIELDS = (
    "id", "architecture", "series", "stages", "stage_numbers", "configuration", "job_name",
    "package", "covers", "scope", "reuse", "base", "inputs", "is_late", "environment",
    "verifies", "skipped", "provides", "member",
)  # fmt: skip


async def add_builds(cursor: Cursor, origin: Origin, nodes: Sequence[NewNode]) -> None:
    """Write what belongs to jobs that were just added: builds, attempts, nodes."""
    if not nodes:
        return
    given = _encoded(
        [{name: getattr(node, name) for name in _BUILD_FIELDS} for node in nodes]
    )
    await cursor.run(
        """
        WITH given AS MATERIALIZED (
            SELECT * FROM jsonb_to_recordset(%s::jsonb) AS one (
                id bigint, architecture text, series text, stages jsonb,
                stage_numbers integer[], configuration text, job_name text, package text,
                covers text[], scope text, reuse text, base text, inputs text,
                is_late boolean, environment text, verifies bigint, skipped text,
                provides text, member text)
        ), builds AS (
            INSERT INTO build (job, architecture, series, stages, stage_numbers,
                               configuration, source)
            SELECT id, architecture, series, stages, stage_numbers,
                   decode(configuration, 'hex'), %s::jsonb
            FROM given
        ), attempts AS (
            INSERT INTO attempt (job, number) SELECT id, 1 FROM given
        )
        INSERT INTO node (job, job_name, package, covers, scope, reuse, base, inputs,
                          is_late, environment, verifies, skipped, provides, member)
        SELECT id, job_name, package, covers, scope, reuse, decode(base, 'hex'),
               decode(inputs, 'hex'), is_late, environment, verifies, skipped, provides,
               member
        FROM given
        """,
        (given, origin.source),
    )
    rows = [
        (node.id, *pipeline_job) for node in nodes for pipeline_job in node.pipeline_jobs
    ]
    await cursor.run(
        """
        INSERT INTO pipeline_job (job, attempt, name, index, stage, place, series)
        SELECT job, 1, name, index, stage, place, series
        FROM unnest(%s::bigint[], %s::text[], %s::integer[], %s::integer[], %s::integer[],
                    %s::text[]) AS given (job, name, index, stage, place, series)
        """,
        tuple([row[place] for row in rows] for place in range(6)),
    )


@dataclass(frozen=True)
class Known:
    """A node that was asked for before."""

    id: int
    attempt: int
    state: str
    result: str | None


async def take_known(
    cursor: Cursor, origin: Origin, wanted: Sequence[Identity]
) -> dict[Identity, Known]:
    """The jobs that there are of one source, with the refs of this one added to theirs."""
    if not wanted:
        return {}
    rows = await cursor.rows(
        """
        WITH known AS MATERIALIZED (
            SELECT job.id FROM unnest(%s::text[], %s::text[], %s::integer[])
                AS given (name, cell, part)
            JOIN job USING (name, cell, part)
            WHERE (job.repository, job.source_digest, job.trust_domain) = (%s, %s, %s)
            ORDER BY job.id FOR NO KEY UPDATE OF job)
        UPDATE job SET refs = ARRAY(
            SELECT DISTINCT ref FROM unnest(refs || %s::text[]) AS given (ref) ORDER BY ref)
        FROM known WHERE job.id = known.id
        RETURNING job.name, job.cell, job.part, job.id, job.attempt, job.state::text,
                  job.result::text
        """,
        (
            [name for name, _, _ in wanted],
            [cell for _, cell, _ in wanted],
            [part for _, _, part in wanted],
            origin.repository,
            origin.source_digest,
            origin.trust_domain,
            list(origin.refs),
        ),
    )
    return {(name, cell, part): Known(*known) for name, cell, part, *known in rows}


async def add_edges(cursor: Cursor, edges: Sequence[NewEdge]) -> None:
    """Write dependencies of new nodes, which count them in ``blocked_by`` already."""
    if not edges:
        return
    await cursor.run(
        """
        INSERT INTO edge (up, up_stage, down, require, choice, handed, label)
        SELECT up, stage, down, require, choice, handed::jsonb, label
        FROM unnest(%s::bigint[], %s::integer[], %s::bigint[], %s::edge_require[],
                    %s::integer[], %s::text[], %s::text[])
            AS given (up, stage, down, require, choice, handed, label)
        """,
        (
            [edge.up for edge in edges],
            [edge.stage for edge in edges],
            [edge.down for edge in edges],
            [edge.require for edge in edges],
            [edge.choice for edge in edges],
            [edge.handed for edge in edges],
            [edge.label for edge in edges],
        ),
    )


@dataclass(frozen=True)
class NewWait:
    """A new node waits until a collection is complete."""

    job: int
    collection: str
    contains: tuple[str, ...]
    axis: str | None
    value: str | None
    seconds: float | None  #: after which it is waited for no longer


async def wait_for_collections(
    cursor: Cursor, domain: str, waits: Sequence[NewWait]
) -> None:
    """Let new nodes wait, and go at once where all are there."""
    given = json.dumps([{**vars(one), "contains": list(one.contains)} for one in waits])
    await cursor.run(
        """
        WITH given AS MATERIALIZED (
            SELECT * FROM jsonb_to_recordset(%s::jsonb) AS one (
                job bigint, collection text, contains text[], axis text, value text,
                seconds double precision)
        ), limited AS (
            UPDATE job SET deadline = farm_now() + make_interval(secs => g.seconds)
            FROM (SELECT job, min(seconds) AS seconds FROM given
                  WHERE seconds IS NOT NULL GROUP BY job) AS g
            WHERE job.id = g.job
        )
        INSERT INTO collection_wait (job, collection, trust_domain, contains, axis, value)
        SELECT job, collection, %s, contains, axis, value FROM given
        """,
        (given, domain),
    )
    jobs = sorted({one.job for one in waits})
    await cursor.run("SELECT watch_limits(%s::bigint[])", (jobs,))
    await cursor.run("SELECT look_at_collections(%s::bigint[])", (jobs,))


async def end_new(cursor: Cursor, ends: Mapping[int, tuple[Result, str]]) -> None:
    """End jobs that were just written, each in its own way."""
    await cursor.run(
        "SELECT end_new_jobs(%s::bigint[], %s::job_result[], %s::text[])",
        (
            list(ends),
            [result.value for result, _ in ends.values()],
            [reason for _, reason in ends.values()],
        ),
    )


async def settle(cursor: Cursor, jobs: Sequence[int]) -> None:
    """Resolve the edges of jobs that ended before these were written, and what follows."""
    if jobs:
        await cursor.run("SELECT settle_done(%s::bigint[])", (list(jobs),))


async def open_gate(cursor: Cursor, job: int) -> bool:
    """Let a job go that waits for somebody; false if it does not."""
    (opened,) = await cursor.one("SELECT open_gate(%s)", (job,))
    return bool(opened)


async def never_runs(cursor: Cursor, job: int) -> bool:
    """Whether a job is there only so that a chain stays visible."""
    row = await cursor.row("SELECT skipped <> '' FROM node WHERE job = %s", (job,))
    return row is not None and bool(row[0])


async def handed_jobs(cursor: Cursor, job: int) -> list[str]:
    """The jobs whose files a node gets, as its needs name them."""
    rows = await cursor.rows(
        """
        SELECT one ->> 'job'
        FROM edge CROSS JOIN LATERAL jsonb_array_elements(handed) AS one
        WHERE down = %s GROUP BY 1 ORDER BY 1 LIMIT 10000
        """,
        (job,),
    )
    return [name for (name,) in rows]


@dataclass(frozen=True)
class HandedRow:
    """Files of an upstream pipeline job that a node gets."""

    handed: dict[str, Any]
    name: str
    index: int
    is_whole_pipeline: bool
    files: list[dict[str, Any]]


async def handed_rows(cursor: Cursor, job: int) -> list[HandedRow]:
    """What the upstreams of a node made, each in the attempt that its edge saw.

    Of one whose result is that of another job, what that one made.
    """
    rows = await cursor.rows(
        """
        SELECT given.one, p.name, p.index,
               build.stages IS DISTINCT FROM jsonb_build_array(
                   jsonb_build_array(jsonb_build_array(up.job_name, 0))),
               jsonb_agg(jsonb_build_object('path', artifact.path,
                   'sha256', encode(blob.sha256, 'hex'), 'size', blob.size)
                   ORDER BY artifact.path)
        FROM edge CROSS JOIN LATERAL jsonb_array_elements(edge.handed) AS given (one)
        JOIN build ON build.job = edge.up
        LEFT JOIN node AS up ON up.job = edge.up
        JOIN attempt ON attempt.job = edge.up AND attempt.number = edge.up_attempt
        LEFT JOIN node ON node.job = edge.up AND attempt.result = 'reused'
        JOIN pipeline_job AS p
          ON p.job = coalesce(node.reused_from, edge.up)
         AND p.attempt = coalesce(node.reused_attempt, edge.up_attempt)
        JOIN artifact ON (artifact.job, artifact.attempt, artifact.name, artifact.index)
                       = (p.job, p.attempt, p.name, p.index)
        JOIN blob USING (sha256)
        WHERE edge.down = %s AND p.result = 'success'
        GROUP BY edge.id, given.one, build.stages, up.job_name, p.name, p.index, p.stage,
                 p.place
        ORDER BY edge.id, p.stage, p.place LIMIT 100000
        """,
        (job,),
    )
    return [HandedRow(*row) for row in rows]
