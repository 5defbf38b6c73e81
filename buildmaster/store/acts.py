"""Rows of ``act``: what somebody did, from where, on what, and how it ended."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from buildmaster.store.text import storable


class _Cursor(Protocol):
    async def one(self, sql: str, parameters: Any = ()) -> Any: ...
    async def run(self, sql: str, parameters: Any = ()) -> int: ...
    async def rows(self, sql: str, parameters: Any = ()) -> Any: ...


async def begin(
    cursor: _Cursor,
    act: str,
    who: str,
    address: str,
    run: int | None,
    job: int | None,
    worker: str | None,
) -> int:
    """Note that somebody is about to do something; the row's id.

    It is not waited for on the disk: whatever is done next is written after it, so that
    nothing can outlast a crash that this does not outlast.
    """
    [number] = await cursor.one(
        """
        INSERT INTO act (act, who, address, run, job, worker)
        SELECT %s, left(%s, 300), left(%s, 100), %s, %s, left(%s, 300)
        FROM (SELECT set_config('synchronous_commit', 'off', true)) AS lazily
        RETURNING id
        """,
        (act, who, address, run, job, worker),
    )
    return int(number)


async def complete(
    cursor: _Cursor, number: int, outcome: str, status: int, facts: dict[str, Any]
) -> None:
    """Note how it ended, and what it turned out to be about.

    The facts ``run``, ``job`` and ``worker`` stand in columns of their own.
    """
    more = dict(facts)
    run, job, worker = (more.pop(name, None) for name in ("run", "job", "worker"))
    await cursor.run(
        """
        UPDATE act SET outcome = %s, status = %s, run = coalesce(%s, run),
               job = coalesce(%s, job), worker = coalesce(left(%s, 300), worker),
               facts = %s::jsonb
          FROM (SELECT set_config('synchronous_commit', 'off', true)) AS lazily
         WHERE id = %s
        """,
        (
            outcome,
            status,
            run,
            job,
            worker,
            msgspec.json.encode(storable(more)).decode(),
            number,
        ),
    )


async def forget_old(cursor: _Cursor, days: float, most: int) -> int:
    """Remove some acts older than ``days``; how many."""
    rows = await cursor.rows(
        """
        DELETE FROM act WHERE id IN (
            SELECT id FROM act WHERE at < farm_now() - make_interval(days => 1) * %s
            ORDER BY at LIMIT %s)
        RETURNING 1
        """,
        (days, most),
    )
    return len(rows)
