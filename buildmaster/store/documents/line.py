"""The line as JSON: its classes, and a page of the jobs that stand in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildmaster.database import Database
from buildmaster.status.problems import bad_parameter
from buildmaster.status.questions import LARGEST_LIMIT, Queue
from buildmaster.store.documents.fragments import at
from buildmaster.store.events import CURSOR

#: Places that are looked at for one page.
LOOKED_AT = 20_000
#: Of each line so many are looked at for the one that has stood there for longest.
HEADS = 100


@dataclass(frozen=True)
class QueuedRow:
    """A job of the line: its JSON object, and what its start is foretold from."""

    job: int
    class_id: int
    place: int
    text: str


@dataclass(frozen=True)
class ClassRow:
    """A class of jobs that are ready or running, and its JSON object."""

    class_id: int
    text: str


@dataclass(frozen=True)
class Line:
    """A page of the line."""

    classes: tuple[ClassRow, ...]
    jobs: tuple[QueuedRow, ...]
    following: str | None
    cursor: str


async def line(database: Database, asked: Queue) -> Line:
    """The part of the line that is ``asked`` for."""
    parameters: dict[str, Any] = {"architecture": asked.architecture}
    wanted = "true" if asked.architecture is None else "c.architecture = %(architecture)s"
    cursor, classes = await _classes(database, wanted, parameters)
    jobs, following = await _jobs(database, asked, wanted, parameters)
    return Line(classes, jobs, following, cursor)


async def _classes(
    database: Database, wanted: str, parameters: dict[str, Any]
) -> tuple[str, tuple[ClassRow, ...]]:
    rows = await database.rows(
        f"""
        SELECT {CURSOR}, found.* FROM (SELECT) always LEFT JOIN (
            SELECT c.id, json_build_object(
                'id', c.id, 'architecture', c.architecture, 'isolation', c.isolation,
                'series', c.series, 'performs', nullif(c.performs, ''), 'tags', c.tags,
                'ready', n.ready, 'running', n.running, 'oldest_ready_at', (
                    SELECT {at("min(j.ready_at)")} FROM (
                        SELECT r.job FROM ready r WHERE r.class = c.id
                         ORDER BY r.position, r.job LIMIT {HEADS}) h
                      JOIN job j ON j.id = h.job))::text
              FROM (SELECT class, coalesce(sum(jobs) FILTER (WHERE state = 'ready'), 0)
                                  ::bigint AS ready,
                           coalesce(sum(jobs) FILTER (WHERE state <> 'ready'), 0)
                                  ::bigint AS running
                      FROM job_counts WHERE state IN ('ready', 'assigned', 'running')
                     GROUP BY class) n
              JOIN job_class c ON c.id = n.class
             WHERE {wanted} AND n.ready + n.running > 0
             ORDER BY c.architecture, c.id LIMIT {LARGEST_LIMIT}) found ON true
        """,
        parameters,
    )
    return rows[0][0], tuple(ClassRow(*row[1:]) for row in rows if row[1] is not None)


async def _jobs(
    database: Database, asked: Queue, wanted: str, parameters: dict[str, Any]
) -> tuple[tuple[QueuedRow, ...], str | None]:
    tests = ["true"]
    for column in ("owner", "kind", "repository"):
        if (value := getattr(asked, column)) is not None:
            tests.append(f"j.{column} = %({column})s")
            parameters[column] = value
    most = asked.limit + 1 if len(tests) == 1 else LOOKED_AT
    after, before = "true", 0
    if asked.after is not None:
        parts = [int(part) for part in asked.after.split("-")]
        if len(parts) != 3 or max(parts) >= 2**62:
            raise bad_parameter("after", "is not the 'next' of a page of the line")
        parameters["position"], parameters["job"], before = parts
        after = "(l.position, l.job) > (%(position)s, %(job)s)"
    rows = await database.rows(
        f"""
        WITH queued AS MATERIALIZED (
            SELECT c.id FROM job_class c
             WHERE {wanted} AND EXISTS (SELECT FROM ready r WHERE r.class = c.id)),
        standing AS MATERIALIZED (
            SELECT l.* FROM (
                SELECT h.*, NULL AS semaphore FROM queued CROSS JOIN LATERAL (
                    SELECT l.job, l.class, l.position FROM ready l
                     WHERE l.class = queued.id AND {after}
                     ORDER BY l.position, l.job LIMIT %(most)s) h
                UNION ALL
                SELECT h.*, s.name FROM semaphore s CROSS JOIN LATERAL (
                    SELECT l.job, l.class, l.position FROM aside l
                     JOIN job_class c ON c.id = l.class
                     WHERE l.semaphore = s.name AND {after} AND {wanted}
                     ORDER BY l.position, l.job LIMIT %(most)s) h) l
             ORDER BY l.position, l.job LIMIT %(most)s),
        placed AS MATERIALIZED (
            SELECT s.*, %(before)s + row_number() OVER (ORDER BY s.position, s.job)
                        AS place
              FROM standing s),
        found AS (
            SELECT p.* FROM placed p CROSS JOIN LATERAL (
                SELECT owner, kind, repository FROM job WHERE id = p.job LIMIT 1) j
             WHERE {" AND ".join(tests)} ORDER BY p.position, p.job LIMIT %(limit)s + 1)
        SELECT f.job, f.class, f.place, json_build_object(
                   'place', f.place, 'id', j.id, 'name', j.name, 'kind', j.kind,
                   'state', j.state,
                   'architecture', coalesce(b.architecture, c.architecture),
                   'series', coalesce(b.series, c.series[1], ''), 'owner', j.owner,
                   'repository', j.repository, 'score', j.score,
                   'manual_score', j.manual_score, 'ready_at', {at("j.ready_at")},
                   'held_by', CASE
                       WHEN EXISTS (SELECT FROM queue_hold q WHERE q.scope = 'farm')
                       THEN json_build_object('what', 'farm', 'name', '')
                       WHEN EXISTS (SELECT FROM queue_hold q
                                     WHERE q.scope = 'architecture'
                                       AND q.name = c.architecture)
                       THEN json_build_object('what', 'architecture',
                                              'name', c.architecture)
                       WHEN f.semaphore IS NOT NULL
                       THEN json_build_object('what', 'semaphore', 'name', f.semaphore)
                   END)::text, f.position || '-' || f.job || '-' || f.place,
               (SELECT p.position || '-' || p.job || '-' || p.place FROM placed p
                 WHERE (SELECT count(*) FROM placed) >= %(most)s
                 ORDER BY p.position DESC, p.job DESC LIMIT 1)
          FROM (SELECT) always LEFT JOIN found f ON true
          LEFT JOIN job j ON j.id = f.job LEFT JOIN job_class c ON c.id = f.class
          LEFT JOIN build b ON b.job = f.job
         ORDER BY f.position, f.job
        """,
        {**parameters, "before": before, "most": most, "limit": asked.limit},
    )
    found = [row for row in rows if row[0] is not None]
    shown = found[: asked.limit]
    following = shown[-1][4] if len(found) > asked.limit else None
    if following is None and most == LOOKED_AT:
        following = rows[0][5]
    return tuple(QueuedRow(*row[:4]) for row in shown), following
