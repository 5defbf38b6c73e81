"""The step of a master, as one call: attempts that ended, were accepted, and new claims."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from buildmaster.database import Cursor
from buildmaster.store.text import storable
from protocol.results import Result

#: A position is the score turned over, and in so many bits below it whose turn it is.
TURN_BITS = 43


@dataclass(frozen=True)
class AttemptEnd:
    """How an attempt ended; it counts only while the lease holds."""

    job: int
    attempt: int
    result: Result
    reason: str = ""
    worker: str | None = None  #: whose lease it must be; None is anybody's
    final: bool = False  #: an error that would repeat
    lost: bool = False  #: its worker was lost with it
    reports: int | None = None  #: the number of the report that tells it
    exit_status: int | None = None
    output: dict[str, Any] | None = None  #: what a native job returned


@dataclass(frozen=True)
class Acceptance:
    """A worker took an attempt."""

    job: int
    attempt: int
    worker: str


@dataclass(frozen=True)
class HungryWorker:
    """A worker with room. Workers of one ``bunch`` can run the same classes."""

    name: str
    session: str
    bunch: int
    slots: int  #: free; likewise, None where they are not counted:
    cpu: int | None = None  #: hundredths of a core
    memory: int | None = None  #: MiB
    disk: int | None = None  #: MiB
    since: int = 0  #: every lease of it with a smaller number has ended
    peers: int = 1  #: workers of its bunch, those without room too


@dataclass(frozen=True)
class Claim:
    """A job that was leased to a worker."""

    job: int
    attempt: int
    worker: str
    class_id: int
    position: int
    kind: str
    payload: str | None  #: JSON: what the order of a job needs that runs natively
    lease: int  #: its number; later leases have greater ones


@dataclass(frozen=True)
class Stepped:
    """What a step did."""

    #: (job, attempt) -> "done", "again" (another attempt waits) or "stale" (no such lease)
    ended: dict[tuple[int, int], str] = field(default_factory=dict)
    forget: frozenset[tuple[int, int]] = frozenset()  #: accepted, and not theirs
    claims: tuple[Claim, ...] = ()
    marks: dict[int, int] = field(default_factory=dict)  #: class -> nothing is left before
    aside: int = 0  #: jobs that met a full semaphore: another step may find others
    gone: frozenset[str] = frozenset()  #: workers whose session is over


async def step(
    cursor: Cursor,
    ends: Sequence[AttemptEnd] = (),
    accepted: Sequence[Acceptance] = (),
    workers: Sequence[HungryWorker] = (),
    classes: Iterable[tuple[int, int, int]] = (),
    *,
    delays: Sequence[float],
    refused_for: float,
) -> Stepped:
    """Write ends and acceptances, then claim for ``workers``: whole or nothing.

    ``classes`` are (bunch, class, position from which its line is read). Safe to repeat:
    an end whose lease is gone is stale, an acceptance is noted once.
    """
    rows = await cursor.rows(
        """
        SELECT what, job, attempt, worker, class, position, kind, payload, lease
        FROM step(%s::jsonb, %s::bigint[], %s::integer[], %s::text[], %s::jsonb, %s::jsonb,
                  %s::double precision[], %s)
        """,
        (
            _ends(ends),
            [each.job for each in accepted],
            [each.attempt for each in accepted],
            [each.worker for each in accepted],
            json.dumps([vars(worker) for worker in workers]),
            json.dumps(
                [
                    {"bunch": bunch, "class": one, "from": mark}
                    for bunch, one, mark in classes
                ]
            ),
            list(delays),
            refused_for,
        ),
    )
    return _stepped(rows)


async def unaccepted_claims(cursor: Cursor, workers: Sequence[str]) -> list[Claim]:
    """Leases of ``workers`` that they have not accepted, as they were claimed.

    A claim of which nothing was heard may be under way still: it is waited for.
    """
    await cursor.run(
        """
        SELECT pg_advisory_xact_lock(hashtext('headrace.worker'), hashtext(name))
        FROM (SELECT name FROM unnest(%s::text[]) AS given (name) ORDER BY name) AS one
        """,
        (list(workers),),
    )
    rows = await cursor.rows(
        """
        SELECT running.job, running.attempt, running.worker, running.class,
               coalesce(running.position, 0), job.kind,
               CASE WHEN native_job.job IS NOT NULL THEN json_build_object(
                   'performs', job_class.performs, 'arguments', native_job.arguments,
                   'run', job.run_limit, 'stores', native_job.stores)::text END,
               running.lease
        FROM running JOIN job ON job.id = running.job
        JOIN job_class ON job_class.id = running.class
        LEFT JOIN native_job ON native_job.job = running.job
        WHERE running.worker = ANY (%s::text[]) AND running.accepted_at IS NULL
        ORDER BY running.job LIMIT 100000
        """,
        (list(workers),),
    )
    return [Claim(*row) for row in rows]


async def end_attempts(
    cursor: Cursor,
    ends: Sequence[AttemptEnd],
    *,
    delays: Sequence[float],
    refused_for: float,
) -> dict[tuple[int, int], str]:
    """End attempts alone; what became of each, as in `Stepped.ended`."""
    rows = await cursor.rows(
        """
        SELECT job, attempt, became
        FROM end_attempts(%s::jsonb, %s::double precision[], %s)
        """,
        (_ends(ends), list(delays), refused_for),
    )
    return {(job, attempt): became for job, attempt, became in rows}


def _ends(ends: Sequence[AttemptEnd]) -> str:
    return json.dumps(
        [
            {
                "job": end.job,
                "attempt": end.attempt,
                "worker": end.worker,
                "result": end.result.value,
                "reason": storable(end.reason)[:4000],
                "final": end.final,
                "lost": end.lost,
                "reports": end.reports,
                "exit_status": end.exit_status,
                "output": storable(end.output),
            }
            for end in ends
        ],
        allow_nan=False,
    )


def _stepped(rows: Sequence[tuple[Any, ...]]) -> Stepped:
    ended: dict[tuple[int, int], str] = {}
    marks: dict[int, int] = {}
    forget: set[tuple[int, int]] = set()
    gone: set[str] = set()
    claims: list[Claim] = []
    aside = 0
    for what, job, attempt, worker, class_id, position, kind, payload, lease in rows:
        match what:
            case "claim":
                claims.append(
                    Claim(job, attempt, worker, class_id, position, kind, payload, lease)
                )
            case "done" | "again" | "stale":
                ended[job, attempt] = what
            case "forget":
                forget.add((job, attempt))
            case "mark":
                marks[class_id] = min(position, marks.get(class_id, position))
            case "aside":
                aside += 1
            case "gone":
                gone.add(worker)
    return Stepped(ended, frozenset(forget), tuple(claims), marks, aside, frozenset(gone))


async def fold(cursor: Cursor, begun: Collection[tuple[int, int]]) -> None:
    """Add changed counts to the counts, and what was begun and used to the fair shares.

    ``begun``: classes, and the furthest positions in them that were claimed.
    """
    await cursor.run("SELECT fold_counts()")
    await cursor.run(
        "SELECT fold_usage(%s::integer[], %s::bigint[])",
        ([each for each, _ in begun], [position for _, position in begun]),
    )
