"""Puts whole graphs of jobs into the database, each in a bounded number of statements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from buildmaster.database import Cursor
from buildmaster.dependencies import Require
from buildmaster.matching import Needs
from buildmaster.store.queue import Turns


@dataclass(frozen=True)
class NewJob:
    """A job about to be written; its id was reserved."""

    id: int
    kind: str
    name: str
    owner: str
    class_id: int
    virtual_start: int
    blocked_by: int  #: so many edges are written for it
    arguments: dict[str, Any]
    stores: bool = False  #: may put files among the farm's blobs
    limits: tuple[str, ...] = ()  #: names of semaphores
    score: int = 500_000
    error_limit: int = 3
    retry: tuple[dict[str, int | None], ...] = ()
    run_limit: float | None = None
    idle_limit: float | None = None
    queue_limit: float | None = None
    total_limit: float | None = None
    deadline: datetime | None = None
    not_before: datetime | None = None
    interruptible: bool = True
    concurrency_group: str | None = None

    def row(self) -> dict[str, Any]:
        """As the statement that writes it takes it."""
        columns = dict(vars(self))
        columns["class"] = columns.pop("class_id")
        columns["limits"] = list(self.limits) or None
        for name in ("deadline", "not_before"):
            columns[name] = columns[name] and columns[name].isoformat()
        return columns


@dataclass(frozen=True)
class NewEdge:
    """``down`` waits for the end of ``up``."""

    up: int
    down: int
    require: Require
    weak: bool = False


async def reserve_ids(cursor: Cursor, count: int) -> list[int]:
    """So many ids for new jobs, in rising order."""
    rows = await cursor.rows(
        """
        SELECT nextval(pg_get_serial_sequence('job', 'id')) FROM generate_series(1, %s)
        """,
        (count,),
    )
    return [int(number) for (number,) in rows]


async def classes_for(cursor: Cursor, wanted: Sequence[Needs]) -> dict[Needs, int]:
    """The ids of the classes with exactly these requirements, made where they are new."""
    distinct = list(dict.fromkeys(wanted))
    given = json.dumps([{"place": n, **vars(one)} for n, one in enumerate(distinct)])
    await cursor.run(
        """
        INSERT INTO job_class (architecture, isolation, series, tags, performs, worker,
                               slots, cpu, memory, disk)
        SELECT architecture, isolation, series, tags, performs, worker, slots, cpu, memory,
               disk
        FROM jsonb_to_recordset(%s::jsonb) AS given (
            architecture text, isolation isolation, series text[], tags text[],
            performs text, worker text, slots integer, cpu integer, memory integer,
            disk integer)
        ORDER BY architecture, performs, worker, tags, slots, cpu, memory, disk
        ON CONFLICT DO NOTHING
        """,
        (given,),
    )
    rows = await cursor.rows(
        """
        SELECT given.place, known.id
        FROM jsonb_to_recordset(%s::jsonb) AS given (
            place integer, architecture text, isolation isolation, series text[],
            tags text[], performs text, worker text, slots integer, cpu integer,
            memory integer, disk integer)
        JOIN job_class AS known USING (architecture, isolation, series, tags, performs,
                                       worker, slots, cpu, memory, disk)
        """,
        (given,),
    )
    return {distinct[place]: int(number) for place, number in rows}


@dataclass(frozen=True, order=True)
class Place:
    """Whose jobs stand in one line: those of an owner, for an architecture, of a score."""

    owner: str
    architecture: str
    score: int


async def turns_for(
    cursor: Cursor, wanted: Mapping[Place, tuple[int, int]]
) -> dict[Place, Turns]:
    """The turns of new jobs: how many stand in each place, and the first one's class."""
    ordered = sorted(wanted)  # everybody takes them in one order, so that none deadlocks
    rows = await cursor.rows(
        """
        SELECT given.place, turn.first, turn.distance
        FROM (SELECT * FROM unnest(%s::text[], %s::text[], %s::integer[], %s::integer[],
                                   %s::integer[])
                  WITH ORDINALITY AS one (owner, architecture, score, jobs, class, place)
              ORDER BY place) AS given
        CROSS JOIN LATERAL take_turns(given.owner, given.architecture, given.jobs,
                                      given.class, given.score) AS turn
        """,
        (
            [place.owner for place in ordered],
            [place.architecture for place in ordered],
            [place.score for place in ordered],
            [wanted[place][0] for place in ordered],
            [wanted[place][1] for place in ordered],
        ),
    )
    return {ordered[place - 1]: Turns(*turn) for place, *turn in rows}


