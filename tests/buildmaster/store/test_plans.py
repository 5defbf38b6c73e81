"""No document of a page makes PostgreSQL look through a large table, by its own plans.

With as many builds as a test can make in a few seconds: of a small table PostgreSQL reads
all where that costs less. ``python -m benchmarks status`` asks
the same of a million.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from benchmarks.status_parts.plans import Explaining, looked_through
from benchmarks.status_parts.rows import add_builds, add_grid, add_line
from buildmaster.database import Database
from tests.postgres import fresh_dsn

BUILDS, QUEUED = 100_000, 10_000


class PlanTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        dsn = fresh_dsn(self)
        add_builds(dsn, 1, BUILDS)
        add_grid(dsn, 100, 10)
        add_line(dsn, QUEUED)
        self.database = Database(dsn, reactor, size=1)
        await self.database.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.database.stop()))

    async def test_no_large_table_is_looked_through(self) -> None:
        found = {}
        async for name, tables in looked_through(self.database, BUILDS // 4, BUILDS):
            if tables:
                found[name] = tables
        self.assertEqual(found, {})

    async def test_it_would_be_seen(self) -> None:
        explaining = Explaining(self.database)
        await explaining.rows("SELECT max(reason) FROM job")
        self.assertEqual(explaining.looked_through, ["job"])
