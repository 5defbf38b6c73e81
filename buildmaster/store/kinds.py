"""The kinds of jobs as the database knows them, and ends that they are to hear of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildmaster.database import Cursor, Database
from buildmaster.store.event_log import Event, write_events

#: Where masters hear that there is an end to tell of; a hint, as all notifications.
ENDS_CHANNEL = "headrace_kind_ends"


async def register(kind: Any, cursor: Cursor) -> None:
    """Let there be jobs of that kind, an `IJobKind`."""
    await cursor.run(
        """
        INSERT INTO job_kind (name, description, hears_ends) VALUES (%s, %s, %s)
        ON CONFLICT (name) DO UPDATE
        SET description = excluded.description, hears_ends = excluded.hears_ends
        """,
        (kind.name, kind.description, kind.hears_ends),
    )


@dataclass(frozen=True)
class DueEnd:
    """An end of which its kind has not been told."""

    job: int
    attempt: int
    tries: int  #: this one included
    kind: str
    name: str
    owner: str
    result: str
    reason: str
    arguments: dict[str, Any]
    output: dict[str, Any] | None


async def take_ends(
    cursor: Cursor, kinds: Sequence[str], limit: int, seconds: float
) -> list[DueEnd]:
    """Some ends of jobs of ``kinds``, which nobody else takes for so many seconds."""
    rows = await cursor.rows(
        """
        WITH due AS (
            SELECT e.job, e.attempt FROM kind_end AS e JOIN job ON job.id = e.job
            WHERE e.next_try <= farm_now() AND job.kind = ANY (%s::text[])
            ORDER BY e.next_try LIMIT %s FOR UPDATE OF e SKIP LOCKED
        ), taken AS (
            UPDATE kind_end AS e
            SET tries = tries + 1, next_try = farm_now() + make_interval(secs => %s)
            FROM due WHERE (e.job, e.attempt) = (due.job, due.attempt)
            RETURNING e.job, e.attempt, e.tries
        )
        SELECT taken.job, taken.attempt, taken.tries, job.kind, job.name, job.owner,
               attempt.result::text, attempt.reason,
               coalesce(native_job.arguments, '{}'), attempt.output
        FROM taken JOIN job ON job.id = taken.job
        JOIN attempt ON (attempt.job, attempt.number) = (taken.job, taken.attempt)
        LEFT JOIN native_job ON native_job.job = taken.job
        ORDER BY taken.job
        """,
        (list(kinds), limit, seconds),
    )
    return [DueEnd(*row) for row in rows]


async def settle_end(cursor: Cursor, job: int, attempt: int) -> bool:
    """Note that what follows an end is written now; False if it was before."""
    gone = await cursor.run(
        "DELETE FROM kind_end WHERE job = %s AND attempt = %s", (job, attempt)
    )
    return bool(gone)


async def postpone_end(cursor: Cursor, due: DueEnd, seconds: float) -> None:
    """Let an end be told again, but not before so many seconds."""
    await cursor.run(
        """
        UPDATE kind_end SET next_try = farm_now() + make_interval(secs => %s)
        WHERE job = %s AND attempt = %s AND tries = %s
        """,
        (seconds, due.job, due.attempt, due.tries),
    )


async def give_up_end(cursor: Cursor, due: DueEnd, why: str) -> None:
    """Tell of an end no more, and let it be known."""
    await settle_end(cursor, due.job, due.attempt)
    payload = {"state": "done", "attempt": due.attempt, "reason": why[:1000]}
    await write_events(cursor, [Event("job.kind-failed", job=due.job, payload=payload)])


async def limit_time(cursor: Cursor, seconds: float) -> None:
    """Let no statement of this transaction take, or wait for a lock, longer than that."""
    milliseconds = str(int(seconds * 1000))
    await cursor.run(
        "SELECT set_config('statement_timeout', %s, true),"
        " set_config('lock_timeout', %s, true)",
        (milliseconds, milliseconds),
    )


async def kind_of(database: Database, job: int) -> str | None:
    """The kind of a job; None if there is no such job."""
    row = await database.row("SELECT kind FROM job WHERE id = %s", (job,))
    return None if row is None else str(row[0])


async def details(database: Database, function: str, job: int) -> str:
    """What a kind's own function tells of a job, as JSON."""

    async def work(cursor: Cursor) -> str:
        await limit_time(cursor, 2.0)
        (text,) = await cursor.one(
            f"SELECT {function}(%s)::text",
            (job,),  # its name is checked in the registry
        )
        return json.dumps(None) if text is None else str(text)

    return await database.transaction(work)
