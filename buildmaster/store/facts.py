"""Looks up what an explanation of one job is made from."""

from __future__ import annotations

from typing import Any

import msgspec

from buildmaster.database import Database
from buildmaster.explanation.facts import JobFacts, Place
from buildmaster.store.documents.fragments import at
from buildmaster.store.events import CURSOR

#: Rows of each part that an explanation shows at most.
PART_LIMIT = 20
#: Jobs upstream that are looked at for what runs now.
CHAIN_LIMIT = 200
#: Jobs before one that are counted one by one.
COUNTED = 2000


def _other(column: str) -> str:
    return f"""
    (SELECT json_build_object('job', o.id, 'title', job_title(o.id, o.name, o.cell),
                              'result', o.result, 'reason', o.reason)
       FROM job AS o WHERE o.id = {column})
    """


_FACTS = f"""
SELECT json_build_object(
    'cursor', {CURSOR}, 'id', j.id, 'kind', j.kind, 'name', j.name,
    'title', job_title(j.id, j.name, j.cell),
    'state', j.state, 'result', j.result, 'reason', j.reason, 'attempt', j.attempt,
    'class_id', j.class, 'owner', j.owner, 'requester', j.requester,
    'repository', j.repository, 'errors', j.errors, 'error_limit', j.error_limit,
    'failures', j.failures, 'lost_workers', j.lost_workers,
    'parked_for', j.parked_for, 'cancel_reason', j.cancel_reason,
    'is_cancelling', j.cancel_asked_at IS NOT NULL,
    'concurrency_group', j.concurrency_group,
    'not_before', {at("CASE WHEN j.not_before > farm_now() THEN j.not_before END")},
    'delay', greatest(0, coalesce(extract(epoch FROM j.not_before - farm_now()), 0)),
    'queue_limit', j.queue_limit, 'deadline', {at("j.deadline")},
    'ready_at', {at("j.ready_at")}, 'started_at', {at("j.started_at")},
    'finished_at', {at("j.finished_at")},
    'worker', (SELECT worker FROM attempt WHERE job = j.id AND number = j.attempt),
    'position', coalesce(r.position, s.position,
        queue_position(coalesce(j.manual_score, j.score), j.virtual_start)),
    'aside', s.semaphore,
    'edges', (SELECT coalesce(json_agg(json_build_object(
        'job', u.id, 'title', job_title(u.id, u.name, u.cell), 'state', u.state,
        'stage', e.up_stage, 'require', e.require) ORDER BY e.up), '[]')
        FROM (SELECT * FROM edge WHERE down = j.id AND resolved_at IS NULL
              ORDER BY up LIMIT {PART_LIMIT}) AS e JOIN job AS u ON u.id = e.up),
    'open_edges', j.blocked_by,
    'chain', CASE WHEN j.blocked_by = 0 THEN '[]' ELSE (
        WITH RECURSIVE up (id, wanted_by, depth) AS (
            SELECT e.up, e.down, 1 FROM edge AS e
            WHERE e.down = j.id AND e.resolved_at IS NULL
            UNION
            SELECT e.up, e.down, up.depth + 1 FROM up JOIN edge AS e ON e.down = up.id
            WHERE e.resolved_at IS NULL AND up.depth < 50
        ), first AS (
            SELECT DISTINCT ON (id) * FROM (SELECT * FROM up LIMIT {CHAIN_LIMIT}) AS near
            ORDER BY id, depth)
        SELECT coalesce(json_agg(json_build_object(
            'job', u.id, 'title', job_title(u.id, u.name, u.cell), 'state', u.state,
            'wanted_by', f.wanted_by, 'worker', l.worker,
            'since', {at("coalesce(l.accepted_at, l.assigned_at)")})
            ORDER BY f.depth, u.id), '[]')
        FROM first AS f JOIN job AS u ON u.id = f.id LEFT JOIN running AS l ON l.job = u.id
        ) END,
    'semaphores', (SELECT coalesce(json_agg(json_build_object(
        'name', m.name, 'capacity', m.capacity,
        'held', (SELECT count(*) FROM semaphore_hold AS h WHERE h.semaphore = m.name),
        'before', (SELECT count(*) FROM (
            SELECT FROM aside AS a WHERE a.semaphore = m.name
               AND (a.position, a.job) < (s.position, j.id) LIMIT {COUNTED}) AS before),
        'holders', (SELECT coalesce(json_agg(json_build_object(
            'job', o.id, 'title', job_title(o.id, o.name, o.cell), 'worker', l.worker)
            ORDER BY o.id), '[]')
            FROM (SELECT h.job FROM semaphore_hold AS h WHERE h.semaphore = m.name
                  ORDER BY h.job LIMIT {PART_LIMIT}) AS h
            JOIN job AS o ON o.id = h.job LEFT JOIN running AS l ON l.job = o.id))
        ORDER BY m.name), '[]')
        FROM semaphore AS m WHERE m.name = ANY (j.limits)),
    'refusals', (SELECT coalesce(json_agg(json_build_object(
        'worker', f.worker, 'reason', f.reason, 'until', {at("f.until")})
        ORDER BY f.worker), '[]')
        FROM (SELECT * FROM refusal WHERE job = j.id AND until > farm_now()
              ORDER BY worker LIMIT 1000) AS f),
    'last_reason', (SELECT p.reason FROM attempt AS p
                    WHERE p.job = j.id AND p.number = j.attempt - 1),
    'root', {_other("j.root_cause")}, 'superseded_by', {_other("j.superseded_by")},
    'lease', (SELECT json_build_object(
        'worker', l.worker, 'worker_state', w.state, 'assigned_at', {at("l.assigned_at")},
        'accepted_at', {at("l.accepted_at")},
        'elapsed', extract(epoch FROM farm_now() - l.assigned_at))
        FROM running AS l JOIN worker AS w ON w.name = l.worker WHERE l.job = j.id)
)::text
FROM job AS j
LEFT JOIN ready AS r ON r.job = j.id
LEFT JOIN aside AS s ON s.job = j.id
WHERE j.id = %s
"""

