"""Rows of ``stay``: people whose browsers have a cookie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from buildmaster.database import Cursor
from buildmaster.people.person import Person, Way
from buildmaster.store.tokens import CHANNEL

#: Stays that masters keep in mind.
MOST = 100_000


@dataclass(frozen=True)
class Stay:
    """A person who logged in, until when."""

    sha256: bytes
    person: Person
    expires_at: datetime


async def begin(
    cursor: Cursor, sha256: bytes, person: Person, address: str, seconds: float
) -> Stay:
    """Let a person stay for ``seconds``; the other masters are told."""
    [expires_at] = await cursor.one(
        """
        INSERT INTO stay (sha256, who, way, display, groups, address, expires_at)
        VALUES (%s, %s, %s::person_way, %s, %s::text[], %s,
                farm_now() + make_interval(secs => %s))
        RETURNING expires_at
        """,
        (
            sha256,
            person.name,
            person.way,
            person.display,
            list(person.groups),
            address,
            seconds,
        ),
    )
    await cursor.run(f"NOTIFY {CHANNEL}")
    return Stay(sha256, person, expires_at)


async def end(cursor: Cursor, sha256: bytes) -> bool:
    """End one stay; whether there was one."""
    row = await cursor.row("DELETE FROM stay WHERE sha256 = %s RETURNING 1", (sha256,))
    await cursor.run(f"NOTIFY {CHANNEL}")
    return row is not None


async def end_all_of(cursor: Cursor, who: str) -> int:
    """End all stays of a name; how many there were."""
    ended = await cursor.rows(
        "DELETE FROM stay WHERE who = %s AND expires_at > farm_now() RETURNING 1", (who,)
    )
    await cursor.run(f"NOTIFY {CHANNEL}")
    return len(ended)


async def current(cursor: Cursor) -> list[Stay]:
    """All stays that have not ended."""
    rows = await cursor.rows(
        f"""
        SELECT sha256, who, way::text, display, groups, expires_at FROM stay
        WHERE expires_at > farm_now() ORDER BY id DESC LIMIT {MOST}
        """
    )
    return [
        Stay(bytes(sha256), Person(who, cast(Way, way), display, tuple(groups)), expires_at)
        for sha256, who, way, display, groups, expires_at in rows
    ]


async def note_use(cursor: Cursor, used: Sequence[bytes]) -> None:
    """These stays were used just now."""
    await cursor.run(
        "UPDATE stay SET last_used_at = farm_now() WHERE sha256 = ANY (%s::bytea[])",
        (list(used),),
    )


async def forget_ended(cursor: Cursor, most: int) -> int:
    """Remove some stays whose time is over; how many."""
    rows = await cursor.rows(
        """
        DELETE FROM stay WHERE sha256 IN (
            SELECT sha256 FROM stay WHERE expires_at <= farm_now()
            ORDER BY expires_at LIMIT %s)
        RETURNING 1
        """,
        (most,),
    )
    return len(rows)
