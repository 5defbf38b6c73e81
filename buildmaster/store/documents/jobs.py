"""Jobs as JSON documents: a page of the newest, and one with everything about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildmaster.database import Database, Prepared
from buildmaster.status.questions import Jobs
from buildmaster.store.documents.fragments import at, pairs
from buildmaster.store.documents.known import Known
from buildmaster.store.documents.pages import Listing, Page, tests_of
from buildmaster.store.events import CURSOR

# Parts of one document are bounded, too: attempts, edges, files of a pipeline job.
_PART_LIMIT = 1000

#: SQL of each field of a job in a list, over `JOB_TABLES`.
JOB: Mapping[str, str] = {
    "id": "j.id",
    "kind": "j.kind",
    "name": "j.name",
    "cell": "j.cell",
    "part": "j.part",
    "state": "j.state",
    "result": "j.result",
    "reason": "j.reason",
    "classification": "k.classification",
    "root_cause": "j.root_cause",
    "attempt": "j.attempt",
    "architecture": "coalesce(b.architecture, c.architecture)",
    "performs": "nullif(c.performs, '')",
    "isolation": "c.isolation",
    "series": "coalesce(b.series, c.series[1], '')",
    "repository": "j.repository",
    "source_digest": "j.source_digest",
    "refs": "j.refs",
    "runs": "ARRAY(SELECT x.run FROM run_job x WHERE x.job = j.id ORDER BY x.run)",
    "owner": "j.owner",
    "requester": "j.requester",
    "worker": "coalesce(r.worker, a.worker)",
    "score": "j.score",
    "manual_score": "j.manual_score",
    "parked_for": "j.parked_for",
    "created_at": at("j.created_at"),
    "ready_at": at("j.ready_at"),
    "started_at": at("j.started_at"),
    "finished_at": at("j.finished_at"),
    "superseded_by": "j.superseded_by",
    "group": "j.concurrency_group",
    "cancel_asked_at": at("j.cancel_asked_at"),
}
JOB_PAIRS = pairs(JOB)

_JOINED = """
    JOIN job_class c ON c.id = j.class
    LEFT JOIN build b ON b.job = j.id
    LEFT JOIN attempt a ON a.job = j.id AND a.number = j.attempt
    LEFT JOIN running r ON r.job = j.id
    LEFT JOIN classified k ON k.job = j.id AND k.attempt = j.attempt
"""
JOB_TABLES = f"job j {_JOINED}"

# Whatever a list shows of a job that is done changes with its row; of others it may come
# from elsewhere. A run that takes up a job that is done touches its row for this.
_ROW = "JOIN job j ON j.id = shown.key"
_VERSION = "CASE WHEN j.state = 'done' THEN j.xmin::text END"

_PIPELINE_JOBS = f"""
    SELECT coalesce(json_agg(json_build_object(
        'name', p.name, 'index', p.index, 'title', p.name || ':' || p.index,
        'stage', p.stage, 'state', p.state, 'result', p.result, 'reason', p.reason,
        'exit_status', p.exit_status, 'series', p.series, 'properties', p.properties,
        'started_at', {at("p.started_at")}, 'finished_at', {at("p.finished_at")},
        'kept_from', p.kept_from, 'image', nullif(p.image, ''),
        'lingers_until', {at("p.lingers_until")}, 'artifacts', (
            SELECT coalesce(json_agg(json_build_object(
                'path', f.path, 'sha256', f.hash, 'size', f.size,
                'url', '/api/v1/artifacts/' || f.hash) ORDER BY f.path), '[]')
              FROM (SELECT f.path, encode(f.sha256, 'hex') AS hash, d.size
                      FROM artifact f JOIN blob d USING (sha256)
                     WHERE f.job = p.job AND f.attempt = p.attempt
                       AND f.name = p.name AND f.index = p.index
                     ORDER BY f.path LIMIT {_PART_LIMIT}) f))
        ORDER BY p.stage, p.place), '[]')
      FROM pipeline_job p WHERE p.job = j.id AND p.attempt = j.attempt
