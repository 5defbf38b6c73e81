"""Builds that are over, as many as wanted, written at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import psycopg2

_PORTION = 100_000

_FIRST = """
    INSERT INTO worker (name) SELECT 'worker-' || n FROM generate_series(1, 50) n;
    INSERT INTO job_class (architecture, isolation, series, tags)
        SELECT one, 'chroot', '{bookworm}', '{}' FROM unnest('{amd64,arm64}'::text[]) one;
    INSERT INTO configuration VALUES (sha256('x'), 'x');
"""

# Four builds of a run, one build every 2.5 seconds up to now; one of ten fails. Foreign
# keys are not looked up: all rows fit.
_PORTION_OF = """
    SET session_replication_role = replica;
    INSERT INTO run (state, result, repository, source_digest, configuration, requester,
                     owner, name, created_at, finished_at)
        SELECT 'done', 'success', 'https://example.com/project-' || n %% 100,
               lpad(to_hex(n), 40, '0'), sha256('x'), 'ada', 'team-' || n %% 20,
               'project-' || n %% 100, t.at, t.at
        FROM generate_series((%(first)s - 1) / 4 + 1, %(last)s / 4) n,
        LATERAL (SELECT farm_now() - (%(of)s - 4 * n) * interval '2.5 s' AS at) t;
    INSERT INTO job (kind, state, result, reason, repository, source_digest, name,
                     requester, owner, class, created_at, ready_at, started_at, finished_at)
        SELECT 'build', 'done',
               CASE WHEN n %% 10 = 0 THEN 'failure' ELSE 'success' END::job_result,
               CASE WHEN n %% 10 = 0 THEN 'test:0 failed: exit status 1' ELSE '' END,
               'https://example.com/project-' || ((n - 1) / 4 + 1) %% 100,
               lpad(to_hex((n - 1) / 4 + 1), 40, '0'), 'build-' || n %% 4, 'ada',
               'team-' || n %% 20, 1 + n %% 2, t.at - interval '9 min',
               t.at - interval '9 min', t.at - interval '8 min', t.at
        FROM generate_series(%(first)s, %(last)s) n,
        LATERAL (SELECT farm_now() - (%(of)s - n) * interval '2.5 s' AS at) t;
    INSERT INTO run_job (run, job)
        SELECT (n - 1) / 4 + 1, n FROM generate_series(%(first)s, %(last)s) n;
    INSERT INTO build
        SELECT n, CASE n %% 2 WHEN 0 THEN 'amd64' ELSE 'arm64' END, 'bookworm',
            '[[["test", 0]]]', '{0}', sha256('x'), '{"kind": "git"}'
        FROM generate_series(%(first)s, %(last)s) n;
    INSERT INTO attempt (job, number, worker, result, queued_at, assigned_at, started_at,
                         finished_at)
        SELECT n, 1, 'worker-' || 1 + n %% 50,
               CASE WHEN n %% 10 = 0 THEN 'failure' ELSE 'success' END::job_result,
               t.at - interval '9 min',
               t.at - interval '8 min', t.at - interval '8 min', t.at
        FROM generate_series(%(first)s, %(last)s) n,
        LATERAL (SELECT farm_now() - (%(of)s - n) * interval '2.5 s' AS at) t;
    INSERT INTO failed_job
        SELECT n FROM generate_series(%(first)s, %(last)s) n WHERE n %% 10 = 0;
    INSERT INTO pipeline_job (job, attempt, name, index, stage, place, series, state,
                              result)
        SELECT n, 1, 'test', 0, 0, 0, 'bookworm', 'done', 'success'
        FROM generate_series(%(first)s, %(last)s) n;
    INSERT INTO event (kind, job)
        SELECT 'job.done', n FROM generate_series(%(first)s, %(last)s) n;
    SET session_replication_role = origin;
