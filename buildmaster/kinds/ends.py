"""Tells kinds of jobs that have ended, after the fact and until it is written what follows.

Not within the transaction that ends a job: dispatch would wait for the plug-in, and its
mistake would take back what others did. So that transaction only notes the end, and this
works the notes off: a plug-in's time is its own thread's, its mistake one more try.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildmaster.database import Cursor, Database
from buildmaster.kinds.interface import After, EndedJob
from buildmaster.kinds.registry import Kinds
from buildmaster.requests import GraphRequest
from buildmaster.store import kinds as store
from buildmaster.store.kinds import DueEnd

#: Threads of plug-ins at a time; those that never return use them up for good.
THREADS = 4
#: Seconds that a plug-in has, and then the database for what it said.
PATIENCE = 30.0
WRITING = 5.0
#: Tries of one end, and the seconds between them, which double.
TRIES = 10
FIRST_DELAY = 2.0

#: Writes a graph of new jobs in the transaction of the cursor.
Enqueue = Callable[[Cursor, GraphRequest, str], Awaitable[object]]


class KindEnds:
    """One round tells of what is due, as far as there are threads."""

    log = Logger()

    def __init__(
        self,
        database: Database,
        kinds: Kinds,
        enqueue: Enqueue,
        reactor: Any,
        wake: Callable[[], None] = lambda: None,
        patience: float = PATIENCE,
    ) -> None:
        self._database = database
        self._kinds = kinds
        self._enqueue = enqueue
        self._reactor = reactor
        self._wake = wake
        self._patience = patience
        self._busy = 0
        self._telling: set[Deferred[None]] = set()

    async def round(self) -> None:
        """Begin to tell; what is begun goes on by itself, and asks for another round."""
        hearing = [kind.name for kind in self._kinds.plugged if kind.hears_ends]
        room = THREADS - self._busy
        if not hearing or room <= 0:
            return
        due = await self._database.transaction(
            lambda cursor: store.take_ends(
                cursor, hearing, room, self._patience + 2 * WRITING
            )
        )
        for end in due:
            telling = Deferred.fromCoroutine(self._tell(end))
            self._telling.add(telling)
            telling.addBoth(self._told, telling)

    async def drain(self) -> None:
        """Wait for what is being told; for tests and for the end."""
        while self._telling:
            waiting: Deferred[None] = Deferred()
            told: Any = next(iter(self._telling))
            told.addBoth(lambda _, waiting=waiting: waiting.callback(None))
            await waiting

    def _told(self, result: object, telling: Deferred[None]) -> None:
        self._telling.discard(telling)
        if isinstance(result, Failure):
            self.log.failure("could not note what follows the end of a job", result)
        else:
            self._wake()

    async def _tell(self, due: DueEnd) -> None:
        kind: Any = self._kinds.get(due.kind)
        job = EndedJob(
            id=due.job,
            attempt=due.attempt,
            kind=due.kind,
            name=due.name,
            owner=due.owner,
            result=due.result,
            reason=due.reason,
            arguments=due.arguments,
            output=due.output,
        )
        try:
            after = await self._in_thread(lambda: kind.ended(job))
            await self._database.transaction(lambda cursor: self._write(cursor, due, after))
        except Exception as error:
            await self._failed(due, error)

    async def _write(self, cursor: Cursor, due: DueEnd, after: After | None) -> None:
        await store.limit_time(cursor, WRITING)
        if not await store.settle_end(cursor, due.job, due.attempt) or after is None:
            return
        if not isinstance(after, After):
            raise TypeError(f"ended() returned {type(after).__name__}, not After or None")
        for statement in after.statements:
            await cursor.run(statement.sql, statement.parameters)
        if after.jobs:
            graph = GraphRequest(jobs=after.jobs, owner=due.owner)
            await self._enqueue(cursor, graph, f"kind {due.kind}")

    async def _failed(self, due: DueEnd, error: Exception) -> None:
        told = str(error) or type(error).__name__
        why = f"the plug-in of the kind {due.kind} failed: {told}"
        self.log.error(
            "job {job} has ended, and {why} (try {tries} of {most})",
            job=due.job,
            why=why,
            tries=due.tries,
            most=TRIES,
        )

        async def work(cursor: Cursor) -> None:
            if due.tries >= TRIES:
                await store.give_up_end(cursor, due, why)
            else:
                await store.postpone_end(cursor, due, FIRST_DELAY * 2 ** (due.tries - 1))

        await self._database.transaction(work)

    def _in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        """What ``call`` returns in a thread of its own; TimeoutError after the patience.

        The thread is a daemon: one that never returns does not keep the process.
        """
        done: Deferred[Any] = Deferred()
        self._busy += 1

        def run() -> None:
            try:
                outcome = call()
            except BaseException:
                outcome = Failure()
            self._reactor.callFromThread(returned, outcome)

        def returned(outcome: Any) -> None:
            self._busy -= 1
            if not done.called:
                done.callback(outcome)
            else:
                self._wake()

        def late(_: Any, seconds: float) -> Failure:
            return Failure(TimeoutError(f"it was not back after {seconds:g} s"))

        # Another round may take this thread's place only when it has really returned.
        threading.Thread(target=run, name="headrace-kind", daemon=True).start()
        clock: IReactorTime = self._reactor
        done.addTimeout(self._patience, clock, late)
        return done
