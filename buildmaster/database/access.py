"""What the buildmaster sees of its database: statements, transactions, notifications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from psycopg2.errors import DeadlockDetected
from twisted.internet.defer import CancelledError, DeferredLock
from twisted.internet.interfaces import IReactorTime

from buildmaster.database.connection import (
    Connection,
    Parameters,
    connect,
    connection_string,
)
from buildmaster.database.errors import (
    DatabaseAway,
    NoRow,
    NotCommitted,
    OutcomeUnknown,
    TooManyRows,
    TransactionOver,
)
from buildmaster.database.listening import Listening
from buildmaster.database.pool import Pool

#: How often a transaction is run again that PostgreSQL ended as part of a deadlock.
DEADLOCK_RETRIES = 5

T = TypeVar("T")
Row = tuple[Any, ...]


class Cursor(Protocol):
    """Statements inside one transaction; what the stores are written against.

    ``%s`` and ``%(name)s`` stand for parameters, and a per cent sign is always written
    ``%%``, parameters or not. A result comes whole and its rows are made while the
    reactor waits, so every query must have a LIMIT or be known to be small.
    """

    async def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Every row of the result."""

    async def row(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The row of the result, None without one; more are `TooManyRows`."""

    async def one(self, sql: str, parameters: Parameters = ()) -> Row:
        """The only row of the result; `NoRow` or `TooManyRows` otherwise."""

    async def run(self, sql: str, parameters: Parameters = ()) -> int:
        """Run a statement without a result; how many rows it touched."""


class _Statements:
    """The four shapes of a result, over one way to run a statement."""

    async def _execute(self, sql: str, parameters: Parameters) -> Any:
        raise NotImplementedError

    async def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Every row of the result."""
        found: list[Row] = (await self._execute(sql, parameters)).fetchall()
        return found

    async def row(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The row of the result, None without one; more are `TooManyRows`."""
        found = await self.rows(sql, parameters)
        if len(found) > 1:
            raise TooManyRows(f"{len(found)} rows where one at most was expected: {sql}")
        return found[0] if found else None

    async def one(self, sql: str, parameters: Parameters = ()) -> Row:
        """The only row of the result; `NoRow` or `TooManyRows` otherwise."""
        found = await self.row(sql, parameters)
        if found is None:
            raise NoRow(f"no row where one was expected: {sql}")
        return found

    async def run(self, sql: str, parameters: Parameters = ()) -> int:
        """Run a statement without a result; how many rows it touched."""
        count: int = (await self._execute(sql, parameters)).rowcount
        return count


class _Transaction(_Statements):
    """The cursor of one transaction; statements sent at once run in turn."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = DeferredLock()
        self._is_over = False

    async def _execute(self, sql: str, parameters: Parameters) -> Any:
        await self._turn.acquire()
        try:
            if self._is_over:
                raise TransactionOver(
                    f"the transaction has ended, and this came after: {sql}"
                )
            return await self._connection.execute(sql, parameters)
        except CancelledError:
            self._is_over = True
            raise
        finally:
            self._turn.release()

    async def commit(self) -> None:
        """End it for good, or say why not."""
        try:
            said = (await self._execute("COMMIT", ())).statusmessage
        except DatabaseAway as error:
            raise OutcomeUnknown(f"{error}; a commit was under way") from error
        if said != "COMMIT":
            raise NotCommitted(
                "a statement of the transaction had failed and its error was swallowed, "
                "so PostgreSQL rolled all of it back"
            )

    def end(self) -> None:
        """Refuse every statement from now on."""
        self._is_over = True


class Database(_Statements):
    """The farm's PostgreSQL: a few connections, kept alive, and one that listens.

    The methods of `Cursor` run one statement each, committed by itself. If the
    connection breaks meanwhile they fail with `OutcomeUnknown`; nothing is ever sent a
    second time, but for what PostgreSQL rolled back as part of a deadlock. While the
    database is away they fail with `DatabaseAway` after ``patience`` seconds, and at once
    when it has been away for longer.

    Cancelling any of them is safe: who waits gets CancelledError at once. A statement of
    its own, or a commit, may have taken effect all the same.

    What a statement SETs stays with one of the connections: use SET LOCAL in a
    transaction.
    """

    def __init__(
        self,
        dsn: str,
        reactor: IReactorTime,
        *,
        size: int = 4,
        name: str = "headrace",
        statement_timeout: float | None = None,
        patience: float = 5.0,
    ) -> None:
        """``statement_timeout`` and ``patience`` are seconds; `BadDatabaseAddress`."""
        whole_dsn = connection_string(dsn, name)

        async def pooled() -> Connection:
            return await connect(reactor, whole_dsn, statement_timeout=statement_timeout)

        async def listening() -> Connection:
            return await connect(reactor, whole_dsn)

        self._pool = Pool(pooled, reactor, size, patience)
        self._listening = Listening(listening, reactor)

    async def start(self) -> None:
        """Returns when the database answers; `DatabaseAway` after the patience."""
        await self._pool.start()
        self._listening.start()

    async def stop(self) -> None:
        """Let what runs finish for two seconds, then close every connection."""
        await self._listening.stop()
        await self._pool.stop()

    async def transaction(self, work: Callable[[Cursor], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction: commit when it returns, roll back if it raises.

        Where two transactions wait for each other PostgreSQL rolls one of them back, and
        that one is run again; nothing else is. `NotCommitted` if ``work`` swallowed an
        error of a statement; `OutcomeUnknown` if the connection broke during the commit.
        """
        for _ in range(DEADLOCK_RETRIES):
            try:
                return await self._transaction(work)
            except DeadlockDetected:
                continue
        return await self._transaction(work)

    async def _transaction(self, work: Callable[[Cursor], Awaitable[T]]) -> T:
        connection = await self._begin()
        transaction = _Transaction(connection)
        try:
            result = await work(transaction)
            await transaction.commit()
        except BaseException as error:
            transaction.end()
            at_rest = self._pool.give_back(connection)
            if isinstance(error, Exception) and not isinstance(error, CancelledError):
                await at_rest  # who hears of the failure finds it rolled back
            raise
        transaction.end()
        self._pool.give_back(connection)
        return result

    async def _begin(self) -> Connection:
        while True:
            connection = await self._pool.borrow()
            try:
                await connection.execute("BEGIN")
                return connection
            except DatabaseAway:
                # Nothing was asked of it yet, so another connection does as well.
                self._pool.give_back(connection)
            except BaseException:
                self._pool.give_back(connection)
                raise

    async def _execute(self, sql: str, parameters: Parameters) -> Any:
        for _ in range(DEADLOCK_RETRIES):
            try:
                return await self._execute_once(sql, parameters)
            except DeadlockDetected:
                continue
        return await self._execute_once(sql, parameters)

    async def _execute_once(self, sql: str, parameters: Parameters) -> Any:
        connection = await self._pool.borrow()
        try:
            return await connection.execute(sql, parameters)
        except DatabaseAway as error:
            raise OutcomeUnknown(f"{error}; a statement was under way") from error
        finally:
            self._pool.give_back(connection)

    def connections(self) -> dict[str, int]:
        """How many connections are idle or busy, and how many callers wait for one."""
        return self._pool.census()

    def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Have ``heard`` called with each payload sent to ``channel``, in their order.

        It is called with "" whenever listening begins, the first time and after each
        loss of the connection: something may have been missed, so look anyway. To be
        called before `start` or after it.
        """
        self._listening.listen(channel, heard)
