"""What PostgreSQL says of itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from buildmaster.database import Cursor


async def settings(cursor: Cursor, names: Collection[str]) -> Mapping[str, str]:
    """How the server is set, as far as it knows these names."""
    rows = await cursor.rows(
        "SELECT name, setting FROM pg_settings WHERE name = ANY (%s)", (sorted(names),)
    )
    return dict(rows)
