"""Removes what nobody can ask about any more, a bounded part at a time."""

from __future__ import annotations

from buildmaster.database import Cursor, Database
from buildmaster.store import blaming, graphs

#: How often to look, in seconds, and for how many days keys of finished jobs are kept.
INTERVAL, KEPT = 600.0, 7.0
#: Rows of one transaction.
BATCH = 1000


class Tidying:
    """One round removes all that is due."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def round(self) -> None:
        """Look for what is due."""
        await self._database.transaction(blaming.forget_faults)
        while await self._database.transaction(_forget_keys) == BATCH:
            pass


async def _forget_keys(cursor: Cursor) -> int:
    return await graphs.forget_keys(cursor, KEPT, BATCH)
