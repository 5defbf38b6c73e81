"""Removes what nobody can ask about any more, a bounded part at a time."""

from __future__ import annotations

from buildmaster.database import Cursor, Database
from buildmaster.store import acts, blaming, graphs, stays, workflows

#: How often to look, in seconds, and for how many days keys of finished jobs are kept.
INTERVAL, KEPT = 600.0, 7.0
#: For how many days the audit is kept.
ACTS_KEPT = 400.0
#: Rows of one transaction.
BATCH = 1000


class Tidying:
    """One round removes all that is due."""

    def __init__(
        self, database: Database, workflow_history_age: float | None = None
    ) -> None:
        """``workflow_history_age``: seconds that histories stay after the end, or None."""
        self._database = database
        self._history_age = workflow_history_age

    async def round(self) -> None:
        """Look for what is due."""
        await self._database.transaction(blaming.forget_faults)
        for forget in (_forget_keys, _forget_stays, _forget_acts):
            while await self._database.transaction(forget) == BATCH:
                pass
        while await self._database.transaction(self._forget_histories):
            pass

    async def _forget_histories(self, cursor: Cursor) -> bool:
        if self._history_age is None:
            return False
        return await workflows.forget_histories(cursor, self._history_age, BATCH)


async def _forget_keys(cursor: Cursor) -> int:
    return await graphs.forget_keys(cursor, KEPT, BATCH)


async def _forget_stays(cursor: Cursor) -> int:
    return await stays.forget_ended(cursor, BATCH)


async def _forget_acts(cursor: Cursor) -> int:
    return await acts.forget_old(cursor, ACTS_KEPT, BATCH)
