"""Workers as JSON documents: all by name, and one."""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.database import Database, Prepared
from buildmaster.status.questions import LARGEST_LIMIT, Workers
from buildmaster.store.documents.fragments import at, pairs
from buildmaster.store.documents.pages import Listing, Page, tests_of
from buildmaster.store.events import CURSOR

_WORKER: Mapping[str, str] = {
    "name": "w.name",
    "id": "w.name",
    "kind": "'worker'",
    "state": "w.state",
    "session": "w.session",
    "master": "w.master",
    "offers": "w.offers",
    "tags": "w.tags",
    "slots": "w.slots",
    "running": f"""(
        SELECT coalesce(json_agg(json_build_object('job', g.job, 'attempt', g.attempt)
                                 ORDER BY g.job), '[]')
          FROM (SELECT job, attempt FROM running WHERE worker = w.name
                 ORDER BY job LIMIT {LARGEST_LIMIT}) g)""",
    "may_join": """EXISTS (
        SELECT FROM worker_token t
         WHERE t.worker = w.name AND (t.ends_at IS NULL OR t.ends_at > farm_now()))""",
    "duty": "w.duty",
    "duty_reason": "w.duty_reason",
    "duty_by": "w.duty_by",
    "duty_until": at("w.duty_until"),
    "quarantined_at": at("w.quarantined_at"),
    "quarantine_reason": "w.quarantine_reason",
    "software": "w.software",
    "connected_at": at("w.connected_at"),
    "last_heard_at": at("w.last_heard_at"),
}

#: Attempts, and faults, that a worker's own page shows.
LATELY = 50
#: Attempts of two days that are counted.
COUNTED = 20_000

# The leases it has, and what it had.
_ATTEMPTS = f"""
    SELECT coalesce(json_agg(json_build_object(
        'job', t.job, 'attempt', t.number, 'name', j.name,
        'architecture', coalesce(b.architecture, c.architecture), 'result', t.result,
        'started_at', {at("t.started_at")}, 'finished_at', {at("t.finished_at")})
        ORDER BY t.assigned_at DESC, t.job DESC, t.number DESC), '[]')
      FROM (SELECT * FROM (
                (SELECT job, number, assigned_at, started_at, finished_at, result
                   FROM attempt WHERE worker = w.name AND finished_at IS NOT NULL
                  ORDER BY assigned_at DESC LIMIT {LATELY})
                UNION ALL
                SELECT job, attempt, assigned_at, accepted_at, NULL, NULL
                  FROM running WHERE worker = w.name) u
             ORDER BY assigned_at DESC, job DESC, number DESC LIMIT {LATELY}) t
      JOIN job j ON j.id = t.job JOIN job_class c ON c.id = j.class
      LEFT JOIN build b ON b.job = j.id
"""
_TWO_DAYS = f"""
    SELECT assigned_at, finished_at, result FROM attempt
     WHERE worker = w.name AND assigned_at > farm_now() - interval '2 days'
       AND finished_at IS NOT NULL
     ORDER BY assigned_at DESC LIMIT {COUNTED}
"""
_RESULTS = f"""
    SELECT coalesce(json_object_agg(n.result, n.jobs ORDER BY n.result), '{{}}')
      FROM (SELECT t.result, count(*) AS jobs FROM ({_TWO_DAYS}) t
             WHERE t.assigned_at > farm_now() - interval '1 day' GROUP BY t.result) n
"""
_BUSY = f"""
    SELECT coalesce(sum(greatest(0, extract(epoch FROM t.finished_at - greatest(
               t.assigned_at, farm_now() - interval '1 day')))), 0)::float8
      FROM ({_TWO_DAYS}) t
"""
_BUSY_NOW = """
    SELECT coalesce(sum(extract(epoch FROM farm_now() - greatest(
               r.assigned_at, farm_now() - interval '1 day'))), 0)::float8
      FROM running r WHERE r.worker = w.name
"""
_FAULTS = f"""
    SELECT coalesce(json_agg(json_build_object(
        'at', {at("f.at")}, 'job', f.job, 'attempt', f.attempt, 'reason', f.reason,
        'is_forgiven', f.is_forgiven) ORDER BY f.id DESC), '[]')
      FROM (SELECT * FROM fault WHERE worker = w.name ORDER BY id DESC LIMIT {LATELY}) f
"""


async def worker_list(database: Database, asked: Workers) -> Listing:
    """The workers that are ``asked`` for."""
    tests, parameters = tests_of(
        asked, (), {"state": "worker_state", "duty": "worker_duty"}
    )
    page = Page(
        "worker s",
        "s.name",
        "JOIN worker w ON w.name = shown.key",
        pairs(_WORKER, asked.fields),
    )
    return await page.read(database, asked, tests, parameters)


_DOCUMENT = Prepared(f"""
    SELECT json_build_object({pairs(_WORKER)},
        'attempts', ({_ATTEMPTS}), 'results_24h', ({_RESULTS}),
        'busy_24h', ({_BUSY}) + ({_BUSY_NOW}), 'faults', ({_FAULTS}),
        'cursor', {CURSOR})::text
      FROM worker w WHERE w.name = %s
""")


async def worker_document(database: Database, name: str) -> str | None:
    """One worker, as JSON; None if nobody of that name was ever here."""
    row = await database.row(
        _DOCUMENT,
        (name,),
    )
    return None if row is None else str(row[0])
