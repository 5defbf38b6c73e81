"""One connection to PostgreSQL that is safe to cancel, to lose and to listen on.

txpostgres 1.7.0 is wrapped, not patched. What the wrapping cures:

* A lost connection was found out by an exception in the reactor, or never. Here
  `Connection.lost` fires once, however the end came, and nothing is logged as unhandled.
* The reactor kept a descriptor that libpq had closed; the next connection, given the same
  number, was then deaf for ever. Here a descriptor leaves the reactor before libpq can
  close it.
* Cancelling raised an internal exception at whoever cancelled. Here who waits gets
  CancelledError at once, and the statement is seen to its end behind the scenes
  (`Connection.settle`), so that the connection can be used again.
* Notifications came out of order.

libpq resolves host names while the whole process waits: give ``hostaddr``, an address
or a socket folder in the DSN where that matters.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg2
from psycopg2 import extensions
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from txpostgres import txpostgres

from buildmaster.database.errors import (
    BadDatabaseAddress,
    DatabaseAway,
    StatementCancelled,
)
from buildmaster.database.prepared import Prepared
from buildmaster.database.values import register_values

Parameters = Sequence[Any] | Mapping[str, Any]
#: Called with channel and payload of a notification.
Heard = Callable[[str, str], None]

#: Seconds a connection may take to come about.
CONNECT_TIMEOUT = 5.0
#: Seconds an abandoned statement may go on before the server is asked to stop it.
_LET_FINISH = 0.1
#: Seconds after which a connection that does not come to rest is closed.
_COME_TO_REST = 5.0

#: A peer that vanished without a word is noticed after about 25 s.
_KEEPALIVE = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
#: SQLSTATEs after which the server ends the connection itself.
_LAST_WORDS = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03"})

register_values()


def connection_string(dsn: str, name: str) -> str:
    """``dsn`` with what every connection of ours has, or `BadDatabaseAddress`."""
    try:
        told = extensions.parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        # libpq's own words would repeat parts of the DSN, a password perhaps.
        raise BadDatabaseAddress(
            "the database DSN cannot be read; write it as 'host=/run/postgresql "
            "dbname=headrace' or as postgresql://USER@HOST/NAME"
        ) from None
    fixed = {"application_name": name, "client_encoding": "UTF8"}
    return extensions.make_dsn(**(_KEEPALIVE | told | fixed))


def address(dsn: str) -> str:
    """Where ``dsn`` leads, in words that may be shown to anybody."""
    told = extensions.parse_dsn(dsn)
    shown = {
        key: told[key] for key in ("host", "hostaddr", "port", "dbname") if key in told
    }
    return " ".join(f"{key}={value}" for key, value in shown.items()) or "its default place"


class _Link(txpostgres.Connection):  # type: ignore[misc]
    """A txpostgres connection that tells of its death and keeps notifications in order."""

    def __init__(self, reactor: Any, died: Callable[[Exception | None], None]) -> None:
        super().__init__(reactor)
        self.is_open = False
        self.heard: Heard | None = None
        self._died = died

    def doRead(self) -> None:
        # Replaces txpostgres' own, which reads on after an error and, while connecting,
        # registers the descriptor twice.
        self.reactor.removeReader(self)
        if self.pollable().closed:
            return
        try:
            self.continuePolling()
            self.checkForNotifies()
        except psycopg2.Error as error:
            self._died(error)
            return
        if self.is_open and not self.pollable().closed:
            self.reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._died(None)

    def checkForNotifies(self) -> None:
        # txpostgres starts a task of its own for every batch, and those overtake.
        while self.notifies:
            notification = self.notifies.pop(0)
            if self.heard is not None:
                self.heard(notification.channel, notification.payload)


class Connection:
    """One open connection; made by `connect`.

    One statement at a time. ``lost`` fires, with None, when the connection is no more.
    """

    def __init__(
        self, reactor: Any, dsn: str, statement_timeout: float | None = None
    ) -> None:
        self._reactor = reactor
        self._dsn = dsn
        self._statement_timeout = statement_timeout
        self._link = _Link(reactor, self._lose)
        self._cursor: Any = None
        self._rest: Deferred[None] | None = None  # fires when the statement has ended
        self.is_open = False
        self.lost: Deferred[None] = Deferred()
        self._end = ""  # how the connection ended, in PostgreSQL's words
        self._may_be_stopped = True
        self._prepared: dict[Prepared, str] = {}
        self._preparations = 0

    async def open(self) -> None:
        """Connect and set the session up, or `DatabaseAway`."""
        setup = "SET TIME ZONE 'UTC'"
        if self._statement_timeout is not None:
            milliseconds = max(1, int(self._statement_timeout * 1000))
            setup += f"; SET statement_timeout = {milliseconds}"
        late = self._reactor.callLater(CONNECT_TIMEOUT, self._give_up)
        try:
            await _shielded(self._link.connect(self._dsn))
            self.is_open = self._link.is_open = True
            await self.execute(setup)
        except BaseException as error:
            said = self._end or one_line(error)
            self.close()
            if isinstance(error, CancelledError) or not isinstance(error, Exception):
                raise
            raise DatabaseAway(
                f"the database at {address(self._dsn)} cannot be reached: {said}; "
                "check that PostgreSQL runs there and lets the farm in"
            ) from error
        finally:
            if late.active():
                late.cancel()

    def _give_up(self) -> None:
        self._lose(TimeoutError(f"no answer within {CONNECT_TIMEOUT:g} s"))

    @property
    def process(self) -> int:
        """The id of the server process at the other end."""
        number: int = self._link.get_backend_pid()
        return number

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing runs and no transaction is open; or it is closed."""
        return not self.is_open or (self._rest is None and not self._in_transaction)

    @property
    def _in_transaction(self) -> bool:
        status = self._link.get_transaction_status()
        return bool(status != extensions.TRANSACTION_STATUS_IDLE)

    def hear(self, heard: Heard) -> None:
        """Have ``heard`` called with every notification, in their order."""
        self._link.heard = heard

    def look(self) -> bool:
        """Whether the connection still stands, as far as can be told without asking."""
        # A server's last words come first, and only reading on shows that it hung up.
        while self.is_open and self._has_input():
            self._link.doRead()
        return self.is_open

    def _has_input(self) -> bool:
        poll = select.poll()
        poll.register(self._link.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def execute(self, sql: str, parameters: Parameters = ()) -> Deferred[Any]:
        """Run one statement; fires with psycopg2's cursor, its result fetched.

        Cancelling is safe, and then `settle` must be awaited before the next statement.
        Fails with `DatabaseAway` if the connection broke, perhaps after the statement
        had been carried out.
        """
        if isinstance(sql, Prepared):
            return Deferred.fromCoroutine(self._execute_prepared(sql, parameters))
        return self._execute(sql, parameters)

    async def _execute_prepared(self, sql: Prepared, parameters: Parameters) -> Any:
        name = self._prepared.get(sql)
        if name is None:
            # A name is never used again: who waited may have left, and PostgreSQL has it.
            self._preparations += 1
            name = f"prepared_{self._preparations}"
            await self._execute(sql.preparation(name), ())
            self._prepared[sql] = name
        return await self._execute(sql.execution(name), parameters)

    def _execute(self, sql: str, parameters: Parameters) -> Deferred[Any]:
        waiter: Deferred[Any] = Deferred()
        if not self.is_open:
            waiter.errback(DatabaseAway("the connection to the database was lost"))
            return waiter
        try:
            self._cursor = cursor = self._link.cursor()
        except psycopg2.Error:
            waiter.errback(self._explained(Failure()))
            return waiter
        rest: Deferred[None] = Deferred()
        self._rest = rest
        self._may_be_stopped = sql != "COMMIT"
        late = self._statement_deadline()

        def ended(result: Any) -> None:
            self._cursor = self._rest = None
            if late is not None and late.active():
                late.cancel()
            if isinstance(result, Failure):
                waiter.errback(self._explained(result))
            else:
                waiter.callback(result)
            rest.callback(None)

        cursor.execute(sql, parameters).addBoth(ended)
        return waiter

    def _statement_deadline(self) -> IDelayedCall | None:
        # The server keeps the timeout itself, unless it is frozen or cut off.
        if self._statement_timeout is None:
            return None
        seconds = self._statement_timeout + _COME_TO_REST
        late: IDelayedCall = self._reactor.callLater(
            seconds, self._lose, TimeoutError(f"no answer within {seconds:g} s")
        )
        return late

    def _explained(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, CancelledError):  # txpostgres' word for QueryCanceled
            return Failure(
                StatementCancelled(
                    "PostgreSQL cancelled the statement: it took longer than the "
                    "statement timeout allows, or an administrator stopped it"
                )
            )
        broken = isinstance(error, psycopg2.Error) and error.pgcode in _LAST_WORDS
        if not (broken or not self.is_open or self._link.closed):
            return failure
        self._lose(error if isinstance(error, Exception) else None)
        return Failure(
            DatabaseAway(f"the connection to the database was lost: {self._end}")
        )

    async def settle(self) -> None:
        """Bring the connection to rest, whatever was going on; never raises.

        Afterwards it is idle outside a transaction, or closed.
        """
        late = [self._reactor.callLater(_COME_TO_REST, self.close)]
        try:
            if self._rest is not None:
                late.append(self._reactor.callLater(_LET_FINISH, self._stop_statement))
                await self._rest
            if self.is_open and self._in_transaction:
                await self.execute("ROLLBACK")
        except Exception:  # a rollback that fails leaves nothing worth keeping
            self.close()
        finally:
            for call in late:
                if call.active():
                    call.cancel()

    def _stop_statement(self) -> None:
        if self._rest is None or not self._may_be_stopped:
            return
        # Not by psycopg2's cancel(), during which the whole process waits. The signal may
        # come late and hit the statement after this one, so the connection goes, too.
        process = self.process
        Deferred.fromCoroutine(self._terminate(process)).addErrback(lambda _: None)

    async def _terminate(self, process: int) -> None:
        other = Connection(self._reactor, self._dsn)
        await other.open()
        try:
            await other.execute("SELECT pg_terminate_backend(%s)", (process,))
        finally:
            other.close()

    def close(self) -> None:
        """Close at once; whatever was going on ends with `DatabaseAway`."""
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._end:
            self._end = "it was closed" if error is None else one_line(error)
        was_open, self.is_open, self._link.is_open = self.is_open, False, False
        if self._cursor is not None:
            self._reactor.removeReader(self._cursor)
            self._reactor.removeWriter(self._cursor)
        if self._link.pollable() is not None and not self._link.closed:
            self._link.close()
        if was_open:
            self.lost.callback(None)


async def connect(
    reactor: IReactorTime, dsn: str, *, statement_timeout: float | None = None
) -> Connection:
    """A connection in UTC, for a DSN made by `connection_string`; or `DatabaseAway`."""
    connection = Connection(reactor, dsn, statement_timeout)
    await connection.open()
    return connection


def one_line(error: BaseException) -> str:
    """What ``error`` says, short enough for a sentence."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _shielded(inner: Deferred[Any]) -> Deferred[Any]:
    """``inner``, in a Deferred that may be cancelled without it."""
    outer: Deferred[Any] = Deferred()
    inner.addCallbacks(outer.callback, outer.errback)
    return outer
