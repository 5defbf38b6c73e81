"""Looks at how PostgreSQL means to answer: whether it would look through a large table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from buildmaster.database import Database
from buildmaster.status import questions as q
from buildmaster.store.documents.graphs import run_graph
from buildmaster.store.documents.grid import grid
from buildmaster.store.documents.history import history, similar
from buildmaster.store.documents.line import line
from buildmaster.store.documents.overview import overview
from buildmaster.store.documents.timeline import timeline
from buildmaster.store.documents.workers import worker_document

#: Tables that grow with what was ever built, or with the line.
LARGE = frozenset(
    {"job", "attempt", "run", "run_job", "build", "pipeline_job", "event", "ready"}
)
#: As `benchmarks.status_parts.rows` writes them.
_PROJECT, _OWNER, _NAME = "https://example.com/project-7", "team-7", "build-3"


class Explaining(Database):
    """A database that notes which large tables its statements would look through."""

    def __init__(self, database: Database) -> None:
        # Nothing of its own: it asks the other.
        self._asked = database
        self.looked_through: list[str] = []

    async def _execute(self, sql: str, parameters: Any) -> Any:
        [plan] = await self._asked.one(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        self.looked_through += [
            each["Relation Name"]
            for each in _nodes(plan[0]["Plan"])
            if each["Node Type"] == "Seq Scan" and each["Relation Name"] in LARGE
        ]
        return await self._asked._execute(sql, parameters)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)


async def looked_through(
    database: Database, run: int, job: int
) -> AsyncIterator[tuple[str, Sequence[str]]]:
    """Each way to ask for a page's document, and the large tables that it looks through.

    ``run`` and ``job`` are ones that there are.
    """
    explaining = Explaining(database)
    day = await database.one("SELECT farm_now() - interval '9 days', farm_now()")
    asked = {
        "overview": overview(explaining),
        "grid": grid(explaining, q.Grid(limit=1000)),
        "grid of pipeline jobs": grid(explaining, q.Grid(cells="pipeline_jobs")),
        "grid of a repository": grid(explaining, q.Grid(repository=_PROJECT)),
        "grid of an owner": grid(explaining, q.Grid(owner=_OWNER)),
        "grid of nobody": grid(explaining, q.Grid(owner="nobody")),
        "grid of an architecture": grid(explaining, q.Grid(architecture="amd64")),
        "grid of a kind": grid(explaining, q.Grid(kind="native")),
        "graph": run_graph(explaining, run),
        "history": history(explaining, q.History()),
        "history, a later page": history(explaining, q.History(after=f"{2**50}-{job}-1")),
        "history of a name": history(explaining, q.History(name=_NAME)),
        "history of no name": history(explaining, q.History(name="nothing")),
        "history of an owner": history(explaining, q.History(owner=_OWNER)),
        "history of much": history(
            explaining, q.History(name=_NAME, repository=_PROJECT, architecture="amd64")
        ),
        "similar": similar(explaining, job),
        "timeline": timeline(explaining, None, None, None, 10_000),
        "timeline of nine days": timeline(explaining, day[0], day[1], None, 10_000),
        "timeline of a worker": timeline(explaining, day[0], day[1], "worker-3", 10_000),
        "queue": line(explaining, q.Queue()),
        "queue of an owner": line(explaining, q.Queue(owner=_OWNER)),
        "queue of an architecture": line(explaining, q.Queue(architecture="amd64")),
        "worker": worker_document(explaining, "worker-3"),
    }
    for name, asking in asked.items():
        explaining.looked_through = []
        await asking
        yield name, explaining.looked_through