"""

_ATTEMPTS = f"""
    SELECT coalesce(json_agg(json_build_object(
        'number', t.number, 'worker', coalesce(t.worker, l.worker), 'result', t.result,
        'reason', t.reason, 'exit_status', t.exit_status, 'output', t.output,
        'queued_at', {at("t.queued_at")},
        'assigned_at', {at("coalesce(t.assigned_at, l.assigned_at)")},
        'started_at', {at("coalesce(t.started_at, l.accepted_at)")},
        'finished_at', {at("t.finished_at")},
        'log_length', t.log_length) ORDER BY t.number), '[]')
      FROM (SELECT * FROM attempt WHERE job = j.id
             ORDER BY number DESC LIMIT {_PART_LIMIT}) t
      LEFT JOIN running l ON l.job = t.job AND l.attempt = t.number
"""


# Of a job that verifies another: whether it made the same; NULL until it has passed.
_FILES_OF = """
    (SELECT coalesce(json_agg(json_build_array(f.name, f.index, f.path,
                                               encode(f.sha256, 'hex'))
                              ORDER BY f.name, f.index, f.path), '[]')::text
       FROM artifact f WHERE f.job = {job} AND f.attempt = (
            SELECT o.attempt FROM job o WHERE o.id = {job}))
"""
_NODE = f"""
    SELECT json_build_object(
        'job', d.job_name, 'package', d.package, 'covers', d.covers, 'scope', d.scope,
        'reuse', d.reuse, 'inputs', encode(d.inputs, 'hex'), 'key', encode(d.key, 'hex'),
        'reused_from', CASE WHEN j.result = 'reused' THEN d.reused_from END,
        'reused_attempt', CASE WHEN j.result = 'reused' THEN d.reused_attempt END,
        'verifies', d.verifies, 'is_same', CASE
            WHEN d.verifies IS NOT NULL AND j.result = 'success'
            THEN {_FILES_OF.format(job="d.job")} = {_FILES_OF.format(job="d.verifies")} END,
        'changed', d.content -> 'changed', 'gate', nullif(j.gate, ''),
        'allow_failure', j.allow_failure)
      FROM node d WHERE d.job = j.id
