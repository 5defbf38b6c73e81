"""Keeps a number of connections open and lends them out, first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from buildmaster.database.connection import Connection
from buildmaster.database.errors import DatabaseAway

Connect = Callable[[], Awaitable[Connection]]

#: Seconds between attempts to connect: the first pause, and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
#: Seconds that transactions in progress get when the pool stops.
_LET_FINISH = 2.0


async def keep_connected(
    connect: Connect,
    clock: IReactorTime,
    arrived: Callable[[Connection], Awaitable[None]],
    failed: Callable[[DatabaseAway], None],
) -> None:
    """Connect, tell, wait for the loss, connect again; until cancelled.

    Pauses after a failure, and after a connection that lived for less than the longest
    pause, so that a server that accepts and hangs up is not hammered.
    """
    pause = _FIRST_PAUSE
    while True:
        began = clock.seconds()
        try:
            connection = await connect()
            await arrived(connection)
            await connection.lost
        except DatabaseAway as error:
            failed(error)
        if clock.seconds() - began > _LONGEST_PAUSE:
            pause = _FIRST_PAUSE
        await deferLater(clock, pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


async def stop_keeping(keepers: list[Deferred[None]], clock: IReactorTime) -> None:
    """Cancel keepers of connections; returns when they have ended."""
    # We may have been called by one of them, and a coroutine that runs cannot be
    # cancelled.
    await deferLater(clock, 0)
    for keeper in keepers:
        keeper.cancel()
    await gatherResults(keepers)


class Pool:
    """Lends connections, evicts dead ones, and knows when the database is away.

    ``patience`` is how many seconds a caller may wait while not one connection stands.
    Waiting for busy connections has no such end: statements have their own timeout.
    """

    log = Logger()

    def __init__(
        self, connect: Connect, clock: IReactorTime, size: int, patience: float
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._size = size
        self._patience = patience
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        self._waiting: deque[Deferred[Connection]] = deque()
        self._keepers: list[Deferred[None]] = []
        self._running = False
        self._is_away = False  # patience has ended
        self._reason = "the farm has not connected to its database"
        self._impatience: Any = None
        self._all_back: Deferred[None] | None = None

    async def start(self) -> None:
        """Returns when a first connection stands; `DatabaseAway` after the patience."""
        self._running = True
        self._begin_patience()
        self._keepers = [Deferred.fromCoroutine(self._keep()) for _ in range(self._size)]
        try:
            self.give_back(await self.borrow())
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Refuse what comes now, let what runs finish for 2 s, close everything."""
        self._running = False
        self._fail_waiting("the farm is stopping")
        if len(self._idle) < len(self._open):
            self._all_back = Deferred()
            late = self._clock.callLater(_LET_FINISH, self._all_back.callback, None)
            await self._all_back
            self._all_back = None
            if late.active():
                late.cancel()
        self._end_patience()
        keepers, self._keepers = self._keepers, []
        await stop_keeping(keepers, self._clock)
        for connection in list(self._open):
            connection.close()
        self._open.clear()
        self._idle.clear()

    def borrow(self) -> Deferred[Connection]:
        """The next free connection, to be returned with `give_back`; may be cancelled.

        Fails with `DatabaseAway` when patience with the database has ended.
        """
        waiter: Deferred[Connection] = Deferred(self._forget)
        if not self._running:
            waiter.errback(DatabaseAway("the farm's database connections are closed"))
            return waiter
        while self._idle:
            # The last one used: its server process has what it needs at hand.
            connection = self._idle.pop()
            if connection.look():
                waiter.callback(connection)
                return waiter
        if self._is_away:
            waiter.errback(DatabaseAway(self._reason))
        else:
            self._waiting.append(waiter)
        return waiter

    def _forget(self, waiter: Deferred[Connection]) -> None:
        self._waiting.remove(waiter)

    def census(self) -> dict[str, int]:
        """How many connections are idle or busy, and how many callers wait for one."""
        idle = len(self._idle)
        busy = len(self._open) - idle
        return {"idle": idle, "busy": busy, "wanted": len(self._waiting)}

    def give_back(self, connection: Connection) -> Deferred[None]:
        """Take ``connection`` back in whatever state; fires when it is at rest."""
        if connection.is_at_rest:
            self._free(connection)
            return succeed(None)
        at_rest: Deferred[None] = Deferred()

        async def settle() -> None:
            await connection.settle()
            at_rest.callback(None)
            self._free(connection)

        Deferred.fromCoroutine(settle())
        return at_rest

    def _free(self, connection: Connection) -> None:
        if self._waiting and connection.look():
            self._waiting.popleft().callback(connection)
            return
        if connection.is_open:
            self._idle.append(connection)
        if self._all_back is not None and len(self._idle) >= len(self._open):
            self._all_back.callback(None)

    async def _keep(self) -> None:
        try:
            await keep_connected(self._connect, self._clock, self._arrived, self._failed)
        except CancelledError:  # by stop
            pass
        except Exception:
            self.log.failure("a database connection is given up for good")

    async def _arrived(self, connection: Connection) -> None:
        self._end_patience()
        if self._is_away:
            self._is_away = False
            self.log.info("the database is back")
        self._open.add(connection)
        connection.lost.addCallback(self._departed, connection)
        self._free(connection)

    def _departed(self, result: None, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._open and self._running:
            self._begin_patience()

    def _failed(self, error: DatabaseAway) -> None:
        self._reason = str(error)

    def _begin_patience(self) -> None:
        if self._impatience is None:
            self._impatience = self._clock.callLater(self._patience, self._lose_patience)

    def _end_patience(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _lose_patience(self) -> None:
        self._impatience = None
        self._is_away = True
        self.log.warn("{reason}; trying on", reason=self._reason)
        self._fail_waiting(self._reason)

    def _fail_waiting(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            waiter.errback(DatabaseAway(reason))
