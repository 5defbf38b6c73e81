"""The grid as a JSON document: runs against their jobs, or pipeline jobs.

Documents that are remembered by row (`Known`) do not fit here: a cell is a few numbers,
whose column depends on the page, and to look up the versions of ten thousand rows takes
longer than to write them.
"""

from __future__ import annotations

from typing import Any

from buildmaster.database import Database
from buildmaster.status.questions import Grid
from buildmaster.store.documents.fragments import at, micros
from buildmaster.store.events import CURSOR

#: Cells of one page.
MOST_CELLS = 20_000
#: Runs that are looked at for one page, for those that have any of the cells.
LOOKED_AT = 10_000

_JOBS = """
    SELECT f.run, f.job, 0 AS place, j.kind, j.name, j.cell, j.part,
           coalesce(b.architecture, c.architecture) AS architecture,
           coalesce(b.series, c.series[1], '') AS series, NULL::integer AS index,
           j.state::text AS state, j.result, j.started_at, j.finished_at,
           k.classification, j.attempt
      FROM found f
      CROSS JOIN LATERAL (SELECT * FROM job o WHERE o.id = f.job LIMIT 1) j
      JOIN job_class c ON c.id = j.class
      LEFT JOIN build b ON b.job = j.id
      LEFT JOIN classified k ON k.job = j.id AND k.attempt = j.attempt
"""
_FOUND_JOBS = """
    SELECT page.key AS run, x.job FROM page CROSS JOIN LATERAL (
        SELECT r.job FROM run_job r WHERE r.run = page.key ORDER BY r.job) x
"""

# A pipeline job has no more states than three; whatever waits in a job that is done
# is done as well.
_PIPELINE_JOBS = """
    SELECT f.run, f.job, f.place, j.kind, f.name, '' AS cell, 0 AS part,
           coalesce(b.architecture, c.architecture) AS architecture,
           f.series, f.index, f.state, f.result, f.started_at, f.finished_at,
           k.classification, j.attempt
      FROM found f
      CROSS JOIN LATERAL (SELECT * FROM job o WHERE o.id = f.job LIMIT 1) j
      JOIN job_class c ON c.id = j.class
      LEFT JOIN build b ON b.job = j.id
      LEFT JOIN classified k ON k.job = j.id AND k.attempt = j.attempt
"""
_FOUND_PIPELINE_JOBS = """
    SELECT page.key AS run, x.* FROM page CROSS JOIN LATERAL (
        SELECT r.job, p.name, p.index, p.series, p.state::text AS state, p.result,
               p.started_at, p.finished_at, p.stage * 1000000 + p.place AS place
          FROM run_job r JOIN job o ON o.id = r.job
          JOIN pipeline_job p ON p.job = o.id AND p.attempt = o.attempt
         WHERE r.run = page.key ORDER BY r.job, p.stage, p.place) x
"""
# Of a run at a time: PostgreSQL would otherwise look through all jobs for it.
_SOME = """EXISTS (
    SELECT FROM run_job x JOIN job o ON o.id = x.job
     WHERE x.run = s.id AND {tests} OFFSET 0)"""


