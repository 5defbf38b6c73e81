"""Runs as JSON documents: a page of the newest, and one with all its jobs."""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.database import Database, Prepared
from buildmaster.status.questions import LARGEST_LIMIT, Runs
from buildmaster.store.documents.fragments import at, pairs
from buildmaster.store.documents.jobs import JOB_PAIRS, JOB_TABLES
from buildmaster.store.documents.pages import Listing, Page, tests_of
from buildmaster.store.events import CURSOR

#: Jobs that a run shows in a list; ``job_count`` tells of more.
JOBS_IN_LIST = 20

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

_RUN: Mapping[str, str] = {
    "id": "r.id",
    "kind": "'run'",
    "state": "r.state",
    "result": "r.result",
    "attempt": "NULL",
    "name": "r.name",
    "repository": "r.repository",
    "source_digest": "r.source_digest",
    "refs": "r.refs",
    "trust_domain": "r.trust_domain",
    "requester": "r.requester",
    "owner": "r.owner",
    "cross_architecture": "r.cross_architecture",
    "created_at": at("r.created_at"),
    "finished_at": at("r.finished_at"),
    "job_count": "(SELECT count(*) FROM run_job x WHERE x.run = r.id)",
}
RUN_PAIRS = pairs(_RUN)
_RUN_IN_LIST = {**_RUN, "jobs": f"({_JOBS_IN_SHORT})"}

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
    database: Database, asked: Runs, within: tuple[str, ...] | None = None
) -> Listing:
    """The runs that are ``asked`` for, of the projects ``within`` only; None: of all."""
    tests, parameters = tests_of(
        asked,
        ("repository", "source_digest", "owner", "requester"),
        {"state": "run_state", "result": "job_result"},
    )
    if within is not None:
        tests.append("is_within(repository, %s::text[])")
        parameters.append(list(within))
    page = Page(
        "run s",
        "s.id",
        "JOIN run r ON r.id = shown.key",
        pairs(_RUN_IN_LIST, asked.fields),
    )
    return await page.read(database, asked, tests, parameters)


_DOCUMENT = Prepared(f"""
    SELECT json_build_object({RUN_PAIRS},
        'skipped', ({_NOTES.format(is_object="true")}),
        'notes', ({_NOTES.format(is_object="false")}),
        'jobs', ({_JOBS}), 'cursor', {CURSOR})::text
      FROM run r WHERE r.id = %s
""")


async def run_document(database: Database, run: int) -> str | None:
    """Everything about one run, as JSON; None if there is no such run."""
    row = await database.row(
        _DOCUMENT,
        (run,),
    )
    return None if row is None else str(row[0])


async def run_in_short(database: Database, run: int) -> str | None:
    """A run as lists show it, as JSON; None if there is no such run."""
    row = await database.row(
        f"""
        SELECT json_build_object({RUN_PAIRS}, 'jobs', ({_JOBS_IN_SHORT}))::text
          FROM run r WHERE r.id = %s
        """,
        (run,),
    )
    return None if row is None else str(row[0])
