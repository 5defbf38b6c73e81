"""A started `Database` for a test, and ways to hurt it."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from buildmaster.database import Database
from tests.postgres import empty_dsn

NAME = "headrace-under-test"


class Waiting:
    """Collects values; `until` fires when there are enough of them."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._wanted: list[tuple[int, Deferred[list[Any]]]] = []

    def add(self, value: Any) -> None:
        """Take one more."""
        self.values.append(value)
        for count, deferred in list(self._wanted):
            if len(self.values) >= count:
                self._wanted.remove((count, deferred))
                deferred.callback(self.values)

    def until(self, count: int) -> Deferred[list[Any]]:
        """Fires with all values as soon as there are ``count``."""
        deferred: Deferred[list[Any]] = Deferred()
        if len(self.values) >= count:
            deferred.callback(self.values)
        else:
            self._wanted.append((count, deferred))
        return deferred


async def started(test: TestCase, dsn: str = "", **options: Any) -> Database:
    """A database layer on an empty database of its own, stopped when ``test`` ends."""
    from twisted.internet import reactor

    database = Database(dsn or empty_dsn(test), reactor, name=NAME, **options)
    await database.start()
    test.addCleanup(database.stop)
    return database


def at_once(dsn: str, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Run a statement on a connection of its own while the reactor stands still."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []


async def until_active(dsn: str, what: str, count: int = 1) -> None:
    """Returns when ``count`` connections are in the midst of a statement with ``what``."""
    from twisted.internet import reactor

    while True:
        [(active,)] = at_once(
            dsn,
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
            "AND strpos(query, %s) > 0 AND pid <> pg_backend_pid() "
            "AND datname = current_database()",
            (what,),
        )
        if active == count:
            return
        await deferLater(reactor, 0.01)


def kill_all(dsn: str) -> int:
    """Terminate every connection of the layer under test; wait until they are gone."""
    ours = (
        "FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
    )
    killed = 0
    while found := at_once(dsn, f"SELECT pg_terminate_backend(pid, 5000) {ours}", (NAME,)):
        # A process that is no longer listed may still have to close its end of the line:
        # each is waited for. A connection in its making shows up late.
        killed += len(found)
        time.sleep(0.005)
    return killed
