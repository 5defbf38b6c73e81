"""The whole farm in a few numbers, as one JSON document, from counters and small tables."""

from __future__ import annotations

from buildmaster.database import Database
from buildmaster.status.questions import LARGEST_LIMIT
from buildmaster.store.documents.fragments import at
from buildmaster.store.events import CURSOR

#: Workflows that have not ended, that are counted.
OPEN_WORKFLOWS = 10_000
#: Jobs that failed of which the classes are counted.
FAILURES = 500


async def overview(database: Database) -> str:
    """What `buildmaster.status.documents.Overview` describes."""
    [text] = await database.one(
        f"""
        SELECT json_build_object(
            'at', {at("farm_now()")},
            'jobs', (
                SELECT coalesce(json_agg(json_build_object(
                    'architecture', n.architecture, 'kind', n.kind, 'state', n.state,
                    'result', n.result, 'jobs', n.jobs)
                    ORDER BY n.architecture, n.kind, n.state, n.result), '[]')
                  FROM (SELECT c.architecture, t.kind, t.state, t.result,
                               sum(t.jobs)::bigint AS jobs
                          FROM job_counts t JOIN job_class c ON c.id = t.class
                         GROUP BY c.architecture, t.kind, t.state, t.result
                         ORDER BY c.architecture, t.kind, t.state, t.result
                         LIMIT {LARGEST_LIMIT}) n),
            'oldest_ready', (
                SELECT json_build_object('job', j.id, 'ready_at', {at("j.ready_at")})
                  FROM job j WHERE j.id = (SELECT min(job) FROM ready)),
            'workers', (
                SELECT coalesce(json_agg(json_build_object(
                    'state', w.state, 'duty', w.duty, 'workers', w.workers,
                    'slots', w.slots, 'quarantined', w.quarantined)
                    ORDER BY w.state, w.duty), '[]')
                  FROM (SELECT state, duty, count(*) AS workers,
                               sum(slots)::bigint AS slots,
                               count(quarantined_at) AS quarantined
                          FROM worker GROUP BY state, duty) w),
            'running', (SELECT count(*) FROM running),
            'held', (SELECT count(*) FROM queue_hold),
            'workflows', json_build_object(
                'open', (SELECT count(*) FROM (
                    SELECT FROM workflow WHERE state <> 'done' LIMIT {OPEN_WORKFLOWS}) w),
                'parked', (SELECT count(*) FROM (
                    SELECT FROM workflow WHERE state = 'parked'
                     LIMIT {OPEN_WORKFLOWS}) w)),
            'owners', (
                SELECT coalesce(json_agg(json_build_object(
                    'owner', o.owner, 'state', o.state, 'jobs', o.jobs)
                    ORDER BY o.owner, o.state), '[]')
                  FROM (SELECT * FROM owner_counts ORDER BY jobs DESC, owner, state
                         LIMIT {LARGEST_LIMIT}) o),
            'classifications', (
                SELECT coalesce(json_agg(json_build_object(
                    'classification', n.classification, 'jobs', n.jobs)
                    ORDER BY n.classification), '[]')
                  FROM (SELECT k.classification, count(*) AS jobs
                          FROM (SELECT v.id, v.attempt, v.finished_at
                                  FROM (SELECT job FROM failed_job
                                         ORDER BY job DESC LIMIT {FAILURES}) x
                                  JOIN job v ON v.id = x.job
                                 WHERE is_failure(v.result)) j
                          LEFT JOIN classified k
                            ON k.job = j.id AND k.attempt = j.attempt
                         WHERE j.finished_at > farm_now() - interval '7 days'
                         GROUP BY k.classification) n),
            'cursor', {CURSOR})::text
        """
    )
    return str(text)
