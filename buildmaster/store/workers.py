"""Rows of ``worker``: who may join, who is there, what they offer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from buildmaster.database import Cursor
from buildmaster.farm_series import Offering
from buildmaster.matching import tags_of
from protocol.messages import Hello, Offer


async def remember(cursor: Cursor, name: str) -> None:
    """Have a row for a worker of this name. Harmless when repeated."""
    await cursor.run(
        "INSERT INTO worker (name) VALUES (%s) ON CONFLICT (name) DO NOTHING", (name,)
    )


async def remember_all(cursor: Cursor, names: Collection[str]) -> None:
    """The same for many."""
    await cursor.run(
        """
        INSERT INTO worker (name) SELECT unnest(%s::text[])
        ON CONFLICT (name) DO NOTHING
        """,
        (sorted(names),),
    )


async def lock(cursor: Cursor, name: str) -> bool:
    """Let nobody else change this worker's row meanwhile; False if there is none.

    Nothing is claimed for the worker meanwhile, either: see claim_jobs.
    """
    await cursor.run(
        "SELECT pg_advisory_xact_lock(hashtext('headrace.worker'), hashtext(%s))", (name,)
    )
    row = await cursor.row(
        "SELECT 1 FROM worker WHERE name = %s FOR NO KEY UPDATE", (name,)
    )
    return row is not None


async def connect(cursor: Cursor, opened: Sequence[tuple[Hello, str]], master: str) -> None:
    """Note that workers opened these sessions, and what they offer."""
    rows = [
        {
            "name": hello.worker,
            "session": session,
            "boot": hello.boot,
            "software": hello.software,
            "offers": msgspec.to_builtins(hello.offers),
            "tags": tags_of(hello),
            "restricted_tags": hello.restricted_tags,
            "performs": hello.performs,
            "slots": hello.slots,
            "cpu": None if hello.cpu is None else 100 * hello.cpu,
            "memory": hello.memory,
            "disk": hello.disk,
        }
        for hello, session in opened
    ]
    await cursor.run(
        """
        UPDATE worker
        SET state = 'connected', session = new.session, master = %s, boot = new.boot,
            software = new.software, offers = new.offers, tags = new.tags,
            restricted_tags = new.restricted_tags, performs = new.performs,
            slots = new.slots, cpu = new.cpu, memory = new.memory, disk = new.disk,
            connected_at = farm_now(), last_heard_at = farm_now()
        FROM jsonb_to_recordset(%s::jsonb) AS new (
            name text, session text, boot text, software text, offers jsonb, tags text[],
            restricted_tags text[], performs text[], slots integer, cpu integer,
            memory bigint, disk bigint)
        WHERE worker.name = new.name
        """,
        (master, msgspec.json.encode(rows).decode()),
    )


async def disconnect(cursor: Cursor, name: str, session: str) -> str | None:
    """Note that a session is over; the worker's new state, or None if it had another.

    A worker that holds leases is unreachable, one that holds none is offline.
    """
    row = await cursor.row(
        """
        UPDATE worker SET session = NULL, master = NULL, last_heard_at = farm_now(),
            state = CASE WHEN EXISTS (
                        SELECT FROM running WHERE running.worker = worker.name)
                    THEN 'unreachable' ELSE 'offline' END::worker_state
        WHERE name = %s AND session = %s RETURNING state::text
        """,
        (name, session),
    )
    return str(row[0]) if row else None


async def forget_sessions_of(cursor: Cursor, master: str) -> list[str]:
    """Close the sessions that a master of this name left open when it died; whose."""
    rows = await cursor.rows(
        """
        UPDATE worker SET session = NULL, master = NULL, state = 'unreachable'
        WHERE master = %s RETURNING name
        """,
        (master,),
    )
    return sorted(name for (name,) in rows)


async def masters_gone(cursor: Cursor) -> list[str]:
    """Masters with open sessions of which none lives: nobody holds their name."""
    rows = await cursor.rows(
        """
        WITH there AS MATERIALIZED (
            SELECT DISTINCT master FROM worker WHERE session IS NOT NULL LIMIT 1000
        )
        SELECT master FROM there
        WHERE pg_try_advisory_xact_lock_shared(hashtext('headrace.master'),
                                               hashtext(master))
        """
    )
    return sorted(master for (master,) in rows)


async def settle(cursor: Cursor) -> list[str]:
    """Call unreachable workers offline once none of their work is waited for; whom."""
    rows = await cursor.rows(
        """
        UPDATE worker SET state = 'offline'
        WHERE state = 'unreachable'
          AND NOT EXISTS (SELECT FROM running WHERE running.worker = worker.name)
        RETURNING name
        """
    )
    return sorted(name for (name,) in rows)


async def offerings(cursor: Cursor) -> list[Offering]:
    """What every known worker offers, by name; those that never joined offer nothing."""
    rows = await cursor.rows(
        """
        SELECT name, state = 'connected', offers::text, tags FROM worker
        ORDER BY name LIMIT 10000
        """
    )
    return [
        Offering(
            name,
            connected,
            msgspec.json.decode(offers, type=tuple[Offer, ...]),
            tuple(tags),
        )
        for name, connected, offers, tags in rows
    ]
