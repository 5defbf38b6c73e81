"""Jobs as JSON documents: a page of the newest, and one with everything about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildmaster.database import Database
from buildmaster.store.documents.fragments import (
    DEFAULT_LIMIT,
    Listing,
    array,
    document,
    number,
    text,
    time,
    value,
    word,
)
from buildmaster.store.events import CURSOR

#: What ``state=`` may ask for; equal to the ``job_state`` type.
JOB_STATES = ("waiting", "ready", "assigned", "running", "parked", "done")

# Parts of one document are bounded, too: attempts, edges, files of a pipeline job.
_PART_LIMIT = 1000

#: The fields of a job in lists, of the rows of `JOB_TABLES`.
JOB_FIELDS = {
    "id": number("j.id"),
    "kind": text("j.kind"),
    "name": text("j.name"),
    "cell": text("j.cell"),
    "part": number("j.part"),
    "state": word("j.state"),
    "result": word("j.result"),
    "reason": text("j.reason"),
    "root_cause": number("j.root_cause"),
    "attempt": number("j.attempt"),
    "architecture": text("coalesce(b.architecture, c.architecture)"),
    "isolation": word("c.isolation"),
    "series": text("coalesce(b.series, c.series[1], '')"),
    "repository": text("j.repository"),
    "source_digest": text("j.source_digest"),
    "refs": value("j.refs"),
    "runs": array(number("x.run"), "run_job x WHERE x.job = j.id", "x.run"),
    "owner": text("j.owner"),
    "requester": text("j.requester"),
    "worker": text("a.worker"),
    "score": number("j.score"),
    "created_at": time("j.created_at"),
    "ready_at": time("j.ready_at"),
    "started_at": time("j.started_at"),
    "finished_at": time("j.finished_at"),
    "cancel_asked_at": time("j.cancel_asked_at"),
}

JOB_TABLES = """
    job j JOIN job_class c ON c.id = j.class
    LEFT JOIN build b ON b.job = j.id
    LEFT JOIN attempt a ON a.job = j.id AND a.number = j.attempt
"""

_ARTIFACTS = array(
    document(
        path=text("f.path"),
        sha256=word("f.hash"),
        size=number("f.size"),
        url=word("'/api/v1/artifacts/' || f.hash"),
    ),
    f"""
    (SELECT f.path, encode(f.sha256, 'hex') AS hash, d.size
       FROM artifact f JOIN blob d USING (sha256)
      WHERE f.job = p.job AND f.attempt = p.attempt
        AND f.name = p.name AND f.index = p.index
      ORDER BY f.path LIMIT {_PART_LIMIT}) f
    """,
    "f.path",
)

_PIPELINE_JOBS = array(
    document(
        name=text("p.name"),
        index=number("p.index"),
        title=text("p.name || ':' || p.index"),
        stage=number("p.stage"),
        state=word("p.state"),
        result=word("p.result"),
        reason=text("p.reason"),
        exit_status=number("p.exit_status"),
        series=text("p.series"),
        properties=value("p.properties"),
        started_at=time("p.started_at"),
        finished_at=time("p.finished_at"),
        kept_from=number("p.kept_from"),
        artifacts=_ARTIFACTS,
    ),
    "pipeline_job p WHERE p.job = j.id AND p.attempt = j.attempt",
    "p.stage, p.place",
)

_ATTEMPTS = array(
    document(
        number=number("t.number"),
        worker=text("t.worker"),
        result=word("t.result"),
        reason=text("t.reason"),
        queued_at=time("t.queued_at"),
        assigned_at=time("t.assigned_at"),
        started_at=time("t.started_at"),
        finished_at=time("t.finished_at"),
        log_length=number("t.log_length"),
    ),
    f"(SELECT * FROM attempt WHERE job = j.id ORDER BY number DESC LIMIT {_PART_LIMIT}) t",
    "t.number",
)


def _edges(near: str, far: str) -> str:
    return array(
        document(
            job=number(f"e.{far}"),
            stage=number("e.up_stage"),
            require=word("e.require"),
            resolved_at=time("e.resolved_at"),
        ),
        f"(SELECT * FROM edge WHERE {near} = j.id ORDER BY id LIMIT {_PART_LIMIT}) e",
        "e.id",
    )


_JOB = document(**JOB_FIELDS)
_WHOLE_JOB = document(
    **JOB_FIELDS,
    stages=value("coalesce(b.stages, '[]')"),
    stage_numbers=value("b.stage_numbers"),
    pipeline_jobs=_PIPELINE_JOBS,
    attempts=_ATTEMPTS,
    needs=_edges("down", "up"),
    wanted_by=_edges("up", "down"),
    cursor=word(CURSOR),
)
_RETRIED = document(
    **{name: JOB_FIELDS[name] for name in ("id", "kind", "attempt", "state", "result")}
)
_PAGE = array(_JOB, f"shown JOIN ({JOB_TABLES}) ON j.id = shown.id", "j.id DESC")


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows; None is no condition."""

    state: str | None = None
    kind: str | None = None
    run: int | None = None


