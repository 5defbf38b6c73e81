"""Takes the picture of the farm that forecasts and explanations are made from."""

from __future__ import annotations

import msgspec

from buildmaster.database import Database
from buildmaster.explanation.picture import Picture
from buildmaster.store.documents.fragments import at
from buildmaster.store.events import CURSOR

#: Jobs of the line that one picture shows at most, and of one class at least.
LINE_LIMIT = 500
LEAST_OF_CLASS = 10


_QUEUED = """
    SELECT c.id FROM job_class AS c
    WHERE EXISTS (SELECT FROM ready AS r WHERE r.class = c.id)
"""

_PICTURE = f"""
WITH queued AS MATERIALIZED (
    {_QUEUED} LIMIT %(classes)s
), line AS MATERIALIZED (
    SELECT head.*, '' AS aside FROM queued CROSS JOIN LATERAL (
        SELECT r.job, r.class, r.position, r.limits FROM ready AS r
        WHERE r.class = queued.id ORDER BY r.position, r.job
        LIMIT %(each)s) AS head
    UNION ALL
    (SELECT a.job, a.class, a.position, j.limits, a.semaphore
     FROM aside AS a JOIN job AS j ON j.id = a.job
     ORDER BY a.semaphore, a.position, a.job LIMIT 200)
), shown AS MATERIALIZED (
    SELECT line.*, j.kind, j.name FROM line CROSS JOIN LATERAL (
        SELECT kind, name FROM job WHERE id = line.job LIMIT 1) AS j
), leased AS MATERIALIZED (
    SELECT r.*, j.kind, j.name, j.limits
    FROM (SELECT * FROM running ORDER BY job LIMIT 5000) AS r CROSS JOIN LATERAL (
        SELECT kind, name, limits FROM job WHERE id = r.job LIMIT 1) AS j
), refused AS MATERIALIZED (
    SELECT job, array_agg(worker) AS by FROM refusal WHERE until > farm_now() GROUP BY job
), keys AS (
    SELECT DISTINCT k.kind, k.name, k.class
    FROM (SELECT kind, name, class FROM shown
          UNION SELECT kind, name, class FROM leased) AS k
    LIMIT 500
)
SELECT json_build_object(
    'cursor', {CURSOR}, 'at', extract(epoch FROM farm_now()),
    'workers', (SELECT coalesce(json_agg(json_build_object(
        'name', w.name, 'state', w.state, 'duty', w.duty, 'duty_reason', w.duty_reason,
        'duty_until', {at("w.duty_until")}, 'quarantine_reason', w.quarantine_reason,
        'last_heard_at', {at("w.last_heard_at")}, 'offers', w.offers, 'tags', w.tags,
        'restricted_tags', w.restricted_tags, 'performs', w.performs, 'slots', w.slots,
        'cpu', w.cpu, 'memory', w.memory, 'disk', w.disk) ORDER BY w.name), '[]')
        FROM (SELECT * FROM worker ORDER BY name LIMIT 5000) AS w),
    'classes', (SELECT coalesce(json_agg(to_json(c)), '[]')
        FROM (SELECT * FROM job_class ORDER BY id DESC LIMIT 2000) AS c),
    'running', (SELECT coalesce(json_agg(json_build_array(
        l.job, l.worker, l.class, extract(epoch FROM farm_now() - l.assigned_at), l.kind,
        l.name, l.limits)), '[]') FROM leased AS l),
    'line', (SELECT coalesce(json_agg(json_build_array(
        s.job, s.class, s.position, s.kind, s.name, s.aside, s.limits, refused.by)), '[]')
        FROM shown AS s LEFT JOIN refused ON refused.job = s.job),
    'each', %(each)s,
    'sketches', (SELECT coalesce(json_agg(json_build_array(
        d.kind, d.name, d.class, d.counts)), '[]')
        FROM duration_sketch AS d
        WHERE (d.kind, d.name, d.class) IN (SELECT kind, name, class FROM keys)
           OR (d.name = '' AND d.class = 0)),
    'errors', (SELECT coalesce(json_agg(json_build_array(
        e.class, e.low, e.middle, e.high)), '[]')
        FROM forecast_error AS e
        WHERE e.class = 0 OR e.class IN (SELECT id FROM queued)),
    'semaphores', (SELECT coalesce(json_object_agg(s.name, s.capacity), '{{}}')
        FROM semaphore AS s WHERE s.name IN (
            SELECT unnest(limits) FROM shown UNION SELECT unnest(limits) FROM leased)),
    'holds', (SELECT coalesce(json_agg(json_build_object(
        'scope', h.scope, 'name', h.name, 'reason', h.reason, 'held_by', h.held_by,
        'created_at', {at("h.created_at")}, 'until', {at("h.until")})
        ORDER BY h.scope, h.name), '[]')
        FROM (SELECT * FROM queue_hold ORDER BY scope, name LIMIT 1000) AS h)
)::text
"""

_decoder = msgspec.json.Decoder(Picture, strict=False)


async def picture(database: Database) -> Picture:
    """How the farm is just now. Its cost does not grow with the line."""
    (classes,) = await database.one(f"SELECT count(*) FROM ({_QUEUED}) AS queued")
    # Told to the planner as numbers: it would take the line for a long one otherwise.
    each = max(LEAST_OF_CLASS, LINE_LIMIT // max(1, int(classes)))
    (text,) = await database.one(_PICTURE, {"each": each, "classes": int(classes)})
    return _decoder.decode(text)
