"""One run as a graph, as a JSON document: its jobs, and the edges between them."""

from __future__ import annotations

from buildmaster.database import Database
from buildmaster.store.documents.fragments import at
from buildmaster.store.documents.runs import RUN_PAIRS
from buildmaster.store.events import CURSOR

#: Nodes and edges that one document shows.
MOST_NODES, MOST_EDGES = 1000, 10_000

_TITLES = """
    SELECT coalesce(json_agg((
        SELECT json_agg((title ->> 0) || ':' || (title ->> 1) ORDER BY place)
          FROM jsonb_array_elements(stage) WITH ORDINALITY AS t (title, place))
        ORDER BY number), '[]')
      FROM jsonb_array_elements(b.stages) WITH ORDINALITY AS s (stage, number)
"""


async def run_graph(database: Database, run: int) -> bytes | None:
    """What `buildmaster.status.documents.RunGraph` describes; None: no such run."""
    row = await database.row(
        f"""
        WITH member AS MATERIALIZED (
            SELECT job FROM run_job WHERE run = %(run)s ORDER BY job
             LIMIT {MOST_NODES + 1}),
        shown AS MATERIALIZED (SELECT job FROM member ORDER BY job LIMIT {MOST_NODES}),
        found AS MATERIALIZED (
            SELECT e.* FROM shown CROSS JOIN LATERAL (
                SELECT o.* FROM edge o WHERE o.down = shown.job ORDER BY o.id
                 LIMIT {MOST_EDGES}) e
             WHERE e.up IN (SELECT job FROM shown) LIMIT {MOST_EDGES + 1})
        SELECT json_build_object({RUN_PAIRS},
            'nodes', (SELECT coalesce(json_agg(json_build_object(
                'id', j.id, 'name', j.name, 'kind', j.kind, 'cell', j.cell,
                'part', j.part, 'architecture', coalesce(b.architecture, c.architecture),
                'series', coalesce(b.series, c.series[1], ''), 'state', j.state,
                'result', j.result, 'reason', j.reason, 'root_cause', j.root_cause,
                'attempt', j.attempt, 'classification', k.classification,
                'package', d.package, 'gate', nullif(j.gate, ''),
                'reused_from', CASE WHEN j.result = 'reused' THEN d.reused_from END,
                'stages', ({_TITLES}), 'created_at', {at("j.created_at")},
                'ready_at', {at("j.ready_at")}, 'started_at', {at("j.started_at")},
                'finished_at', {at("j.finished_at")}) ORDER BY j.id), '[]')
                FROM shown JOIN job j ON j.id = shown.job
                JOIN job_class c ON c.id = j.class LEFT JOIN build b ON b.job = j.id
                LEFT JOIN node d ON d.job = j.id
                LEFT JOIN classified k ON k.job = j.id AND k.attempt = j.attempt),
            'edges', (SELECT coalesce(json_agg(json_build_object(
                'from', e.up, 'to', e.down, 'stage', e.up_stage, 'require', e.require,
                'resolved_at', {at("e.resolved_at")}) ORDER BY e.id), '[]')
                FROM (SELECT * FROM found ORDER BY id LIMIT {MOST_EDGES}) e),
            'more', (SELECT count(*) FROM member) > {MOST_NODES}
                 OR (SELECT count(*) FROM found) > {MOST_EDGES},
            'cursor', {CURSOR})::text
          FROM run r WHERE r.id = %(run)s
        """,
        {"run": run},
    )
    return None if row is None else str(row[0]).encode()