async def grid(database: Database, asked: Grid) -> bytes:
    """What `buildmaster.status.documents.Grid` describes."""
    found, cells = (
        (_FOUND_JOBS, _JOBS)
        if asked.cells == "jobs"
        else (_FOUND_PIPELINE_JOBS, _PIPELINE_JOBS)
    )
    runs, of_job, parameters = _tests(asked)
    has_some = "true"
    if of_job:
        has_some = _SOME.format(tests=" AND ".join(f"o.{test}" for test in of_job))
    shown = " AND ".join(f"j.{test}" for test in of_job) or "true"
    [text] = await database.one(
        f"""
        WITH looked AS MATERIALIZED (
            SELECT s.id FROM run s WHERE {" AND ".join(["true", *runs])}
             ORDER BY s.id DESC LIMIT {LOOKED_AT if of_job else asked.limit + 1}),
        page AS MATERIALIZED (
            SELECT s.id AS key FROM looked s WHERE {has_some}
             ORDER BY s.id DESC LIMIT %(limit)s + 1),
        found AS MATERIALIZED (
            SELECT f.*, row_number() OVER () AS number FROM ({found}) f
             LIMIT {MOST_CELLS + 1}),
        reach AS (
            SELECT CASE WHEN count(*) > {MOST_CELLS} THEN min(run) END AS cut FROM found),
        row AS MATERIALIZED (
            SELECT page.key FROM page, reach
             WHERE reach.cut IS NULL OR page.key > reach.cut
                OR page.key = (SELECT max(key) FROM page)
             ORDER BY page.key DESC LIMIT %(limit)s),
        cell AS MATERIALIZED (
            {cells} WHERE f.number <= {MOST_CELLS} AND {shown}),
        kept AS MATERIALIZED (SELECT cell.* FROM cell JOIN row ON row.key = cell.run),
        numbered AS MATERIALIZED (
            SELECT d.*, row_number() OVER (ORDER BY d.name, d.index, d.architecture,
                                           d.series, d.cell, d.part, d.kind) - 1 AS number
              FROM (SELECT DISTINCT kind, name, cell, part, architecture, series, index
                      FROM kept) d),
        written AS (
            SELECT k.run, string_agg(
                       '[' || n.number || ',' || k.job || ',"' || k.state || '",'
                       || coalesce('"' || k.result || '"', 'null') || ','
                       || coalesce({micros("k.started_at")}::text, 'null') || ','
                       || coalesce({micros("k.finished_at")}::text, 'null') || ','
                       || coalesce('"' || k.classification || '"', 'null') || ','
                       || k.attempt || ',' || coalesce(k.index::text, 'null') || ']',
                       ',' ORDER BY n.number, k.job, k.place) AS cells
              FROM kept k JOIN numbered n
                ON (n.kind, n.name, n.cell, n.part, n.architecture, n.series)
                 = (k.kind, k.name, k.cell, k.part, k.architecture, k.series)
               AND n.index IS NOT DISTINCT FROM k.index
             GROUP BY k.run)
        SELECT json_build_object(
            'columns', (SELECT coalesce(json_agg(json_build_object(
                'name', n.name, 'architecture', n.architecture, 'series', n.series,
                'kind', n.kind, 'cell', n.cell, 'part', n.part, 'index', n.index)
                ORDER BY n.number), '[]') FROM numbered n),
            'rows', (SELECT coalesce(json_agg(json_build_object(
                'run', r.id, 'name', r.name, 'repository', r.repository,
                'source_digest', r.source_digest, 'refs', r.refs, 'owner', r.owner,
                'requester', r.requester, 'state', r.state, 'result', r.result,
                'created_at', {at("r.created_at")}, 'finished_at', {at("r.finished_at")},
                'cells', ('[' || coalesce(w.cells, '') || ']')::json,
                'more', r.id IS NOT DISTINCT FROM (SELECT cut FROM reach))
                ORDER BY r.id DESC), '[]')
                FROM row CROSS JOIN LATERAL (
                    SELECT * FROM run o WHERE o.id = row.key LIMIT 1) r
                LEFT JOIN written w ON w.run = r.id),
            'next', CASE WHEN (SELECT count(*) FROM page) > (SELECT count(*) FROM row)
                         THEN (SELECT min(key) FROM row)
                         WHEN (SELECT count(*) FROM looked) >= {LOOKED_AT}
                         THEN (SELECT min(id) FROM looked) END,
            'cursor', {CURSOR})::text
        """,
        parameters,
    )
    return str(text).encode()


def _tests(asked: Grid) -> tuple[list[str], list[str], dict[str, Any]]:
    """What runs, and what jobs, must pass."""
    parameters: dict[str, Any] = {"limit": asked.limit}
    runs, jobs = [], []
    for column in ("repository", "owner"):
        if (value := getattr(asked, column)) is not None:
            runs.append(f"s.{column} = %({column})s")
            parameters[column] = value
    if asked.after is not None:
        runs.append("s.id < %(after)s")
        parameters["after"] = asked.after
    if asked.kind is not None:
        jobs.append("kind = %(kind)s")
        parameters["kind"] = asked.kind
    if asked.architecture is not None:
        jobs.append(
            "class = ANY (ARRAY(SELECT id FROM job_class"
            " WHERE architecture = %(architecture)s))"
        )
        parameters["architecture"] = asked.architecture
    return runs, jobs, parameters
