"""Ends what was to last for a while, and parks and lets go what operators decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from buildmaster.database import Cursor, Database
from buildmaster.store import operating as store

#: Jobs of one transaction, and transactions of one round for one project.
BATCH, BATCHES = 500, 20
_Settle = Callable[[Cursor, str, int], Awaitable[bool]]


class Upkeep:
    """One round does a bounded part of what there is to do, and asks for another."""

    def __init__(self, database: Database, wake: Callable[[], None]) -> None:
        """``wake`` asks for a further round."""
        self._database = database
        self._wake = wake

    async def round(self) -> None:
        """Look for what is due."""
        await self._database.transaction(store.end_due)
        await self._settle_projects()

    async def _settle_projects(self) -> None:
        held, released = await self._database.transaction(store.projects_to_settle)
        for project in released:
            await self._settle(store.release_project, project)
        for project in held:
            await self._settle(store.park_project, project)

    async def _settle(self, settle: _Settle, project: str) -> None:
        for _ in range(BATCHES):
            if not await self._database.transaction(
                lambda cursor: settle(cursor, project, BATCH)
            ):
                return
        self._wake()
