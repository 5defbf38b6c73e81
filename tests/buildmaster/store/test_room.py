"""Two masters, and one that is killed again and again, never overcommit a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.matching import Needs
from buildmaster.store import queue
from buildmaster.store.audit import audit
from tests.direct import Direct, NewEdge, NewJob
from tests.laws import IS_LONG
from tests.postgres import fresh_dsn

KILLS = 40 if IS_LONG else 4
GRAPHS = 100
ROOT = Path(__file__).parents[3]


class RoomTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dsn = fresh_dsn(self)
        self.books = Direct(self.dsn)
        self.addCleanup(self.books.close)
        chance = Random(1)
        for name in ("ant", "bee", "cat", "dog"):
            self.books.add_worker(
                name,
                chance.randint(1, 8),
                cpu=chance.choice((None, 800)),
                memory=chance.choice((None, 8000)),
                disk=chance.choice((None, 8000)),
            )
        lines = []
        for number in range(6):
            needs = Needs(
                performs="noop",
                slots=chance.choice((1, 1, 2, 3)),
                cpu=chance.choice((0, 100, 250)),
                memory=chance.choice((0, 1000, 3000)),
                disk=chance.choice((0, 500, 5000)),
                tags=(f"t{number}",),
            )
            line = self.books.act(partial(queue.class_for, needs=needs))
            lines.append(line)
        for place in range(GRAPHS):
            jobs = [
                NewJob(class_id=chance.choice(lines), virtual_start=place, limits=limits)
                for limits in chance.choices(((), (), ("a",), ("a", "b")), k=10)
            ]
            edges = [
                NewEdge(up, down, chance.choice(("good", "finished", "bad", "always")))
                for down in range(10)
                for up in range(down)
                if chance.random() < 0.2
            ]
            self.books.add_graph(lines[0], jobs, edges)
        self.books.run("INSERT INTO semaphore VALUES ('a', 3), ('b', 2)")

    def claimer(self, seed: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.claimer", self.dsn, str(seed)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[str]) -> str:
        """Kill it, as a power failure would; what it said at last."""
        process.send_signal(signal.SIGKILL)
        return process.communicate()[1]

    def test_no_worker_ever_has_more_than_it_offers(self) -> None:
        living = [self.claimer(1), self.claimer(2)]
        deadlocks: dict[int, int] = {}
        chance = Random(os.environ.get("HEADRACE_SEED", "0"))
        for seed in range(KILLS):
            victim = self.claimer(10 + seed)
            for process in (victim, *living):
                for _ in range(chance.randint(1, 3)):
                    assert process.stdout is not None
                    said = process.stdout.readline()
                    self.assertTrue(said.startswith("20 acts"), said or self.end(process))
                    deadlocks[process.pid] = int(said.split()[2])
            self.end(victim)
        for process in living:
            self.assertEqual(self.end(process), "")
        # They are tried again, and must be rare all the same.
        self.assertLess(sum(deadlocks.values()), 5 * KILLS, deadlocks)
        while self.books.value(
            "SELECT count(*) > 1 FROM pg_stat_activity WHERE usename = "
            "current_user AND datname = current_database()"
        ):
            pass  # what the killed ones had under way ends by itself
        self.assertEqual(self.books.act(audit), [])
        # Each end was told once: of jobs that are done, and of those that were revived.
        self.assertEqual(
            self.books.rows(
                """
                SELECT job.id, job.state::text,
                       count(*) FILTER (WHERE event.kind = 'job.done')
                FROM job JOIN event ON event.job = job.id GROUP BY job.id
                HAVING count(*) FILTER (WHERE event.kind = 'job.done')
                    <> (job.state = 'done')::integer
                       + count(*) FILTER (WHERE event.kind = 'job.retried')
                       + count(*) FILTER (WHERE event.kind = 'job.waiting'
                                          AND NOT payload ? 'delay')
                """
            ),
            [],
        )
        self.assertTrue(
            self.books.value("SELECT count(*) > 50 FROM attempt WHERE result IS NOT NULL")
        )
