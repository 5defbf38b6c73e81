"""Two masters on one database, one of them killed again and again under load."""

from __future__ import annotations

import os
from collections import Counter
from random import Random

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from buildmaster.store.audit import audit
from tests.direct import Direct, NewEdge, NewJob
from tests.laws import IS_LONG
from tests.masters import TOKEN, MasterHome
from tests.paper_workers import PaperWorker
from tests.postgres import fresh_dsn

KILLS = int(os.environ.get("HEADRACE_KILLS", 200 if IS_LONG else 4))
WORKERS = 5
SLOTS = 4
#: Jobs that are added for each kill, in graphs of ten.
GRAPHS = 20
#: One job, eight that wait for it, one that waits for them.
EDGES = [NewEdge(0, n) for n in range(1, 9)] + [NewEdge(n, 9) for n in range(1, 9)]


class KilledMastersTests(TestCase):
    timeout = 300 + 60 * KILLS

    def setUp(self) -> None:
        dsn = fresh_dsn(self)
        self.books = Direct(dsn)
        self.addCleanup(self.books.close)
        self.line = self.books.job_class()
        names = [f"paper-{number}" for number in range(WORKERS)]
        self.masters = [MasterHome(self, dsn, name, names) for name in ("m1", "m2")]
        ports = [master.port for master in self.masters]
        self.workers = [
            PaperWorker(name, TOKEN, ports[n % 2 :] + ports[: n % 2], SLOTS, n)
            for n, name in enumerate(names)
        ]
        self.chance = Random(0)
        self.jobs: list[int] = []

    def submit(self) -> None:
        for _ in range(GRAPHS):
            _, jobs = self.books.add_graph(self.line, [NewJob() for _ in range(10)], EDGES)
            self.jobs += jobs

    async def left(self) -> int:
        """How many jobs are not done, a moment later."""
        await deferLater(reactor, 0.05)
        return int(self.books.value("SELECT count(*) FROM job WHERE state <> 'done'"))

    async def test_every_job_finishes_exactly_once(self) -> None:
        daemons = [await master.start() for master in self.masters]
        for worker in self.workers:
            self.addCleanup(worker.stop)
            worker.start()
        for _ in range(KILLS):
            self.submit()
            await deferLater(reactor, self.chance.random())
            victim = self.chance.randrange(2)
            await daemons[victim].kill()
            await deferLater(reactor, self.chance.random() * 0.3)
            daemons[victim] = await self.masters[victim].start()
        while await self.left():
            pass
        self._check()

    def _check(self) -> None:
        """Counted in the books, in the events, and by those who did it."""
        ended = self.books.rows(
            "SELECT result::text, attempt, count(*) FROM job GROUP BY 1, 2"
        )
        self.assertEqual(ended, [("success", 1, len(self.jobs))])
        [(attempts,)] = self.books.rows("SELECT count(*) FROM attempt")
        self.assertEqual(attempts, len(self.jobs))
        events: dict[int, int] = dict(
            self.books.rows(
                "SELECT job, count(*) FROM event WHERE kind = 'job.done' GROUP BY 1"
            )
        )
        self.assertEqual(events, dict.fromkeys(self.jobs, 1))
        performed: Counter[tuple[int, int]] = Counter()
        for worker in self.workers:
            performed += worker.performed
        self.assertEqual(dict(performed), {(job, 1): 1 for job in self.jobs})
        self.assertGreater(sum(worker.sessions for worker in self.workers), WORKERS)
        runs = self.books.rows(
            "SELECT state::text, result::text, count(*) FROM run GROUP BY 1, 2"
        )
        self.assertEqual(runs, [("done", "success", len(self.jobs) // 10)])
        self.assertEqual(self.books.act(audit), [])


class NamesTests(TestCase):
    timeout = 120

    async def test_a_master_of_a_name_that_another_has_says_so_and_ends(self) -> None:
        dsn = fresh_dsn(self)
        one = MasterHome(self, dsn, "m1")
        await one.start()
        other = MasterHome(self, dsn, "m2")
        other.settings.write_text(
            other.settings.read_text().replace("name: m2", "name: m1")
        )
        with self.assertRaises(AssertionError):
            await other.start()
        self.assertIn("another master named m1 works with this database", other.log)
        self.assertTrue(await one.is_healthy())

    async def test_sessions_of_a_master_that_never_comes_back_are_closed(self) -> None:
        dsn = fresh_dsn(self)
        books = Direct(dsn)
        self.addCleanup(books.close)
        one, two = MasterHome(self, dsn, "m1"), MasterHome(self, dsn, "m2")
        daemon = await one.start()
        await two.start()
        worker = PaperWorker("ant", TOKEN, [one.port], 1, 0)
        worker.start()
        self.addCleanup(worker.stop)
        await two.worker("ant", "connected")
        await daemon.kill()
        worker.stop()
        await two.worker("ant", "offline")