async def unknown_semaphores(cursor: Cursor, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that are no semaphores of the farm, sorted."""
    rows = await cursor.rows(
        """
        SELECT name FROM unnest(%s::text[]) AS given (name)
        WHERE NOT EXISTS (SELECT FROM semaphore WHERE semaphore.name = given.name)
        ORDER BY name
        """,
        (sorted(set(names)),),
    )
    return [name for (name,) in rows]


async def some_semaphores(cursor: Cursor, limit: int = 200) -> list[str]:
    """Names of semaphores that the farm has, for a hint."""
    rows = await cursor.rows(
        "SELECT name FROM semaphore WHERE name !~ '^(group|cap):' ORDER BY name LIMIT %s",
        (limit,),
    )
    return [name for (name,) in rows]


async def add_run(
    cursor: Cursor, name: str, requester: str, owner: str, open_jobs: int
) -> int:
    """Write a sealed run that no source is behind and that waits for so many jobs."""
    (number,) = await cursor.one(
        """
        INSERT INTO run (state, name, requester, owner, open_jobs)
        VALUES ('sealed', %s, %s, %s, %s) RETURNING id
        """,
        (name, requester, owner, open_jobs),
    )
    return int(number)


async def add_jobs(
    cursor: Cursor, run: int, requester: str, jobs: Sequence[NewJob]
) -> None:
    """Write native jobs with their first attempts, all of them in ``run``, waiting."""
    if not jobs:
        return
    await cursor.run(
        """
        WITH given AS (
            SELECT * FROM jsonb_to_recordset(%(jobs)s::jsonb) AS one (
                id bigint, kind text, name text, owner text, class integer,
                virtual_start bigint, blocked_by integer, limits text[], score integer,
                error_limit integer, retry jsonb, run_limit double precision,
                idle_limit double precision, queue_limit double precision,
                total_limit double precision, deadline timestamptz, not_before timestamptz,
                interruptible boolean, concurrency_group text)
        )
        INSERT INTO job (id, kind, name, requester, owner, class, virtual_start, blocked_by,
                         limits, score, error_limit, retry, run_limit, idle_limit,
                         queue_limit, total_limit, deadline, not_before, interruptible,
                         concurrency_group)
        OVERRIDING SYSTEM VALUE
        SELECT id, kind, name, %(requester)s, owner, class, virtual_start, blocked_by,
               limits, score, error_limit, retry, run_limit, idle_limit, queue_limit,
               total_limit, deadline, not_before, interruptible, concurrency_group
        FROM given ORDER BY id
        """,
        {"jobs": json.dumps([job.row() for job in jobs]), "requester": requester},
    )
    ids = [job.id for job in jobs]
    await cursor.run(
        "INSERT INTO attempt (job, number) SELECT unnest(%s::bigint[]), 1", (ids,)
    )
    await cursor.run(
        "INSERT INTO run_job (run, job) SELECT %s, unnest(%s::bigint[])", (run, ids)
    )
    await cursor.run(
        """
        INSERT INTO native_job (job, arguments, stores)
        SELECT job, arguments::jsonb, stores
        FROM unnest(%s::bigint[], %s::text[], %s::boolean[])
            AS given (job, arguments, stores)
        """,
        (
            ids,
            [json.dumps(job.arguments) for job in jobs],
            [job.stores for job in jobs],
        ),
    )


async def add_to_run(cursor: Cursor, run: int, jobs: Sequence[int]) -> None:
    """Let jobs that exist, and have not ended, belong to a new run as well."""
    await cursor.run(
        "INSERT INTO run_job (run, job, merged) SELECT %s, unnest(%s::bigint[]), true",
        (run, list(jobs)),
    )


Key = tuple[str, str]  #: kind, and key


async def lock_keys(cursor: Cursor, keys: Sequence[Key]) -> dict[Key, int | None]:
    """The newest job of each key, None without one; nobody else gets at them meanwhile."""
    ordered = sorted(keys)
    # One statement: a row that is there and not ours yet could be removed between two.
    rows = await cursor.rows(
        """
        INSERT INTO job_key AS k (kind, key)
        SELECT * FROM unnest(%s::text[], %s::text[])
        ON CONFLICT (kind, key) DO UPDATE SET key = excluded.key
        RETURNING k.kind, k.key, k.job
        """,
        ([kind for kind, _ in ordered], [key for _, key in ordered]),
    )
    return {(kind, key): job for kind, key, job in rows}


async def forget_keys(cursor: Cursor, days: float, most: int) -> int:
    """Remove keys of jobs that have been done for so long; how many, ``most`` at most.

    One that is tried again later may then have an equal beside it.
    """
    return await cursor.run(
        """
        DELETE FROM job_key WHERE (kind, key) IN (
            SELECT k.kind, k.key FROM job_key AS k JOIN job AS j ON j.id = k.job
            WHERE j.state = 'done' AND j.finished_at < farm_now() - %s * interval '1 day'
            LIMIT %s FOR UPDATE OF k SKIP LOCKED)
        """,
        (days, most),
    )


async def set_keys(cursor: Cursor, jobs: Mapping[Key, int]) -> None:
    """Let these be the newest jobs of their keys, which are locked."""
    await cursor.run(
        """
        UPDATE job_key AS k SET job = new.job
        FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS new (kind, key, job)
        WHERE (k.kind, k.key) = (new.kind, new.key)
        """,
        (
            [kind for kind, _ in jobs],
            [key for _, key in jobs],
            list(jobs.values()),
        ),
    )


async def add_edges(cursor: Cursor, edges: Sequence[NewEdge]) -> None:
    """Write dependencies of new jobs, which count them in ``blocked_by`` already."""
    if edges:
        await cursor.run(
            """
            INSERT INTO edge (up, down, require, weak)
            SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::edge_require[],
                                 %s::boolean[])
            """,
            (
                [edge.up for edge in edges],
                [edge.down for edge in edges],
                [edge.require.value for edge in edges],
                [edge.weak for edge in edges],
            ),
        )


async def resolve_ended(cursor: Cursor, jobs: Sequence[int]) -> None:
    """Resolve the new edges on ``jobs`` that were done before, and all that follows."""
    if jobs:
        await cursor.run("SELECT lock_downstream(%s::bigint[])", (sorted(jobs),))
        await cursor.run(
            "SELECT settle_done(resolve_edges(%s::bigint[], NULL, farm_now()))",
            (sorted(jobs),),
        )


async def states_of(
    cursor: Cursor, jobs: Sequence[int]
) -> dict[int, tuple[str, str | None, int]]:
    """State, result and current attempt of each of ``jobs``."""
    rows = await cursor.rows(
        """
        SELECT id, state::text, result::text, attempt FROM job
        WHERE id = ANY (%s::bigint[])
        """,
        (list(jobs),),
    )
    return {int(job): (state, result, attempt) for job, state, result, attempt in rows}
