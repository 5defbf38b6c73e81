"""What a plug-in's kind adds to the documents of its jobs."""

from __future__ import annotations

from twisted.logger import Logger

from buildmaster.database import Database
from buildmaster.kinds.registry import Kinds
from buildmaster.store import kinds as store


class Details:
    """Asks the kinds that have something to tell; a mistake of theirs costs only that."""

    log = Logger()

    def __init__(self, database: Database, kinds: Kinds) -> None:
        self._database = database
        self._kinds = kinds

    async def of(self, job: int) -> str:
        """JSON; null where the kind tells nothing."""
        if not any(kind.document for kind in self._kinds.plugged):
            return "null"
        name = await store.kind_of(self._database, job)
        kind = self._kinds.get(name or "")
        if kind is None or kind.document is None:
            return "null"
        try:
            return await store.details(self._database, kind.document, job)
        except Exception:
            self.log.failure("the kind {kind} cannot tell of job {job}", kind=name, job=job)
            return "null"
