"""Ends the sessions of workers that may not join any more."""

from __future__ import annotations

from twisted.logger import Logger

from buildmaster.database import Database
from buildmaster.roster import Roster
from buildmaster.store import tokens as token_store


class Revocations:
    """One round asks the database, which knows what was revoked through any master."""

    log = Logger()

    def __init__(self, database: Database, roster: Roster, master: str) -> None:
        self._database = database
        self._roster = roster
        self._master = master

    async def round(self) -> None:
        """Close what must not stay open."""
        names = await self._database.transaction(
            lambda cursor: token_store.unwelcome(cursor, self._master)
        )
        for name in names:
            session = self._roster.get(name)
            if session is not None:
                self.log.info(
                    "worker {name} may not join any more: its session ends", name=name
                )
                session.close()
