"""Rows of ``master``: where the farm's masters are reached by each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildmaster.database import Cursor


@dataclass(frozen=True)
class Neighbour:
    """A master that may have what this one lacks."""

    name: str
    url: str
    fingerprint: str | None  #: of the certificate that it shows; None: the system's trust


async def announce(cursor: Cursor, master: Neighbour) -> None:
    """Let the others know where this master is reached."""
    await cursor.run(
        """
        INSERT INTO master (name, url, fingerprint) VALUES (%s, %s, %s)
        ON CONFLICT (name) DO UPDATE SET url = excluded.url,
            fingerprint = excluded.fingerprint, started_at = farm_now()
        """,
        (master.name, master.url, master.fingerprint),
    )


async def neighbours(cursor: Cursor, name: str) -> Sequence[Neighbour]:
    """All masters but that of this name; those that were started last come first."""
    rows = await cursor.rows(
        """
        SELECT name, url, fingerprint FROM master WHERE name <> %s
        ORDER BY started_at DESC, name LIMIT 100
        """,
        (name,),
    )
    return [Neighbour(*row) for row in rows]
