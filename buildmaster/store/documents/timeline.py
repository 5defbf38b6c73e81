"""What workers did in a while, as one JSON document."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from buildmaster.database import Database
from buildmaster.status.questions import LARGEST_LIMIT
from buildmaster.store.documents.fragments import at, micros
from buildmaster.store.events import CURSOR

#: Attempts that ended after the while, of the next day, that are looked at.
LATER = 20_000

_BAR = """a.job, a.number AS attempt, a.worker, coalesce(a.started_at, a.assigned_at)
          AS started, a.finished_at AS finished, a.result::text, 'done' AS state"""

# What ended in the while, and what began in it or before, and ended later.
_OF_ALL = f"""
    (SELECT {_BAR} FROM attempt a
      WHERE a.finished_at >= %(since)s AND a.finished_at < %(until)s
        AND a.assigned_at IS NOT NULL
      ORDER BY a.finished_at DESC, a.job DESC, a.number DESC LIMIT %(limit)s + 1)
    UNION ALL
    (SELECT {_BAR} FROM (
        SELECT * FROM attempt
         WHERE finished_at >= %(until)s AND finished_at < %(until)s + interval '1 day'
         ORDER BY finished_at, job, number LIMIT {LATER}) a
      WHERE a.assigned_at < %(until)s)
"""
_OF_ONE = f"""
    (SELECT {_BAR} FROM attempt a
      WHERE a.worker = %(worker)s AND a.assigned_at < %(until)s
        AND a.assigned_at >= %(since)s - interval '1 day' AND a.finished_at >= %(since)s
      ORDER BY a.assigned_at DESC LIMIT %(limit)s + 1)
"""


async def timeline(
    database: Database,
    since: datetime | None,
    until: datetime | None,
    worker: str | None,
    limit: int,
) -> bytes:
    """What `buildmaster.status.documents.Timeline` describes; by default the last hour."""
    parameters: dict[str, Any] = {"worker": worker, "limit": limit}
    [parameters["until"], parameters["since"]] = await database.one(
        """
        SELECT u.until, coalesce(%(since)s::timestamptz, u.until - interval '1 hour')
          FROM (SELECT coalesce(%(until)s::timestamptz, CASE WHEN %(since)s::timestamptz
                       IS NULL THEN farm_now()
                       ELSE least(farm_now(), %(since)s::timestamptz + interval '31 days')
                       END) AS until) u
        """,
        {"since": since, "until": until},
    )
    mine = "true" if worker is None else "%(worker)s = {column}"
    [text] = await database.one(
        f"""
        WITH found AS MATERIALIZED (
            SELECT * FROM ({_OF_ALL if worker is None else _OF_ONE}
                UNION ALL
                SELECT r.job, r.attempt, r.worker, coalesce(r.accepted_at, r.assigned_at),
                       NULL, NULL, CASE WHEN r.accepted_at IS NULL THEN 'assigned'
                                        ELSE 'running' END
                  FROM running r WHERE r.assigned_at < %(until)s
                   AND {mine.format(column="r.worker")}) bar
             ORDER BY finished DESC NULLS FIRST, job DESC, attempt DESC
             LIMIT %(limit)s + 1),
        shown AS MATERIALIZED (
            SELECT f.*, j.name, c.slots FROM (
                SELECT * FROM found ORDER BY finished DESC NULLS FIRST, job DESC,
                                             attempt DESC LIMIT %(limit)s) f
              CROSS JOIN LATERAL (
                SELECT name, class FROM job WHERE id = f.job LIMIT 1) j
              JOIN job_class c ON c.id = j.class),
        present AS MATERIALIZED (
            SELECT name, slots, state, duty FROM worker w
             WHERE {mine.format(column="w.name")}
               AND (w.state <> 'offline' OR w.name IN (SELECT worker FROM shown))
             ORDER BY name LIMIT {LARGEST_LIMIT + 1}),
        numbered AS MATERIALIZED (
            SELECT p.*, row_number() OVER (ORDER BY p.name) - 1 AS number
              FROM (SELECT * FROM present ORDER BY name LIMIT {LARGEST_LIMIT}) p),
        named AS MATERIALIZED (
            SELECT d.name, row_number() OVER (ORDER BY d.name) - 1 AS number
              FROM (SELECT DISTINCT name FROM shown) d)
        SELECT json_build_object(
            'since', {at("%(since)s::timestamptz")},
            'until', {at("%(until)s::timestamptz")},
            'workers', (SELECT coalesce(json_agg(json_build_object(
                'name', n.name, 'slots', n.slots, 'state', n.state, 'duty', n.duty)
                ORDER BY n.number), '[]') FROM numbered n),
            'bars', ('[' || coalesce((
                SELECT string_agg(
                    '[' || w.number || ',' || s.job || ',' || s.attempt || ',' || n.number
                    || ',' || {micros("s.started")} || ','
                    || coalesce({micros("s.finished")}::text, 'null') || ','
                    || coalesce('"' || s.result || '"', 'null') || ',"' || s.state || '",'
                    || s.slots || ']', ',' ORDER BY w.number, s.started, s.job, s.attempt)
                FROM shown s JOIN numbered w ON w.name = s.worker
                JOIN named n ON n.name = s.name), '') || ']')::json,
            'names', (SELECT coalesce(json_agg(n.name ORDER BY n.number), '[]')
                        FROM named n),
            'more', (SELECT count(*) FROM found) > %(limit)s
                 OR (SELECT count(*) FROM present) > {LARGEST_LIMIT},
            'cursor', {CURSOR})::text
        """,
        parameters,
    )
    return str(text).encode()
