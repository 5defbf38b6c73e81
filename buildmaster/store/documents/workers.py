"""Workers as JSON documents: all by name, and one."""

from __future__ import annotations

from buildmaster.database import Database
from buildmaster.store.documents.fragments import LARGEST_LIMIT, Listing, at
from buildmaster.store.events import CURSOR

_WORKER_PAIRS = f"""
    'name', w.name, 'id', w.name, 'kind', 'worker', 'state', w.state,
    'session', w.session, 'master', w.master, 'offers', w.offers, 'tags', w.tags,
    'slots', w.slots, 'running', (
        SELECT coalesce(json_agg(json_build_object('job', g.job, 'attempt', g.attempt)
                                 ORDER BY g.job), '[]')
          FROM (SELECT job, attempt FROM running WHERE worker = w.name
                 ORDER BY job LIMIT {LARGEST_LIMIT}) g),
    'may_join', EXISTS (
        SELECT FROM worker_token t
         WHERE t.worker = w.name AND (t.ends_at IS NULL OR t.ends_at > farm_now())),
    'duty', w.duty, 'duty_reason', w.duty_reason, 'duty_by', w.duty_by,
    'duty_until', {at("w.duty_until")}, 'quarantined_at', {at("w.quarantined_at")},
    'quarantine_reason', w.quarantine_reason,
    'software', w.software, 'connected_at', {at("w.connected_at")},
    'last_heard_at', {at("w.last_heard_at")}
"""


async def worker_list(
    database: Database, *, after: str = "", limit: int = LARGEST_LIMIT
) -> Listing:
    """Workers in the order of their names, of those after ``after``; at most ``limit``."""
    items, last, is_more, cursor = await database.one(
        f"""
        WITH page AS MATERIALIZED (
            SELECT name FROM worker WHERE name > %s ORDER BY name LIMIT %s),
        shown AS (SELECT name FROM page ORDER BY name LIMIT %s)
        SELECT (SELECT coalesce(json_agg(json_build_object({_WORKER_PAIRS})
                                         ORDER BY w.name), '[]')
                  FROM shown JOIN worker w USING (name))::text,
               (SELECT max(name) FROM shown), (SELECT count(*) > %s FROM page), {CURSOR}
        """,
        (after, limit + 1, limit, limit),
    )
    return Listing(items, last if is_more else None, cursor)


async def worker_document(database: Database, name: str) -> str | None:
    """One worker, as JSON; None if nobody of that name was ever here."""
    row = await database.row(
        f"""
        SELECT json_build_object({_WORKER_PAIRS}, 'cursor', {CURSOR})::text
          FROM worker w WHERE w.name = %s
        """,
        (name,),
    )
    return None if row is None else str(row[0])
