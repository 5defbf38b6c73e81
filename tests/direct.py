"""A farm's books without a reactor: each act is a transaction on a plain connection.

The functions of ``buildmaster`` that are coroutines only because of their cursor run here
as they are, thousands of times in a second.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import psycopg2
from psycopg2 import extensions

from buildmaster.ending import RetryPolicy
from buildmaster.matching import Needs
from buildmaster.store import jobs as job_store
from buildmaster.store import queue
from buildmaster.store import submissions as store
from buildmaster.store.step import Acceptance, AttemptEnd, HungryWorker, Stepped, step

T = TypeVar("T")
Row = tuple[Any, ...]
POLICY = RetryPolicy(delays=(10.0, 20.0), refusal=100.0)


class DirectCursor:
    """A `buildmaster.database.Cursor` whose results are there at once."""

    def __init__(self, cursor: extensions.cursor) -> None:
        self._cursor = cursor

    async def rows(self, sql: str, parameters: Any = ()) -> list[Row]:
        self._cursor.execute(sql, parameters)
        return self._cursor.fetchall()

    async def row(self, sql: str, parameters: Any = ()) -> Row | None:
        found = await self.rows(sql, parameters)
        assert len(found) <= 1, sql
        return found[0] if found else None

    async def one(self, sql: str, parameters: Any = ()) -> Row:
        found = await self.row(sql, parameters)
        assert found is not None, sql
        return found

    async def run(self, sql: str, parameters: Any = ()) -> int:
        self._cursor.execute(sql, parameters)
        return self._cursor.rowcount


@dataclass(frozen=True)
class NewJob:
    """A job about to be written; with ``stages`` it is a build of so many."""

    owner: str = "ann"
    class_id: int | None = None
    limits: tuple[str, ...] = ()
    retry: tuple[tuple[int | None, int], ...] = ()  #: (exit status, limit)
    error_limit: int = 3
    score: int = 500_000
    virtual_start: int = 0
    stages: int = 0
    required: bool = True
    allow_failure: bool = False
    has_gate: bool = False


@dataclass(frozen=True)
class NewEdge:
    """Places of jobs in the graph; ``stage`` is of the upstream."""

    up: int
    down: int
    require: str = "good"
    stage: int | None = None
    choice: int | None = None


class Direct:
    """Books in the database ``dsn``, on one connection."""

    def __init__(self, dsn: str) -> None:
        self.connection: extensions.connection = psycopg2.connect(dsn)
        self._digests = count(1)

    def close(self) -> None:
        self.connection.close()

    def act(self, work: Callable[[DirectCursor], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction of its own."""
        with self.connection, self.connection.cursor() as cursor:
            return now(work(DirectCursor(cursor)))

    def rows(self, sql: str, parameters: Any = ()) -> list[Row]:
        return self.act(lambda cursor: cursor.rows(sql, parameters))

    def value(self, sql: str, parameters: Any = ()) -> Any:
        """The only value of the only row."""
        return self.act(lambda cursor: cursor.one(sql, parameters))[0]

    def run(self, sql: str, parameters: Any = ()) -> int:
        return self.act(lambda cursor: cursor.run(sql, parameters))

    # -- the clock

    def set_clock(self, at: datetime) -> None:
        """Have it be ``at`` from now on, for this connection."""
        self.run("SELECT set_config('headrace.now', %s, false)", (at.isoformat(),))
        self._at = at

    def pass_time(self, seconds: float) -> None:
        """What a master does after so long: queue what is due."""
        self.set_clock(self._at + timedelta(seconds=seconds))
        self.act(lambda cursor: queue.make_due_ready(cursor, 1000))

    # -- what there is

    def job_class(self, performs: str = "noop", **needs: Any) -> int:
        """The class of jobs with these needs."""
        return self.act(
            lambda cursor: queue.class_for(cursor, Needs(performs=performs, **needs))
        )

    def add_worker(
        self, name: str, slots: int = 1, performs: str = "noop", **amounts: int | None
    ) -> None:
        """A worker that is connected, in the session ``s-NAME``."""
        self.run(
            """
            INSERT INTO worker (name, state, session, master, slots, cpu, memory, disk,
                                performs, offers)
            VALUES (%s, 'connected', %s, 'm', %s, %s, %s, %s, ARRAY[%s],
                    '[{"isolation": "native", "architecture": "amd64", "series": ["*"]}]')
            """,
            (
                name,
                f"s-{name}",
                slots,
                *map(amounts.get, ("cpu", "memory", "disk")),
                performs,
            ),
        )

    def add_graph(
        self, class_id: int, jobs: Sequence[NewJob], edges: Sequence[NewEdge] = ()
    ) -> tuple[int, list[int]]:
        """A sealed run of new jobs with their edges; what waits for nothing is queued."""
        rows = [
            {
                "kind": "build" if job.stages else "native",
                "owner": job.owner,
                "class": job.class_id or class_id,
                "limits": list(job.limits) or None,
                "retry": [{"exit": exit_, "limit": limit} for exit_, limit in job.retry],
                "error_limit": job.error_limit,
                "score": job.score,
                "virtual_start": job.virtual_start,
                "allow_failure": job.allow_failure,
                "gate": "somebody must let it go" if job.has_gate else "",
            }
            for job in jobs
        ]

        async def work(cursor: DirectCursor) -> tuple[int, list[int]]:
            run = await self._add_run(cursor)
            made = await cursor.rows(
                """
                INSERT INTO job (kind, name, requester, owner, class, limits, retry,
                                 error_limit, score, virtual_start, allow_failure, gate)
                SELECT kind, 'j', owner, owner, class, limits, retry, error_limit, score,
                       virtual_start, allow_failure, gate
                FROM jsonb_to_recordset(%s::jsonb) AS given (
                    kind text, owner text, class integer, limits text[], retry jsonb,
                    error_limit integer, score integer, virtual_start bigint,
                    allow_failure boolean, gate text)
                RETURNING id
                """,
                (json.dumps(rows),),
            )
            ids = [int(number) for (number,) in made]
            await cursor.run(
                "INSERT INTO attempt (job, number) SELECT unnest(%s::bigint[]), 1", (ids,)
            )
            await cursor.run(
                """
                INSERT INTO native_job (job)
                SELECT id FROM job WHERE id = ANY (%s::bigint[]) AND kind = 'native'
                """,
                (ids,),
            )
            for job, number in zip(jobs, ids, strict=True):
                if job.stages:
                    await _add_build(cursor, number, job.stages)
            await cursor.run(
                """
                INSERT INTO run_job (run, job, required)
                SELECT %s, * FROM unnest(%s::bigint[], %s::boolean[])
                """,
                (run, ids, [job.required for job in jobs]),
            )
            await cursor.run(
                "UPDATE run SET open_jobs = %s WHERE id = %s",
                (sum(job.required for job in jobs), run),
            )
            for edge in edges:
                await add_edge(
                    cursor, ids[edge.up], ids[edge.down], edge.require, edge.stage
                )
                if edge.choice is not None:
                    await cursor.run(
                        "UPDATE edge SET choice = %s WHERE up = %s AND down = %s",
                        (edge.choice, ids[edge.up], ids[edge.down]),
                    )
            await queue.make_ready(cursor, ids)
            await job_store.end_run_without_jobs(cursor, run)
            return run, ids

        return self.act(work)

    def add_run_of(self, jobs: dict[int, bool]) -> int:
        """A run of jobs that exist, and whether it needs each; as a submission does it."""

        async def work(cursor: DirectCursor) -> int:
            await job_store.lock(cursor, list(jobs))
            run = await self._add_run(cursor)
            await cursor.run(
                """
                INSERT INTO run_job (run, job, required, merged)
                SELECT %s, *, true FROM unnest(%s::bigint[], %s::boolean[])
                """,
                (run, list(jobs), list(jobs.values())),
            )
            await store.add_to_run(cursor, run, {})
            await job_store.end_run_without_jobs(cursor, run)
            return run

        return self.act(work)

    async def _add_run(self, cursor: DirectCursor) -> int:
        await cursor.run(
            """
            INSERT INTO configuration (sha256, text) VALUES (sha256('x'), 'x')
            ON CONFLICT DO NOTHING
            """
        )
        row = await cursor.one(
            """
            INSERT INTO run (state, repository, source_digest, configuration, requester,
                             owner)
            VALUES ('sealed', 'r', %s, sha256('x'), 'ann', 'ann') RETURNING id
            """,
            (f"{next(self._digests):040x}",),
        )
        return int(row[0])

    # -- what masters do

    def step(
        self,
        ends: Sequence[AttemptEnd] = (),
        accepted: Sequence[tuple[int, int, str]] = (),
        workers: Sequence[HungryWorker] = (),
        classes: Sequence[int] = (),
    ) -> Stepped:
        """One step of a master, whose workers are of one bunch."""
        return self.act(
            lambda cursor: step(
                cursor,
                ends,
                [Acceptance(*each) for each in accepted],
                workers,
                [(0, each, 0) for each in classes],
                delays=POLICY.delays,
                refused_for=POLICY.refusal,
            )
        )

    def claim(self, worker: str, classes: Sequence[int], slots: int = 1) -> list[int]:
        """The jobs that are leased to one worker, in the order of their positions."""
        hungry = HungryWorker(worker, f"s-{worker}", 0, slots)
        claims = self.step(workers=[hungry], classes=classes).claims
        return [c.job for c in sorted(claims, key=lambda c: (c.position, c.job))]


