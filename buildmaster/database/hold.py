"""Holds a name in the database for as long as this process lives, on its own connection.

PostgreSQL lets go of an advisory lock when the connection that took it ends, and that ends
with the process, however it dies: so others can see at once who lives.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from buildmaster.database.connection import Connection, connect, connection_string
from buildmaster.database.errors import DatabaseAway
from buildmaster.database.pool import keep_connected, stop_keeping

#: Seconds between tries while somebody else holds the name.
_PAUSE = 0.1


class HeldByAnother(Exception):
    """Somebody who lives has the name."""


class Hold:
    """The name ``key``, within the names of one ``kind``; held again after every loss."""

    log = Logger()

    def __init__(self, dsn: str, clock: IReactorTime, kind: str, key: str) -> None:
        self._dsn = connection_string(dsn, f"headrace-{kind}")
        self._clock = clock
        self._names = (f"headrace.{kind}", key)
        self._keeper: Deferred[None] | None = None
        self._connection: Connection | None = None
        self._taken: Deferred[None] = Deferred()

    async def take(self, patience: float) -> None:
        """Returns when the name is held.

        `HeldByAnother` if somebody else still has it after ``patience`` seconds: one who
        was killed just now may have left a statement behind that has to end.
        """
        self._keeper = Deferred.fromCoroutine(self._keep())
        impatience = self._clock.callLater(patience, self._give_up)
        try:
            await self._taken
        finally:
            if impatience.active():
                impatience.cancel()

    def _give_up(self) -> None:
        if not self._taken.called:
            self._taken.errback(HeldByAnother())

    async def stop(self) -> None:
        """Let go of it."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await stop_keeping([keeper], self._clock)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _keep(self) -> None:
        try:
            await keep_connected(self._open, self._clock, self._arm, self._failed)
        except CancelledError:  # by stop
            pass
        except Exception:
            self.log.failure("the name {names} is given up for good", names=self._names)

    async def _open(self) -> Connection:
        return await connect(self._clock, self._dsn)

    async def _arm(self, connection: Connection) -> None:
        self._connection = connection
        while not await self._try(connection):
            await deferLater(self._clock, _PAUSE)
        if not self._taken.called:
            self._taken.callback(None)

    async def _try(self, connection: Connection) -> bool:
        result = await connection.execute(
            "SELECT pg_try_advisory_lock(hashtext(%s), hashtext(%s))", self._names
        )
        [[held]] = result.fetchall()
        return bool(held)

    def _failed(self, error: DatabaseAway) -> None:
        self.log.debug(
            "the name {names} is not held: {error}", names=self._names, error=error
        )
