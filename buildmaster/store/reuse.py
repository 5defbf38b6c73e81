"""Finds jobs that passed with the same content key; notes whose result stands for which."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from buildmaster.database import Cursor


@dataclass(frozen=True)
class Earlier:
    """A job that passed, and the attempt in which it did."""

    job: int
    attempt: int


# Of each environment the newest image that a node is known to have run in: with another one
# a result says nothing. Natively there is none.
IMAGES = """
    images AS MATERIALIZED (
        SELECT given.environment, CASE WHEN given.environment NOT LIKE 'native/%%' THEN (
            SELECT p.image FROM node AS n CROSS JOIN LATERAL (
                SELECT image FROM pipeline_job
                WHERE job = n.job AND image <> '' LIMIT 1) AS p
            WHERE n.environment = given.environment AND n.runs
            ORDER BY n.job DESC LIMIT 1) END AS newest
        FROM unnest(%(environments)s::text[]) AS given (environment))
"""
SAME_IMAGE = """
    (images.newest IS NULL OR EXISTS (
        SELECT FROM pipeline_job AS p
        WHERE p.job = job.id AND p.attempt = job.attempt AND p.image = images.newest))
"""
# The last of its component and cell to have passed, in its repository and trust domain.
IS_LAST = """
    NOT EXISTS (
        SELECT FROM node AS other JOIN job AS later ON later.id = other.job
        WHERE other.job_name = node.job_name AND other.package = node.package
          AND other.scope = 'component' AND later.result = 'success'
          AND later.repository = job.repository
          AND later.trust_domain = job.trust_domain
          AND (later.cell, later.part) = (job.cell, job.part)
          AND later.finished_at > job.finished_at)