async def add_edge(
    cursor: DirectCursor, up: int, down: int, require: str, stage: int | None = None
) -> None:
    """Let ``down`` wait for ``up``, which the caller has locked if others know it."""
    await cursor.run(
        "INSERT INTO edge (up, up_stage, down, require) VALUES (%s, %s, %s, %s)",
        (up, stage, down, require),
    )
    await cursor.run("UPDATE job SET blocked_by = blocked_by + 1 WHERE id = %s", (down,))


async def _add_build(cursor: DirectCursor, job: int, stages: int) -> None:
    await cursor.run(
        """
        INSERT INTO build (job, architecture, series, stages, stage_numbers, configuration,
                           source)
        SELECT %(job)s, 'amd64', 's',
               jsonb_agg(jsonb_build_array(jsonb_build_array('p', n))), array_agg(n),
               sha256('x'), '{}'
        FROM generate_series(0, %(stages)s - 1) AS n
        """,
        {"job": job, "stages": stages},
    )
    await cursor.run(
        """
        INSERT INTO pipeline_job (job, attempt, name, index, stage, place, series)
        SELECT %s, 1, 'p', n, n, 0, 's' FROM generate_series(0, %s - 1) AS n
        """,
        (job, stages),
    )


def now(work: Awaitable[T]) -> T:
    """The outcome of a coroutine that waits for nothing."""
    try:
        work.__await__().send(None)
    except StopIteration as outcome:
        value: T = outcome.value
        return value
    raise AssertionError("it waits")
