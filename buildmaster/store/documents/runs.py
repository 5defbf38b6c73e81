"""Runs as JSON documents: a page of the newest, and one with all its jobs."""

from __future__ import annotations

from typing import Any

from buildmaster.database import Database
from buildmaster.store.documents.fragments import (
    DEFAULT_LIMIT,
    LARGEST_LIMIT,
    Listing,
    array,
    document,
    number,
    text,
    time,
    value,
    word,
)
from buildmaster.store.documents.jobs import JOB_FIELDS, JOB_TABLES
from buildmaster.store.events import CURSOR

#: What ``state=`` may ask for; equal to the ``run_state`` type.
RUN_STATES = ("open", "sealed", "done")

#: Jobs that a run shows in a list; ``job_count`` tells of more.
JOBS_IN_LIST = 20

_RUN_FIELDS = {
    "id": number("r.id"),
    "kind": word("'run'"),
    "state": word("r.state"),
    "result": word("r.result"),
    "attempt": number("NULL"),
    "repository": text("r.repository"),
    "source_digest": word("r.source_digest"),
    "refs": value("r.refs"),
    "trust_domain": text("r.trust_domain"),
    "requester": text("r.requester"),
    "owner": text("r.owner"),
    "cross_architecture": word("r.cross_architecture"),
    "created_at": time("r.created_at"),
    "finished_at": time("r.finished_at"),
    "job_count": number("SELECT count(*) FROM run_job x WHERE x.run = r.id"),
}


def _members(limit: int) -> str:
    """The rows of `JOB_TABLES` that belong to the run."""
    return f"""
    (SELECT x.job FROM run_job x WHERE x.run = r.id ORDER BY x.job LIMIT {limit}) m
    JOIN ({JOB_TABLES}) ON j.id = m.job
    """


def _notes(test: str) -> str:
    notes = "jsonb_array_elements(r.notes) WITH ORDINALITY AS o (n, place)"
    return array("n::text", f"{notes} WHERE {test}", "o.place")


_IN_SHORT = ("id", "name", "state", "result", "architecture", "series")
_JOBS_IN_SHORT = array(
    document(**{name: JOB_FIELDS[name] for name in _IN_SHORT}),
    _members(JOBS_IN_LIST),
    "j.id",
)
_RUN = document(**_RUN_FIELDS, jobs=_JOBS_IN_SHORT)
_WHOLE_RUN = document(
    **_RUN_FIELDS,
    # A submission's notes are what it left out (objects) and what it has to say (texts).
    skipped=_notes("jsonb_typeof(n) = 'object'"),
    notes=_notes("jsonb_typeof(n) <> 'object'"),
    jobs=array(document(**JOB_FIELDS), _members(LARGEST_LIMIT), "j.id"),
    cursor=word(CURSOR),
)
_PAGE = array(_RUN, "shown JOIN run r USING (id)", "r.id DESC")


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
        SELECT {_PAGE}, (SELECT min(id) FROM shown), (SELECT count(*) > %s FROM page),
               {CURSOR}
        """,
        (*parameters, limit + 1, limit, limit),
    )
    return Listing(items, str(last) if is_more else None, cursor)


async def run_document(database: Database, run: int) -> str | None:
    """Everything about one run, as JSON; None if there is no such run."""
    row = await database.row(f"SELECT {_WHOLE_RUN} FROM run r WHERE r.id = %s", (run,))
    return None if row is None else str(row[0])


async def run_in_short(database: Database, run: int) -> str | None:
    """A run as lists show it, as JSON; None if there is no such run."""
    row = await database.row(f"SELECT {_RUN} FROM run r WHERE r.id = %s", (run,))
    return None if row is None else str(row[0])
