"""A farm's books with workflows on them: rounds are the test's own to call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from buildmaster.database import Database
from buildmaster.farm import LiveFarm
from buildmaster.orchestration.classes import WorkflowClasses
from buildmaster.orchestration.control import Control
from buildmaster.orchestration.local_calls import LocalCalls
from buildmaster.orchestration.stepping import Stepper
from buildmaster.orchestration.submitting import Submitting
from buildmaster.orchestration.threads import Threads
from buildmaster.orchestration.timing import Timing
from buildmaster.requests import Refusal
from buildmaster.store import workflows as store
from buildmaster.store.step import AttemptEnd, end_attempts
from buildmaster.workflow.execution import advance
from buildmaster.workflow.history import History
from buildmaster.workflow.testing import crash_everywhere
from protocol.results import Result
from tests.buildmaster.books import Books, fresh_books
from tests.buildmaster.live_farm import live_farm


class Killed(BaseException):
    """Stands for the death of a master: nobody deals with it."""


class Master:
    """What one master does for workflows, round by round."""

    def __init__(
        self,
        test: TestCase,
        database: Database,
        farm: LiveFarm,
        *classes: type[Any],
        name: str = "m",
        live: int = 100,
        patience: float = 5.0,
        local_threads: int = 4,
    ) -> None:
        self.database = database
        self.classes = WorkflowClasses(classes)
        self.threads = Threads(reactor, "step", 2, 4, interrupts=True)
        self.local_threads = Threads(reactor, "local", local_threads, 0, interrupts=False)
        test.addCleanup(self.threads.stop)
        test.addCleanup(self.local_threads.stop)
        self.stepper = Stepper(
            database,
            self.classes,
            farm.enqueue_within,
            self.threads,
            live=live,
            patience=patience,
        )
        self.timing = Timing(database, reactor, lambda: None)
        test.addCleanup(self.timing.stop)
        self.calls = LocalCalls(database, self.local_threads, reactor, name)
        self.submitting = Submitting(database, farm.prepare, name)
        self.control = Control(database, self.classes, self.threads)

    async def go_on(self) -> None:
        """Do all that can be done now, until nothing moves any more."""
        while True:
            before = await self._moved()
            await self.timing.round()
            await self.stepper.round()
            await self.calls.round()
            await self.calls.drain()
            await self.submitting.round()
            if await self._moved() == before:
                return

    async def _moved(self) -> Any:
        return await self.database.one(
            """
            SELECT (SELECT count(*) FROM workflow_event),
                   (SELECT sum(position) FROM workflow),
                   (SELECT sum(tries) FROM workflow),
                   (SELECT count(*) FROM workflow_outbox),
                   (SELECT sum(tries) FROM workflow_outbox),
                   (SELECT count(*) FROM workflow WHERE state = 'done')
            """
        )


class WorkflowCase(TestCase):
    """Tests with a database, and one master or more."""

    books: Books
    farm: LiveFarm

    async def setUp(self) -> None:  # type: ignore[override]
        self.books = await fresh_books(self)
        self.database = self.books.database
        await self.database.run("UPDATE worker SET performs = '{noop,build,test}'")
        self.farm = live_farm(self, self.database)

    def master(self, *classes: type[Any], **more: Any) -> Master:
        return Master(self, self.database, self.farm, *classes, **more)

    async def state(self, name: str) -> tuple[str, str | None, str, Any]:
        """State, result, reason and value of the newest workflow of that name."""
        row = await self.database.one(
            """
            SELECT state::text, result::text, reason, value FROM workflow
            WHERE name = %s ORDER BY id DESC LIMIT 1
            """,
            (name,),
        )
        return (row[0], row[1], row[2], row[3])

    async def waits(self, name: str) -> list[str]:
        """The names of what a workflow waits for."""
        [(waits,)] = await self.database.rows(
            "SELECT waits FROM workflow WHERE name = %s AND state <> 'done'", (name,)
        )
        return [each["name"].rpartition(":")[2] for each in waits]

    async def count(self, table: str) -> int:
        (count,) = await self.database.one(f"SELECT count(*) FROM {table}")
        return int(count)

    async def jobs(self) -> list[tuple[int, str, str | None]]:
        """Id, state and result of all jobs."""
        rows = await self.database.rows(
            "SELECT id, state::text, result::text FROM job ORDER BY id"
        )
        return [(row[0], row[1], row[2]) for row in rows]

    async def finish(self, result: Result = Result.SUCCESS, **more: Any) -> int:
        """A worker does the next job; its id."""
        [claim] = await self.books.claim()
        reason = "" if result is Result.SUCCESS else "for a test"
        end = AttemptEnd(claim.job, claim.attempt, result, reason, **more)
        await self.database.transaction(
            lambda cursor: end_attempts(cursor, [end], delays=(0.0,), refused_for=1.0)
        )
        return claim.job

    async def let_pass(self, seconds: float) -> None:
        """Let timers, pauses and leases be so much older."""
        for table, column in (
            ("workflow_timer", "due"),
            ("workflow_outbox", "due"),
            ("workflow_outbox", "ends_at"),
            ("workflow", "next_try"),
        ):
            await self.database.run(
                f"UPDATE {table} SET {column} = {column} - make_interval(secs => %s)",
                (seconds,),
            )

    async def killed(self, work: Any) -> None:
        """A master dies of it; returns when PostgreSQL has taken back what it had begun."""
        with self.assertRaises(Killed):
            await work
        for table in ("workflow", "schedule"):
            await self.database.rows(f"SELECT id FROM {table} FOR UPDATE")

    async def refused(self, work: Any) -> Refusal:
        try:
            await work
        except Refusal as error:
            return error
        self.fail("it was not refused")

    async def crash_everywhere(self, name: str, *classes: type[Any]) -> int:
        """The history in the database, played with a crash after each event."""
        found = await store.find(self.database, name)
        assert found is not None
        events, commands = await store.history(self.database, found.id, found.generation)
        definition = WorkflowClasses(classes).newest(found.class_)
        step = advance(definition, events, commands, name=name, position=len(events))
        known = History(
            workflow=name,
            class_=found.class_,
            events=tuple(events),
            commands=tuple(commands),
            ending=step.ending,
        )
        return crash_everywhere(known, definition.cls)


class Calls:
    """Stands for a local action's effect: what was called, with which key."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []
        self.then: Callable[[int], Any] = lambda number: None

    def note(self, key: str, what: Any) -> Any:
        self.made.append((key, what))
        return self.then(len(self.made))