_decoder = msgspec.json.Decoder(JobFacts, strict=False)


async def job_facts(database: Database, job: int) -> JobFacts | None:
    """What is known of ``job``; None if there is no such job."""
    row: tuple[Any, ...] | None = await database.row(_FACTS, (job,))
    return None if row is None else _decoder.decode(row[0])


async def places(
    database: Database, own: list[int], others: list[int], position: int, job: int
) -> tuple[Place, Place]:
    """How many stand before ``job`` in its ``own`` class, and in it and ``others``.

    Counted up to a bound; beyond it the number comes from a sample of the line.
    """
    of_own, of_all, own_about, all_about = await database.one(
        f"""
        WITH asked AS MATERIALIZED (
            SELECT %(own)s::integer[] AS own, %(whole)s::integer[] AS whole
        ), counted AS MATERIALIZED (
            SELECT count_before(asked.own, %(position)s, %(job)s, {COUNTED}) AS own,
                   count_before(asked.whole, %(position)s, %(job)s, {COUNTED}) AS whole
            FROM asked
        ), sampled AS MATERIALIZED (
            SELECT s.* FROM counted, asked
            CROSS JOIN LATERAL sample_before(asked.own, asked.whole, %(position)s) AS s
            WHERE counted.whole >= {COUNTED}
        )
        SELECT counted.own, counted.whole,
               CASE WHEN counted.own >= {COUNTED} THEN sampled.own END, sampled.whole
        FROM counted LEFT JOIN sampled ON true
        """,
        {"own": own, "whole": [*own, *others], "position": position, "job": job},
    )
    return _place(of_own, own_about), _place(of_all, all_about)


def _place(before: int, about: float | None) -> Place:
    if about is None:
        return Place(before, True)
    return Place(max(before, round(about)), False)
