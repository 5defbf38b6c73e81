"""The workflows' side of a master, alone, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import maybeDeferred

from benchmarks.workflow_parts.classes import ALL
from buildmaster.database import Database
from buildmaster.orchestration.classes import WorkflowClasses
from buildmaster.orchestration.running import Running, step_threads


@dataclass(frozen=True)
class Engine:
    """It runs; ``database`` is the measurer's own."""

    running: Running
    database: Database

    async def start(self, name: str, cls: str, count: int, argument: float) -> None:
        """Start so many workflows of a class, each with one argument."""
        await self.database.rows(
            """
            SELECT start_workflow(%s || '-' || n, %s, 1, jsonb_build_array(%s::float8),
                                  'seed', 'bench', 'bench', NULL)
            FROM generate_series(1, %s) AS n
            """,
            (name, cls, argument, count),
        )

    async def count(self, where: str) -> int:
        """How many workflows are so."""
        (count,) = await self.database.one(f"SELECT count(*) FROM workflow WHERE {where}")
        return int(count)


@asynccontextmanager
async def engine(dsn: str, reactor: Any) -> AsyncIterator[Engine]:
    """A running engine on a migrated database."""
    undo: list[Callable[[], object]] = []
    database = Database(dsn, reactor, name="bench", size=2)
    await database.start()
    threads = step_threads(reactor)

    async def never(*arguments: Any) -> Any:
        raise AssertionError("nothing here asks for jobs")

    running = Running(
        dsn, reactor, "bench", WorkflowClasses(ALL), threads, never, never, lambda: None
    )
    try:
        await running.start(undo)
        yield Engine(running, database)
    finally:
        while undo:
            await maybeDeferred(undo.pop())
        await database.stop()
