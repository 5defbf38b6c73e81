"""Audits the queue once a night, and raises an alarm if its books contradict themselves."""

from __future__ import annotations

from dataclasses import asdict

from twisted.logger import Logger

from buildmaster.database import Cursor, Database
from buildmaster.store.audit import Difference, audit, begin_audit, note_audit
from buildmaster.store.event_log import Event, write_events

#: Seconds between two audits of a farm, whichever of its masters makes them.
EVERY = 24 * 3600.0
#: Differences that the event names; the log names no more either.
TOLD = 20


class Auditor:
    """One round audits if nobody has for a day.

    ``readers`` is where the long look is taken: it must not hold up dispatch.
    """

    log = Logger()

    def __init__(self, books: Database, readers: Database, every: float = EVERY) -> None:
        self._books = books
        self._readers = readers
        self._every = every

    async def round(self) -> None:
        """Audit, if it is time."""
        if not await self._books.transaction(
            lambda cursor: begin_audit(cursor, self._every)
        ):
            return
        found = await self._readers.transaction(audit)
        await self._books.transaction(lambda cursor: self._note(cursor, found))
        for difference in found[:TOLD]:
            self.log.critical(
                "the queue contradicts itself: {difference}", difference=str(difference)
            )

    async def _note(self, cursor: Cursor, found: list[Difference]) -> None:
        await note_audit(cursor, len(found))
        if found:
            payload = {
                "differences": len(found),
                "first": [asdict(difference) for difference in found[:TOLD]],
            }
            await write_events(cursor, [Event("farm.audit", payload=payload)])