async def job_list(
    database: Database,
    wanted: JobFilter,
    *,
    before: int | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Listing:
    """The newest jobs that are ``wanted``, of those older than ``before``."""
    source, tests, parameters = _source(wanted)
    if before is not None:
        tests.append("s.id < %s")
        parameters.append(before)
    items, last, is_more, cursor = await database.one(
        f"""
        WITH page AS MATERIALIZED (
            SELECT s.id FROM {source} WHERE {" AND ".join(["true", *tests])}
             ORDER BY s.id DESC LIMIT %s),
        shown AS (SELECT id FROM page ORDER BY id DESC LIMIT %s)
        SELECT {_PAGE}, (SELECT min(id) FROM shown), (SELECT count(*) > %s FROM page),
               {CURSOR}
        """,
        (*parameters, limit + 1, limit, limit),
    )
    return Listing(items, str(last) if is_more else None, cursor)


def _source(wanted: JobFilter) -> tuple[str, list[str], list[Any]]:
    """Where the ids come from: the smallest table that knows the answer."""
    tests: list[str] = []
    parameters: list[Any] = []
    state = wanted.state
    if wanted.run is not None:
        source = "(SELECT job AS id, run FROM run_job) s"
        tests.append("s.run = %s")
        parameters.append(wanted.run)
    elif state == "ready":
        source = "(SELECT job AS id FROM ready) s"
    elif state in ("assigned", "running"):
        source = "(SELECT job AS id FROM running) s"
    else:
        source = "job s"
    # The line and the claims are hints here; the job row says what is.
    of_job = [("state", state), ("kind", wanted.kind)]
    columns = [(name, value) for name, value in of_job if value is not None]
    if columns:
        if source == "job s":
            tests += [f"s.{name} = %s" for name, _ in columns]
        else:
            conditions = " AND ".join(f"o.{name} = %s" for name, _ in columns)
            tests.append(f"EXISTS (SELECT FROM job o WHERE o.id = s.id AND {conditions})")
        parameters += [value for _, value in columns]
    return source, tests, parameters


async def job_document(database: Database, job: int) -> str | None:
    """Everything about one job, as JSON; None if there is no such job."""
    row = await database.row(
        f"SELECT {_WHOLE_JOB} FROM {JOB_TABLES} WHERE j.id = %s", (job,)
    )
    return None if row is None else str(row[0])


async def job_in_short(database: Database, job: int) -> str | None:
    """A job as lists show it, as JSON; None if there is no such job."""
    row = await database.row(f"SELECT {_JOB} FROM {JOB_TABLES} WHERE j.id = %s", (job,))
    return None if row is None else str(row[0])


async def retried_job(database: Database, job: int) -> str | None:
    """What a retry tells of the job, as JSON; None if there is no such job."""
    row = await database.row(f"SELECT {_RETRIED} FROM job j WHERE j.id = %s", (job,))
    return None if row is None else str(row[0])
