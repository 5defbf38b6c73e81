"""Whether this master works."""

from __future__ import annotations

import msgspec
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildmaster.database import Database, DatabaseAway, StatementCancelled
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call

#: Seconds that the database may take to say something.
_PATIENCE = 2.0


class Health:
    """Answers GET /healthz."""

    log = Logger()

    def __init__(self, database: Database, master: str, clock: IReactorTime) -> None:
        self._database = database
        self._master = master
        self._clock = clock

    async def get(self, call: Call) -> Answer:
        """200 if the database answers, 503 otherwise."""
        call.query.allow()
        database = await self._ask()
        status = "ok" if database == "ok" else "degraded"
        return Answer(
            200 if database == "ok" else 503,
            msgspec.json.encode(
                {"status": status, "master": self._master, "database": database}
            ),
        )

    async def _ask(self) -> str:
        asked = Deferred.fromCoroutine(self._database.one("SELECT 1"))
        asked.addTimeout(_PATIENCE, self._clock)
        try:
            await asked
        except TimeoutError:
            return "slow"
        except CancelledError:
            raise
        except (DatabaseAway, StatementCancelled):
            return "away"
        return "ok"