"""


async def passed_with_inputs(
    cursor: Cursor,
    wanted: Sequence[bytes],
    environments: Collection[str],
    domains: Sequence[str],
) -> dict[bytes, Earlier]:
    """The newest job of each key that passed, if there is one that may be read."""
    if not wanted:
        return {}
    rows = await cursor.rows(
        f"""
        WITH {IMAGES}
        SELECT DISTINCT ON (given.inputs) given.inputs, job.id, job.attempt
        FROM unnest(%(inputs)s::text[]) AS given (inputs)
        JOIN node ON node.inputs = decode(given.inputs, 'hex') AND node.runs
        JOIN job ON job.id = node.job AND job.result = 'success'
         AND job.trust_domain = ANY (%(domains)s::text[])
        JOIN images ON images.environment = node.environment AND {SAME_IMAGE}
        ORDER BY given.inputs, job.id DESC
        """,
        {
            "inputs": sorted({one.hex() for one in wanted}),
            "environments": sorted(environments),
            "domains": list(domains),
        },
    )
    return {bytes.fromhex(key): Earlier(job, attempt) for key, job, attempt in rows}


async def passed_with_key(
    cursor: Cursor, key: bytes, environment: str, domains: Sequence[str]
) -> Earlier | None:
    """The newest job that passed and turned out to have this key."""
    row = await cursor.row(
        f"""
        WITH {IMAGES}
        SELECT job.id, job.attempt FROM node
        JOIN job ON job.id = node.job AND job.result = 'success'
         AND job.trust_domain = ANY (%(domains)s::text[])
        JOIN images ON images.environment = node.environment AND {SAME_IMAGE}
        WHERE node.key = decode(%(key)s, 'hex') AND node.runs
        ORDER BY job.id DESC LIMIT 1
        """,
        {"key": key.hex(), "environments": [environment], "domains": list(domains)},
    )
    return None if row is None else Earlier(*row)


#: Name, package, cell and part of a component's job: what goes out as it.
Published = tuple[str, str | None, str, int]


async def still_published(
    cursor: Cursor, repository: str | None, domain: str, jobs: Sequence[int]
) -> dict[int, Published]:
    """As what those of the jobs went out that are the last of it to have passed.

    In this repository and trust domain: what others published is not published here, and
    what was replaced since is not any more.
    """
    if not jobs:
        return {}
    rows = await cursor.rows(
        f"""
        SELECT job.id, node.job_name, node.package, job.cell, job.part
        FROM job JOIN node ON node.job = job.id
        WHERE job.id = ANY (%(jobs)s::bigint[]) AND job.repository = %(repository)s
          AND job.trust_domain = %(domain)s AND {IS_LAST}
        """,
        {"jobs": list(jobs), "repository": repository, "domain": domain},
    )
    return {
        int(job): (name, package, cell, part) for job, name, package, cell, part in rows
    }


async def note_reused(cursor: Cursor, jobs: Mapping[int, Earlier]) -> None:
    """Note whose result stands for that of each; nothing is copied."""
    ids = list(jobs)
    await cursor.run(
        """
        UPDATE node SET reused_from = given.earlier, reused_attempt = given.attempt,
               runs = false,
               key = coalesce((SELECT n.key FROM node AS n WHERE n.job = given.earlier),
                              node.key)
        FROM unnest(%s::bigint[], %s::bigint[], %s::integer[])
            AS given (job, earlier, attempt)
        WHERE node.job = given.job
        """,
        (ids, [jobs[one].job for one in ids], [jobs[one].attempt for one in ids]),
    )


async def end_pipeline_jobs(
    cursor: Cursor, jobs: Sequence[int], result: str, reason: str
) -> None:
    """End what the current attempts of jobs that need not run would have run."""
    await cursor.run(
        """
        WITH unrun AS (
            UPDATE node SET runs = false WHERE job = ANY (%(jobs)s::bigint[]) AND runs)
        UPDATE pipeline_job AS p
        SET state = 'done', result = %(result)s::job_result, reason = %(reason)s,
            finished_at = farm_now()
        FROM job WHERE job.id = ANY (%(jobs)s::bigint[])
          AND p.job = job.id AND p.attempt = job.attempt AND p.state <> 'done'
        """,
        {"result": result, "reason": reason, "jobs": list(jobs)},
    )


@dataclass(frozen=True)
class UpRow:
    """What a node builds upon, as it turned out."""

    label: str | None  #: what the node's key calls it; None: it does not count
    package: str | None
    key: bytes  #: its final key
    files: bytes  #: a digest of the files that it made


async def ups_of(cursor: Cursor, job: int) -> list[UpRow]:
    """The upstreams of a node whose files count, each in the attempt that its edge saw."""
    rows = await cursor.rows(
        """
        SELECT e.label, up.package, encode(coalesce(up.key, up.inputs), 'hex'),
               encode(sha256(convert_to(coalesce((
                   SELECT string_agg(a.name || ':' || a.index || ' ' || a.path || ' '
                                     || encode(a.sha256, 'hex'), E'\\n'
                                     ORDER BY a.name, a.index, a.path)
                   FROM artifact AS a
                   WHERE a.job = CASE WHEN t.result = 'reused' THEN up.reused_from
                                      ELSE up.job END
                     AND a.attempt = CASE WHEN t.result = 'reused' THEN up.reused_attempt
                                          ELSE e.up_attempt END), ''), 'UTF8')), 'hex')
        FROM edge AS e JOIN node AS up ON up.job = e.up
        LEFT JOIN attempt AS t ON t.job = e.up AND t.number = e.up_attempt
        WHERE e.down = %s ORDER BY up.job LIMIT 100000
        """,
        (job,),
    )
    return [
        UpRow(label, package, bytes.fromhex(key), bytes.fromhex(files))
        for label, package, key, files in rows
    ]


async def note_key(
    cursor: Cursor, job: int, key: bytes, content: Mapping[str, object] | None
) -> None:
    """Note the key of a node whose upstreams have ended, and what of them has changed."""
    text = None if content is None else json.dumps(content)
    await cursor.run(
        """
        UPDATE node SET key = decode(%s, 'hex'), content = %s::jsonb
        WHERE job = %s
        """,
        (key.hex(), text, job),
    )


async def last_content(cursor: Cursor, job: int) -> dict[str, str] | None:
    """The keys of the packages when the component of this job last passed; None: never.

    In the same cell: what is out for one architecture is not out for another. And in the
    same repository and trust domain: what others published is another thing.
    """
    row = await cursor.row(
        """
        SELECT earlier.content -> 'keys' FROM node AS own
        JOIN job AS j ON j.id = own.job
        JOIN node AS earlier ON earlier.job_name = own.job_name
         AND earlier.package = own.package AND earlier.scope = 'component'
        JOIN job AS e ON e.id = earlier.job AND e.result = 'success'
         AND e.repository = j.repository AND e.trust_domain = j.trust_domain
         AND (e.cell, e.part) = (j.cell, j.part)
        WHERE own.job = %s AND earlier.job <> own.job AND earlier.content IS NOT NULL
        ORDER BY e.finished_at DESC LIMIT 1
        """,
        (job,),
    )
    return None if row is None else dict(row[0])