"""


def add_builds(dsn: str, first: int, last: int) -> None:
    """Builds with the ids from ``first`` to ``last``, all of them over."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            if first == 1:
                cursor.execute(_FIRST)
            for start in range(first, last + 1, _PORTION):
                end = min(start + _PORTION - 1, last)
                cursor.execute(_PORTION_OF, {"first": start, "last": end, "of": last})
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("CHECKPOINT")


# Ten builds of each run, as of one repository that is built for many series.
_GRID = """
    SET session_replication_role = replica;
    WITH made AS (
        INSERT INTO run (state, result, repository, source_digest, configuration,
                         requester, owner, name, finished_at)
        SELECT 'done', 'success', 'https://example.com/grid', lpad(to_hex(n), 40, '0'),
               sha256('x'), 'ada', 'team-1', 'grid', farm_now()
        FROM generate_series(1, %(runs)s) n RETURNING id, source_digest
    ), jobs AS (
        INSERT INTO job (kind, state, result, reason, repository, source_digest, name,
                         cell, requester, owner, class, started_at, finished_at)
        SELECT 'build', 'done',
               CASE WHEN random() < 0.1 THEN 'failure' ELSE 'success' END::job_result, 'x',
               'https://example.com/grid', made.source_digest, 'grid', 'number=' || n,
               'ada', 'team-1', 1 + n %% 2, farm_now() - random() * interval '1 hour',
               farm_now()
        FROM made, generate_series(1, %(jobs)s) n RETURNING id, source_digest, class
    ), belonging AS (
        INSERT INTO run_job (run, job)
        SELECT made.id, jobs.id FROM made JOIN jobs USING (source_digest)
    ), tried AS (
        INSERT INTO attempt (job, number, worker, result, assigned_at, started_at,
                             finished_at)
        SELECT id, 1, 'worker-' || 1 + id %% 50, 'success', farm_now(), farm_now(),
               farm_now() FROM jobs
    )
    INSERT INTO build
        SELECT id, CASE class WHEN 1 THEN 'amd64' ELSE 'arm64' END, 'bookworm',
               '[[["test", 0]]]', '{0}', sha256('x'), '{"kind": "git"}' FROM jobs;
    SET session_replication_role = origin;
"""
_LINE = """
    SET session_replication_role = replica;
    WITH jobs AS (
        INSERT INTO job (kind, state, name, requester, owner, class, ready_at)
        SELECT 'build', 'ready', 'waits', 'ada', 'team-' || n %% 20, 1 + n %% 2, farm_now()
        FROM generate_series(1, %(jobs)s) n RETURNING id, class
    ), tried AS (
        INSERT INTO attempt (job, number) SELECT id, 1 FROM jobs
    ), built AS (
        INSERT INTO build
        SELECT id, CASE class WHEN 1 THEN 'amd64' ELSE 'arm64' END, 'bookworm',
               '[[["test", 0]]]', '{0}', sha256('x'), '{"kind": "git"}' FROM jobs
    )
    INSERT INTO ready (class, position, job, attempt)
        SELECT class, queue_position(500000, id), id, 1 FROM jobs;
    SET session_replication_role = origin;
"""


def add_grid(dsn: str, runs: int, jobs: int) -> None:
    """The newest runs, of so many builds each."""
    _execute(dsn, _GRID, {"runs": runs, "jobs": jobs})


def add_line(dsn: str, jobs: int) -> None:
    """Builds that stand in the line."""
    _execute(dsn, _LINE, {"jobs": jobs})


def _execute(dsn: str, sql: str, parameters: Mapping[str, int]) -> None:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            cursor.execute("VACUUM ANALYZE")


def add_counts(dsn: str, ready: int, done: int) -> None:
    """Counters as they would be with so many jobs; the overview reads nothing else."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM job_count_change")
            cursor.execute("DELETE FROM job_count")
            cursor.execute(
                """
                INSERT INTO job_count
                SELECT c.id, 'build', s.state::job_state, s.result::job_result, s.jobs / 2
                FROM job_class c, (VALUES ('ready', NULL, %s), ('done', 'success', %s))
                    AS s (state, result, jobs)
                """,
                (ready, done),
            )
