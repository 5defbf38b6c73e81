"""Rows of ``worker``: who may join, who is there, what they offer."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from buildmaster.database import Cursor
from buildmaster.farm_series import Offering
from protocol.messages import Hello, Offer


@dataclass(frozen=True)
class KnownWorker:
    """What is remembered of a worker between its sessions."""

    name: str
    token_sha256: bytes | None
    boot: str | None


async def register(cursor: Cursor, name: str, token_sha256: bytes) -> None:
    """Let a worker of this name and token join; a new token replaces the old one."""
    await cursor.run(
        """
        INSERT INTO worker (name, token_sha256) VALUES (%s, %s)
        ON CONFLICT (name) DO UPDATE SET token_sha256 = excluded.token_sha256
        """,
        (name, token_sha256),
    )


async def known(cursor: Cursor, name: str) -> KnownWorker | None:
    """The worker of this name, locked, or None."""
    # Nothing is claimed for the worker meanwhile: see claim_jobs.
    await cursor.run(
        "SELECT pg_advisory_xact_lock(hashtext('headrace.worker'), hashtext(%s))", (name,)
    )
    row = await cursor.row(
        "SELECT name, token_sha256, boot FROM worker WHERE name = %s FOR NO KEY UPDATE",
        (name,),
    )
    if row is None:
        return None
    token = bytes(row[1]) if row[1] is not None else None
    return KnownWorker(row[0], token, row[2])


async def connect(cursor: Cursor, hello: Hello, session: str, master: str) -> None:
    """Note that a worker opened a session, and what it offers."""
    await cursor.run(
        """
        UPDATE worker
        SET state = 'connected', session = %s, master = %s, boot = %s, software = %s,
            offers = %s::jsonb, tags = %s::text[], restricted_tags = %s::text[],
            performs = %s::text[], slots = %s, cpu = %s, memory = %s, disk = %s,
            connected_at = farm_now(), last_heard_at = farm_now()
        WHERE name = %s
        """,
        (
            session,
            master,
            hello.boot,
            hello.software,
            msgspec.json.encode(hello.offers).decode(),
            sorted({*hello.tags, *hello.restricted_tags}),
            list(hello.restricted_tags),
            list(hello.performs),
            hello.slots,
            None if hello.cpu is None else 100 * hello.cpu,
            hello.memory,
            hello.disk,
            hello.worker,
        ),
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


async def heard(cursor: Cursor, name: str) -> None:
    """Note a sign of life."""
    await cursor.run(
        "UPDATE worker SET last_heard_at = farm_now() WHERE name = %s", (name,)
    )


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
