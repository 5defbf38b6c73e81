"""Attempts that ended, as JSON documents: a page of them, and durations by day.

What is remembered by the row of a job (`Known`) does not fit: an attempt has a row of its
own, and most of what is shown of it is of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildmaster.database import Database
from buildmaster.status.problems import bad_parameter
from buildmaster.status.questions import History
from buildmaster.store.documents.fragments import at, micros
from buildmaster.store.events import CURSOR

#: Attempts, or jobs of one name, that are looked at for one page.
LOOKED_AT = 10_000
#: Days of a trend.
TREND_DAYS = 30
#: Attempts that a job's own page shows, and jobs of its name that are looked at for it.
SIMILAR, SIMILAR_LOOKED_AT = 20, 2000

_BEGAN = "coalesce(t.started_at, t.assigned_at)"

#: SQL of an entry, over job ``j``, its class, build, and an attempt ``t`` that ended.
_ENTRY = f"""json_build_object(
    'job', t.job, 'run', (SELECT min(x.run) FROM run_job x WHERE x.job = t.job),
    'attempt', t.number, 'kind', j.kind, 'name', j.name, 'repository', j.repository,
    'architecture', coalesce(b.architecture, c.architecture),
    'series', coalesce(b.series, c.series[1], ''), 'worker', t.worker,
    'result', t.result,
    'classification', (SELECT k.classification FROM classified k
                        WHERE k.job = t.job AND k.attempt = t.number),
    'queued_at', {at("t.queued_at")}, 'started_at', {at("t.started_at")},
    'finished_at', {at("t.finished_at")},
    'waited', extract(epoch FROM t.assigned_at - t.queued_at)::float8,
    'ran', extract(epoch FROM t.finished_at - {_BEGAN})::float8)"""
_JOINED = "JOIN job_class c ON c.id = j.class LEFT JOIN build b ON b.job = j.id"

_GOOD = "result IN ('success', 'reused', 'skipped')"
_BAD = "is_failure(result)"
#: SQL of a trend over ``found``, with finished_at, result and ran.
_TREND = f"""
    SELECT coalesce(json_agg(json_build_object(
        'day', d.day, 'jobs', d.jobs, 'good', d.good, 'bad', d.bad, 'p50', d.both[1],
        'p95', d.both[2]) ORDER BY d.day), '[]')
      FROM (SELECT (finished_at AT TIME ZONE 'UTC')::date AS day, count(*) AS jobs,
                   count(*) FILTER (WHERE {_GOOD}) AS good,
                   count(*) FILTER (WHERE {_BAD}) AS bad,
                   percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY ran) AS both
              FROM found WHERE finished_at > farm_now() - interval '{TREND_DAYS} days'
             GROUP BY 1) d
