"""The farm's database as the measurements use it: many jobs that do nothing.

What is measured goes through the functions that the master itself uses; what only
prepares a measurement is plain SQL, for a million rows at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from buildmaster.database import Cursor, Database
from buildmaster.ending import RetryPolicy
from buildmaster.matching import Needs
from buildmaster.store import queue
from buildmaster.store.step import AttemptEnd, Claim, HungryWorker, step
from protocol.results import Result

#: Workers that have no daemon: they are given jobs, and report success at once.
WORKERS = tuple(f"paper-{number:02}" for number in range(1, 11))

#: What the jobs of the measurements perform: nothing, which every worker can, or telling
#: when it was begun, which `benchmarks.farm`'s workers can.
NOTHING = "noop"
CLOCK = "benchmark-clock"

#: Whose they are.
OWNER = "benchmark"

#: Rows of one statement when a line is filled.
_PORTION = 100_000


_POLICY = RetryPolicy()


@asynccontextmanager
async def opened(dsn: str, reactor: Any, *, claims: bool = True) -> AsyncIterator[Books]:
    """The books in the database ``dsn``; with ``claims`` every paper worker is there."""
    database = Database(dsn, reactor, name="headrace-benchmark")
    await database.start()
    try:
        books = Books(database)
        if claims:
            await books.connect_workers()
        yield books
    finally:
        await database.stop()


class Books:
    """Adds, claims and finishes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._marks: dict[int, int] = {}
        self._since = 0

    async def connect_workers(self) -> None:
        """Let the paper workers be there, with room for everything."""
        await self.database.run(
            """
            INSERT INTO worker (name, state, session, master, slots, performs)
            SELECT name, 'connected', name, 'books', 100000, ARRAY[%s]
            FROM unnest(%s::text[]) AS given (name)
            ON CONFLICT (name) DO NOTHING
            """,
            (NOTHING, list(WORKERS)),
        )

    async def job_class(self, architecture: str, performs: str = NOTHING) -> int:
        """The class of jobs on ``architecture`` that perform this."""
        needs = Needs(architecture, "native", performs=performs)
        return await self.database.transaction(
            lambda cursor: queue.class_for(cursor, needs)
        )

    async def fill(self, job_class: int, count: int, *, first: int = 0) -> None:
        """Put ``count`` ready jobs into the line, from the place ``first`` of it on.

        Each portion is seen by others as a whole.
        """
        for begin in range(0, count, _PORTION):
            await self._fill(job_class, first + begin, min(_PORTION, count - begin))
        self._marks.pop(job_class, None)

    async def _fill(self, job_class: int, first: int, count: int) -> None:
        await self.database.run(
            """
            WITH added AS (
                INSERT INTO job (kind, state, name, requester, owner, class, ready_at,
                                 virtual_start)
                SELECT 'native', 'ready', 'nothing', 'benchmark', 'benchmark', %s,
                       farm_now(), 1000 * place
                FROM generate_series(%s, %s) AS place
                RETURNING id, class, score, virtual_start
            ), tried AS (
                INSERT INTO attempt (job, number) SELECT id, 1 FROM added
            ), natively AS (
                INSERT INTO native_job (job) SELECT id FROM added
            )
            INSERT INTO ready (class, position, job, attempt)
            SELECT class, queue_position(score, virtual_start), id, 1 FROM added
            """,
            (job_class, first, first + count - 1),
        )

    async def add(self, job_class: int, count: int) -> list[int]:
        """Submit jobs: all of them, or none; their ids."""

        async def work(cursor: Cursor) -> list[int]:
            turns = await queue.take_turns(cursor, OWNER, "", count)
            [[ids]] = await cursor.rows(
                """
                WITH added AS (
                    INSERT INTO job (kind, name, requester, owner, class, virtual_start)
                    SELECT 'native', 'nothing', %(owner)s, %(owner)s, %(class)s,
                           %(first)s + place * %(distance)s
                    FROM generate_series(0, %(count)s - 1) AS place
                    RETURNING id
                ), tried AS (
                    INSERT INTO attempt (job, number) SELECT id, 1 FROM added
                ), natively AS (
                    INSERT INTO native_job (job) SELECT id FROM added
                )
                SELECT array_agg(id) FROM added
                """,
                {
                    "owner": OWNER,
                    "class": job_class,
                    "first": turns.first,
                    "distance": turns.distance,
                    "count": count,
                },
            )
            await queue.make_ready(cursor, ids)
            return list(ids)

        return await self.database.transaction(work)

    async def output(self, job: int) -> dict[str, Any] | None:
        """What a job returned; None if it is not over."""
        row = await self.database.row(
            "SELECT output FROM attempt WHERE job = %s AND result = 'success'", (job,)
        )
        return row[0] if row else None

    async def is_idle(self) -> bool:
        """Whether nothing waits in a line and nothing is leased."""
        (busy,) = await self.database.one(
            "SELECT EXISTS (SELECT FROM ready) OR EXISTS (SELECT FROM running)"
        )
        return not busy

    async def span(self) -> tuple[int, float]:
        """How many attempts succeeded, and seconds from the first claim to the last end."""
        count, seconds = await self.database.one(
            """
            SELECT count(*), extract(epoch FROM max(finished_at) - min(assigned_at))
            FROM attempt WHERE result = 'success'
            """
        )
        return int(count), float(seconds or 0)

    async def step(
        self, ended: Sequence[Claim], classes: Sequence[int], count: int
    ) -> list[Claim]:
        """Finish what ``ended``, and claim up to ``count`` jobs of ``classes``.

        As a master does it: one call, with where each line was last seen to begin, and
        from which lease on the workers may hold something.
        """
        each, more = divmod(count, len(WORKERS))
        rooms = [each + (place < more) for place in range(len(WORKERS))]
        did = await step(
            self.database,
            [AttemptEnd(c.job, c.attempt, Result.SUCCESS, worker=c.worker) for c in ended],
            (),
            [
                HungryWorker(w, w, 1, n, since=self._since)
                for w, n in zip(WORKERS, rooms, strict=True)
                if n
            ],
            [(1, one, self._marks.get(one, 0)) for one in classes],
            delays=_POLICY.delays,
            refused_for=_POLICY.refusal,
        )
        self._marks |= did.marks
        self._since = min((c.lease for c in did.claims), default=self._since)
        assert set(did.ended.values()) <= {"done"}, did.ended
        return list(did.claims)

    async def add_fan(self, job_class: int, width: int) -> int:
        """Write 1 job, ``width`` that wait for it, 1 that waits for them; the first."""

        async def work(cursor: Cursor) -> int:
            row = await cursor.one(
                """
                WITH made AS (
                    INSERT INTO job (kind, state, name, requester, owner, class, blocked_by,
                                     virtual_start)
                    SELECT 'native', 'waiting', 'nothing', 'benchmark', 'benchmark',
                           %(class)s,
                           CASE place WHEN 0 THEN 0 WHEN %(width)s + 1 THEN %(width)s
                                ELSE 1 END, 1000 * place
                    FROM generate_series(0, %(width)s + 1) AS place
                    RETURNING id, blocked_by
                ), tried AS (
                    INSERT INTO attempt (job, number) SELECT id, 1 FROM made
                ), natively AS (
                    INSERT INTO native_job (job) SELECT id FROM made
                ), ends AS (
                    SELECT min(id) AS first, max(id) AS last FROM made
                ), joined AS (
                    INSERT INTO edge (up, down)
                    SELECT first, id FROM made, ends WHERE id NOT IN (first, last)
                    UNION ALL
                    SELECT id, last FROM made, ends WHERE id NOT IN (first, last)
                )
                SELECT first FROM ends
                """,
                {"class": job_class, "width": width},
            )
            await queue.make_ready(cursor, [row[0]])
            return int(row[0])

        return await self.database.transaction(work)

    async def counted(self, column: str, job_class: int) -> Mapping[str, int]:
        """How many jobs of a class there are by ``state`` or ``result``."""
        rows = await self.database.rows(
            f"SELECT {column}::text, count(*) FROM job WHERE class = %s GROUP BY 1",
            (job_class,),
        )
        return {str(name): int(number) for name, number in rows}

    async def events(self, job_class: int) -> Mapping[str, int]:
        """How many events there are of jobs of a class, by kind."""
        rows = await self.database.rows(
            """
            SELECT event.kind, count(*) FROM event JOIN job ON job.id = event.job
            WHERE job.class = %s GROUP BY 1
            """,
            (job_class,),
        )
        return {str(kind): int(number) for kind, number in rows}
