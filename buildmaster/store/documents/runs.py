"""Runs as JSON documents: a page of the newest, and one with all its jobs."""

from __future__ import annotations

from typing import Any

from buildmaster.database import Database
from buildmaster.store.documents.fragments import DEFAULT_LIMIT, LARGEST_LIMIT, Listing, at
from buildmaster.store.documents.jobs import JOB_PAIRS, JOB_TABLES
from buildmaster.store.events import CURSOR

#: What ``state=`` may ask for; equal to the ``run_state`` type.
RUN_STATES = ("open", "sealed", "done")

#: Jobs that a run shows in a list; ``job_count`` tells of more.
JOBS_IN_LIST = 20

_RUN_PAIRS = f"""
    'id', r.id, 'kind', 'run', 'state', r.state, 'result', r.result, 'attempt', NULL,
    'name', r.name, 'repository', r.repository, 'source_digest', r.source_digest,
    'refs', r.refs,
    'trust_domain', r.trust_domain, 'requester', r.requester, 'owner', r.owner,
    'cross_architecture', r.cross_architecture,
    'created_at', {at("r.created_at")}, 'finished_at', {at("r.finished_at")},
    'job_count', (SELECT count(*) FROM run_job x WHERE x.run = r.id)
"""

_JOBS_IN_SHORT = f"""
    SELECT coalesce(json_agg(json_build_object(
        'id', j.id, 'name', j.name, 'state', j.state, 'result', j.result,
        'architecture', coalesce(b.architecture, c.architecture),
        'series', coalesce(b.series, c.series[1], '')) ORDER BY j.id), '[]')
      FROM (SELECT x.job FROM run_job x WHERE x.run = r.id
             ORDER BY x.job LIMIT {JOBS_IN_LIST}) m
      JOIN job j ON j.id = m.job JOIN job_class c ON c.id = j.class
      LEFT JOIN build b ON b.job = j.id
"""

_JOBS = f"""
    SELECT coalesce(json_agg(json_build_object({JOB_PAIRS}) ORDER BY j.id), '[]')
      FROM (SELECT x.job FROM run_job x WHERE x.run = r.id
             ORDER BY x.job LIMIT {LARGEST_LIMIT}) m
      JOIN ({JOB_TABLES}) ON j.id = m.job
"""

# A submission's notes are what it left out (objects) and what it has to say (texts).
_NOTES = """
    SELECT coalesce(json_agg(n ORDER BY place), '[]')
      FROM jsonb_array_elements(r.notes) WITH ORDINALITY AS o (n, place)
     WHERE (jsonb_typeof(n) = 'object') = {is_object}
"""


async def run_list(
    database: Database,
    *,
    state: str | None = None,
    before: int | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Listing:
    """The newest runs, of those older than ``before``; at most ``limit``."""
    tests, parameters = ["true"], list[Any]()
    if state is not None:
        tests.append("state = %s")
        parameters.append(state)
    if before is not None:
        tests.append("id < %s")
        parameters.append(before)
    items, last, is_more, cursor = await database.one(
        f"""
        WITH page AS MATERIALIZED (
            SELECT id FROM run WHERE {" AND ".join(tests)} ORDER BY id DESC LIMIT %s),
        shown AS (SELECT id FROM page ORDER BY id DESC LIMIT %s)
        SELECT (SELECT coalesce(json_agg(json_build_object(
                            {_RUN_PAIRS}, 'jobs', ({_JOBS_IN_SHORT})) ORDER BY r.id DESC),
                        '[]')
                  FROM shown JOIN run r USING (id))::text,
               (SELECT min(id) FROM shown), (SELECT count(*) > %s FROM page), {CURSOR}
        """,
        (*parameters, limit + 1, limit, limit),
    )
    return Listing(items, str(last) if is_more else None, cursor)


async def run_document(database: Database, run: int) -> str | None:
    """Everything about one run, as JSON; None if there is no such run."""
    row = await database.row(
        f"""
        SELECT json_build_object({_RUN_PAIRS},
            'skipped', ({_NOTES.format(is_object="true")}),
            'notes', ({_NOTES.format(is_object="false")}),
            'jobs', ({_JOBS}), 'cursor', {CURSOR})::text
          FROM run r WHERE r.id = %s
        """,
        (run,),
    )
    return None if row is None else str(row[0])


async def run_in_short(database: Database, run: int) -> str | None:
    """A run as lists show it, as JSON; None if there is no such run."""
    row = await database.row(
        f"""
        SELECT json_build_object({_RUN_PAIRS}, 'jobs', ({_JOBS_IN_SHORT}))::text
          FROM run r WHERE r.id = %s
        """,
        (run,),
    )
    return None if row is None else str(row[0])
