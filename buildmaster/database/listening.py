"""Hears PostgreSQL's notifications on a connection of its own."""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildmaster.database.connection import Connection
from buildmaster.database.errors import DatabaseAway
from buildmaster.database.pool import Connect, keep_connected, stop_keeping

_CHANNEL = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")


class Listening:
    """Calls those who listen, in the order of notifications, and after every gap.

    Notifications sent while the connection is away are lost, so whenever listening
    begins, the first time and after a loss, everybody is called with an empty payload:
    look for yourself.
    """

    log = Logger()

    def __init__(self, connect: Connect, clock: IReactorTime) -> None:
        self._connect = connect
        self._clock = clock
        self._listeners: dict[str, list[Callable[[str], None]]] = {}
        self._connection: Connection | None = None
        self._keeper: Deferred[None] | None = None
        self._has_told = False  # the log, of this outage
        self._running = False

    def start(self) -> None:
        """Begin, once anybody listens."""
        self._running = True
        if self._listeners and self._keeper is None:
            self._keeper = Deferred.fromCoroutine(self._keep())

    async def stop(self) -> None:
        """Close the connection and call nobody any more."""
        self._running = False
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await stop_keeping([keeper], self._clock)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Have ``heard`` called with each payload sent to ``channel``, now or later."""
        if not _CHANNEL.match(channel):
            raise ValueError(f"{channel!r} is no name for a channel")
        is_new = channel not in self._listeners
        self._listeners.setdefault(channel, []).append(heard)
        if self._keeper is None:
            if self._running:
                self.start()
        elif self._connection is not None:
            # The simplest way to have it on both sides of the gap is a new beginning.
            if is_new:
                self._connection.close()
            else:
                self._tell(heard, channel, "")

    async def _keep(self) -> None:
        try:
            await keep_connected(self._connect, self._clock, self._arm, self._failed)
        except CancelledError:  # by stop
            pass
        except Exception:
            self.log.failure("listening to the database is given up for good")

    async def _arm(self, connection: Connection) -> None:
        connection.hear(self._heard)
        armed: set[str] = set()
        while missing := set(self._listeners) - armed:  # more may come meanwhile
            await self._begin_to_hear(connection, missing)
            armed |= missing
        self._connection = connection
        self._has_told = False
        for channel in list(self._listeners):
            self._heard(channel, "")

    async def _begin_to_hear(self, connection: Connection, channels: set[str]) -> None:
        try:
            await connection.execute("; ".join(f"LISTEN {name}" for name in channels))
        except BaseException as error:
            connection.close()
            if isinstance(error, CancelledError | DatabaseAway):
                raise
            # A server that is still a standby, say: it may be promoted.
            raise DatabaseAway(f"PostgreSQL refuses to notify: {error}") from error

    def _heard(self, channel: str, payload: str) -> None:
        for heard in self._listeners.get(channel, ()):
            self._tell(heard, channel, payload)

    def _tell(self, heard: Callable[[str], None], channel: str, payload: str) -> None:
        try:
            heard(payload)
        except Exception:
            self.log.failure("who listens to {channel} failed", channel=channel)

    def _failed(self, error: DatabaseAway) -> None:
        if not self._has_told:
            self._has_told = True
            self.log.warn("cannot listen to the database: {error}", error=str(error))
