"""Semaphores: how many of the jobs that name one may be at work at a time.

A concurrency group is one, ``group:NAME``, and so is the cap of an owner,
``cap:OWNER/ARCHITECTURE``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from buildmaster.database import Cursor

#: Which names jobs get is settled while somebody has this lock; who queues jobs shares it.
_LOCK = "hashtext('headrace.semaphores'), 0"


def group_name(group: str) -> str:
    """The semaphore of a concurrency group."""
    return f"group:{group}"


def cap_name(owner: str, architecture: str) -> str:
    """The semaphore that caps an owner's jobs of an architecture."""
    return f"cap:{owner}/{architecture}"


async def keep(cursor: Cursor) -> None:
    """Let no semaphore be removed, and no cap be made, before this transaction ends."""
    await cursor.run(f"SELECT pg_advisory_xact_lock_shared({_LOCK})")


async def caps_among(
    cursor: Cursor, places: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The caps that there are for these (owner, architecture)."""
    names = {cap_name(*place): place for place in places}
    rows = await cursor.rows(
        "SELECT name FROM semaphore WHERE name = ANY (%s::text[])", (list(names),)
    )
    return {names[name]: name for (name,) in rows}


async def make_groups(cursor: Cursor, groups: Iterable[str]) -> None:
    """Let there be the semaphores of these groups; who comes second waits for the first."""
    ordered = sorted(groups)
    await cursor.run(
        """
        SELECT pg_advisory_xact_lock(hashtext('headrace.group'), hashtext(one))
        FROM (SELECT unnest(%s::text[]) AS one) AS given
        """,
        (ordered,),
    )
    await cursor.run(
        "INSERT INTO semaphore (name) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
        ([group_name(group) for group in ordered],),
    )


async def replaceable(cursor: Cursor, group: str, repository: str | None) -> list[int]:
    """Jobs of a concurrency group that have not ended, and that are of this repository."""
    rows = await cursor.rows(
        """
        SELECT id FROM job WHERE concurrency_group = %s AND state <> 'done'
          AND repository IS NOT DISTINCT FROM %s ORDER BY id LIMIT 100000
        """,
        (group, repository),
    )
    return [int(job) for (job,) in rows]


async def members_of(cursor: Cursor, groups: Sequence[str]) -> list[int]:
    """Jobs of concurrency groups that have not ended."""
    rows = await cursor.rows(
        """
        SELECT id FROM job WHERE concurrency_group = ANY (%s::text[]) AND state <> 'done'
        ORDER BY id LIMIT 100000
        """,
        (list(groups),),
    )
    return [int(job) for (job,) in rows]


async def set_capacity(cursor: Cursor, name: str, capacity: int) -> None:
    """Make a semaphore, or change how many may hold it."""
    await cursor.run(f"SELECT pg_advisory_xact_lock({_LOCK})")
    await cursor.run("SELECT set_semaphore(%s, %s)", (name, capacity))


async def remove(cursor: Cursor, name: str) -> str | None:
    """Remove a semaphore; why not, in half a sentence, None if it is gone."""
    await cursor.run(f"SELECT pg_advisory_xact_lock({_LOCK})")
    found = await cursor.row("SELECT 1 FROM semaphore WHERE name = %s FOR UPDATE", (name,))
    if found is None:
        return "there is none of that name"
    user = await cursor.row(
        """
        SELECT min(id) FROM job
        WHERE limits @> ARRAY[%s]::text[] AND limits IS NOT NULL AND state <> 'done'
        """,
        (name,),
    )
    if user is not None and user[0] is not None:
        return f"job {user[0]} names it and has not ended"
    await cursor.run("DELETE FROM semaphore WHERE name = %s", (name,))
    return None


async def last_job(cursor: Cursor) -> int:
    """The highest id of a job."""
    (last,) = await cursor.one("SELECT coalesce(max(id), 0) FROM job")
    return int(last)


async def cap_jobs(
    cursor: Cursor, owner: str, architecture: str, after: int, upto: int
) -> int:
    """Let unfinished jobs of an owner with such ids name the cap; how many did not."""
    (count,) = await cursor.one(
        "SELECT cap_jobs(%s, %s, %s, %s, %s)",
        (owner, architecture, cap_name(owner, architecture), after, upto),
    )
    return int(count)