"""


def _edges(near: str, far: str) -> str:
    return f"""
    SELECT coalesce(json_agg(json_build_object(
        'job', e.{far}, 'stage', e.up_stage, 'require', e.require, 'handed', e.handed,
        'resolved_at', {at("e.resolved_at")}) ORDER BY e.id), '[]')
      FROM (SELECT * FROM edge WHERE {near} = j.id ORDER BY id LIMIT {_PART_LIMIT}) e
    """


async def job_list(
    database: Database,
    asked: Jobs,
    known: Known | None = None,
    within: tuple[str, ...] | None = None,
) -> Listing:
    """The jobs that are ``asked`` for, of the projects ``within`` only; None: of all.

    ``known`` saves making what did not change.
    """
    source, tests, parameters = _source(asked, within)
    page = Page(
        source,
        "s.id",
        f"{_ROW} {_JOINED}",
        pairs(JOB, asked.fields),
    )
    if known is None:
        return await page.read(database, asked, tests, parameters)
    return await page.read_known(database, asked, tests, parameters, known, _VERSION, _ROW)


def _source(
    asked: Jobs, within: tuple[str, ...] | None = None
) -> tuple[str, list[str], list[Any]]:
    """Where the ids come from: the smallest table that knows the answer."""
    states = set(asked.state)
    tests, parameters = _of_job(asked)
    if within is not None:
        tests.append("repository IS NOT NULL AND is_within(repository, %s::text[])")
        parameters.append(list(within))
    if asked.run is not None:
        source = "(SELECT job AS id FROM run_job WHERE run = %s) s"
        parameters.insert(0, asked.run)
    elif states == {"ready"}:
        source = "(SELECT job AS id FROM ready UNION ALL SELECT job FROM aside) s"
    elif states and states <= {"assigned", "running"}:
        source = "(SELECT job AS id FROM running) s"
    elif asked.classification:
        source = "(SELECT job AS id FROM failed_job) s"
    else:
        return "job s", [_of_row(test, "s") for test in tests], parameters
    # The line and the claims are hints here; the job row says what is.
    if tests:
        conditions = " AND ".join(_of_row(test, "o") for test in tests)
        tests = [f"EXISTS (SELECT FROM job o WHERE o.id = s.id AND {conditions})"]
    return source, tests, parameters


def _of_row(test: str, row: str) -> str:
    return f"{row}.{test.replace('(ROW)', row)}"


def _of_job(asked: Jobs) -> tuple[list[str], list[Any]]:
    """What a job's row must pass; each test begins with a column's name.

    A row named elsewhere in a test is ``(ROW)``.
    """
    tests, parameters = tests_of(
        asked,
        ("kind", "name", "repository", "source_digest", "owner"),
        {"state": "job_state", "result": "job_result"},
    )
    if asked.architecture is not None:
        tests.append(
            "class = ANY (ARRAY(SELECT id FROM job_class WHERE architecture = %s))"
        )
        parameters.append(asked.architecture)
    if asked.classification:
        tests.append(
            "result IN ('failure', 'error', 'timeout', 'malformed') AND coalesce((SELECT"
            " d.classification::text FROM classified d WHERE d.job = (ROW).id"
            " AND d.attempt = (ROW).attempt), 'none') = ANY (%s::text[])"
        )
        parameters.append(list(asked.classification))
    if asked.worker is not None:
        tests.append(
            "id IN (SELECT w.job FROM attempt w JOIN job v"
            " ON v.id = w.job AND v.attempt = w.number WHERE w.worker = %s"
            " UNION ALL SELECT job FROM running WHERE worker = %s)"
        )
        parameters += [asked.worker, asked.worker]
    return tests, parameters


_DOCUMENT = Prepared(f"""
    SELECT json_build_object({JOB_PAIRS},
        'details', %s::json,
        'classified', CASE WHEN k.job IS NOT NULL THEN json_build_object(
            'classification', k.classification, 'note', k.note, 'link', k.link,
            'by', k.classified_by, 'at', {at("k.classified_at")}, 'rule', k.rule) END,
        'stages', coalesce(b.stages, '[]'), 'stage_numbers', b.stage_numbers,
        'arguments', (SELECT n.arguments FROM native_job n WHERE n.job = j.id),
        'requirements', json_build_object(
            'architecture', c.architecture, 'isolation', c.isolation, 'tags', c.tags,
            'slots', c.slots, 'cpu', c.cpu / 100.0, 'memory', c.memory, 'disk', c.disk,
            'worker', nullif(c.worker, '')),
        'limits', json_build_object(
            'run', j.run_limit, 'idle', j.idle_limit, 'queue', j.queue_limit,
            'total', j.total_limit),
        'semaphores', coalesce(j.limits, '{{}}'), 'retry', j.retry,
        'not_before', {at("j.not_before")}, 'deadline', {at("j.deadline")},
        'node', ({_NODE}),
        'pipeline_jobs', ({_PIPELINE_JOBS}),
        'attempts', ({_ATTEMPTS}),
        'needs', ({_edges("down", "up")}),
        'wanted_by', ({_edges("up", "down")}),
        'cursor', {CURSOR})::text
      FROM {JOB_TABLES} WHERE j.id = %s
""")


async def job_document(database: Database, job: int, details: str = "null") -> str | None:
    """Everything about one job, as JSON; None if there is no such job.

    ``details`` is JSON that its kind adds.
    """
    row = await database.row(
        _DOCUMENT,
        (details, job),
    )
    return None if row is None else str(row[0])


async def job_in_short(database: Database, job: int) -> str | None:
    """A job as lists show it, as JSON; None if there is no such job."""
    row = await database.row(
        f"SELECT json_build_object({JOB_PAIRS})::text FROM {JOB_TABLES} WHERE j.id = %s",
        (job,),
    )
    return None if row is None else str(row[0])


async def retried_job(database: Database, job: int) -> str | None:
    """What a retry tells of the job, as JSON; None if there is no such job."""
    row = await database.row(
        """
        SELECT json_build_object('id', id, 'kind', kind, 'attempt', attempt,
                                 'state', state, 'result', result)::text
          FROM job WHERE id = %s
        """,
        (job,),
    )
    return None if row is None else str(row[0])