"""
_RAN = f"extract(epoch FROM t.finished_at - {_BEGAN})::float8"


async def history(database: Database, asked: History) -> bytes:
    """What `buildmaster.status.documents.History` describes."""
    way = _by_name(asked) if asked.name is not None else _by_end(asked)
    tests, parameters = _tests(asked)
    is_first = asked.after is None
    # Later pages have no trend, and need not be looked through to the end.
    bound = "" if is_first else "LIMIT %(limit)s + 1"
    [text] = await database.one(
        f"""
        WITH looked AS MATERIALIZED ({way.looked}),
        found AS MATERIALIZED (
            SELECT t.job, t.number, t.finished_at, t.result, {_RAN} AS ran, j.id AS of
              FROM {way.found} {_JOINED}
             WHERE {" AND ".join([*way.tests, *tests])}
             ORDER BY {way.order} {bound}),
        page AS MATERIALIZED (
            SELECT job, number, finished_at FROM found t
             ORDER BY {way.order} LIMIT %(limit)s),
        ending AS (
            SELECT CASE WHEN (SELECT count(*) FROM found) > (SELECT count(*) FROM page)
                        THEN (SELECT {way.place} FROM page t ORDER BY {way.last} LIMIT 1)
                        WHEN (SELECT count(*) FROM looked) >= {LOOKED_AT}
                        THEN (SELECT {way.place} FROM looked t ORDER BY {way.last} LIMIT 1)
                   END AS next)
        SELECT json_build_object(
            'entries', (SELECT coalesce(json_agg({_ENTRY} ORDER BY {way.order}), '[]')
                          FROM page JOIN attempt t ON (t.job, t.number)
                                                    = (page.job, page.number)
                          JOIN job j ON j.id = t.job {_JOINED}),
            'trend', {f"({_TREND})" if is_first else "'[]'::json"},
            'trend_since', {_since() if is_first else "NULL"},
            'next', (SELECT next FROM ending), 'cursor', {CURSOR})::text
        """,
        {**parameters, **way.parameters, "limit": asked.limit},
    )
    return str(text).encode()


def _since() -> str:
    """SQL for how far back it is known what ended: what was looked at, or the trend."""
    return at(
        f"""greatest(
            farm_now() - interval '{TREND_DAYS} days',
            CASE WHEN (SELECT count(*) FROM looked) >= {LOOKED_AT}
                 THEN (SELECT min(finished_at) FROM looked) END)"""
    )


def _one_job(key: str) -> str:
    """SQL that joins job ``j``: one by one, not by looking through all of them."""
    return f"CROSS JOIN LATERAL (SELECT * FROM job o WHERE o.id = {key} LIMIT 1) j"


@dataclass(frozen=True)
class _Way:
    """How attempts are found in their order."""

    looked: str  #: SQL: those that are looked at
    found: str  #: FROM ``looked``, with attempt ``t`` and job ``j``
    tests: list[str]
    order: str
    last: str  #: the other way round
    place: str  #: SQL for the place of ``t``
    parameters: dict[str, Any]


def _by_end(asked: History) -> _Way:
    """What ended last first."""
    test, parameters = "true", {}
    if asked.after is not None:
        finished, job, number = _place(asked.after, 3)
        test = """(a.finished_at, a.job, a.number) < (
            timestamptz 'epoch' + %(finished)s * interval '1 microsecond', %(job)s,
            %(number)s)"""
        parameters = {"finished": finished, "job": job, "number": number}
    return _Way(
        f"""SELECT a.finished_at, a.job, a.number, a.result, a.started_at, a.assigned_at
              FROM attempt a
             WHERE a.finished_at IS NOT NULL AND {test}
             ORDER BY a.finished_at DESC, a.job DESC, a.number DESC LIMIT {LOOKED_AT}""",
        f"looked t {_one_job('t.job')}",
        [],
        "t.finished_at DESC, t.job DESC, t.number DESC",
        "t.finished_at, t.job, t.number",
        f"{micros('t.finished_at')} || '-' || t.job || '-' || t.number",
        parameters,
    )


def _by_name(asked: History) -> _Way:
    """The newest job of the name first, and its last attempt first."""
    test, tests, parameters = "true", [], {}
    if asked.after is not None:
        job, number = _place(asked.after, 2)
        test = "o.id <= %(job)s"
        tests = ["(t.job, t.number) < (%(job)s, %(number)s)"]
        parameters = {"job": job, "number": number}
    return _Way(
        # A job that was looked through is left behind with its first attempt.
        f"""SELECT o.id AS job, 1 AS number, o.finished_at FROM job o
             WHERE o.name = %(name)s AND {test} ORDER BY o.id DESC LIMIT {LOOKED_AT}""",
        f"looked l {_one_job('l.job')} CROSS JOIN LATERAL ("
        "    SELECT * FROM attempt a WHERE a.job = j.id AND a.finished_at IS NOT NULL"
        "    OFFSET 0) t",
        tests,
        "t.job DESC, t.number DESC",
        "t.job, t.number",
        "t.job || '-' || t.number",
        parameters,
    )


def _place(after: str, parts: int) -> list[int]:
    found = [int(part) for part in after.split("-")]
    if len(found) != parts or found[-1] >= 2**31 or max(found) >= 2**62:
        raise bad_parameter("after", "is not the 'next' of a page with these filters")
    return found


def _tests(asked: History) -> tuple[list[str], dict[str, Any]]:
    columns = {
        "name": "j.name",
        "repository": "j.repository",
        "kind": "j.kind",
        "owner": "j.owner",
        "architecture": "coalesce(b.architecture, c.architecture)",
        "series": "coalesce(b.series, c.series[1], '')",
    }
    tests, parameters = ["true"], {}
    for name, column in columns.items():
        if (value := getattr(asked, name)) is not None:
            tests.append(f"{column} = %({name})s")
            parameters[name] = value
    return tests, parameters


async def similar(database: Database, job: int) -> tuple[str, str]:
    """JSON of a trend of the same job in all runs, and of its last attempts elsewhere."""
    trend, entries = await database.one(
        f"""
        WITH same AS MATERIALIZED (
            SELECT o.id FROM job me CROSS JOIN LATERAL (
                SELECT * FROM job o WHERE o.name = me.name
                 ORDER BY o.id DESC LIMIT {SIMILAR_LOOKED_AT}) o
             WHERE me.id = %(job)s AND o.kind = me.kind AND o.class = me.class
               AND o.cell = me.cell AND o.part = me.part
               AND o.repository IS NOT DISTINCT FROM me.repository),
        found AS MATERIALIZED (
            SELECT t.job, t.number, t.finished_at, t.result, {_RAN} AS ran
              FROM same JOIN attempt t ON t.job = same.id
             WHERE t.finished_at IS NOT NULL),
        page AS MATERIALIZED (
            SELECT job, number FROM found WHERE job <> %(job)s
             ORDER BY job DESC, number DESC LIMIT {SIMILAR})
        SELECT ({_TREND})::text, (
            SELECT coalesce(json_agg({_ENTRY} ORDER BY t.job DESC, t.number DESC), '[]')
              FROM page JOIN attempt t ON (t.job, t.number) = (page.job, page.number)
              JOIN job j ON j.id = t.job {_JOINED})::text
        """,
        {"job": job},
    )
    return str(trend), str(entries)
