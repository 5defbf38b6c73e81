"""Closes the sessions that other masters left open when they died.

Workers come back by themselves; those that do not would count as connected for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.logger import Logger

from buildmaster.database import Cursor, Database
from buildmaster.desk import tell_workers
from buildmaster.store import workers as worker_store

#: What masters hold their names as, so that all see who lives.
KIND = "master"
#: Seconds for which a master must have been gone: it may only have lost its connection.
GONE_FOR = 15.0


class Masters:
    """One round looks at every master that has sessions. ``seconds`` never jumps."""

    log = Logger()

    def __init__(
        self, database: Database, seconds: Callable[[], float], gone_for: float = GONE_FOR
    ) -> None:
        self._database = database
        self._seconds = seconds
        self._gone_for = gone_for
        self._gone_since: dict[str, float] = {}

    async def round(self) -> None:
        """Forget the sessions of masters that have been gone for long enough."""
        gone = await self._database.transaction(worker_store.masters_gone)
        now = self._seconds()
        self._gone_since = {name: self._gone_since.get(name, now) for name in gone}
        for name, since in self._gone_since.items():
            if now - since >= self._gone_for:
                self.log.warn("master {name} is gone: its sessions are over", name=name)
                await self._database.transaction(partial(forget_sessions, master=name))


async def forget_sessions(cursor: Cursor, master: str) -> None:
    """Close the sessions that a master left open, and tell."""
    left = await worker_store.forget_sessions_of(cursor, master)
    await tell_workers(cursor, left, "unreachable")
